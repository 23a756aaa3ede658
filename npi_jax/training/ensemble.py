"""The ensemble: the members of an experiment, and the sharding of their arrays over the mesh."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import UInt

from npi_jax.config.schema import Config, Member
from npi_jax.errors import UserError
from npi_jax.models import Model
from npi_jax.training.devices.data_axis import DataAxis
from npi_jax.training.devices.mesh import fetch, map_members, padded_size
from npi_jax.training.member.optimizer import HyperParameters
from npi_jax.training.member.step import MemberState, init_member


class Ensemble:
    """Members stacked along a leading axis that is sharded over the mesh axis ``ens``.

    All devices along ``ens`` hold the same number of members. Copies of the last member pad the stack to a multiple of
    the number of these devices. Results never contain the padding members.

    Args:
        config: the experiment.
        model: the architecture of all members.
        mesh: the mesh from `make_mesh`.

    Attributes:
        config, model, mesh: the arguments.
        members: the members of the experiment.
        padded_members: the members, followed by the padding members.
        data_axis: sharding of one member over the mesh axis ``data``.
        member_shapes: shapes and dtypes of one member's state, unsharded.
        state_specs: partition specs of the stacked states.

    Raises:
        UserError: if a parameter of the model is not float32.
    """

    def __init__(self, config: Config, model: Model, mesh: Mesh):
        self.config, self.model, self.mesh = config, model, mesh
        self.members = config.members
        missing = padded_size(len(self.members), mesh) - len(self.members)
        self.padded_members: Sequence[Member] = self.members + (self.members[-1],) * missing
        self.data_axis = DataAxis(model, mesh.shape["data"], config.mesh.fsdp)
        init = init_member(DataAxis(model), config.train)
        self.member_shapes: MemberState = jax.eval_shape(init, jax.ShapeDtypeStruct((), jnp.uint32))
        _check_parameters(self.member_shapes.params)
        self.state_specs: MemberState = self.data_axis.specs(self.member_shapes)

    @property
    def size(self) -> int:
        """Number of members, without padding members."""
        return len(self.members)

    @property
    def padded_size(self) -> int:
        """Number of members, including padding members; the length of the leading axis of all stacked arrays."""
        return len(self.padded_members)

    @property
    def seeds(self) -> UInt[np.ndarray, " padded_members"]:
        """Seeds of the members, on the host."""
        return np.array([member.seed for member in self.padded_members], np.uint32)

    @property
    def hyper(self) -> HyperParameters:
        """Hyper-parameters of the members, each float32 [padded_members], on the host."""
        return HyperParameters(
            *(np.array([getattr(m, name) for m in self.padded_members], np.float32) for name in HyperParameters._fields)
        )

    @cached_property
    def state_shapes(self) -> MemberState:
        """Shapes, dtypes and shardings of the stacked states."""
        return jax.tree.map(
            lambda leaf, spec: jax.ShapeDtypeStruct(
                (self.padded_size, *leaf.shape), leaf.dtype, sharding=NamedSharding(self.mesh, spec)
            ),
            self.member_shapes,
            self.state_specs,
        )

    @property
    def call_shape(self) -> tuple[int, int, int]:
        """Shape of the row numbers of one training call: padded members, steps per call, rows per batch."""
        train = self.config.train
        return self.padded_size, train.steps_per_call, train.batch_size

    def map(self, fn: Callable[..., Any], in_specs: Sequence[Any], **options: Any) -> Any:
        """Turn a function of one member into a jitted function of all members (see `map_members`)."""
        return map_members(fn, self.mesh, in_specs, mapping=self.config.mesh.mapping, **options)

    def fetch(self, tree: Any) -> Any:
        """Copy stacked results to the host, without the padding members."""
        return jax.tree.map(lambda leaf: leaf[: self.size], fetch(tree))


def _check_parameters(params: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.dtype != np.float32:
            raise UserError(
                f"the model's parameter {jax.tree_util.keystr(path)} is {leaf.dtype}: parameters must be float32. To "
                "compute in another precision, cast them where they are used, as the built-in models do "
                "(compute_dtype)"
            )
