"""The report's sentences on the run, its accuracies and its warnings."""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from npi_jax.analysis.curves import ACQUIRED
from npi_jax.analysis.statistics import ITEMS, LEVEL
from npi_jax.analysis.typical import fewest_seeds
from npi_jax.report.data.tables import Cell, ReportTables, of_cell
from npi_jax.report.format import count, pretty
from npi_jax.results.names import FULL, LICENSOR, MEAN_OVER_TASKS, NO_NPI, OK, TOO_FEW
from npi_jax.results.tables_learning import Acquisition, FailedSeeds, FinalResults
from npi_jax.results.tables_training import GROUP

# With more variants, a sentence lists only the baseline, the best and the worst; the table has all.
MOST_LISTED: Final = 6
_CHOSE: Final = {
    LICENSOR: "chose the licensed sentence",
    "scope": "preferred the NPI inside its licensor's scope",
}


def what_ran(tables: ReportTables) -> str:
    """State members, model, steps and time in a sentence or two."""
    members, model = tables.members, tables.manifest.get("model", {})
    variants, seeds = len(tables.labels), members["seed"].n_unique()
    kind = {"lstm": "LSTM ", "transformer": "transformer "}.get(model.get("kind", ""), "")
    size = f" with {model['parameters']:,} parameters each" if "parameters" in model else ""
    text = (
        f"{count(len(members), f'{kind}language model')}{size} ({count(variants, 'variant')} × "
        f"{count(seeds, 'seed')}) {'was' if len(members) == 1 else 'were'} trained "
        f"for {count(tables.last_step, 'step')}"
    )
    total = tables.manifest.get("seconds", {}).get("total")
    devices = tables.manifest.get("devices", {})
    if devices.get("platform"):
        text += f" on {count(int(devices.get('count', 1)), devices['platform'].upper() + ' device')}"
    return f"{text}{f' in {duration(total)}' if total else ''}."


def accuracies(tables: ReportTables) -> list[str]:
    """State each suite's accuracies, with intervals, in a few sentences."""
    found = [text for cell in tables.main_cells() for text in (*_results(tables, cell), _learned(tables, cell))]
    return [text for text in [*found, _perplexity(tables)] if text]


def warnings(tables: ReportTables) -> list[str]:
    """List warnings that readers need to interpret the numbers; empty if there are none."""
    found = _unfinished(tables)
    for row in tables.members.to_dicts():
        who = f"Member {row['member']} (variant {row['variant']}, seed {row['seed']})"
        skipped = f"{count(int(row['skipped_updates']), 'update')} skipped for numbers that were not finite"
        if row["status"] != OK:
            found.append(f"{who} {row['status']} ({skipped}). It is left out of every result.")
        elif row["skipped_updates"]:
            found.append(f"{who}: {skipped}.")
    found += _failed(tables)
    for row in tables.corpus.to_dicts():
        if row.get("slots_unmatched"):
            slots = count(int(row["slots_unmatched"]), "slot")
            changed = int(row["slots_changed"])
            found.append(f"Variant {row['variant']}: {slots} of {changed:,} changed had no matching replacement.")
    found += [_nothing_changed(label, tables.labels[0]) for label in tables.empty]
    specs = tables.manifest.get("score_specs", {})
    for name, suite in tables.manifest.get("suites", {}).items():
        found += _suite_warnings(name, suite, specs.get(name, {}))
    found += tables.manifest.get("notes", [])
    broken = tables.final.filter(pl.col("n_nonfinite") > 0)
    if len(broken):
        names = ", ".join(broken["label"].unique().sort())
        found.append(f"Some scores of {names} are not finite; the results they enter are shown as a dash.")
    if tables.final.filter(pl.col("n_seeds") == 1).height:
        found.append("Where a variant has one seed, its interval covers variation between items, not between seeds.")
    few = tables.final.filter(pl.col(FinalResults.interval_over) == TOO_FEW)
    if len(few):
        found.append(
            f"Variants with 2 to {fewest_seeds(LEVEL) - 1} seeds have values without intervals: a {LEVEL:.0%} interval "
            f"of the typical seed needs {fewest_seeds(LEVEL)}. Differences between variants are tested all the same."
        )
    trained = int(tables.metrics["step"].max() or 0)  # type: ignore[arg-type]
    if trained > tables.last_step:
        found.append(f"Training reached step {trained:,}, but the tables end at step {tables.last_step:,}.")
    return found


