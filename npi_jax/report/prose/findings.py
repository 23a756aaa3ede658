"""The report's opening: the question, then alignment, transfer and the link between them."""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from npi_jax.analysis.link.seeds import FEWEST
from npi_jax.analysis.statistics import LEVEL
from npi_jax.report.data.answers import main_gains
from npi_jax.report.data.selection import (
    SIGNIFICANT,
    TransferMatrix,
    first_setting,
    left_out,
    linked_pairs,
    main_rows,
    mean_alignment,
    parameter_groups,
    primary_link,
    transfer_matrix,
)
from npi_jax.report.data.tables import Cell, ReportTables, of_cell
from npi_jax.report.format import count, known_number, p_value, pretty, short_number
from npi_jax.report.prose.sentences import MOST_LISTED
from npi_jax.results.names import (
    ACCURACY,
    DELTA,
    DISJOINT_SEEDS,
    ENVIRONMENTS,
    MEAN_OVER_TRAINING,
    NOT_CENTERED,
    REMOVED_ALL,
)
from npi_jax.results.tables_alignment import AlignmentMean
from npi_jax.results.tables_link import Link
from npi_jax.results.tables_transfer import Transfer, TransferPooled

# If at least this share of pairs is excluded, the report states their number.
_MUCH: Final = 0.2
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PREDICTORS: Final = {
    "corrected": "noise-corrected alignment",
    "naive": "alignment without the correction",
    "adam": "alignment in Adam's metric",
    "ngram_overlap": "overlap of n-grams",
    "npi_overlap": "overlap of NPIs",
}

Row = Mapping[str, Any]


def what_was_asked(tables: ReportTables) -> str:
    """State the question for the run's number of tasks."""
    n_tasks = len(tables.tasks(tables.main_cells()[0]))
    if n_tasks < 2:
        return "Does the model learn the contrast of its one task, and when?"
    many = _NUMBERS[n_tasks] if n_tasks < len(_NUMBERS) else str(n_tasks)
    return (
        f"Does the model learn one task or {many}? If one, the gradients of the {many} tasks ask for the same "
        "changes (alignment near 1), and the data of one task helps the others (transfer); if "
        f"{many}, alignment is no higher than in models that never saw that data, and there is no transfer."
    )


def what_gradients_say(tables: ReportTables) -> list[tuple[str, str]]:
    """Write paragraphs on alignment, transfer and the link, each with a heading; they also state open questions."""
    found = (("Alignment", alignment(tables)), ("Transfer", " ".join(transfer(tables))), ("Link", link(tables)))
    return [(lead, text) for lead, text in found if text]


def alignment(tables: ReportTables) -> str:
    """State the mean alignment between environments at the last step, by variant, with intervals."""
    frame = mean_alignment(tables, ENVIRONMENTS)
    if frame is None:
        if tables.table("alignment_mean") is not None:
            return "The run has one task, so there is no pair of tasks whose alignment could be measured."
        return "This run recorded no gradients, so alignment between tasks is unknown."
    group, rows = last_rows(tables, frame)
    step = max(row[AlignmentMean.step] for row in rows)
    when = tables.called(step)
    # With many variants, state the baseline, the lowest and the highest.
    if len(rows) > MOST_LISTED:
        others = sorted(
            (row for row in rows[1:] if known_number(row[AlignmentMean.corrected])),
            key=lambda row: row[AlignmentMean.corrected],
        )
        rows = [rows[0], *([others[0], others[-1]] if len(others) > 1 else others)]
    known = [row for row in rows if known_number(row[AlignmentMean.corrected])]
    parts = [f"{with_interval(row, brief=place > 0)} in {row['label']}" for place, row in enumerate(known)]
    unknown: dict[str, list[str]] = {}
    for row in rows:
        if not known_number(row[AlignmentMean.corrected]):
            unknown.setdefault(why_not(row), []).append(row["label"])
    texts = []
    if parts:
        texts.append(
            f"At {when} the mean noise-corrected alignment between environments in {pretty(group)} weights was "
            f"{_listed(parts)}."
        )
    texts += [f"It is unknown for {_listed(labels)}: {why}." for why, labels in unknown.items()]
    texts += _lost(tables, group, step, [row["label"] for row in known])
    if all(row[AlignmentMean.n_seeds] == 1 for row in rows):
        texts.append("With one seed, the intervals cover variation between sentences, not between seeds.")
    return " ".join(texts)


def last_rows(tables: ReportTables, frame: pl.DataFrame) -> tuple[str, list[Row]]:
    """Return the main group of weights, and each label's row for it at the last step, in the order of the labels."""
    group = parameter_groups(frame)[0]
    here = tables.without_empty(frame.filter(pl.col(AlignmentMean.group) == group), "label")
    last = {
        row["label"]: row
        for row in here.filter(pl.col(AlignmentMean.step) == pl.col(AlignmentMean.step).max()).to_dicts()
    }
    return group, [last[label] for label in tables.labels if label in last]


