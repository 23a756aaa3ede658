"""Tables of diagnostics: diverged members, remaining NPIs, ties, gradients."""

import polars as pl

from npi_jax.report.data.selection import (
    parameter_groups,
    reduced,
)
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import pretty
from npi_jax.report.prose.plain_table import PlainTable, number_cell
from npi_jax.results.names import OK
from npi_jax.results.tables_alignment import Gradients
from npi_jax.results.tables_preparation import Corpus
from npi_jax.results.tables_training import Members


def divergence(tables: ReportTables) -> PlainTable | None:
    """Count diverged members and skipped updates by variant; None if there are none."""
    bad = pl.col(Members.status) != OK
    counted = tables.members.group_by("label", maintain_order=True).agg(
        bad.sum().alias("bad"), pl.len().alias("members"), pl.col(Members.skipped_updates).sum()
    )
    if not counted["bad"].sum() and not counted[Members.skipped_updates].sum():
        return None
    rows = [[str(value) for value in row] for row in counted.iter_rows()]
    return PlainTable("Members that diverged", ["variant", "diverged", "members", "updates skipped"], rows)


def residuals(tables: ReportTables) -> PlainTable | None:
    """Count the slots that each variant changed, and the NPIs left in environments that it reduced."""
    if not {"slots_changed", "sentences"} <= set(tables.corpus.columns):
        return None
    lost = reduced(tables.corpus)
    rows = []
    for row in tables.corpus.to_dicts():
        left = {name: row[f"npi_{name}"] for name in lost[row[Corpus.variant]]}
        remaining = ", ".join(f"{pretty(name)} {number:,}" for name, number in sorted(left.items()) if number)
        changed, sentences = row[Corpus.slots_changed], row[Corpus.sentences]
        share = f"{changed / sentences:.1%}" if sentences else "–"
        rows.append([row[Corpus.variant], f"{changed:,}", share, (remaining or "none") if left else "–"])
    heads = ["variant", "slots changed", "of all", "NPIs left in reduced environments"]
    return PlainTable("Slots changed and NPIs left by the interventions", heads, rows, words={3})


def ties(tables: ReportTables) -> PlainTable | None:
    """List the share of pairs with equal scores of both sentences at the last step."""
    frame = tables.table("ties")
    if frame is None:
        return None
    wide = frame.pivot("suite", index="label", values="ties", maintain_order=True)
    names = [name for name in wide.columns if name != "label"]
    rows = [[row["label"], *(f"{row[name]:.1%}" for name in names)] for row in wide.to_dicts()]
    note = "Many ties mean that a model barely distinguishes the sentences, or that the scored regions do not differ."
    return PlainTable("Ties at the last step, share of pairs", ["variant", *map(pretty, names)], rows, note)


def gradients(tables: ReportTables) -> PlainTable | None:
    """List norm, noise and reliability of each task's gradient in the first variant at the last step."""
    frame = tables.table("gradients")
    if frame is None:
        return None
    group = parameter_groups(frame)[0]
    last = frame.filter((pl.col(Gradients.step) == pl.col(Gradients.step).max()) & (pl.col(Gradients.group) == group))
    here = last.filter(pl.col("label") == tables.labels[0])
    value = pl.col(Gradients.norm, Gradients.noise_scale, Gradients.reliability).fill_nan(None).mean()
    counted = here.group_by(Gradients.task, maintain_order=True).agg(
        value, pl.col(Gradients.reliable).sum(), pl.len().alias("seeds")
    )
    rows = [
        [
            pretty(row[Gradients.task]),
            number_cell(row[Gradients.norm], 3),
            number_cell(row[Gradients.noise_scale], 0),
            number_cell(row[Gradients.reliability]),
            f"{row[Gradients.reliable]} of {row['seeds']}",
        ]
        for row in counted.to_dicts()
    ]
    heads = ["task", "norm", "noise scale (items)", "reliability", "seeds above noise"]
    title = f"Gradients of the variant {tables.labels[0]}, {pretty(group)} weights, last step"
    note = "Noise scale: the number of items at which noise is as large as the gradient (McCandlish et al. 2018)."
    return PlainTable(title, heads, rows, note) if rows else None
