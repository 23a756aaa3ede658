"""Comparisons of task gradients in a training run: the tasks, and the functions that checkpoints compute."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from npi_jax.config.schema import Config
from npi_jax.corpus.variants.variant import RowPool
from npi_jax.errors import UserError
from npi_jax.files.writing import write_arrays
from npi_jax.gradients import (
    LOOKAHEAD_STEP,
    Batches,
    Products,
    TaskItems,
    choose_items,
    item_batches,
    make_lookahead,
    make_products,
    task_batches,
    text_batches,
)
from npi_jax.models import Model
from npi_jax.results.rules import main_kind
from npi_jax.suites import Suite
from npi_jax.suites.encode import EncodedSuite
from npi_jax.training.member.optimizer import second_moment
from npi_jax.training.member.step import MemberState

AT_CHECKPOINT, AT_END = "at checkpoints", "at the end"
"""Times of comparisons of gradients: at every checkpoint, and after the last step."""


class SingleItems(NamedTuple):
    """Single items whose gradients are compared.

    Attributes:
        numbers: numbers of the items in the suite.
        tasks: task of each item.
        npis: words in the critical region of each item's good sentence.
    """

    numbers: list[int]
    tasks: list[str]
    npis: list[str]


@dataclass(frozen=True, kw_only=True)
class TaskGradients:
    """The comparisons of task gradients in one run.

    Attributes:
        products: products of the tasks' micro-batches, computed at every checkpoint.
        single: products of single items, computed after the last step; None to leave them out.
        lookahead: lookahead affinity (`make_lookahead`), computed after the last step; None to leave it out.
        items: the items of each micro-batch of each task.
        single_items: the single items of `single`.
        suite, kind: name of the suite, and the kind of its items.
    """

    products: Products
    single: Products | None
    lookahead: Any
    items: TaskItems
    single_items: SingleItems
    suite: str
    kind: str

    @property
    def arrays(self) -> dict[str, Any]:
        """Further argument of the functions in `calls`, besides the members' states."""
        return {
            "products": self.products.arrays,
            "single": None if self.single is None else self.single.arrays,
            "families": self.products.batches.families if self.lookahead else None,
        }

    @property
    def calls(self) -> dict[str, Callable[[MemberState, dict[str, Any]], dict[str, Float[Array, "..."]]]]:
        """Functions of one member's state and of `arrays`, by the time when they are called."""
        last = {AT_END: self._at_end} if self.single is not None or self.lookahead is not None else {}
        return {AT_CHECKPOINT: self._at_checkpoint, **last}

    def _at_checkpoint(self, state: MemberState, arrays: dict[str, Any]) -> dict[str, jax.Array]:
        """Compute the values of one member that are written at every checkpoint."""
        return dict(self.products.apply(state.params, second_moment(state.opt_state), arrays["products"]))

    def _at_end(self, state: MemberState, arrays: dict[str, Any]) -> dict[str, jax.Array]:
        """Compute the values of one member that are written only after the last step."""
        values: dict[str, jax.Array] = {}
        if self.single is not None:
            values["item_gram"] = self.single.apply(state.params, None, arrays["single"])["gram"]
        if self.lookahead is not None:
            values["lookahead"], values["parameter_norm"] = self.lookahead(state.params, arrays["families"])
        return values

    def write(self, path: Path, values: dict[str, Float[np.ndarray, "members ..."]], *, step: int) -> None:
        """Write ``gradients/STEP.npz``: the values of all members, and the names along their axes.

        Products weighted as by Adam are NaN without a second moment: before the first step, and with sgd.

        Args:
            path: path of the file.
            values: results of `calls`, with a leading axis of members.
            step: the step of the checkpoint.
        """
        values = {name: np.asarray(array, np.float32) for name, array in values.items()}
        if "gram_adam" not in values or step == 0:
            values["gram_adam"] = np.full_like(values["gram"], np.nan)
        names = {
            "groups": np.array(self.products.groups),
            "tasks": np.array(self.products.batches.tasks),
            "n_items": self.products.batches.n_items,
            "suite": np.array(self.suite),
            "kind": np.array(self.kind),
        }
        if "item_gram" in values:
            numbers, tasks, npis = self.single_items
            labels = self.items.sentences.labels["item"]
            names |= {
                "item_task": np.array(tasks),
                "item_npi": np.array(npis),
                "item_name": np.array([str(labels[number]) for number in numbers]),
            }
        if "lookahead" in values:
            names["lookahead_step"] = np.array(LOOKAHEAD_STEP)
        write_arrays(path, names | values)

    def description(self) -> dict[str, Any]:
        """Describe the comparisons for the manifest."""
        return {
            "suite": self.suite,
            "kind": self.kind,
            "region": self.items.spec.regions[0],
            "tasks": list(self.products.batches.tasks),
            "groups": list(self.products.groups),
            "micro_batches": int(self.products.batches.n_items.shape[1]),
            "method": self.products.method,
        }