def _failed(tables: ReportTables) -> list[str]:
    """Name the seeds that failed to learn what the other seeds of their variant learned."""
    frame = tables.table("failed_seeds")
    found: dict[str, list[str]] = {}
    for row in [] if frame is None else frame.to_dicts():
        who = f"Seed {row[FailedSeeds.seed]} of {row['label']} (member {row[FailedSeeds.member]})"
        found.setdefault(who, []).append(
            f"{100 * row[FailedSeeds.accuracy]:.1f}% of {row[FailedSeeds.kind]} pairs in the suite "
            f"{pretty(row[FailedSeeds.suite])}, with {100 * row[FailedSeeds.others]:.1f}% in the median of the other "
            f"seeds, from which it is far apart since step {row[FailedSeeds.step]:,}"
        )
    return [f"{who} failed to learn: {'; '.join(parts)}." for who, parts in found.items()]


def _nothing_changed(label: str, baseline: str) -> str:
    return (
        f"The variant {label} changed nothing in the text, so its models repeat those of {baseline}. It is in the "
        "tables, but excluded from this report's sentences, link tests and matrices of effects."
    )


def _suite_warnings(name: str, suite: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """List properties of a suite that affect its scores in ways that readers might not expect."""
    of_all = f"of {suite['items']:,} pairs" if "items" in suite else "pairs"
    found = []
    if suite.get("unknown_items"):
        found.append(
            f"Suite {name}: {suite['unknown_items']:,} {of_all} hold words outside the vocabulary, "
            f"{suite['unknown_critical']:,} of them in the scored region."
        )
    if suite.get("unequal_regions"):
        summed = "Each additional token lowers a sum of log-probabilities, whatever the model learned."
        matched = "They are compared by their means over tokens, times the pair's mean length."
        found.append(
            f"Suite {name}: in {suite['unequal_regions']:,} {of_all} the scored regions of the two sentences differ in "
            f"their number of tokens. {matched if spec.get('normalization') == 'matched' else summed}"
        )
    if suite.get("split_regions"):
        found.append(
            f"Suite {name}: in {suite['split_regions']:,} {of_all} a scored region begins or ends within a token; the "
            "whole token is scored."
        )
    return found


def _unfinished(tables: ReportTables) -> list[str]:
    """List missing steps and gradients, and a baseline other than the full corpus."""
    found = []
    if tables.last_step < tables.planned_steps:
        found.append(
            f"The run is at {tables.so_far}, so nothing here is final. The command that started it continues it."
        )
    aligned = tables.table("alignment")
    if aligned is None and tables.config.get("gradients", {}).get("enabled", False):
        found.append("The configuration asks for gradients, and there are none in gradients/.")
    if aligned is not None:
        missing = sorted(set(tables.curves["step"]) - set(aligned["step"]))
        if missing:
            steps = ", ".join(f"{step:,}" for step in missing)
            found.append(f"There are scores but no gradients of {'steps' if len(missing) > 1 else 'step'} {steps}.")
    first = tables.members.sort("member").filter(pl.col("label") == tables.labels[0])["variant"][0]
    if first != FULL and tables.table("transfer") is not None:
        found.append(
            f"There is no variant {FULL}: effects are differences from {first}, including what was changed in "
            "that variant."
        )
    return found


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def with_interval(row: Mapping[str, Any]) -> str:
    """Format a final accuracy with interval and number of seeds; add a remark if the interval includes chance."""
    seeds = count(row[FinalResults.n_seeds], "seed")
    if row[FinalResults.interval_over] == TOO_FEW:
        return f"{100 * row[FinalResults.accuracy]:.1f}% ({seeds}, too few for an interval)"
    chance = (
        "; not significantly different from chance" if row[FinalResults.low] <= 0.5 <= row[FinalResults.high] else ""
    )
    over = f"interval over {ITEMS}" if row[FinalResults.interval_over] == ITEMS else "interval"
    return (
        f"{100 * row[FinalResults.accuracy]:.1f}% ({LEVEL:.0%} {over} {100 * row[FinalResults.low]:.1f} to "
        f"{100 * row[FinalResults.high]:.1f}, {seeds}{chance})"
    )


def _results(tables: ReportTables, cell: Cell) -> list[str]:
    suite, kind, _ = cell
    frame = tables.without_empty(of_cell(tables.final, cell), "variant").filter(
        pl.col(FinalResults.task) == MEAN_OVER_TASKS
    )
    rows = {
        row["label"]: row
        for row in frame.to_dicts()
        if row[FinalResults.n_seeds] and row[FinalResults.accuracy] == row[FinalResults.accuracy]
    }
    rows = {label: rows[label] for label in tables.labels if label in rows}
    if not rows:
        return [f"No member has a result in the suite {pretty(suite)}."]
    first, *others = rows.values()
    chose = _CHOSE.get(kind, "preferred the acceptable sentence")
    tasks = count(len(tables.tasks(cell)), "task")
    pairs = f"{count(first[FinalResults.n_items], 'pair')} in {tasks}, suite {pretty(suite)}"
    texts = [
        f"After {count(first[FinalResults.step], 'step')}, members trained on the variant {first['label']} {chose} in "
        f"{with_interval(first)} of pairs ({pairs}); chance is 50%{_ngram(frame, first['label'])}."
    ]
    if len(others) > MOST_LISTED:
        others.sort(key=lambda row: row[FinalResults.accuracy])
        ends = [("lowest", others[0]), ("highest", others[-1])]
        parts = [f"the {name} was {row['label']} with {with_interval(row)}" for name, row in ends]
        texts.append(f"Of the {len(others)} other variants, {' and '.join(parts)}.")
    elif others:
        parts = [f"{row['label']} {with_interval(row)}" for row in others]
        texts.append(f"The other variants: {'; '.join(parts)}.")
    return texts


def _ngram(frame: pl.DataFrame, label: str) -> str:
    """State the accuracy of the 5-gram model, which knows local statistics only."""
    if "ngram" not in frame.columns:
        return ""
    known = frame.filter(pl.col(FinalResults.ngram).is_not_nan() & pl.col(FinalResults.ngram).is_not_null())
    by_label = dict(known.select("label", FinalResults.ngram).iter_rows())
    if label not in by_label:
        return ""
    without = known.filter((pl.col(FinalResults.variant) == NO_NPI) & (pl.col("label") != label))[FinalResults.ngram]
    beside = f" (without any NPI in it, in {100 * without[0]:.1f}%)" if len(without) else ""
    return f", and a 5-gram model trained on the same text chose it in {100 * by_label[label]:.1f}%{beside}"


def _learned(tables: ReportTables, cell: Cell) -> str:
    """State which tasks the baseline learned first, last and never."""
    label = tables.labels[0]
    frame = of_cell(tables.acquisition, cell).filter(
        (pl.col("label") == label) & (pl.col(Acquisition.task) != MEAN_OVER_TASKS)
    )
    if len(frame) < 2:
        return ""
    done = frame.drop_nulls("acquired").sort(Acquisition.acquired, Acquisition.task)
    never = sorted(pretty(task) for task in set(frame[Acquisition.task]) - set(done[Acquisition.task]))
    # A task above the threshold at step 0 was not learned: its pairs favor the acceptable sentence from the start.
    before = sorted(map(pretty, done.filter(pl.col(Acquisition.acquired) == 0)[Acquisition.task]))
    done = done.filter(pl.col(Acquisition.acquired) > 0)
    start = f"With the variant {label}, accuracy came to stay at {ACQUIRED:.0%} or more"
    given = f" In {', '.join(before)} it was that high before training, so nothing was learned there." if before else ""
    if not len(done):
        return f"{start} through training in none of the {len(frame)} tasks.{given}"
    first, last = done.row(0, named=True), done.row(-1, named=True)
    text = f"{start} earliest in {pretty(first[Acquisition.task])} (step {first[Acquisition.acquired]:,})"
    if last[Acquisition.acquired] > first[Acquisition.acquired]:
        text += f" and latest in {pretty(last[Acquisition.task])} (step {last[Acquisition.acquired]:,})"
    return f"{text}{', and never in ' + ', '.join(never) if never else ''}.{given}"


def _perplexity(tables: ReportTables) -> str:
    row = next((row for row in perplexities(tables) if row["label"] == tables.labels[0]), None)
    if row is None:
        return ""
    unigram = tables.manifest.get("perplexity", {}).get("unigram")
    beside = f"; a unigram model's is {unigram:,.1f}" if unigram else ""
    reach = f" (seeds {row['min']:,.1f} to {row['max']:,.1f})" if row["n_seeds"] > 1 else " (one seed)"
    return f"Validation perplexity of the variant {row['label']} was {row['median']:,.1f}{reach}{beside}."


def perplexities(tables: ReportTables) -> list[dict[str, Any]]:
    """Return validation perplexity at the last step by label: label, median, min, max over seeds, n_seeds."""
    last = tables.metrics.filter(pl.col("valid_loss").is_not_null())
    last = last.filter(pl.col("step") == pl.col("step").max())
    value = pl.col("valid_loss").exp()
    table = last.group_by("label", *GROUP, maintain_order=True).agg(
        value.median().alias("median"),
        value.min().alias("min"),
        value.max().alias("max"),
        pl.len().cast(pl.Int64).alias("n_seeds"),
    )
    place = {label: number for number, label in enumerate(tables.labels)}
    return sorted(table.to_dicts(), key=lambda row: place[row["label"]])
