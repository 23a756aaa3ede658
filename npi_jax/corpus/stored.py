"""Output of the stages of `npi_jax.corpus.pipeline`, opened from the cache."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from jaxtyping import Integer
from pydantic import Field, TypeAdapter

from npi_jax.corpus.annotation.phenomenon import Phenomenon
from npi_jax.corpus.annotation.stored_text import AnnotatedStore, Text
from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.variants.interventions import parse_intervention
from npi_jax.corpus.variants.summary import variant_table
from npi_jax.corpus.variants.variant import RowPool, Variant
from npi_jax.files.checksums import DamagedError
from npi_jax.files.writing import read_checked, write_json
from npi_jax.results.table_files import read_declared, write_declared
from npi_jax.results.tables_preparation import Corpus as CorpusTable
from npi_jax.results.tables_preparation import Environments


@dataclass(frozen=True)
class StoredText:
    """Annotated sentences in the cache, or a sample of them.

    Attributes:
        name: name of the folder, which identifies all inputs of the text.
        store: text and annotations.
        chosen: the sentences of the sample, in increasing order; None for all sentences.
    """

    name: str
    store: AnnotatedStore
    chosen: Integer[np.ndarray, " chosen"] | None = None

    @property
    def key(self) -> dict[str, str | None]:
        """Identity of these sentences in the keys of later stages."""
        chosen = None if self.chosen is None else hashlib.sha256(self.chosen.tobytes()).hexdigest()
        return {"text": self.name, "chosen": chosen}

    @property
    def sentences(self) -> Text:
        """The sentences, read from disk as they are needed."""
        text = self.store.text
        return text if self.chosen is None else Text(text.content, text.ends, self.chosen)


@dataclass(frozen=True)
class StoredCorpus:
    """A tokenized corpus in the cache, and the name of its folder."""

    name: str
    corpus: Corpus


@dataclass(frozen=True)
class StoredVariants:
    """Variants in the cache.

    Attributes:
        variants: the variants in the order of the interventions.
        pool: rows that the variants share.
        table: changes of each variant (`variant_table`).
        environments: surface overlap of the environments (`environment_table`).
        folder: folder with ``slots.parquet`` (every changed slot) and ``examples.parquet``.
    """

    variants: Sequence[Variant]
    pool: RowPool
    table: pl.DataFrame
    environments: pl.DataFrame
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> "StoredVariants":
        """Open the output of `npi_jax.corpus.pipeline.build_variants`.

        Raises:
            UserError: naming the file that is missing or damaged.
        """
        columns = Columns(folder / "pool")
        used = columns["used"]
        pool = RowPool(columns["tokens"].reshape(len(used), -1), used)
        table, environments = (read_declared(folder / its.FILE, its) for its in (CorpusTable, Environments))
        return cls(_load_variants(folder), pool, table, environments, folder)


def save_variants(folder: Path, variants: Sequence[Variant], phenomenon: Phenomenon) -> None:
    """Write variants: row indices as columns, other attributes as JSON, and the table of changes."""
    columns: dict[str, np.ndarray] = {}
    entries = []
    for number, variant in enumerate(variants):
        columns[f"rows_{number}"] = variant.rows
        overrides = []
        for (seed, step), rows in variant.overrides.items():
            name = f"rows_{number}_seed_{seed}_step_{step}"
            columns[name] = rows
            overrides.append([seed, step, name])
        plain = {name: getattr(variant, name) for name in _PLAIN}
        counts = {"items": variant.items.tolist(), "contexts": variant.contexts.tolist()}
        entries.append({"intervention": str(variant.intervention), "overrides": overrides, **plain, **counts})
    with ColumnWriter(folder / "rows", dict.fromkeys(columns, np.int64)) as writer:
        writer.append(**columns)
        writer.close()
    write_json(folder / "variants.json", entries)
    write_declared(folder / CorpusTable.FILE, variant_table(variants, phenomenon.labels), CorpusTable)


_PLAIN = ("removed", "unmatched", "sentences", "tokens", "edited", "injected", "unreplaced")


def _load_variants(folder: Path) -> list[Variant]:
    columns = Columns(folder / "rows")
    path = folder / "variants.json"
    form = TypeAdapter(Annotated[list[_Entry], Field(min_length=1)])
    entries = read_checked(path, form.validate_json)
    try:
        return [
            Variant(
                intervention=parse_intervention(entry.intervention),
                rows=columns[f"rows_{number}"],
                items=np.array(entry.items, np.int64),
                contexts=np.array(entry.contexts, np.int64),
                overrides={(seed, step): columns[name] for seed, step, name in entry.overrides},
                **{name: getattr(entry, name) for name in _PLAIN},
            )
            for number, entry in enumerate(entries)
        ]
    except (ValueError, OverflowError) as error:
        raise DamagedError(f"{path}: damaged ({error})") from error


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A variant in ``variants.json``."""

    intervention: str
    overrides: list[tuple[int, int, str]]
    removed: int
    unmatched: int
    sentences: int
    tokens: int
    edited: int
    injected: int
    unreplaced: dict[str, int]
    items: list[int]
    contexts: list[int]

    def __post_init__(self) -> None:
        if len(self.items) != len(self.contexts):
            raise ValueError(f"{len(self.items)} counts of items and {len(self.contexts)} of contexts")
