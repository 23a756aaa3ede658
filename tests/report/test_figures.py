import dataclasses
import warnings
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from synthetic import VARIANTS, make_run

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.report.data.tables import load_tables
from npi_jax.report.figures.learning import curves_picture, heat_picture, perplexity_picture, pictures
from npi_jax.report.figures.picture import NARROW, WIDE, save_figures
from npi_jax.report.figures.style import INK, PALETTE, strokes
from npi_jax.report.figures.transfer import amplification_picture
from npi_jax.report.format import short_number


@pytest.fixture(scope="module")
def cell(tables):
    return tables.cells()[0]


def test_one_panel_a_task_one_line_a_variant(tables, cell):
    picture = curves_picture(tables, cell, "accuracy")
    axes = [axis for axis in picture.wide.axes if axis.axison]
    assert [axis.get_title(loc="left") for axis in axes] == [name.replace("_", " ") for name in ENVIRONMENTS]
    for axis in axes:
        lines = [line for line in axis.lines if len(line.get_xdata()) == 15]
        assert len(lines) == len(VARIANTS)
        chance = [line for line in axis.lines if len(line.get_xdata()) == 2]
        assert [set(line.get_ydata()) for line in chance] == [{0.5}]
        assert axis.get_xscale() == "symlog"


def test_lines_are_the_medians_of_the_curves(tables, cell):
    axis = curves_picture(tables, cell, "delta").wide.axes[1]
    line = next(line for line in axis.lines if line.get_color() == INK)
    expected = (
        tables.curves.filter(suite="grammar", kind="licensor", region="critical", task="conditional", label="full")
        .group_by("step")
        .agg(pl.col("delta").median())
        .sort("step")
    )
    np.testing.assert_array_equal(line.get_xdata(), expected["step"])
    np.testing.assert_allclose(line.get_ydata(), expected["delta"])


def test_narrow_picture_has_two_columns_and_fills_its_last_panel(tables, cell):
    picture = curves_picture(tables, cell, "accuracy")
    assert picture.narrow is not None
    assert picture.narrow.axes[9].get_title(loc="left") == "mean over tasks"
    assert picture.narrow.get_figwidth() < picture.wide.get_figwidth() / 2


def test_nothing_lies_outside_of_the_figure(pictures_of):
    for picture in pictures_of.values():
        for stem, figure in picture.figures():
            box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
            assert box.x0 > -0.02, stem
            assert box.y0 > -0.02, stem
            assert box.x1 < figure.get_figwidth() + 0.02, stem
            assert box.y1 < figure.get_figheight() + 0.02, stem


def test_heat_map_writes_the_final_accuracies(tables, cell):
    axis = heat_picture(tables, cell).wide.axes[0]
    final = tables.final.filter(kind="licensor", region="critical", label="no_conditional", task="conditional")
    row, column = VARIANTS.index("no_conditional"), ENVIRONMENTS.index("conditional")
    found = {text.get_position(): text.get_text() for text in axis.texts}
    assert found[(column, row)] == f"{100 * final['accuracy'][0]:.0f}"
    assert len(found) == len(VARIANTS) * (len(ENVIRONMENTS) + 1)


def test_dots_mark_the_steps_of_acquisition(tables, cell, pictures_of):
    picture = pictures_of["curves_grammar_licensor_critical_accuracy"]
    for axis, task in zip(picture.wide.axes, ENVIRONMENTS, strict=False):
        dots = [line for line in axis.lines if line.get_label() == "_acquired"]
        expected = tables.acquisition.filter(kind="licensor", region="critical", task=task)["acquired"].drop_nulls()
        assert sorted(dot.get_xdata()[0] for dot in dots) == sorted(expected)
    marked = picture.data.filter("acquired")
    assert set(marked.filter(task="only", label="full")["step"]) == set(
        tables.acquisition.filter(kind="licensor", region="critical", task="only", label="full")["acquired"]
    )


def test_every_figure_has_its_data_beside_it(drawn, run):
    _page, found = drawn
    folder = run.path / "figures"
    for picture in found:
        assert (folder / f"{picture.name}.svg").exists()
        assert (folder / f"{picture.name}.png").exists()
        read = pl.read_csv(folder / f"{picture.name}.csv", infer_schema_length=None)
        assert read.shape == picture.data.shape
        assert read.columns == picture.data.columns
    narrow = {path.name for path in folder.glob("*_narrow*")}
    assert narrow
    assert all(name.endswith(".svg") for name in narrow)


def test_data_are_what_the_lines_are_drawn_from(tables, pictures_of):
    picture = pictures_of["curves_grammar_licensor_critical_delta"]
    line = next(line for line in picture.wide.axes[1].lines if line.get_color() == INK)
    data = picture.data.filter(task="conditional", label="full")
    np.testing.assert_array_equal(line.get_ydata(), data["typical"])
    final = pictures_of["final_grammar_licensor_critical"].data
    assert len(final) == len(VARIANTS) * (len(ENVIRONMENTS) + 1)


def test_drawings_are_wide_narrow_or_fit_both(pictures_of):
    for picture in pictures_of.values():
        if picture.narrow is not None:
            assert picture.wide.get_figwidth() == WIDE
            assert picture.narrow.get_figwidth() == NARROW
        else:
            assert picture.compact or picture.name == "alignment_pairs"


