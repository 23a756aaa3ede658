"""The configuration: frozen dataclasses, checked when built, with errors that name the field.

Config files write the same fields as an `ml_collections.ConfigDict` (see `configs/`); `make_config` turns that
into a `Config`.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from npi_jax.config.errors import ConfigError, check_plain, explain, shown
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.corpus.variants.interventions import Intervention, parse_intervention, split_outside
from npi_jax.errors import did_you_mean
from npi_jax.models.config import CustomConfig, LSTMConfig, ModelConfig, Remat, TransformerConfig
from npi_jax.scoring.spec import ScoreSpec

_STRICT = pydantic.ConfigDict(extra="forbid")
for _shared in (GrammarSpec, LSTMConfig, TransformerConfig, CustomConfig, ScoreSpec):
    pydantic.with_config(_STRICT)(_shared)

# Steps and rows are counted in 32 bits on the devices.
Count = Annotated[int, Field(ge=1, lt=2**31)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Processes = Annotated[int, Field(ge=0, le=1024)]
Path = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MOST_MEMBERS = 100_000
MOST_CHECKPOINTS = 100_000
MOST_TOKENS = 1 << 30
"""Tokens of a step, and of the rows of one call; larger arrays have indices that do not fit 32 bits."""

Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=_STRICT)
class CorpusConfig:
    """Where training and validation text come from, and how sentences are taken out.

    Attributes:
        source: ``grammar`` (built in), ``text`` files, ``jsonl`` files or a ``tfds`` data set.
        paths, valid_paths: files, folders or globs of training and validation text (text and jsonl).
        unit: what a line of a text file or a JSON field holds: a ``sentence``, or part of a running ``document``
            that is to be split into sentences.
        field: field of the JSON lines or of the TFDS examples that holds the text.
        tfds_name, tfds_split, tfds_valid_split, tfds_dir: the data set, as TFDS names it.
        max_sentences, max_valid_sentences: if text has more sentences, that many are drawn at random.
        grammar: the built-in grammar's knobs.
        grammar_valid_sentences: validation sentences of the grammar, drawn with a seed of their own.
        removal: ``replace`` keeps the slots of removed sentences and refills them; ``delete`` drops them.
        seed: of sampling, donors and random controls; the same for all members.
        phenomenon: whose items and licensors interventions are about: ``npi_en``, ``filler_gap_en``, or the path of a
            file of one's own (`npi_jax.corpus.annotation.phenomenon`).
        processes: that annotate and tokenize text; 0 for one a core.
        cache: folder that prepared text is kept in; empty for ``$NPI_JAX_CACHE`` or the user's cache folder.
        planned_tokens: tokens of the training text, for ``npi-jax plan``, which reads none.
        allow_repeats: whether a text may be there twice, in two files or as training and validation text.
        allow_empty: whether a variant may change nothing; no conclusion is drawn from it.
    """

    source: Literal["grammar", "text", "jsonl", "tfds"] = "grammar"
    paths: tuple[Path, ...] = ()
    valid_paths: tuple[Path, ...] = ()
    unit: Literal["sentence", "document"] = "document"
    field: str = "text"
    tfds_name: str = ""
    tfds_split: str = "train"
    tfds_valid_split: str = "validation"
    tfds_dir: str | None = None
    max_sentences: Count | None = None
    max_valid_sentences: Count | None = 2000
    grammar: GrammarSpec = dataclasses.field(default_factory=lambda: GrammarSpec(sentences=60_000))
    grammar_valid_sentences: Count = 2000
    removal: Literal["replace", "delete"] = "replace"
    seed: Seed = 0
    phenomenon: str = "npi_en"
    processes: Processes = 0
    cache: str = ""
    planned_tokens: Count | None = None
    allow_repeats: bool = False
    allow_empty: bool = False

    def __post_init__(self) -> None:
        if self.source == "grammar" and self.phenomenon != "npi_en":
            raise ValueError(f"phenomenon={self.phenomenon!r}: the built-in grammar is about 'npi_en'; use other text")
        if self.source in ("text", "jsonl") and not (self.paths and self.valid_paths):
            raise ValueError(f"source {self.source!r} needs paths and valid_paths")
        if self.source == "tfds" and not self.tfds_name:
            raise ValueError("source 'tfds' needs tfds_name")


@dataclass(frozen=True, config=_STRICT)
class TokenizerConfig:
    """The vocabulary.

    Attributes:
        kind: ``word`` or byte-level ``bpe``.
        size: at most so many entries (word), or exactly so many (bpe, or a vocabulary file).
        min_count: words seen less often become ``<unk>``.
        lowercase: whether words are put in lower case.
        file: a vocabulary file to use instead of making one (word), one word a line.
    """

    kind: Literal["word", "bpe"] = "word"
    size: Annotated[int, Field(ge=2, lt=2**31)] | None = None
    min_count: Count = 1
    lowercase: bool = False
    file: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "bpe" and self.size is None:
            raise ValueError("kind 'bpe' needs size")
        if self.kind == "bpe" and (self.file is not None or self.lowercase or self.min_count > 1):
            raise ValueError("file, lowercase and min_count are for kind 'word'")
        if self.file is not None and self.min_count > 1:
            raise ValueError("min_count is for vocabularies that are made; file gives one")


@dataclass(frozen=True, config=_STRICT)
class TrainConfig:
    """How members are trained. Fields with several values make one member for each combination.

    Attributes:
        steps: optimizer steps.
        batch_size: rows in a step, over all data-parallel devices.
        row_length: tokens in a row.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        learning_rate: peak learning rates.
        weight_decay: decoupled weight decay (adamw).
        dropout: shares of units dropped.
        schedule: the learning rate after warm-up: ``constant``, or falling to 0 as ``linear`` or ``cosine``.
        warmup: steps over which the learning rate rises from 0.
        clip: largest norm of a member's gradient; 0 for no clipping.
        accumulate: micro-batches that a step's rows are taken in.
        steps_per_call: steps in one call of the compiled program; 0 for what ``npi-jax bench`` found, otherwise 50.
        loss_chunk: rows of logits held at a time.
        remat: what the forward pass forgets and the backward pass computes anew, to save memory: ``none``,
            ``blocks`` (all within a block or layer), or ``products`` (all but the products of matrices).
    """

    steps: Count = 1000
    batch_size: Count = 32
    row_length: Annotated[int, Field(ge=8, lt=2**20)] = 48
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.002,)
    weight_decay: Annotated[tuple[NonNegative, ...], Field(min_length=1)] = (0.0,)
    dropout: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0,)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: Whole = 0
    clip: NonNegative = 1.0
    accumulate: Count = 1
    steps_per_call: Annotated[int, Field(ge=0, le=100_000)] = 0
    loss_chunk: Count = 256
    remat: Remat = "none"

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}")
        if self.optimizer != "adamw" and any(self.weight_decay):
            raise ValueError(f"weight_decay={self.weight_decay} needs optimizer='adamw', not {self.optimizer!r}")
        for several, count in (("batch_size", 1), ("batch_size * steps_per_call", max(1, self.steps_per_call))):
            if (tokens := count * self.batch_size * self.row_length) > MOST_TOKENS:
                raise ValueError(f"{several} * row_length is {tokens:,} tokens, more than {MOST_TOKENS:,}")


@dataclass(frozen=True, config=_STRICT)
class SuiteConfig:
    """One suite of minimal pairs.

    Attributes:
        loader: how the files are read (`npi_jax.suites.LOADERS`, or ``grammar`` for the built-in suite); empty
            if the suite's name is a loader's.
        path: the suite's files; empty for the built-in suite.
        limit: at most so many items of each paradigm, evenly spaced; None for all (of the built-in suite, which
            has no end, 100).
        spec: the scoring conventions, or in a config file the name of a preset, such as ``"lm_eval_v04"``.
    """

    loader: str = ""
    path: str = ""
    limit: Count | None = None
    spec: ScoreSpec = dataclasses.field(default_factory=ScoreSpec)


@dataclass(frozen=True, config=_STRICT)
class ScoreConfig:
    """What is scored, and when.

    Attributes:
        suites: name to suite.
        every: members are scored at steps 0, 1, 2, 4, ... and then at every multiple of this.
        ngram: whether a 5-gram model of each variant's text is scored beside the members (about 100 bytes of
            memory and a microsecond for each token of a variant's text).
    """

    suites: dict[str, SuiteConfig] = dataclasses.field(default_factory=lambda: {"grammar": SuiteConfig()})
    every: Count = 250
    ngram: bool = True

    def __post_init__(self) -> None:
        if not self.suites:
            raise ValueError("suites is empty; an experiment scores at least one suite (the built-in is 'grammar')")


@dataclass(frozen=True, config=_STRICT)
class GradientConfig:
    """Which gradients of tasks are compared, at every step at which members are scored.

    Attributes:
        enabled: whether they are.
        suite: the suite whose tasks they are; empty for the first of `score.suites`.
        kind: of the items that are used; empty for ``licensor`` if the suite has such, otherwise its first kind.
        limit: at most so many items of each paradigm (evenly spaced), and of each task (drawn with a fixed seed).
            The suite is read anew with this limit: gradients need more items than scores do, and cost less.
        micro_batches: parts that a task's items are dealt to; products between different parts are free of noise.
            At least 3, since fewer give no standard error; an even number from 4 on also compares each task with
            itself.
        text_rows: rows of validation text whose gradient the tasks are compared with; 0 for none.
        single_items: items of a task whose gradients are taken one by one after the last step, for subspaces and
            for single NPIs, of which each needs about six; 0 for none.
        lookahead: whether a step along each task's gradient is tried after the last step.
        memory_mib: most memory for stacked gradients of one member; None for about as much as its parameters take
            (at least 128 MiB).
        method: ``reverse`` (stacked gradients), ``forward`` (one at a time, slow, little memory), or ``auto``.
    """

    enabled: bool = True
    suite: str = ""
    kind: str = ""
    limit: Count = 80
    micro_batches: Annotated[int, Field(ge=3, le=1000)] = 4
    text_rows: Whole = 32
    single_items: Whole = 16
    lookahead: bool = True
    memory_mib: Count | None = None
    method: Literal["auto", "reverse", "forward"] = "auto"

    def __post_init__(self) -> None:
        if 0 < self.text_rows < self.micro_batches:
            raise ValueError(
                f"text_rows={self.text_rows} are too few for {self.micro_batches} micro-batches; 0 for no text"
            )


@dataclass(frozen=True, config=_STRICT)
class CheckpointConfig:
    """Which training states are kept.

    Attributes:
        every: a checkpoint is written at each multiple of this many steps, and at the end; a multiple of
            `score.every`, or 0 for `score.every` itself.
        keep: how many of the latest are kept.
        keep_period: checkpoints at multiples of this are kept for good; 0 for none.
    """

    every: Whole = 0
    keep: Count = 2
    keep_period: Whole = 0


@dataclass(frozen=True, config=_STRICT)
class MeshConfig:
    """How members lie on devices.

    Attributes:
        ens: devices that members are spread over; 0 for as many as there are.
        data: devices that share one member's batch, its validation and its scores.
        fsdp: whether those devices also share its parameters and optimizer state, for members too large for one.
        mapping: how the members of one device are run: ``map`` in turn, ``vmap`` at once; ``auto`` for what
            ``npi-jax bench`` found, otherwise in turn on CPU and at once elsewhere.
        rows: where training rows are: all on every ``device``, or on disk, from where each call's are read ahead of
            it (``stream``, which needs the extra ``grain``); ``auto`` for on the devices unless they take more than a
            quarter of one's memory and Grain is installed. Batches are the same.
    """

    ens: Whole = 0
    data: Count = 1
    fsdp: bool = False
    mapping: Literal["auto", "map", "vmap"] = "auto"
    rows: Literal["auto", "device", "stream"] = "auto"

    def __post_init__(self) -> None:
        if self.fsdp and self.data == 1:
            raise ValueError("fsdp=True splits a member over the devices along data; set data to at least 2")


@dataclass(frozen=True, config=_STRICT)
class MonitorConfig:
    """How a run is watched; changes nothing of its results.

    Attributes:
        sinks: where its numbers go besides ``log.jsonl``: ``tensorboard``, ``wandb`` (each an extra to be installed).
        project: of Weights & Biases.
        watchdog: seconds without a finished call, score or checkpoint after which a process is taken to hang: it
            writes the stacks of its threads and ends; 0 for never.
    """

    sinks: tuple[Literal["tensorboard", "wandb"], ...] = ()
    project: str = "npi_jax"
    watchdog: Whole = 3600


@dataclass(frozen=True)
class Member:
    """One model of the ensemble: a variant, a seed and hyper-parameters."""

    variant: str
    seed: int
    learning_rate: float
    weight_decay: float
    dropout: float


@dataclass(frozen=True, config=_STRICT)
class SweepMember:
    """A member that is written out; what is None is the first value of `TrainConfig`.

    Attributes:
        variant: the member's intervention.
        seed: seed of initial weights, dropout and data order.
        learning_rate: peak learning rate.
        weight_decay: decoupled weight decay (adamw).
        dropout: share of units dropped.
    """

    variant: str
    seed: Seed
    learning_rate: Rate | None = None
    weight_decay: NonNegative | None = None
    dropout: Share | None = None


@dataclass(frozen=True, config=_STRICT)
class Config:
    """One experiment.

    Attributes:
        name: of the experiment; the run directory is ``runs/NAME`` unless `run_dir` says otherwise.
        run_dir: where the run is written; empty for ``runs/NAME``.
        variants: interventions, as `npi_jax.corpus.variants.interventions.parse_intervention` reads them.
        seeds: of initial weights, dropout and data order.
        sweep: the members one by one (see `npi_jax.config.sweep`), where they are no product of variants, seeds and
            hyper-parameters; `variants` and `seeds` then follow from it.
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
    monitor: MonitorConfig = dataclasses.field(default_factory=MonitorConfig)

    def __post_init__(self) -> None:
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
                raise ValueError(f"{field}: {', '.join(sorted(repeated))} is there more than once")
        self._check_size()
        if twice := _repeated(self.members):
            raise ValueError(f"sweep: {twice[0]} is there more than once")
        if self.checkpoints.every % self.score.every:
            raise ValueError(
                f"checkpoints.every={self.checkpoints.every} is no multiple of score.every={self.score.every}; "
                "states are saved where members are scored"
            )
        if isinstance(self.model, CustomConfig) and self.train.remat != "none":
            raise ValueError("train.remat: a custom model decides for itself what it computes anew (jax.checkpoint)")
        longest = getattr(self.model, "max_positions", None)
        if longest is not None and longest < self.train.row_length:
            raise ValueError(
                f"model.max_positions={longest} is less than train.row_length={self.train.row_length}, the longest "
                "sentence that may occur"
            )
        if self.gradients.suite and self.gradients.suite not in self.score.suites:
            raise ValueError(
                f"gradients.suite={self.gradients.suite!r} is not in score.suites: {', '.join(self.score.suites)}"
            )
        rows = self.train.batch_size // self.train.accumulate
        if rows % self.mesh.data:
            raise ValueError(f"mesh.data={self.mesh.data} does not divide the {rows} rows of a micro-batch")

    def _check_size(self) -> None:
        """Refuse numbers of members and checkpoints that no run comes to the end of, before they are listed."""
        train = self.train
        swept = (self.variants, self.seeds, train.learning_rate, train.weight_decay, train.dropout)
        members = len(self.sweep) or math.prod(map(len, swept))
        if members > MOST_MEMBERS:
            raise ValueError(f"{members:,} members (variants, seeds and hyper-parameters); at most {MOST_MEMBERS:,}")
        if (count := train.steps // self.score.every) > MOST_CHECKPOINTS:
            raise ValueError(
                f"train.steps={train.steps} with score.every={self.score.every} are {count:,} checkpoints; at most "
                f"{MOST_CHECKPOINTS:,}"
            )

    def check_phenomenon(self) -> None:
        """Refuse variants whose words mean nothing in the corpus' phenomenon.

        Raises:
            ConfigError: naming variant and word; `PhenomenonError` if there is no such phenomenon.
        """
        phenomenon = load_phenomenon(self.corpus.phenomenon)
        for intervention in self.interventions:
            try:
                intervention.check(phenomenon)
            except ValueError as error:
                raise ConfigError(str(error)) from error

    @property
    def gradient_suite(self) -> str:
        """The suite whose gradients are compared: the first unless `gradients` names one."""
        return self.gradients.suite or next(iter(self.score.suites))

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """The variants, parsed."""
        return tuple(parse_intervention(text) for text in self.variants)

    @property
    def members(self) -> tuple[Member, ...]:
        """All members: variants, then seeds, then hyper-parameters, the last varying fastest."""
        train = self.train
        if self.sweep:
            return tuple(map(self._swept, self.sweep))
        grid = itertools.product(
            map(str, self.interventions), self.seeds, train.learning_rate, train.weight_decay, train.dropout
        )
        return tuple(Member(*values) for values in grid)

    def _swept(self, member: SweepMember) -> Member:
        train = self.train
        variant = str(parse_intervention(member.variant))
        rate = train.learning_rate[0] if member.learning_rate is None else member.learning_rate
        decay = train.weight_decay[0] if member.weight_decay is None else member.weight_decay
        dropout = train.dropout[0] if member.dropout is None else member.dropout
        return Member(variant, member.seed, rate, decay, dropout)

    def to_dict(self, mode: Literal["json", "python"] = "json") -> dict[str, Any]:
        """The configuration as plain values: as `config.json` holds it, or with Python's tuples."""
        plain: dict[str, Any] = pydantic.TypeAdapter(Config).dump_python(self, mode=mode)
        plain["model"] = {"kind": model_kind(self.model), **plain["model"]}
        return plain


def _repeated(values: Sequence[Any]) -> list[Any]:
    """Those that are there more than once, each once."""
    return [value for value, count in Counter(values).items() if count > 1]


MODELS: dict[str, type] = {"lstm": LSTMConfig, "transformer": TransformerConfig, "custom": CustomConfig}
"""Kinds of models, by what ``model.kind`` calls them."""


def model_kind(model: ModelConfig) -> str:
    """``lstm``, ``transformer`` or ``custom``."""
    return next(kind for kind, cls in MODELS.items() if isinstance(model, cls))


def make_config(values: Mapping[str, Any]) -> Config:
    """Check plain values (a config file's ``ConfigDict.to_dict()``, or `config.json`) and build the `Config`.

    Raises:
        ConfigError: naming every field at fault, its value, and what would be valid.
    """
    check_plain(values)
    _check_forms(values)
    values = dict(values)
    model = dict(values.get("model", {}))
    kind = model.pop("kind", "lstm")
    if not isinstance(kind, str) or kind not in MODELS:
        raise ConfigError(f"model.kind = {shown(kind)}: valid are {', '.join(MODELS)}{did_you_mean(str(kind), MODELS)}")
    train = {key: _as_tuple(key, value) for key, value in values.get("train", {}).items()}
    values |= {"train": train}
    if "variants" in values:
        values["variants"] = tuple(part for text in values["variants"] for part in _split_variants(text))
    values |= _of_sweep(values)
    values |= _with_presets(values)
    try:
        values["model"] = pydantic.TypeAdapter(MODELS[kind]).validate_python(model)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, MODELS[kind], "model.")) from error
    try:
        return pydantic.TypeAdapter(Config).validate_python(values)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, Config)) from error


