"""Accuracy by paradigm from scores of items, with intervals over items and models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import SHARE
from npi_jax.errors import first_line
from npi_jax.results.tables_training import Scores as Columns
from npi_jax.scoring import ScoreSpec, SpecMismatchError

SPEC_KEY: Final = "npi_jax.score_spec"
"""Key of the `ScoreSpec`, as JSON, in the Parquet metadata of a table."""


def summarize(
    scores: pl.DataFrame,
    *,
    by: Sequence[str] = (),
    seed: str | None = None,
    draws: int = statistics.DRAWS,
    level: float = statistics.LEVEL,
) -> pl.DataFrame:
    """Return accuracy and delta of each paradigm and region.

    The table has the columns of ``by``, suite, paradigm, region, spec, n_items, n_models, n_nonfinite, interval_over
    and these:

    - accuracy, low, high: median over models of the accuracy, with an interval over models and items, or over items
      with one model (`statistics.seed_interval`). The ends are NaN with 2 to 4 models, as these are too few. All three
      are NaN if a score is not finite.
    - delta: median over models of the mean delta; NaN if a score is not finite.
    - ties: share of pairs with equal scores.
    - equal_length: share of pairs with equal numbers of scored tokens in both sentences.
    - accuracy_equal: accuracy in pairs of equal length; null if there are none.

    Args:
        scores: rows of `Scores.to_polars`.
        by: additional columns to group by, such as a model's name.
        seed: the column that identifies the models to summarize; None if there is one model.
        draws: number of bootstrap draws.
        level: nominal coverage of the intervals.

    Raises:
        ValueError: if models were scored on different items.
    """
    keys = [*by, Columns.suite, Columns.paradigm, Columns.region, Columns.spec]
    rows = [
        dict(zip(keys, values, strict=True)) | _row(frame, seed, draws, level)
        for values, frame in scores.sort(keys, maintain_order=True).group_by(keys, maintain_order=True)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def compare_scores(
    scores: pl.DataFrame,
    other: pl.DataFrame,
    *,
    on: Sequence[str] = (Columns.suite, Columns.item, Columns.region),
    specs: tuple[ScoreSpec | None, ScoreSpec | None] = (None, None),
) -> pl.DataFrame:
    """Return two tables of scores side by side: ``delta``, ``delta_other`` and ``difference`` of each item.

    Args:
        scores: rows of `Scores.to_polars`.
        other: rows of the same items to compare with.
        on: the columns that identify an item.
        specs: the scoring conventions of both tables, if known (`read_spec`). An error then names the fields that
            differ. Defaults and presets need not be given.

    Raises:
        SpecMismatchError: if the tables were scored by different conventions.
        ValueError: if they hold different items, or one holds an item twice.
    """
    _require_same_specs(scores, other, specs)
    digest, delta, other_delta = "digest", pl.col(Columns.delta), "delta_other"
    keys = [*on, digest]
    of_spec = pl.col(Columns.spec).str.split(":").list.last().alias(digest)
    scores, other = scores.with_columns(of_spec), other.with_columns(of_spec)
    if any(table.select(keys).is_duplicated().any() for table in (scores, other)):
        raise ValueError(
            f"a table has several rows for one of {', '.join(on)}; take one model, or add its column to on"
        )
    theirs = other.select(*keys, delta.alias(other_delta))
    joined = scores.join(theirs, on=keys, how="full", coalesce=True).drop(digest)
    if joined[Columns.delta].null_count() or joined[other_delta].null_count():
        raise ValueError("the two tables hold different items")
    return joined.with_columns((delta - pl.col(other_delta)).alias("difference"))


def read_spec(path: str | Path) -> ScoreSpec:
    """Return the scoring conventions of a table that ``npi-jax score`` wrote as Parquet.

    Raises:
        ValueError: if the file holds none, or one that cannot be read.
    """
    # Polars treats a file name as a glob pattern, so pass an open file.
    with Path(path).open("rb") as file:
        stored = pl.read_parquet_metadata(file).get(SPEC_KEY)
    if stored is None:
        raise ValueError(f"{path}: no ScoreSpec is in its metadata; give a .parquet file that npi-jax score wrote")
    try:
        return ScoreSpec.from_dict(json.loads(stored))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the ScoreSpec in its metadata cannot be read: {first_line(error)}") from error


def _require_same_specs(
    scores: pl.DataFrame, other: pl.DataFrame, specs: tuple[ScoreSpec | None, ScoreSpec | None]
) -> None:
    """Raise an error if the scoring conventions differ, with the names of the differing fields if they are known."""
    labels = [sorted(table[Columns.spec].unique().to_list()) for table in (scores, other)]
    # Compare digests only: two names can stand for the same spec.
    if {label.rpartition(":")[2] for label in labels[0]} == {label.rpartition(":")[2] for label in labels[1]}:
        return
    here, there = (
        spec or (ScoreSpec.of_label(found[0]) if len(found) == 1 else None)
        for spec, found in zip(specs, labels, strict=True)
    )
    named = f"{', '.join(labels[0])} here, {', '.join(labels[1])} there"
    if here is not None and there is not None:
        why = "; ".join(here.differences(there))
    else:
        why = "give specs=(read_spec(PATH), read_spec(OTHER_PATH)) to see in which fields they differ"
    raise SpecMismatchError(f"scores made by different conventions cannot be compared ({named}): {why}")


def _row(frame: pl.DataFrame, seed: str | None, draws: int, level: float) -> dict[str, object]:
    ordered, correct = _by_model(frame, seed)
    delta, n_items = ordered[Columns.delta], correct.shape[1]
    equal = ordered.filter(pl.col(Columns.n_good) == pl.col(Columns.n_bad))
    row: dict[str, object] = {"accuracy": np.nan, "low": np.nan, "high": np.nan, "interval_over": None}
    if np.isfinite(correct).all():
        by_item = statistics.resample_items(correct, draws=draws)
        interval = statistics.seed_interval(correct.mean(axis=1), by_item, n_items=n_items, level=level, bounds=SHARE)
        row |= {"accuracy": interval.estimate, "low": interval.low, "high": interval.high}
        row["interval_over"] = interval.interval_over
    return row | {
        "delta": float(np.median(delta.to_numpy().reshape(correct.shape).mean(axis=1))),
        "ties": float((delta == 0).mean()),  # type: ignore[arg-type]
        "equal_length": len(equal) / len(ordered),
        "accuracy_equal": equal[Columns.correct].mean() if len(equal) else None,
        "n_items": n_items,
        "n_models": len(correct),
        "n_nonfinite": int((~np.isfinite(correct)).sum()),
    }


def _by_model(frame: pl.DataFrame, seed: str | None) -> tuple[pl.DataFrame, Float[np.ndarray, "models items"]]:
    """Return the rows sorted by model and item, and the correctness of each item as an array."""
    models = frame[seed].n_unique() if seed else 1
    ordered = frame.sort([*([seed] if seed else []), Columns.item])
    n_items = len(frame) // models
    same = models * n_items == len(frame)
    if same:
        names = ordered[Columns.item].to_numpy().reshape(models, -1)
        same = (names == names[0]).all() and len(set(names[0])) == n_items
    if not same:
        paradigm = frame[Columns.paradigm][0]
        raise ValueError(f"paradigm {paradigm!r}: its {models} models were not scored on the same items")
    return ordered, ordered[Columns.correct].cast(pl.Float64).to_numpy().reshape(models, n_items)
