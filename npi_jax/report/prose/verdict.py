"""The report's answer: a few claims, each with a badge that says how well the run supports it."""

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from npi_jax.analysis.statistics import LEVEL
from npi_jax.report.data.answers import alignment_contrast, effective_number, main_gains
from npi_jax.report.data.selection import SIGNIFICANT, TransferMatrix, primary_link, transfer_matrix
from npi_jax.report.data.tables import ReportTables
from npi_jax.report.format import count, known_number, p_value, pretty, short_number
from npi_jax.results.names import ACCURACY, ADAM, DELTA, MEAN_OVER_ENVIRONMENTS, NO_NPI, THINNED_ITEMS
from npi_jax.results.tables_alignment import AlignmentContrasts, EffectiveTasks
from npi_jax.results.tables_amplification import Gains
from npi_jax.results.tables_link import Link
from npi_jax.results.tables_training import Members
from npi_jax.results.tables_transfer import Transfer

CLEAR: Final = "clear"
SUGGESTIVE: Final = "suggestive"
OPEN: Final = "cannot say"
_CLEARLY: Final = 0.01
"""Claims with a smaller p-value are `CLEAR`."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A sentence of the verdict.

    Attributes:
        badge: `CLEAR` (p below .01), `SUGGESTIVE` (p below .05) or `OPEN`.
        text: the sentence, with its numbers.
    """

    badge: str
    text: str


def verdict(tables: ReportTables) -> list[Claim]:
    """Return claims about sharing between tasks, about gains from others' data, and about what the run cannot say.

    A run without gradients whose variants were not compared asked no such question, and has no claims.
    """
    if all(tables.table(table.NAME) is None for table in (EffectiveTasks, Gains, Transfer)):
        return []
    claims = (_shared(tables), _gained(tables), _left_open(tables))
    return [claim for claim in claims if claim is not None]


def _badge(p: float) -> str:
    if not known_number(p) or p >= SIGNIFICANT:
        return OPEN
    return CLEAR if p < _CLEARLY else SUGGESTIVE


def _shared(tables: ReportTables) -> Claim | None:
    """State how many tasks the gradients are like, and whether tasks align more than in models without NPIs."""
    first = effective_number(tables)
    if first is None:
        return None
    group, tasks = pretty(first[EffectiveTasks.group]), count(first[EffectiveTasks.n_tasks], "task")
    if not known_number(first[EffectiveTasks.effective]):
        what = f"We cannot tell how many independent tasks the {tasks} amount to in the {group} weights"
        return Claim(OPEN, f"{what}: {first[EffectiveTasks.reason]}.")
    number = short_number(first[EffectiveTasks.effective], 1)
    metric = " in Adam's metric" if first[EffectiveTasks.metric] == ADAM else ""
    start = (
        f"In the {group} weights of {tables.labels[0]}, the gradients of the {tasks} are as diverse as those of "
        f"{number} independent tasks{_interval(first, 1)}{metric}"
    )
    without = next((row["label"] for row in tables.members.to_dicts() if row[Members.variant] == NO_NPI), None)
    if without is None or without == tables.labels[0]:
        return Claim(OPEN, f"{start}; there are no models without NPIs to compare with.")
    contrast, other = (
        alignment_contrast(tables, without, first[EffectiveTasks.group]),
        effective_number(tables, without),
    )
    if contrast is None or not known_number(contrast[AlignmentContrasts.p]):
        why = f": {contrast[AlignmentContrasts.reason]}" if contrast and contrast[AlignmentContrasts.reason] else ""
        return Claim(OPEN, f"{start}; we cannot tell whether this is fewer than in models without NPIs{why}.")
    known = other is not None and known_number(other[EffectiveTasks.effective])
    beside = f", and of {short_number(other[EffectiveTasks.effective], 1)} in {without}" if other and known else ""
    return Claim(_badge(contrast[AlignmentContrasts.p]), f"{start}{beside}. {_compared(contrast)}.")


def _compared(contrast: Row) -> str:
    """Interpret the difference in mean alignment of models without NPIs from the first variant."""
    here, there = (
        short_number(contrast[name]) for name in (AlignmentContrasts.baseline_mean, AlignmentContrasts.variant_mean)
    )
    numbers = f"mean alignment {here} against {there}, {p_value(contrast[AlignmentContrasts.p])}"
    if contrast[AlignmentContrasts.p] >= SIGNIFICANT:
        return f"Their gradients do not agree significantly more than in models without NPIs ({numbers})"
    more = "more" if contrast[AlignmentContrasts.difference] < 0 else "less"
    return f"Their gradients agree {more} than in models without NPIs ({numbers})"