def with_interval(row: Row, *, brief: bool = False) -> str:
    """Format ``.41 (95% interval .35 to .47)``, briefly ``.41 (.35 to .47)``, or the reason for a missing interval."""
    value = short_number(row[AlignmentMean.corrected])
    if not (known_number(row[AlignmentMean.low]) and known_number(row[AlignmentMean.high])):
        return (
            f"{value} (no interval{': ' if row.get(AlignmentMean.reason) else ''}{row.get(AlignmentMean.reason) or ''})"
        )
    ends = f"{short_number(row[AlignmentMean.low])} to {short_number(row[AlignmentMean.high])}"
    return f"{value} ({ends})" if brief else f"{value} ({LEVEL:.0%} interval {ends})"


def why_not(row: Row) -> str:
    """Return the reason for a variant's missing alignment."""
    reason = str(row.get(AlignmentMean.reason) or "")
    return reason if reason.startswith("the estimate") else "noise hides every pair of gradients"


def transfer(tables: ReportTables) -> list[str]:
    """State the largest effect between environments, how many are significant, and the effect of removing all NPIs."""
    found = transfer_matrix(tables)
    cell = tables.main_cells()[0] if found is None else found.cell
    if found is None and main_gains(tables):
        # The question of such a run is about gains, which the verdict answers.
        return _all_removed(tables, cell)
    if found is None:
        absent = tables.table("transfer") is None
        why = "no variant to compare with was trained" if absent else "no variant removes one environment's NPIs"
        return [f"Transfer between environments is unknown: {why}.", *_all_removed(tables, cell)]
    between = found.between()
    known = between.filter(pl.col(Transfer.effect).is_finite())
    if not len(known):
        reasons = sorted({row[Transfer.reason] for row in between.to_dicts() if row[Transfer.reason]})
        why = f": {'; '.join(reasons)}" if reasons else ""
        return [f"Transfer between environments is unknown{why}.", *_all_removed(tables, cell)]
    row = known.sort(pl.col(Transfer.effect).abs(), descending=True).row(0, named=True)
    against = "removing the same amount of other text" if found.against == "control" else tables.labels[0]
    doubt = (
        ""
        if known_number(row[Transfer.p_adjusted]) and row[Transfer.p_adjusted] < SIGNIFICANT
        else ", and not significantly different from 0"
    )
    texts = [
        f"Removing the NPIs of “{pretty(row[Transfer.removed])}” changed delta in “{pretty(row[Transfer.task])}” by "
        f"{_effect(row)}, compared with {against}. This is the largest effect of one environment on another{doubt}.",
        _how_many(between, known),
    ]
    texts += _on_average(tables, controlled=found.against == "control")
    return [*texts, *_on_itself(found), *_all_removed(tables, cell)]


def link(tables: ReportTables) -> str:
    """State whether alignment predicts transfer, by the one test that was declared in advance."""
    row = primary_link(tables)
    # Without removals there is nothing that alignment could predict; the verdict says that this is open.
    if row is None or transfer_matrix(tables) is None:
        return ""
    if not known_number(row[Link.statistic]) or not known_number(row[Link.p]):
        return f"We cannot tell whether alignment predicts transfer: {row[Link.reason] or 'too few pairs'}."
    what = PREDICTORS.get(str(row[Link.predictor]), pretty(str(row[Link.predictor])))
    cells = linked_pairs(tables)
    when = "mean over training" if row[Link.step] == MEAN_OVER_TRAINING else f"step {row[Link.step]:,}"
    if cells is not None and "n_cells" in cells.columns and len(cells):
        counts = sorted(map(int, cells["n_cells"]))
        fewest, most = counts[0], counts[-1]
        ends = str(most) if fewest == most else f"{fewest} to {most}"
        when += f", from {ends} reliable measurements a pair"
    verdict = "differs significantly" if float(str(row[Link.p])) < SIGNIFICANT else "does not differ significantly"
    outcome = str(row[Link.outcome]) if row[Link.outcome] == DELTA else pretty(str(row[Link.outcome]))
    return (
        f"Over {count(int(str(row[Link.n_pairs])), 'pair')} of {count(int(str(row[Link.n_tasks])), 'task')}, "
        f"Spearman's correlation of {what} ({pretty(str(row[Link.group]))} weights, {when}) with the effect on "
        f"{outcome} was {short_number(float(str(row[Link.statistic])))} (matrix permutation test, "
        f"{p_value(row[Link.p])}); it {verdict} from 0. {_link_basis(row)} A negative correlation means that removing "
        "an environment harms those whose gradients align with its."
    )


def _link_basis(row: Mapping[str, object]) -> str:
    """State which effects of tasks and which shared models the test of the link excludes, or warn that it does not."""
    if row.get(Link.centered, NOT_CENTERED) == NOT_CENTERED:
        return (
            "Effects of single tasks were not removed, so that a trait of tasks that changes both would look the same; "
            "analyze the run again."
        )
    removed = "Additive effects of single tasks were removed from both"
    if row[Link.seeds] == DISJOINT_SEEDS:
        return f"{removed}, and alignment and effects are from different seeds."
    return f"{removed}. Alignment and effects are from the same seeds, because fewer than {FEWEST} have both."


