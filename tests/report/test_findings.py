import dataclasses
import math

import polars as pl
import pytest
from facts import denies, sentence_with
from synthetic import make_run

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.report.data.selection import ordered, parameter_groups, primary_link, transfer_matrix
from npi_jax.report.data.tables import load_tables
from npi_jax.report.format import short_number
from npi_jax.report.prose import findings
from npi_jax.report.prose.verdict import verdict


def replaced(tables, **frames):
    """The tables with some of the optional ones put in place of their own; None takes one out."""
    more = {name: frame for name, frame in (tables.more | frames).items() if frame is not None}
    return dataclasses.replace(tables, more=more)


def last(tables, label):
    frame = tables.table("alignment_mean").filter(statistic="environments", group="recurrent", label=label, step=2000)
    return frame.row(0, named=True)


def test_the_question_counts_the_tasks(tables, tmp_path):
    assert findings.what_was_asked(tables).startswith("Does the model learn one task or nine?")
    single = make_run(tmp_path, seeds=1, environments=("only",), steps=(0, 1), multitask=False)
    assert "its one task" in findings.what_was_asked(load_tables(single))


def test_alignment_is_told_with_its_interval(tables):
    said = findings.alignment(tables)
    row = last(tables, "full")
    value, low, high = (short_number(row[name]) for name in ("corrected", "low", "high"))
    assert sentence_with(said, "recurrent weights", f"{value} (95% interval {low} to {high})", "full")
    other = last(tables, "no_npi")
    assert sentence_with(said, f"{short_number(other['corrected'])} ({short_number(other['low'])} to", "no_npi")
    assert "left out" not in said


def test_what_noise_hides_is_said(tables):
    frame = tables.table("alignment_mean")
    lost = pl.col("label") == "no_npi"
    frame = frame.with_columns(corrected=pl.when(lost).then(math.nan).otherwise("corrected"))
    # 15 pairs of the nine environments begin with one of the first two; two of three seeds.
    dark = pl.col("task_i").is_in(ENVIRONMENTS[:2]) & (pl.col("seed") > 0) & (pl.col("label") == "full")
    pairs = tables.table("alignment").with_columns(reliable=pl.col("reliable") & ~dark)
    said = findings.alignment(replaced(tables, alignment_mean=frame, alignment=pairs))
    assert denies(sentence_with(said, "no_npi", "every pair", "noise"))
    assert sentence_with(said, "noise", "30 of 108", "full", "pairs")
    nothing = frame.with_columns(corrected=pl.lit(math.nan))
    said = findings.alignment(replaced(tables, alignment_mean=nothing))
    assert denies(sentence_with(said, "full, no_npi, no_conditional and random_removal"))


def test_one_seed_is_said(tables):
    frame = tables.table("alignment_mean").with_columns(n_seeds=pl.lit(1))
    assert sentence_with(findings.alignment(replaced(tables, alignment_mean=frame)).lower(), "one seed", "intervals")


def test_the_largest_effect_is_between_environments_and_against_the_control(tables):
    matrix = transfer_matrix(tables)
    assert matrix.against == "control"
    assert set(matrix.between()["control"]) == {f"random_no_{name}" for name in ENVIRONMENTS}
    row = max(matrix.between().to_dicts(), key=lambda row: abs(row["effect"]))
    first, many, own, every = findings.transfer(tables)
    names = [row[name].replace("_", " ") for name in ("removed", "task")]
    assert sentence_with(first, f"“{names[0]}”", "delta", f"“{names[1]}”")
    interval = f"({short_number(row['effect'])} nats (95% interval {short_number(row['low'])} to"
    assert interval[1:] in first
    told = matrix.between().filter(pl.col("p_adjusted") < 0.05)
    assert sentence_with(many, "72 effects", str(len(told)))
    assert "in that environment" in own
    assert "all NPIs" in every


def test_effects_are_against_the_first_variant_where_controls_are_missing(tables):
    frame = tables.table("transfer").filter((pl.col("control") == "") | (pl.col("removed") == "only"))
    found = transfer_matrix(replaced(tables, transfer=frame))
    assert found.against == "full"
    assert set(found.rows["control"]) == {""}
    assert "compared with full." in findings.transfer(replaced(tables, transfer=frame))[0]


def test_transfer_that_cannot_be_said(tables):
    frame = tables.table("transfer")
    every = frame.filter(pl.col("removed") == "all")
    said = findings.transfer(replaced(tables, transfer=every, gains=None))
    assert denies(sentence_with(said[0], "no variant", "one environment"))
    assert said[1].startswith("Removing all NPIs")
    unknown = frame.with_columns(effect=pl.lit(math.nan), reason=pl.lit("one seed"))
    assert findings.transfer(replaced(tables, transfer=unknown)) == [
        "Transfer between environments is unknown: one seed."
    ]
    assert denies(findings.transfer(replaced(tables, transfer=None, gains=None))[0])