def test_numbers_are_short():
    found = [short_number(value) for value in (0.412, -0.05, -0.001, 1.2, float("nan"), 12.345)]
    assert found == [".41", "−.05", "0", "1.20", "–", "12.35"]
    assert short_number(-0.64, 1) == "−.6"


def test_perplexity_is_beside_the_unigram_models(tables):
    axis = perplexity_picture(tables).wide.axes[0]
    flat = [line for line in axis.lines if len(line.get_xdata()) == 2]
    assert set(flat[0].get_ydata()) == {412.7}
    assert "unigram" in perplexity_picture(tables).caption
    assert axis.get_ylim()[1] > 412.7


def test_perplexity_without_a_unigram_model(tables):
    bare = dataclasses.replace(tables, manifest={})
    assert "unigram" not in perplexity_picture(bare).caption


def test_controls_have_the_color_of_what_they_control(tables):
    found = strokes(tables)
    assert found["full"].color == INK
    assert found["random_removal"].color == found["no_conditional"].color
    assert found["random_removal"].dash != found["no_conditional"].dash
    assert len({(stroke.color, stroke.dash) for stroke in found.values()}) == len(VARIANTS)


@pytest.mark.drill
def test_many_variants_are_drawn_by_what_they_do_to_the_environment(tmp_path):
    variants = ("full", "no_npi", "no_conditional", "random", *(f"other{i}" for i in range(6)))
    run = make_run(tmp_path, variants=variants, seeds=1, steps=(0, 1, 10), multitask=False)
    tables = load_tables(run)
    here, elsewhere = strokes(tables, "conditional"), strokes(tables, "adverbs")
    assert here["no_conditional"].color == PALETTE[0]
    assert here["no_conditional"].legend == "its NPIs removed"
    assert here["random"].legend == "control of that removal"
    assert here["no_npi"].legend == elsewhere["no_npi"].legend == "removed with most others"
    assert elsewhere["no_conditional"].legend == "all other variants"
    picture = curves_picture(tables, tables.cells()[0], "accuracy")
    assert len(picture.wide.legends[0].get_texts()) == 5
    assert "Colors say" in picture.caption


def test_files_are_the_same_each_time_and_hold_no_date(tables, cell, tmp_path):
    first = save_figures([perplexity_picture(tables)], tmp_path / "a")
    second = save_figures([perplexity_picture(tables)], tmp_path / "b")
    assert [path.suffix for path in first] == [".svg", ".svg", ".png", ".csv"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(path.name for path in first)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    text = first[0].read_text()
    ElementTree.fromstring(text)
    assert "<dc:date>" not in text


def test_pictures_are_big_enough_and_not_empty(tables, cell, tmp_path):
    paths = save_figures([heat_picture(tables, cell)], tmp_path)
    png = next(path for path in paths if path.suffix == ".png")
    with Image.open(png) as image:
        assert image.width > 1200
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_drawing_leaves_matplotlib_as_it_was(tables, cell, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = dict(mpl.rcParams)
        save_figures([heat_picture(tables, cell)], tmp_path)
        assert dict(mpl.rcParams) == before


def test_names_are_taken_literally(tmp_path):
    names = ("$\\frac{1}{", "_hidden", "a/../b", "<b>")
    tables = load_tables(
        make_run(tmp_path, variants=names, seeds=2, environments=("only",), steps=(0, 1), multitask=False)
    )
    picture = curves_picture(tables, tables.cells()[0], "accuracy")
    assert [text.get_text() for text in picture.wide.legends[0].get_texts()] == list(names)
    save_figures(pictures(tables), tmp_path / "figures")


def panels(picture):
    """The lines with the data of each panel, by its title: with the others kept, then removed."""
    return {
        axis.get_title(loc="left"): [
            line.get_ydata().tolist() for line in axis.lines if line.get_label() in ("kept", "removed")
        ]
        for axis in picture.wide.axes
        if axis.axison
    }


def test_a_curve_of_amplification_is_about_one_kind_of_share(tables):
    items = tables.table("amplification")
    before = panels(amplification_picture(tables))
    assert before["adverbs"] == [pytest.approx([0.5, 0.54, 0.7, 0.9])] * 2
    # All sentences of one environment were thinned, too, and one donor was kept; two environments have no inner share.
    sentences = items.filter(environment="adverbs", share=0.1).with_columns(thinned=pl.lit("sentences"), accuracy=0.25)
    donor = sentences.with_columns(others=pl.lit("one"), donor=pl.lit("only"), accuracy=0.75)
    ends = items.filter(pl.col("share").is_in([0.0, 1.0])).with_columns(environment=pl.lit("superlative"))
    mixed = dataclasses.replace(tables, more={"amplification": pl.concat([items, sentences, donor, ends])})
    assert panels(amplification_picture(mixed)) == before | {"adverbs (all)": [[0.25], [0.25]]}
    two = items.filter(pl.col("share").is_in([0.1, 1.0]))
    assert amplification_picture(dataclasses.replace(tables, more={"amplification": two})) is None
    old = dataclasses.replace(tables, more={"amplification": items.drop("thinned", "donor")})
    assert panels(amplification_picture(old)) == before
