"""Figures of alignment, transfer and diagnostics: what is drawn is what the tables say."""

import dataclasses
import itertools

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from multitask import GROUPS, UNRELIABLE
from synthetic import STEPS, VARIANTS, make_run

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.report.data.selection import pair_alignment
from npi_jax.report.data.tables import load_tables
from npi_jax.report.figures.alignment import heat_maps_picture, limits, trajectories_picture
from npi_jax.report.figures.heatmap import heat_data, thinned
from npi_jax.report.figures.learning import pictures
from npi_jax.report.figures.style import INK
from npi_jax.report.format import short, short_number
from npi_jax.report.prose.detail_tables import detail_tables

TASKS = [*ENVIRONMENTS, "lm"]


def without(tables, *names):
    return dataclasses.replace(tables, more={name: frame for name, frame in tables.more.items() if name not in names})


def test_pairs_are_means_over_the_seeds_in_which_they_are_reliable(tables):
    raw = tables.table("alignment").with_columns(
        reliable=pl.when(pl.col("seed") == 1).then(statement=False).otherwise("reliable"),
        reason=pl.when(pl.col("seed") == 1).then(pl.lit("weak")).otherwise("reason"),
    )
    pairs = pair_alignment(dataclasses.replace(tables, more=tables.more | {"alignment": raw}))
    place = {"label": "full", "step": 2000, "group": "output", "task_i": "adverbs", "task_j": "only"}
    row = pairs.filter(**place).row(0, named=True)
    kept = raw.filter(**place).filter(pl.col("seed") != 1)["corrected"]
    assert row["corrected"] == pytest.approx(kept.mean())
    assert (row["n_seeds"], row["n_reliable"], row["reason"]) == (3, 2, "weak")


def test_heat_maps_show_both_halves_of_the_last_step(tables, pictures_of):
    axis = pictures_of["alignment_pairs"].wide.axes[0]
    assert axis.get_title(loc="left") == VARIANTS[0]
    found = {text.get_position(): text.get_text() for text in axis.texts}
    pairs = pair_alignment(tables).filter(label="full", step=2000, group="recurrent")
    value = pairs.filter(task_i="conditional", task_j="only")["corrected"][0]
    i, j = TASKS.index("conditional"), TASKS.index("only")
    assert found[i, j] == found[j, i] == short_number(value)
    assert len(found) == len(TASKS) ** 2


def test_what_cannot_be_told_is_hatched_and_not_numbered(tables):
    frame = tables.table("alignment")
    lost = (pl.col("task_i") == "adverbs") & (pl.col("task_j") == "only")
    frame = frame.with_columns(reliable=pl.when(lost).then(statement=False).otherwise("reliable"))
    picture = heat_maps_picture(dataclasses.replace(tables, more=tables.more | {"alignment": frame}))
    axis = picture.wide.axes[0]
    hatched = [patch for patch in axis.patches if patch.get_hatch()]
    assert sorted(patch.get_xy() for patch in hatched) == [(-0.5, 3.5), (3.5, -0.5)]
    assert len(axis.texts) == len(TASKS) ** 2 - 2


def test_the_heat_maps_csv_has_all_steps_and_groups(pictures_of):
    data = pictures_of["alignment_pairs"].data
    assert set(data["step"]) == set(STEPS)
    assert set(data["group"]) == set(GROUPS)
    assert set(data["label"]) == set(VARIANTS)
    unreliable = data.filter(step=1, group="embedding", task_i="adverbs")
    assert unreliable["corrected"].null_count() == len(unreliable)
    assert set(unreliable["reason"]) == {UNRELIABLE}


