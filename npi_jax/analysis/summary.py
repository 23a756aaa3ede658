"""From scores of items to accuracy by paradigm, with intervals over items and models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from npi_jax.analysis import statistics
from npi_jax.analysis.bounds import SHARE
from npi_jax.errors import first_line
from npi_jax.scoring import ScoreSpec, SpecMismatchError

SPEC_KEY: Final = "npi_jax.score_spec"
"""The key of a table's Parquet metadata that has its `ScoreSpec`, as JSON."""


def summarize(
    scores: pl.DataFrame,
    *,
    by: Sequence[str] = (),
    seed: str | None = None,
    draws: int = statistics.DRAWS,
    level: float = statistics.LEVEL,
) -> pl.DataFrame:
    """Accuracy and delta of each paradigm and region.

    Args:
        scores: rows of `Scores.to_polars`.
        by: further columns whose values are kept apart, such as a model's name.
        seed: the column that tells models apart over which a mean is taken (seeds); None where there is one.
        draws: bootstrap draws.
        level: coverage of the intervals.

    Returns:
        the columns of ``by``, suite, paradigm, region, spec, accuracy, low, high (interval over items, and over
        models where there are several: `statistics.seed_interval`), delta (mean), ties (share of pairs),
        equal_length (share of pairs with as many tokens scored on both sides), accuracy_equal (accuracy of
        those; null if there are none), n_items, n_models, n_nonfinite, interval_over. A paradigm in which a
        score is not finite has NaN.

    Raises:
        ValueError: if models were scored on different items.
    """
    keys = [*by, "suite", "paradigm", "region", "spec"]
    rows = [
        dict(zip(keys, values, strict=True)) | _row(frame, seed, draws, level)
        for values, frame in scores.sort(keys, maintain_order=True).group_by(keys, maintain_order=True)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def compare_scores(
    scores: pl.DataFrame,
    other: pl.DataFrame,
    *,
    on: Sequence[str] = ("suite", "item", "region"),
    specs: tuple[ScoreSpec | None, ScoreSpec | None] = (None, None),
) -> pl.DataFrame:
    """Two tables of scores side by side: ``delta``, ``delta_other`` and ``difference`` of each item.

    Args:
        scores: rows of `Scores.to_polars`.
        other: more of them, of the same items.
        on: the columns that name an item.
        specs: the conventions of the two, where they are at hand (`read_spec`); an error then names the fields that
            differ. Defaults and presets are known without.

    Raises:
        SpecMismatchError: if the two were made by different conventions.
        ValueError: if they hold different items, or one holds an item twice.
    """
    _require_same_specs(scores, other, specs)
    keys = [*on, "digest"]
    digest = pl.col("spec").str.split(":").list.last().alias("digest")
    scores, other = scores.with_columns(digest), other.with_columns(digest)
    if any(table.select(keys).is_duplicated().any() for table in (scores, other)):
        raise ValueError(
            f"a table has several rows for one of {', '.join(on)}; take one model, or add its column to on"
        )
    theirs = other.select(*keys, pl.col("delta").alias("delta_other"))
    joined = scores.join(theirs, on=keys, how="full", coalesce=True).drop("digest")
    if joined["delta"].null_count() or joined["delta_other"].null_count():
        raise ValueError("the two tables hold different items")
    return joined.with_columns((pl.col("delta") - pl.col("delta_other")).alias("difference"))


def read_spec(path: str | Path) -> ScoreSpec:
    """The conventions of a table that ``npi-jax score`` wrote as Parquet.

    Raises:
        ValueError: if the file says none, or one that cannot be read.
    """
    # As an opened file: names of files must not be taken for patterns.
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
    """Refuse tables of different conventions, naming the fields in which they differ as far as they are known."""
    labels = [sorted(table["spec"].unique().to_list()) for table in (scores, other)]
    # A spec is what its digest says; two names may stand for one.
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
    models = frame[seed].n_unique() if seed else 1
    ordered = frame.sort([*([seed] if seed else []), "item"])
    n_items = len(frame) // models
    names = ordered["item"].to_numpy().reshape(models, -1) if models * n_items == len(frame) else None
    if names is None or (names != names[0]).any() or len(set(names[0])) < n_items:
        raise ValueError(f"paradigm {frame['paradigm'][0]!r}: its {models} models were not scored on the same items")
    correct = ordered["correct"].cast(pl.Float64).to_numpy().reshape(models, n_items)
    equal = ordered.filter(pl.col("n_good") == pl.col("n_bad"))
    row: dict[str, object] = {"accuracy": np.nan, "low": np.nan, "high": np.nan, "interval_over": None}
    if np.isfinite(correct).all():
        by_item = statistics.resample_items(correct, draws=draws)
        interval = statistics.seed_interval(correct.mean(axis=1), by_item, n_items=n_items, level=level, bounds=SHARE)
        row |= {"accuracy": interval.mean, "low": interval.low, "high": interval.high}
        row["interval_over"] = interval.interval_over
    return row | {
        "delta": float(ordered["delta"].mean()),  # type: ignore[arg-type]
        "ties": float((ordered["delta"] == 0).mean()),  # type: ignore[arg-type]
        "equal_length": len(equal) / len(ordered),
        "accuracy_equal": equal["correct"].mean() if len(equal) else None,
        "n_items": n_items,
        "n_models": models,
        "n_nonfinite": int((~np.isfinite(correct)).sum()),
    }