def test_a_run_about_gains_does_not_miss_removals(tables):
    every = tables.table("transfer").filter(pl.col("removed") == "all")
    (said,) = findings.transfer(replaced(tables, transfer=every))
    assert said.startswith("Removing all NPIs")


def test_the_matrix_has_its_effects_in_place(tables):
    matrix = transfer_matrix(tables)
    assert matrix.removed == [*ENVIRONMENTS, "all"]
    row = matrix.rows.filter(removed="only", task="quantifier").row(0, named=True)
    place = matrix.removed.index("only"), matrix.tasks.index("quantifier")
    assert matrix.values("effect")[place] == row["effect"]
    assert matrix.significant()[place] == (row["p_adjusted"] < 0.05)


def test_the_link_is_the_declared_row(tables):
    assert primary_link(tables)["predictor"] == "corrected"
    said = findings.link(tables)
    assert sentence_with(said, "72 pairs", "9 tasks", "Spearman", "−.43", "p = .012", "step 64")
    assert sentence_with(said, "effects of single tasks were removed", "different seeds")
    assert not denies(said)
    shared = tables.table("link").with_columns(seeds=pl.lit("shared"))
    assert sentence_with(findings.link(replaced(tables, link=shared)), "the same seeds", "fewer than 4")
    old = tables.table("link").drop("centered", "seeds").with_columns(step=pl.lit(-1))
    assert sentence_with(
        findings.link(replaced(tables, link=old)), "single tasks were not removed", "analyze the run again"
    )
    weak = tables.table("link").with_columns(p=pl.lit(0.3))
    assert denies(findings.link(replaced(tables, link=weak)))
    none = tables.table("link").with_columns(statistic=pl.lit(math.nan), reason=pl.lit("5 tasks are too few"))
    assert findings.link(replaced(tables, link=none)) == (
        "We cannot tell whether alignment predicts transfer: 5 tasks are too few."
    )
    assert findings.link(replaced(tables, link=None)) == ""
    assert findings.link(replaced(tables, link=none, transfer=None)) == ""


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p < .001"), (0.012, "p = .012"), (0.5, "p = .500"), (1.0, "p = 1.000")]
)
def test_p_values(p, text):
    assert findings.p_value(p) == text


def test_order_of_tasks_and_groups():
    assert ordered(["lm", "zebra", "only", "all", "adverbs"]) == ["adverbs", "only", "zebra", "lm", "all"]
    frame = pl.DataFrame({"group": ["all", "recurrent_1", "output", "recurrent", "recurrent_0", "embedding"]})
    assert parameter_groups(frame) == ["recurrent", "recurrent_0", "recurrent_1", "embedding", "output", "all"]
    assert parameter_groups(frame.filter(pl.col("group") != "recurrent_1")) == [
        "recurrent",
        "embedding",
        "output",
        "all",
    ]


def with_values(frame, where, **values):
    """The frame with other values in some rows."""
    return frame.with_columns(
        pl.when(where).then(pl.lit(value)).otherwise(name).alias(name) for name, value in values.items()
    )


def no_npi_contrast(metric):
    shown = (pl.col("label") == "no_npi") & (pl.col("group") == "recurrent") & (pl.col("step") == 2000)
    return shown & (pl.col("metric") == metric)


def test_the_first_claim_is_about_the_number_of_tasks_and_tests_it_by_seed(tables):
    frame, numbers = tables.table("alignment_contrasts"), tables.table("effective_tasks")

    def shared(contrasts=frame, effective=numbers):
        return verdict(replaced(tables, alignment_contrasts=contrasts, effective_tasks=effective))[0]

    row = numbers.filter(label="full", group="recurrent", step=2000, metric="adam").row(0, named=True)
    without = numbers.filter(label="no_npi", group="recurrent", step=2000, metric="adam").row(0, named=True)
    assert shared().badge == "suggestive"
    number, low, high = (short_number(row[name], 1) for name in ("effective", "low", "high"))
    assert sentence_with(
        shared().text, "recurrent weights", "9 tasks", f"{number} independent tasks (95% interval {low} to {high})"
    )
    assert f"of {short_number(without['effective'], 1)} in no_npi" in shared().text
    assert sentence_with(shared().text, "more than in models without NPIs", "p = .010")
    adam = no_npi_contrast("adam")
    assert shared(with_values(frame, adam, p=0.0004)).badge == "clear"
    assert "agree less than in" in shared(with_values(frame, adam, difference=0.4)).text
    weak = shared(with_values(frame, adam, p=0.05))
    assert weak.badge == "cannot say"
    assert denies(sentence_with(weak.text, "models without NPIs", "p = .050"))
    # Only the row of the baseline's group, the last step and the metric decides.
    assert shared(with_values(frame, ~adam, difference=0.4, p=0.9)) == shared()
    # Without Adam's metric, the plain one does.
    assert shared(with_values(frame, adam, difference=math.nan, p=math.nan)).badge == "suggestive"
    unknown = shared(
        with_values(frame, no_npi_contrast("adam") | no_npi_contrast("plain"), p=math.nan, reason="one seed")
    )
    assert (unknown.badge, denies(unknown.text)) == ("cannot say", True)
    assert "one seed" in unknown.text
    lost = shared(effective=with_values(numbers, pl.lit(value=True), effective=math.nan, reason="too much noise"))
    assert lost.badge == "cannot say"
    assert "too much noise" in lost.text
    # A run without gradients has no such claim.
    assert "weights" not in shared(effective=None).text