def gradient_items(config: Config, encoded: EncodedSuite) -> tuple[TaskItems, str]:
    """Choose the items of every task and assign them to micro-batches; also return the kind of the items.

    Raises:
        UserError: if the suite has no items of the configured kind, or too few for the micro-batches.
    """
    wanted, name = config.gradients, config.gradient_suite
    spec = config.score.suites[name].spec
    assert isinstance(encoded.suite, Suite)
    kinds = list(dict.fromkeys(item.kind for item in encoded.suite))
    kind = wanted.kind or main_kind(kinds)
    with _explained(name):
        sentences = encoded.sentences(spec)
        return choose_items(sentences, spec, kind=kind, n_batches=wanted.micro_batches, most=wanted.limit), kind


@contextmanager
def _explained(suite: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(
            f"gradients (suite {suite!r}): {error}. gradients.enabled = False compares no gradients"
        ) from error


def make_task_gradients(
    config: Config, model: Model, encoded: EncodedSuite | None, valid: RowPool, eos: int
) -> TaskGradients | None:
    """Make the comparisons that the configuration asks for.

    Args:
        config: the experiment.
        model: the architecture.
        encoded: the minimal pairs; None to compare nothing.
        valid: validation rows, whose gradient can be compared too.
        eos: id of `<eos>`.

    Returns:
        None if nothing is compared.

    Raises:
        UserError: if the suite has no items of the configured kind, or too few for the micro-batches.
    """
    if encoded is None:
        return None
    wanted, name = config.gradients, config.gradient_suite
    items, kind = gradient_items(config, encoded)
    with _explained(name):
        batches = task_batches(items)
        if wanted.text_rows:
            batches += text_batches(
                valid.tokens, valid.used, eos, n_batches=wanted.micro_batches, rows=wanted.text_rows
            )
        params = jax.eval_shape(model.init, jax.random.key(0))
        budget = None if wanted.memory_mib is None else wanted.memory_mib << 20
        products = make_products(model, params, batches, budget=budget, method=wanted.method)
    single, single_items = None, SingleItems([], [], [])
    if wanted.single_items:
        one_by_one, single_items = _single_items(encoded, items, wanted.single_items)
        single = make_products(model, params, one_by_one, budget=budget, method=wanted.method, absolute=False)
    return TaskGradients(
        products=products,
        single=single,
        lookahead=make_lookahead(model, batches) if wanted.lookahead else None,
        items=items,
        single_items=single_items,
        suite=name,
        kind=kind,
    )


def _single_items(encoded: EncodedSuite, items: TaskItems, most: int) -> tuple[Batches, SingleItems]:
    """Make a micro-batch of each single item, for at most `most` items of a task."""
    assert isinstance(encoded.suite, Suite)
    batches, numbers, tasks = item_batches(items, most)
    chosen = [encoded.suite.items[number] for number in numbers]
    npis = [item.good[slice(*item.critical_good)].lower() for item in chosen]
    return batches, SingleItems(numbers, tasks, npis)
