"""The sections of a configuration: frozen dataclasses that are checked when they are built."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.models.config import Remat
from npi_jax.scoring.spec import ScoreSpec

STRICT: Final = pydantic.ConfigDict(extra="forbid")
"""Refuse unknown fields, here and in the plain dataclasses that a section holds (`GrammarSpec`, `ScoreSpec`)."""

MAY_CHANGE: Final[Mapping[str, bool]] = {"may_change": True}
"""Metadata of a field that says how a run is computed, not what it holds: a run can be resumed with another value.

Some of these fields change the last digits of results; the manifest then notes the change.
"""

# Steps and rows are counted in 32 bits on the devices.
Count = Annotated[int, Field(ge=1, lt=2**31)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Processes = Annotated[int, Field(ge=0, le=1024)]
Path = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

MOST_TOKENS = 1 << 30
"""Most tokens of a step, and of the rows of one call; indices into larger arrays do not fit 32 bits."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CorpusConfig:
    """Source of training and validation text, and the way in which sentences are removed.

    Attributes:
        source: ``grammar`` (built in), ``text`` files, ``jsonl`` files or a ``tfds`` data set.
        paths: files, folders or globs of the training text (text and jsonl).
        valid_paths: files, folders or globs of the validation text (text and jsonl).
        unit: content of a line of a text file, or of a JSON field: one ``sentence``, or part of a running
            ``document``, which is then split into sentences.
        field: field of the JSON lines or TFDS examples that holds the text.
        tfds_name: name of the TFDS data set.
        tfds_split: its split that is the training text.
        tfds_valid_split: its split that is the validation text.
        tfds_dir: folder of TFDS data sets; None for the default of TFDS.
        max_sentences: number of sentences drawn at random from a training text that has more; None for all.
        max_valid_sentences: number drawn from a validation text that has more; None for all.
        grammar: settings of the built-in grammar.
        grammar_valid_sentences: validation sentences of the grammar, drawn with a seed of their own.
        removal: ``replace`` fills the slot of a removed sentence with another one; ``delete`` drops the slot.
        seed: seed of sampling, donor sentences and random controls; the same for all members.
        phenomenon: the phenomenon whose items and licensors interventions select: ``npi_en``, ``filler_gap_en``, or
            the path of your own file (`npi_jax.corpus.annotation.phenomenon`).
        processes: number of processes that annotate and tokenize text; 0 for one per core.
        cache: folder for prepared text; empty for ``$NPI_JAX_CACHE`` or the user's cache folder.
        planned_tokens: size of the training text in tokens, for ``npi-jax plan``, which reads no text.
        allow_repeats: accept a text that occurs twice: in two files, or as training and validation text.
        allow_empty: accept a variant that changes nothing. No conclusion is drawn from such a variant.
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
    processes: Processes = dataclasses.field(default=0, metadata=MAY_CHANGE)
    cache: str = dataclasses.field(default="", metadata=MAY_CHANGE)
    planned_tokens: Count | None = None
    allow_repeats: bool = dataclasses.field(default=False, metadata=MAY_CHANGE)
    allow_empty: bool = dataclasses.field(default=False, metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        if self.source == "grammar" and self.phenomenon != "npi_en":
            raise ValueError(f"phenomenon={self.phenomenon!r}: the built-in grammar is about 'npi_en'; use other text")
        if self.source in ("text", "jsonl") and not (self.paths and self.valid_paths):
            raise ValueError(f"source {self.source!r} needs paths and valid_paths")
        if self.source == "tfds" and not self.tfds_name:
            raise ValueError("source 'tfds' needs tfds_name")


@dataclass(frozen=True, config=STRICT)
class TokenizerConfig:
    """The vocabulary.

    Attributes:
        kind: ``word`` or byte-level ``bpe``.
        size: most entries (word), or the exact number of entries (bpe, or a vocabulary file).
        min_count: words that occur less often become ``<unk>``.
        lowercase: put words in lower case.
        file: an existing vocabulary file, one word a line (word only).
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
            raise ValueError("min_count is for a vocabulary made from the training text, not for one read from a file")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """Training of the members. A field that takes several values makes one member for each combination.

    Attributes:
        steps: optimizer steps.
        batch_size: rows in a step, over all data-parallel devices.
        row_length: tokens in a row.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        learning_rate: peak learning rates.
        weight_decay: decoupled weight decay (adamw).
        dropout: dropout rates.
        schedule: learning rate after warm-up: ``constant``, or falling to 0 as ``linear`` or ``cosine``.
        warmup: steps over which the learning rate rises from 0.
        clip: largest norm of a member's gradient; 0 for no clipping.
        accumulate: number of micro-batches into which a step's rows are divided.
        steps_per_call: steps in one call of the compiled program; 0 for the number that ``npi-jax bench`` chose,
            or 50 if it has not run.
        loss_chunk: rows whose logits are held in memory at one time.
        remat: activations that the backward pass recomputes to save memory: ``none``, ``blocks`` (everything
            inside a block or layer), or ``products`` (everything but matrix products).
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
    accumulate: Count = dataclasses.field(default=1, metadata=MAY_CHANGE)
    steps_per_call: Annotated[int, Field(ge=0, le=100_000)] = dataclasses.field(default=0, metadata=MAY_CHANGE)
    loss_chunk: Count = dataclasses.field(default=256, metadata=MAY_CHANGE)
    remat: Remat = dataclasses.field(default="none", metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}")
        if self.optimizer != "adamw" and any(self.weight_decay):
            raise ValueError(f"weight_decay={self.weight_decay} needs optimizer='adamw', not {self.optimizer!r}")
        for several, count in (("batch_size", 1), ("batch_size * steps_per_call", max(1, self.steps_per_call))):
            if (tokens := count * self.batch_size * self.row_length) > MOST_TOKENS:
                raise ValueError(f"{several} * row_length is {tokens:,} tokens, more than {MOST_TOKENS:,}")


@dataclass(frozen=True, config=STRICT)
class SuiteConfig:
    """One suite of minimal pairs.

    Attributes:
        loader: format of the files (`npi_jax.suites.LOADERS`, or ``grammar`` for the built-in suite); empty if the
            suite has the name of a loader.
        path: the suite's files; empty for the built-in suite.
        limit: most items of each paradigm, evenly spaced; None for all (100 in the built-in suite, which is endless).
        spec: the scoring conventions. A config file may name a preset instead, such as ``"lm_eval_v04"``.
    """

    loader: str = ""
    path: str = ""
    limit: Count | None = None
    spec: ScoreSpec = dataclasses.field(default_factory=ScoreSpec)


@dataclass(frozen=True, config=STRICT)
class ScoreConfig:
    """The suites, and the steps at which they are scored.

    Attributes:
        suites: suites by name.
        every: members are scored at steps 0, 1, 2, 4, ... and then at every multiple of this.
        ngram: also score a 5-gram model of each variant's text, which takes about 100 bytes of memory and a
            microsecond per token of that text.
    """

    suites: dict[str, SuiteConfig] = dataclasses.field(default_factory=lambda: {"grammar": SuiteConfig()})
    every: Count = 250
    ngram: bool = True

    def __post_init__(self) -> None:
        if not self.suites:
            raise ValueError("suites is empty; an experiment scores at least one suite (the built-in is 'grammar')")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientConfig:
    """Comparison of task gradients, made at every step at which members are scored.

    Attributes:
        enabled: compare gradients at all.
        suite: the suite whose tasks are compared; empty for the first of `score.suites`.
        kind: kind of the items used; empty for ``licensor`` if the suite has that kind, otherwise its first kind.
        limit: most items of each paradigm (evenly spaced) and of each task (drawn with a fixed seed). The suite is
            read again with this limit: gradients need more items than scores, and cost less.
        micro_batches: number of parts that a task's items are dealt to; products between different parts are free of
            sampling noise. At least 3, since fewer give no standard error. An even number from 4 on also compares
            each task with itself.
        text_rows: rows of validation text whose gradient is compared with the tasks' gradients; 0 for none.
        single_items: items of a task whose gradients are taken one by one after the last step, for subspaces and
            single NPIs; an NPI needs about six. 0 for none.
        lookahead: try a step along each task's gradient after the last step.
        memory_mib: most memory for the stacked gradients of one member; None for about as much as its parameters
            take (at least 128 MiB).
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


