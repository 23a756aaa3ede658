"""The configuration of an experiment: `Config` and its sections, frozen dataclasses that check their values.

A config file gives the same fields as an `ml_collections.ConfigDict` (see `configs/`), from which
`npi_jax.config.build.make_config` builds a `Config`.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from npi_jax.config.errors import ConfigError
from npi_jax.config.members import HYPERPARAMETERS, Member, SweepMember
from npi_jax.config.sections import (
    MAY_CHANGE,
    STRICT,
    CheckpointConfig,
    CorpusConfig,
    GradientConfig,
    MeshConfig,
    MonitorConfig,
    ScoreConfig,
    Seed,
    SuiteConfig,
    TokenizerConfig,
    TrainConfig,
)
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.variants.interventions import Intervention, parse_intervention
from npi_jax.models.config import CustomConfig, LSTMConfig, ModelConfig, TransformerConfig

__all__ = [
    "MODELS",
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "CorpusConfig",
    "GradientConfig",
    "Member",
    "MeshConfig",
    "MonitorConfig",
    "ScoreConfig",
    "SuiteConfig",
    "SweepMember",
    "TokenizerConfig",
    "TrainConfig",
    "may_change",
    "model_kind",
]

MOST_MEMBERS: Final = 100_000
MOST_CHECKPOINTS: Final = 100_000

MODELS: Final[dict[str, type]] = {"lstm": LSTMConfig, "transformer": TransformerConfig, "custom": CustomConfig}
"""Configuration of each kind of model, by the value of ``model.kind``."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """One experiment.

    Attributes:
        name: name of the experiment.
        run_dir: the run directory; empty for ``runs/NAME``.
        variants: interventions, as `npi_jax.corpus.variants.interventions.parse_intervention` reads them.
        seeds: seeds of initial weights, dropout and data order.
        sweep: a list of members, for an experiment whose members are not all combinations of variants, seeds and
            hyper-parameters (see `npi_jax.config.sweep`). It implies `variants` and `seeds`.
    """

    name: Annotated[str, Field(pattern=r"^\w[\w.\-]*$", max_length=100)]
    run_dir: str = ""
    variants: tuple[str, ...] = ("full",)
    seeds: tuple[Seed, ...] = (0,)
    sweep: tuple[SweepMember, ...] = ()
    corpus: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    model: LSTMConfig | TransformerConfig | CustomConfig = dataclasses.field(default_factory=LSTMConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    score: ScoreConfig = dataclasses.field(default_factory=ScoreConfig)
    gradients: GradientConfig = dataclasses.field(default_factory=GradientConfig)
    checkpoints: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    monitor: MonitorConfig = dataclasses.field(default_factory=MonitorConfig, metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        self._check_lists()
        self._check_size()
        if repeated := _repeated(self.members):
            raise ValueError(f"sweep: {repeated[0]} occurs more than once")
        if self.checkpoints.every % self.score.every:
            raise ValueError(
                f"checkpoints.every={self.checkpoints.every} is not a multiple of score.every={self.score.every}; "
                "states are saved where members are scored"
            )
        self._check_model()
        if self.gradients.suite and self.gradients.suite not in self.score.suites:
            raise ValueError(
                f"gradients.suite={self.gradients.suite!r} is not in score.suites: {', '.join(self.score.suites)}"
            )
        rows = self.train.batch_size // self.train.accumulate
        if rows % self.mesh.data:
            raise ValueError(f"mesh.data={self.mesh.data} does not divide the {rows} rows of a micro-batch")

    def _check_lists(self) -> None:
        """Refuse an experiment without variants or seeds, with one of them twice, or with too late an injection."""
        for field, values in (("variants", self.variants), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"{field} is empty; an experiment needs at least one")
        for intervention in self.interventions:
            late = [at for step in (intervention.control_of or intervention).steps for at in step.at]
            if late and max(late) >= self.train.steps:
                raise ValueError(
                    f"variant {str(intervention)!r}: step {max(late)} is not before train.steps={self.train.steps}"
                )
        texts = [str(intervention) for intervention in self.interventions]
        for field, names in (("variants", texts), ("seeds", [str(seed) for seed in self.seeds])):
            if repeated := _repeated(names):
                raise ValueError(f"{field}: {', '.join(sorted(repeated))} occurs more than once")

    def _check_size(self) -> None:
        """Refuse more members or checkpoints than any run could finish, before any list of them is made."""
        train = self.train
        swept = (self.variants, self.seeds, *(getattr(train, name) for name in HYPERPARAMETERS))
        members = len(self.sweep) or math.prod(map(len, swept))
        if members > MOST_MEMBERS:
            raise ValueError(f"{members:,} members (variants, seeds and hyper-parameters); at most {MOST_MEMBERS:,}")
        if (count := train.steps // self.score.every) > MOST_CHECKPOINTS:
            raise ValueError(
                f"train.steps={train.steps} with score.every={self.score.every} are {count:,} checkpoints; at most "
                f"{MOST_CHECKPOINTS:,}"
            )

    def _check_model(self) -> None:
        """Refuse a model that conflicts with the settings of training."""
        if isinstance(self.model, CustomConfig) and self.train.remat != "none":
            raise ValueError("train.remat: a custom model decides itself what it recomputes (jax.checkpoint)")
        longest = getattr(self.model, "max_positions", None)
        if longest is not None and longest < self.train.row_length:
            raise ValueError(
                f"model.max_positions={longest} is less than train.row_length={self.train.row_length}, the longest "
                "sentence that may occur"
            )

    def check_phenomenon(self) -> None:
        """Refuse variants with words that the phenomenon of the corpus does not define, such as names of environments.

        Raises:
            ConfigError: naming variant and word.
            PhenomenonError: if there is no such phenomenon.
        """
        phenomenon = load_phenomenon(self.corpus.phenomenon)
        for intervention in self.interventions:
            try:
                intervention.check(phenomenon)
            except ValueError as error:
                raise ConfigError(str(error)) from error

    @property
    def gradient_suite(self) -> str:
        """Name of the suite whose tasks have their gradients compared: `gradients.suite`, or else the first suite."""
        return self.gradients.suite or next(iter(self.score.suites))

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """The parsed variants."""
        return tuple(parse_intervention(text) for text in self.variants)

    @property
    def members(self) -> tuple[Member, ...]:
        """All members. Without a sweep, hyper-parameters vary fastest, then seeds, then variants."""
        if self.sweep:
            return tuple(map(self._swept, self.sweep))
        values = (getattr(self.train, name) for name in HYPERPARAMETERS)
        grid = itertools.product(map(str, self.interventions), self.seeds, *values)
        return tuple(Member(*combination) for combination in grid)

    def _swept(self, member: SweepMember) -> Member:
        """Return a member of a sweep, with the hyper-parameters that it lacks taken from `train`."""
        given = {name: getattr(member, name) for name in HYPERPARAMETERS}
        filled = {name: getattr(self.train, name)[0] if value is None else value for name, value in given.items()}
        return Member(str(parse_intervention(member.variant)), member.seed, **filled)

    def to_dict(self, mode: Literal["json", "python"] = "json") -> dict[str, Any]:
        """Return the configuration as plain values: those of ``config.json``; with ``"python"``, with tuples."""
        plain: dict[str, Any] = pydantic.TypeAdapter(Config).dump_python(self, mode=mode)
        plain["model"] = {"kind": model_kind(self.model), **plain["model"]}
        return plain


def model_kind(model: ModelConfig) -> str:
    """Return the kind of a model: ``lstm``, ``transformer`` or ``custom``."""
    return next(kind for kind, cls in MODELS.items() if isinstance(model, cls))


def may_change(field: str, section: Any = Config) -> bool:
    """Return whether a run can be resumed with another value of the field with this dotted name (`MAY_CHANGE`)."""
    name, _, below = field.partition(".")
    known = next((one for one in dataclasses.fields(section) if one.name == name), None)
    if known is None:
        return False
    if known.metadata.get("may_change"):
        return True
    return bool(below) and dataclasses.is_dataclass(known.type) and may_change(below, known.type)


def _repeated(values: Sequence[Any]) -> list[Any]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]