def _gained(tables: ReportTables) -> Claim:
    """State what the other environments' data does for a scarce one; without such variants, what removals show."""
    rows = main_gains(tables)
    if DELTA not in rows:
        return _removed(tables)
    row = rows[DELTA]
    p = row[Gains.p_adjusted] if known_number(row[Gains.p_adjusted]) else row[Gains.p]
    if not known_number(p):
        why = row[Gains.reason] or "there is no test"
        return Claim(OPEN, f"We cannot tell whether the other environments' data helps {_scarce(row)}: {why}.")
    helps = "helps" if row[Gains.gain] > 0 else "harms"
    answer = f"The other environments' data {helps} {_scarce(row)}"
    if p >= SIGNIFICANT:
        answer = f"We cannot tell whether the other environments' data helps {_scarce(row)}"
    change = f"delta {_signed(row[Gains.gain])} nats{_interval(row, 2)}, {p_value(p)}"
    return Claim(_badge(p), f"{answer}: {_accuracies(rows)}{change}.")


def _scarce(row: Row) -> str:
    """Name the environment and the share of its sentences."""
    kept = "sentences with an NPI" if row[Gains.thinned] == THINNED_ITEMS else "sentences"
    amount = f"{100 * row[Gains.share]:g}% of its {kept}" if row[Gains.share] else f"none of its {kept}"
    if row[Gains.environment] == MEAN_OVER_ENVIRONMENTS:
        return f"an environment with {amount} (mean of {count(row[Gains.n_environments], 'environment')})"
    return f"“{pretty(row[Gains.environment])}” with {amount}"


def _accuracies(rows: dict[str, Row]) -> str:
    if ACCURACY not in rows:
        return ""
    row = rows[ACCURACY]
    there, absent = (100 * row[name] for name in (Gains.level_with, Gains.level_without))
    return f"accuracy {there:.0f}% with their data, {absent:.0f}% without; "


def _interval(row: Row, digits: int) -> str:
    ends = [row["low"], row["high"]]
    if not all(map(known_number, ends)):
        return ""
    return f" ({LEVEL:.0%} interval {short_number(ends[0], digits)} to {short_number(ends[1], digits)})"


def _signed(value: float) -> str:
    return f"+{short_number(value)}" if value > 0 else short_number(value)


def _left_open(tables: ReportTables) -> Claim | None:
    """List the questions that the run's variants cannot answer."""
    link = primary_link(tables)
    open_questions = []
    if transfer_matrix(tables) is None:
        open_questions.append("which environment helps which (no variant removes a single environment)")
    if link is None or not known_number(link[Link.p]) or float(str(link[Link.p])) >= SIGNIFICANT:
        open_questions.append("whether tasks with similar gradients help each other more")
    if not open_questions:
        return None
    return Claim(OPEN, f"This run cannot say {', nor '.join(open_questions)}.")


def _removed(tables: ReportTables) -> Claim:
    """State significant effects of removing one environment's NPIs on others, or how large effects could be missed."""
    found = transfer_matrix(tables)
    between = None if found is None else found.between().filter(pl.col(Transfer.effect).is_finite())
    if found is None or between is None or not len(between):
        return Claim(OPEN, "Whether one environment's data helps another was not tested.")
    if int(between[Transfer.n_seeds].max()) < 2:  # type: ignore[arg-type]
        return Claim(OPEN, "One seed cannot tell whether one environment's data helps another.")
    significant = between.filter(pl.col(Transfer.p_adjusted) < SIGNIFICANT)[Transfer.effect]
    helps, hurts = int((significant < 0).sum()), int((significant > 0).sum())
    of_all = count(len(between), "case")
    if not helps and not hurts:
        what = f"We cannot tell whether one environment's data helps another{_unseen(between)}{_bare(found)}"
        return Claim(OPEN, f"{what}.")
    badge = _badge(float(between[Transfer.p_adjusted].fill_nan(None).min()))  # type: ignore[arg-type]
    if helps:
        also = f" and hurts them in {hurts}" if hurts else ""
        return Claim(badge, f"One environment's data helps others in {helps} of {of_all}{also}{_bare(found)}.")
    what = f"One environment's data hurts others in {hurts} of {of_all} and significantly helps in none{_bare(found)}"
    return Claim(badge, f"{what}.")


def _unseen(between: pl.DataFrame) -> str:
    arms = (
        between.filter(pl.col(Transfer.low).is_finite())
        .select(((pl.col(Transfer.high) - pl.col(Transfer.low)) / 2).median())
        .item()
    )
    seeds = count(int(between[Transfer.n_seeds].max()), "seed")  # type: ignore[arg-type]
    if not known_number(arms):
        return ""
    return f": with {seeds}, effects up to about {short_number(arms)} nats could go unnoticed"


def _bare(found: TransferMatrix) -> str:
    return (
        ""
        if found.against == "control"
        else " (without random controls, effects include those of the sentences that replaced the NPIs)"
    )