@dataclass(frozen=True, config=STRICT)
class CheckpointConfig:
    """Training states that are kept.

    Attributes:
        every: a checkpoint is written at each multiple of this many steps, and at the end; a multiple of
            `score.every`, or 0 for `score.every` itself.
        keep: number of latest checkpoints that are kept.
        keep_period: checkpoints at multiples of this are never removed; 0 for none.
    """

    every: Whole = 0
    keep: Count = 2
    keep_period: Whole = 0


@dataclass(frozen=True, config=STRICT)
class MeshConfig:
    """Placement of members on devices.

    Attributes:
        ens: number of devices over which members are spread; 0 for as many as there are.
        data: number of devices that share one member's batch, validation and scores.
        fsdp: also shard a member's parameters and optimizer state over those devices, for members too large for one.
        mapping: ``map`` runs the members of one device in turn, ``vmap`` all at once. ``auto`` takes what
            ``npi-jax bench`` chose, or else ``map`` on CPU and ``vmap`` elsewhere.
        rows: place of the training rows: all on every ``device``, or on disk, from where the rows of each call are
            read ahead (``stream``, which needs the extra ``grain``). ``auto`` streams if Grain is installed and the
            rows take more than a quarter of a device's memory. Batches are the same.
    """

    ens: Whole = dataclasses.field(default=0, metadata=MAY_CHANGE)
    data: Count = dataclasses.field(default=1, metadata=MAY_CHANGE)
    fsdp: bool = dataclasses.field(default=False, metadata=MAY_CHANGE)
    mapping: Literal["auto", "map", "vmap"] = dataclasses.field(default="auto", metadata=MAY_CHANGE)
    rows: Literal["auto", "device", "stream"] = dataclasses.field(default="auto", metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        if self.fsdp and self.data == 1:
            raise ValueError("fsdp=True splits a member over the devices along data; set data to at least 2")


@dataclass(frozen=True, config=STRICT)
class MonitorConfig:
    """Monitoring of a run, which changes nothing in its results.

    Attributes:
        sinks: destinations of its numbers besides ``log.jsonl``: ``tensorboard``, ``wandb`` (each an extra).
        project: project of Weights & Biases.
        watchdog: seconds without a finished call, score or checkpoint after which a process counts as hung: it
            writes the stacks of its threads and ends. 0 for never.
    """

    sinks: tuple[Literal["tensorboard", "wandb"], ...] = ()
    project: str = "npi_jax"
    watchdog: Whole = 3600
