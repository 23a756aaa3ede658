"""Checks of an experiment before anything is prepared, so that users learn of errors at once."""

from npi_jax.config.schema import Config
from npi_jax.corpus.variants.row_files import check_grain
from npi_jax.errors import UserError
from npi_jax.models import CustomConfig
from npi_jax.models.custom import find_factory
from npi_jax.preparation.inputs import Inputs, is_built_in, open_gradient_suite, open_inputs, stand_in
from npi_jax.scoring import ScoreSpec
from npi_jax.suites import Suite
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.task_gradients import gradient_items

_MANY = 8
"""Items per micro-batch at which the built-in suite is certain to be large enough.

With at least as many, the suite need not be generated for the check.
"""


def check_inputs(config: Config) -> Inputs:
    """Open all inputs of an experiment, and make the checks that need no prepared text.

    Raises:
        UserError: naming file, line and field of a missing or faulty input.
    """
    if config.mesh.rows == "stream":
        check_grain()
    inputs = open_inputs(config)
    if isinstance(config.model, CustomConfig):
        find_factory(config.model)
    for name in config.score.suites:
        _check_regions(name, config.score.suites[name].spec, inputs.suites.get(name))
    _check_gradient_items(config, inputs)
    return inputs


def check_devices(config: Config) -> None:
    """Refuse a mesh that does not fit the devices.

    Raises:
        UserError: as in `make_mesh`.
    """
    make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members))


def _check_regions(name: str, spec: ScoreSpec, suite: Suite | None) -> None:
    """Refuse a spec with a region that no item of the suite has."""
    named = dict.fromkeys(region for item in suite or () for region in item.regions)
    known = ("sentence", "difference", "critical", "critical_last", *named)
    if missing := [region for region in spec.regions if region not in known]:
        raise UserError(
            f"score.suites.{name}: the spec asks for the region {missing[0]!r}; the suite has {', '.join(known)}"
        )


def _check_gradient_items(config: Config, inputs: Inputs) -> None:
    """Refuse a suite with too few items for gradients, even with a vocabulary of all its words."""
    wanted = config.gradients
    if not wanted.enabled or (
        is_built_in(config, config.gradient_suite) and wanted.limit >= _MANY * wanted.micro_batches
    ):
        return
    suite = inputs.gradient_suite or open_gradient_suite(config)
    gradient_items(config, suite.encode(stand_in([suite], lowercase=config.tokenizer.lowercase)))