def test_trajectories_have_a_panel_a_group_and_a_line_a_variant(tables, pictures_of):
    picture = pictures_of["alignment_environments"]
    axes = [axis for axis in picture.wide.axes if axis.axison]
    titles = [axis.get_title(loc="left") for axis in axes]
    assert titles == ["recurrent", "recurrent 0", "recurrent 1", "embedding", "output", "all"]
    lines = [line for line in axes[0].lines if len(line.get_xdata()) == len(STEPS) and line.get_label() != "_thin"]
    assert len(lines) == len(VARIANTS) + 1
    naive = next(line for line in lines if line.get_label() == "_naive")
    mean = tables.table("alignment_mean").filter(statistic="environments", group="recurrent", label="full").sort("step")
    np.testing.assert_allclose(naive.get_ydata(), mean["naive"])
    assert any(np.array_equal(line.get_ydata(), mean["corrected"]) for line in lines)
    assert len(picture.data) == len(GROUPS) * len(VARIANTS) * len(STEPS)
    assert trajectories_picture(tables, "nothing of the kind") is None


def test_means_over_few_pairs_are_drawn_thin_only(tables):
    dark = (pl.col("step") == 64) & (pl.col("label") == "full") & (pl.col("group") == "recurrent")
    dark &= pl.col("task_i").is_in(ENVIRONMENTS[:4])
    frame = tables.table("alignment").with_columns(reliable=pl.col("reliable") & ~dark)
    picture = trajectories_picture(dataclasses.replace(tables, more=tables.more | {"alignment": frame}), "environments")
    row = picture.data.filter(label="full", group="recurrent", step=64).row(0, named=True)
    # 8 + 7 + 6 + 5 of the 36 pairs begin with one of the first four.
    assert row["share_left_out"] == pytest.approx(26 / 36)
    both = [
        line for line in picture.wide.axes[0].lines if line.get_color() == INK and len(line.get_xdata()) == len(STEPS)
    ]
    values = {line.get_label() == "_thin": line.get_ydata()[STEPS.index(64)] for line in both}
    assert values[True] == pytest.approx(row["corrected"])
    assert np.isnan(values[False])


def test_the_matrix_of_effects_marks_what_is_told_from_0(tables, pictures_of):
    picture = pictures_of["transfer"]
    found = {text.get_position(): text for text in picture.wide.axes[0].texts}
    for row in picture.data.to_dicts():
        place = ENVIRONMENTS.index(row["task"]), [*ENVIRONMENTS, "all"].index(row["removed"])
        if np.isnan(row["effect"]):
            assert place not in found
            continue
        star = row["p_adjusted"] < 0.05
        assert found[place].get_text() == short_number(row["effect"], 1) + "*" * star
        assert found[place].get_weight() == ("bold" if star else "normal")


def test_every_pair_is_a_point_and_some_are_named(tables, pictures_of):
    axis = pictures_of["alignment_against_transfer"].wide.axes[0]
    points = next(line for line in axis.lines if line.get_label() == "_pairs")
    frame = tables.table("link_pairs").sort("removed", "task")
    np.testing.assert_array_equal(points.get_xdata(), frame["alignment"])
    np.testing.assert_array_equal(points.get_ydata(), frame["effect"])
    names = {f"{short(row['removed'])}→{short(row['task'])}" for row in frame.to_dicts()}
    said = {text.get_text() for text in axis.texts}
    assert 1 <= len(said) <= 6
    assert said <= names
    # No name lies on another or on a point.
    figure = axis.get_figure()
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    places = axis.transData.transform(np.column_stack([points.get_xdata(), points.get_ydata()]))
    assert not any(box.contains(*place) for box in boxes for place in places)


def test_checks_show_the_share_of_pairs_left_out(pictures_of):
    data = pictures_of["gradient_checks"].data.filter(statistic="environments", group="embedding")
    # All 8 pairs of the first environment of 36, in every variant and seed.
    assert dict(data.select("step", "unreliable").iter_rows())[1] == pytest.approx(8 / 36)
    assert set(data.filter(pl.col("step") != 1)["unreliable"]) == {0.0}
    line = pictures_of["gradient_checks"].wide.axes[0].lines[3]
    assert max(line.get_ydata()) == pytest.approx(8 / 36)