def _how_many(between: pl.DataFrame, known: pl.DataFrame) -> str:
    significant = known.filter(pl.col(Transfer.p_adjusted) < SIGNIFICANT)
    harmful = significant.filter(pl.col(Transfer.effect) < 0).height
    text = (
        f"Of {count(len(known), 'effect')} of one environment on another, {len(significant)} "
        f"{'differs' if len(significant) == 1 else 'differ'} significantly from 0 (adjusted for all cells of the table)"
    )
    text += f"; {harmful} of these {'is' if harmful == 1 else 'are'} harmful" if len(significant) else ""
    unknown = len(between) - len(known)
    return f"{text}; {unknown} more {'is' if unknown == 1 else 'are'} unknown." if unknown else f"{text}."


def _on_average(tables: ReportTables, *, controlled: bool) -> list[str]:
    """State the mean effect of one environment on the others, and its test over seeds."""
    frame = main_rows(tables, "transfer_pooled")
    rows = [] if frame is None else frame.to_dicts()
    return [
        f"On average over all {count(row[TransferPooled.n_pairs], 'pair')}, removing one environment changed delta in "
        f"another by {_nats(row[TransferPooled.effect])} ({LEVEL:.0%} interval "
        f"{short_number(row[TransferPooled.low])} to {short_number(row[TransferPooled.high])}, "
        f"{p_value(row[TransferPooled.p])}, {count(row[TransferPooled.n_seeds], 'seed')})."
        for row in rows
        if row[TransferPooled.outcome] == DELTA
        and row[TransferPooled.controlled] == controlled
        and known_number(row[TransferPooled.p])
    ]


def _on_itself(found: TransferMatrix) -> list[str]:
    rows = found.on_itself().filter(pl.col(Transfer.effect).is_finite())
    if not len(rows):
        return []
    values = rows[Transfer.effect].sort()
    return [
        f"Removing an environment's NPIs changed delta in that environment by {_nats(values.median())} in the median "
        f"({short_number(values[0])} to {short_number(values[-1])})."
    ]


def _all_removed(tables: ReportTables, cell: Cell) -> list[str]:
    """State the median over tasks of the effect of removing all NPIs."""
    frame = tables.table("transfer")
    if frame is None:
        return []
    wanted = (pl.col(Transfer.removed) == REMOVED_ALL) & (pl.col(Transfer.control) == "")
    rows = tables.without_empty(of_cell(first_setting(tables, frame), cell), "intervention").filter(
        wanted & pl.col(Transfer.effect).is_finite() & pl.col(Transfer.task).is_in(tables.tasks(cell))
    )
    parts = []
    for outcome, unit, scale, digits in ((DELTA, "nats", 1, 2), (ACCURACY, "points", 100, 0)):
        of_outcome = rows.filter(pl.col(Transfer.outcome) == outcome)
        if len(of_outcome):
            texts = [short_number(scale * value, digits) for value in of_outcome[Transfer.effect].sort()]
            middle = short_number(scale * float(of_outcome[Transfer.effect].median()), digits)  # type: ignore[arg-type]
            significant = of_outcome.filter(pl.col(Transfer.p_adjusted) < SIGNIFICANT).height
            parts.append(
                f"{outcome} by {middle} {unit} ({texts[0]} to {texts[-1]}; significant in {significant} of "
                f"{count(len(texts), 'task')})"
            )
    return [f"Removing all NPIs changed, in the median task, {_listed(parts)}."] if parts else []


def _lost(tables: ReportTables, group: str, step: int, labels: list[str]) -> list[str]:
    """State the number of excluded pairs if it is large, because the mean is then not over all pairs."""
    counted = left_out(tables)
    if counted is None:
        return []
    here = counted.filter((pl.col("group") == group) & (pl.col("step") == step)).to_dicts()
    by_label = {row["label"]: row for row in here if row["n_unreliable"] >= _MUCH * row["n_total"]}
    parts = [
        f"{by_label[label]['n_unreliable']:,} of {by_label[label]['n_total']:,} in {label}"
        for label in labels
        if label in by_label
    ]
    return [f"Excluded because noise hides them: {_listed(parts)} (pairs times seeds)."] if parts else []


def _effect(row: Row) -> str:
    interval = ""
    if known_number(row[Transfer.low]) and known_number(row[Transfer.high]):
        interval = f"{LEVEL:.0%} interval {short_number(row[Transfer.low])} to {short_number(row[Transfer.high])}, "
    adjusted = f"{p_value(row[Transfer.p_adjusted])} adjusted, " if known_number(row[Transfer.p_adjusted]) else ""
    return f"{_nats(row[Transfer.effect])} ({interval}{adjusted}{count(row[Transfer.n_seeds], 'seed')})"


def _nats(value: Any) -> str:
    return f"{short_number(value)} nats"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