def _check_forms(values: Any) -> None:
    """Refuse values in which what is looked at before all fields are checked is of another form."""
    _expect(values, "a config", Mapping, "fields are")
    for name in ("model", "train", "score"):
        _expect(values.get(name, {}), name, Mapping, "fields are")
    _expect(values.get("score", {}).get("suites", {}), "score.suites", Mapping, "suites by name are")
    for name in ("variants", "seeds", "sweep"):
        _expect(values.get(name, ()), name, list | tuple | range, "a list is")
        _check_length(values.get(name, ()), name)
    for text in values.get("variants", ()):
        _expect(text, "variants", str, "names of interventions are")
    for member in values.get("sweep", ()):
        _expect(member, "sweep", Mapping, "members with their fields are")
        _expect(member.get("variant", ""), "sweep: variant", str, "the name of an intervention is")
        _expect(member.get("seed", 0), "sweep: seed", int, "a number is")


def _check_length(values: Sequence[Any], name: str) -> None:
    # A range may be longer than any list could be.
    if values[MOST_MEMBERS:]:
        raise ConfigError(f"{name}: more than {MOST_MEMBERS:,}, the most members that an experiment can have")


def _expect(value: Any, name: str, kind: Any, what: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} = {shown(value)}: {what} expected")


def _of_sweep(values: Mapping[str, Any]) -> dict[str, Any]:
    """Variants and seeds of the members that are written out.

    Raises:
        ConfigError: if they are written beside and differ, or a member lacks one.
    """
    found: dict[str, Any] = {}
    if not values.get("sweep"):
        return found
    for plural, name in (("variants", "variant"), ("seeds", "seed")):
        for number, member in enumerate(values["sweep"], 1):
            if name not in member:
                raise ConfigError(f"sweep: member {number} has no {name}: {dict(member)}")
        found[plural] = tuple(dict.fromkeys(member[name] for member in values["sweep"]))
        given = values.get(plural)
        if given is not None and tuple(given) != found[plural]:
            raise ConfigError(
                f"{plural} = {tuple(given)}: this config lists its members in `sweep`, which has {plural} "
                f"{found[plural]}; change the sweep instead"
            )
    for name in ("learning_rate", "weight_decay", "dropout"):
        given = values.get("train", {}).get(name, ())
        if isinstance(given, list | tuple) and len(given) > 1:
            raise ConfigError(f"train.{name}: with a sweep give one value, and others to the sweep's members")
    return found


def _with_presets(values: Mapping[str, Any]) -> dict[str, Any]:
    """`score` with specs that are written as the name of a preset put in full."""
    suites = dict(values.get("score", {}).get("suites", {}))
    for name, suite in suites.items():
        if isinstance(suite, Mapping) and isinstance(spec := suite.get("spec"), str):
            try:
                suites[name] = {**suite, "spec": ScoreSpec.preset(spec).to_dict()}
            except ValueError as error:
                raise ConfigError(f"score.suites.{name}.spec: {error}") from error
    return {"score": {**values["score"], "suites": suites}} if suites else {}


def _as_tuple(key: str, value: Any) -> Any:
    """A single hyper-parameter may be written without the tuple around it."""
    single = key in ("learning_rate", "weight_decay", "dropout") and isinstance(value, int | float)
    return (value,) if single else value


def _split_variants(text: str) -> list[str]:
    """Variants may be written in one string, as on the command line: ``full,downsample(only,0.1)``."""
    return [part for part in split_outside(text, ",") if part]