def test_a_run_without_the_tables_has_only_the_figures_of_learning(plain):
    found = pictures(load_tables(plain))
    assert {picture.section for picture in found} == {"learning"}
    assert heat_data(load_tables(plain)) is None
    assert [table.title for table in detail_tables(load_tables(plain), "transfer")] == []


@pytest.mark.parametrize("name", ["alignment", "alignment_mean", "transfer", "link", "link_pairs", "alignment_npi"])
def test_every_table_may_be_missing(tables, name):
    tables = without(tables, name)
    for section in ("transfer", "data", "diagnostics"):
        assert all(table.rows for table in detail_tables(tables, section))
    with mpl.rc_context({"figure.max_open_warning": 0}):
        made = (heat_maps_picture(tables), trajectories_picture(tables, "lm"))
    assert (made[0] is None) == (name == "alignment")
    assert (made[1] is None) == (name == "alignment_mean")


def test_the_pages_numbers_are_those_of_the_table(tables):
    data = heat_data(tables)
    assert data["variants"] == list(VARIANTS)
    assert data["steps"] == list(STEPS)
    pair = data["pairs"].index([TASKS.index("conditional"), TASKS.index("only")])
    at = data["groups"].index("output")
    value = data["values"][1][at][data["steps"].index(64)][pair] / data["scale"]
    place = {"label": "no_npi", "step": 64, "group": "output", "task_i": "conditional", "task_j": "only"}
    expected = pair_alignment(tables).filter(**place)["corrected"][0]
    assert value == pytest.approx(expected, abs=0.0051)
    lost = data["values"][0][data["groups"].index("embedding")][1]
    first = [number for number, (i, _) in enumerate(data["pairs"]) if i == 0]
    assert [number for number, value in enumerate(lost) if value is None] == first
    why = data["why"][0][data["groups"].index("embedding")][1]
    assert {data["reasons"][reason] for reason in why.values()} == {UNRELIABLE}
    assert data["colors"][0][0] == -1
    assert data["colors"][-1][0] == 1


def test_long_runs_keep_their_first_and_last_step():
    steps = list(range(100))
    found = thinned(steps, 7)
    assert (len(found), found[0], found[-1]) == (7, 0, 99)
    assert thinned(steps, 0) == [0, 99]
    assert thinned(steps[:5], 7) == steps[:5]


def test_diverged_members_are_counted_and_their_pairs_are_dark(tmp_path):
    run = make_run(
        tmp_path, variants=("full", "b"), seeds=1, environments=ENVIRONMENTS[:2], steps=(0, 1), diverged=(1,)
    )
    tables = load_tables(run)
    data = heat_data(tables)
    assert all(value is None for value in data["values"][1][0][1])
    assert data["reasons"][data["why"][1][0][1][0]] == "diverged"
    table = next(table for table in detail_tables(tables, "diagnostics") if table.title == "Members that diverged")
    assert table.rows == [["full", "0", "1", "0"], ["b", "1", "1", "40"]]


def test_tables_of_details_say_what_interventions_left(tables):
    found = {table.title: table for table in detail_tables(tables, "diagnostics")}
    table = found["Slots changed and NPIs left by the interventions"]
    assert table.rows[1] == ["no_npi", "4,500", "11.2%", "none"]
    assert table.rows[0][-1] == "–"
    effects = next(table for table in detail_tables(tables, "transfer") if table.title.startswith("Effects"))
    assert len(effects.rows) == 90
    unknown = [row for row in effects.rows if row[3] == "–"]
    assert [row[-1] for row in unknown] == ["one seed"]


def test_limits_hold_what_is_finite():
    values = pl.Series([0.2, float("nan"), None, 1.4])
    low, high = limits(values)
    assert low < -0.1
    assert 1.4 < high < 1.5