def test_the_second_claim_is_the_gain_of_a_scarce_environment(tables):
    frame = tables.table("gains")

    def gained(gains):
        return verdict(replaced(tables, gains=gains))[1]

    said = gained(frame)
    # The mean over environments, at the smallest share above 0.
    assert said.badge == "clear"
    assert sentence_with(
        said.text, "helps", "10% of its sentences with an NPI", "mean of 2 environments", "95% with their data"
    )
    assert sentence_with(said.text, "55% without", "+2.00 nats (95% interval 1.40 to 2.60)", "p = .008")
    single = frame.filter(pl.col("environment") == "adverbs", pl.col("share") == 0)
    assert sentence_with(gained(single).text, "“adverbs”", "none of its sentences")
    harmed = single.with_columns(gain=-pl.col("gain"))
    assert "harms" in gained(harmed).text
    weak = single.with_columns(p_adjusted=pl.lit(0.2))
    assert (gained(weak).badge, denies(gained(weak).text)) == ("cannot say", True)
    few = single.with_columns(p=pl.lit(math.nan), p_adjusted=pl.lit(math.nan), reason=pl.lit("one seed shows nothing"))
    assert (gained(few).badge, "one seed shows nothing" in gained(few).text) == ("cannot say", True)
    # Where p is not adjusted, as with two seeds, it is the plain one.
    assert "p = .004" in gained(single.with_columns(p_adjusted=pl.lit(math.nan))).text


def test_without_scarce_environments_the_second_claim_is_about_removals(tables):
    def taught(transfer):
        return verdict(replaced(tables, gains=None, transfer=transfer))[1]

    frame = tables.table("transfer")
    assert sentence_with(taught(frame).text, "helps", "20 of 72")
    assert taught(frame).badge == "suggestive"
    nothing = frame.with_columns(p_adjusted=pl.lit(0.5))
    assert (taught(nothing).badge, denies(taught(nothing).text)) == ("cannot say", True)
    assert sentence_with(taught(nothing).text, "3 seeds", ".30 nats")
    hurts = nothing.with_columns(p_adjusted=pl.lit(0.001), effect=pl.lit(0.5))
    assert sentence_with(taught(hurts).text, "hurts", "72 of 72", "none")
    assert taught(hurts).badge == "clear"
    bare = nothing.filter(pl.col("control") == "")
    assert "random controls" in taught(bare).text
    assert denies(taught(frame.with_columns(n_seeds=pl.lit(1))).text)
    assert "not tested" in taught(None).text


def test_a_run_that_compares_nothing_has_no_claims(tables):
    nothing = dict.fromkeys(("effective_tasks", "gains", "transfer"))
    assert verdict(replaced(tables, **nothing)) == []


def test_the_last_claim_says_what_the_run_leaves_open(tables):
    assert [claim.badge for claim in verdict(tables)] == ["suggestive", "clear"]
    weak = tables.table("link").with_columns(p=pl.lit(0.3))
    said = verdict(replaced(tables, link=weak))[-1]
    assert said.badge == "cannot say"
    assert sentence_with(said.text, "similar gradients")
    alone = verdict(replaced(tables, link=None, transfer=None))[-1]
    assert sentence_with(alone.text, "which environment helps which", "nor", "similar gradients")


def test_what_taking_all_away_did_is_told_in_nats_and_points(tables):
    said = " ".join(findings.transfer(tables))
    assert sentence_with(said, "all NPIs", "median task")
    assert " nats (" in said
    assert " and accuracy by −" in said
    assert " points (" in said
