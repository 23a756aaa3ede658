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
"""Settings that refuse unknown fields in sections and in their plain dataclasses (`GrammarSpec`, `ScoreSpec`)."""

MAY_CHANGE: Final[Mapping[str, bool]] = {"may_change": True}
"""Metadata of a field that does not define the experiment: a run can be resumed with another value of it.

Some of these fields change the last digits of results; the manifest then notes the change.
"""

# On the devices, steps and rows are 32-bit integers.
Count = Annotated[int, Field(ge=1, lt=2**31)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Processes = Annotated[int, Field(ge=0, le=1024)]
Path = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

MOST_TOKENS = 1 << 30
"""Largest number of tokens of a step, and of the rows of one call; indices into larger arrays need over 32 bits."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CorpusConfig:
    """Source of training and validation text, and treatment of removed sentences.

    Attributes:
        source: ``grammar`` (built in), ``text`` files, ``jsonl`` files or a ``tfds`` data set.
        paths: files, folders or globs of the training text (text and jsonl).
        valid_paths: files, folders or globs of the validation text (text and jsonl).
        unit: form of the text in a file or a JSON field: ``sentence`` for one sentence on each line, ``document`` for
            running text, which is split into sentences.
        field: field of the JSON lines or TFDS examples that holds the text.
        tfds_name: name of the TFDS data set.
        tfds_split: split of the data set with the training text.
        tfds_valid_split: split of the data set with the validation text.
        tfds_dir: folder of TFDS data sets; None for the default of TFDS.
        max_sentences: largest number of training sentences; from a larger text, as many are drawn at random. None for
            all.
        max_valid_sentences: the same for validation sentences.
        grammar: settings of the built-in grammar.
        grammar_valid_sentences: number of validation sentences of the grammar, drawn with another seed than the
            training text.
        removal: ``replace`` puts another sentence in the place of a removed one; ``delete`` puts none there.
        seed: seed of sampling, donor sentences and random controls; the same for all members.
        phenomenon: the phenomenon whose items and licensors variants are about: ``npi_en``, ``filler_gap_en``, or the
            path of a file (`npi_jax.corpus.annotation.phenomenon`).
        processes: number of processes that annotate and tokenize text; 0 for one for each core.
        cache: folder for prepared text; empty for ``$NPI_JAX_CACHE`` or the user's cache folder.
        planned_tokens: size of the training text in tokens, for ``npi-jax plan``, which reads no text.
        allow_repeats: accept a text that occurs twice, in two files or as both training and validation text.
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
        size: largest number of entries (word), or the exact number (bpe, or a vocabulary file).
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
    """Training of the members. With several values of hyper-parameters, there is a member for each combination.

    Attributes:
        steps: optimizer steps.
        batch_size: rows of a member in each step, over all devices that share them.
        row_length: tokens in a row.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        learning_rate: peak learning rates.
        weight_decay: decoupled weight decay (adamw).
        dropout: dropout rates.
        schedule: learning rate after the warm-up: ``constant``, or falling to 0, ``linear`` or as a ``cosine``.
        warmup: steps over which the learning rate rises from 0.
        clip: norm to which larger gradients of a member are scaled down; 0 for no clipping.
        accumulate: number of micro-batches into which a step's rows are divided.
        steps_per_call: steps in one call of the compiled program; 0 for the number that ``npi-jax bench`` chose, or 50
            if it chose none.
        loss_chunk: number of rows whose logits are in memory at a time.
        remat: activations that the backward pass recomputes to save memory: ``none``, ``blocks`` (all inside a block
            or layer), or ``products`` (all but the results of matrix products).
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
        loader: format of the files (`npi_jax.suites.LOADERS`, or ``grammar`` for the built-in suite); empty if it is
            the name of the suite.
        path: the suite's file or folder; empty for the built-in suite.
        limit: largest number of items of each paradigm, evenly spaced; None for all (for 100 in the built-in suite).
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
        every: members are scored at multiples of this step and at the last step. Before the first multiple, they are
            scored at steps 0, 1, 2, 4 and so on.
        ngram: also score a 5-gram model of each variant's text. This takes about 100 bytes of memory and a microsecond
            for each token of the text.
    """

    suites: dict[str, SuiteConfig] = dataclasses.field(default_factory=lambda: {"grammar": SuiteConfig()})
    every: Count = 250
    ngram: bool = True

    def __post_init__(self) -> None:
        if not self.suites:
            raise ValueError("suites is empty; an experiment scores at least one suite (the built-in is 'grammar')")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradientConfig:
    """Comparison of the gradients of tasks, at every step at which members are scored.

    Attributes:
        enabled: False to compare no gradients.
        suite: the suite whose tasks are compared; empty for the first of `score.suites`.
        kind: kind of the items; empty for ``licensor``, or for the suite's first kind if it has no ``licensor``.
        limit: largest number of items of each paradigm (evenly spaced) and of each task (drawn with a fixed seed). It
            replaces the suite's limit for scores, since gradients need more items than scores, and cost less.
        micro_batches: number of parts into which a task's items are divided. Dot products between different parts have
            no bias from sampling noise. At least 3, since fewer give no standard error. With an even number of at
            least 4, each task is also compared with itself.
        text_rows: number of rows of validation text, whose gradient is compared with those of the tasks; 0 for none.
        single_items: number of items of each task whose gradients are computed one by one after the last step, for
            subspaces and single NPIs. An NPI needs about six. 0 for none.
        lookahead: after the last step, measure the effect of a step along each task's gradient.
        memory_mib: memory limit for the stacked gradients of one member, in MiB; None for about the size of its
            parameters, but at least 128 MiB.
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
    """Saving of training states.

    Attributes:
        every: a checkpoint is written at each multiple of this number of steps, and at the last step. It must be a
            multiple of `score.every`; 0 means `score.every`.
        keep: number of latest checkpoints that are kept.
        keep_period: checkpoints at multiples of this number of steps are never removed; 0 for none.
    """

    every: Whole = 0
    keep: Count = 2
    keep_period: Whole = 0


@dataclass(frozen=True, config=STRICT)
class MeshConfig:
    """Placement of members on devices.

    Attributes:
        ens: number of groups of `data` devices over which members are distributed; 0 to choose it from the
            numbers of devices and members.
        data: number of devices that share one member's batch, validation and scoring.
        fsdp: also shard a member's parameters and optimizer state over the `data` devices, for members too large for
            one device.
        mapping: ``map`` runs the members of a device in turn, ``vmap`` all at once. ``auto`` is the choice of
            ``npi-jax bench``, or else ``map`` on CPU and ``vmap`` elsewhere.
        rows: place of the training rows. ``device``: all rows on each device. ``stream``: rows on disk, read ahead for
            each call; this needs the extra ``grain``. ``auto``: ``stream`` if Grain is installed and the rows take
            more than a quarter of a device's memory, else ``device``. Batches are the same.
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
    """Monitoring of a run, without effect on its results.

    Attributes:
        sinks: destinations of the logged numbers in addition to ``log.jsonl``: ``tensorboard``, ``wandb``. Each needs
            the extra of that name.
        project: name of the project in Weights & Biases.
        watchdog: seconds without a finished call, score or checkpoint after which a process is considered hung. It then
            writes the stacks of its threads and ends. 0 for no limit.
    """

    sinks: tuple[Literal["tensorboard", "wandb"], ...] = ()
    project: str = "npi_jax"
    watchdog: Whole = 3600
