"""Names that may hold anything, in files, figures, tables and pages."""

import csv
import itertools
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from synthetic import make_run

from npi_jax.files.csv_cells import inert, write_csv
from npi_jax.report.data.odd_names import visible_frame, visible_values
from npi_jax.report.figures.picture import file_name
from npi_jax.report.figures.style import cut
from npi_jax.report.pages.run_page import write_report

NAMES = (
    *("my suite", "my-suite", "my_suite", "My_suite", "MY_SUITE", "my__suite", "_my_suite", "my/suite", "mysuite"),
    *("ἀρνητικά", "θετικά", "条件", "否定", "a" * 300, "a" * 299 + "b", "", "..", "con", "é", "e\u0301"),
)


def test_other_names_have_other_files_where_case_does_not_count_too():
    stems = [file_name("curves", name, "licensor", "critical", "accuracy") for name in NAMES]
    stems += [file_name("final", name, kind, "critical") for name, kind in itertools.product(NAMES, ("a", "A", "b-"))]
    assert len({stem.casefold() for stem in stems}) == len(stems)
    for stem in stems:
        assert stem.isascii()
        assert not set(stem) & set("/\\. :")
        assert len(f".{stem}_narrow.svg.12345678.tmp") < 255


def test_plain_names_are_kept():
    assert (
        file_name("curves", "npi_scope2", "licensor", "critical", "delta")
        == "curves_npi-scope2_licensor_critical_delta"
    )
    assert file_name("curves", "a/../b", "x y").startswith("curves_a-b_x-y_")


def test_cells_that_a_spreadsheet_would_execute_are_text(tmp_path):
    cells = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "plain", "−1", "-0.5", None, "'=1", "＝1"]
    frame = pl.DataFrame({"=head": cells, "number": [-1.5] * len(cells)})
    write_csv(tmp_path / "x.csv", frame)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["'=head", "number"]
    shown = [row[0] for row in rows[1:]]
    marked = ["'=1+1", "'+cmd|' /C calc'!A0", "'-2+3", "'@SUM(A1)", "'\t=1"]
    assert shown == [*marked, "plain", "−1", "-0.5", "", "'=1", "'＝1"]
    assert {row[1] for row in rows[1:]} == {"-1.5"}
    assert inert(frame.drop("=head")).equals(frame.drop("=head"))


def test_long_names_keep_their_ends():
    one, other = (f"downsample({'any_' * 20}, {share})" for share in (0.1, 0.2))
    assert len(cut(one, 40)) == 40
    assert cut(one, 40) != cut(other, 40)
    assert cut("short", 40) == "short"


@pytest.mark.filterwarnings("error")
def test_names_with_controls_and_foreign_letters_make_whole_files(tmp_path):
    odd = ("full", "\x1b[31m\x07<b>&\x00\ufffe", "条件" + "x" * 120, "=cmd -- ]]> \u202e")
    run = make_run(tmp_path, variants=odd, seeds=2, environments=("only", "a\x0bb"), steps=(0, 1), multitask=False)
    run.manifest["name"] = "\x1b]0;name\x07"
    page = write_report(run).read_text(encoding="utf-8")
    assert not {letter for letter in page if ord(letter) < 32} - {"\n"}
    assert "\u202e" not in page
    assert "\ufffe" not in page
    assert "<b>&" not in page
    for path in (tmp_path / "figures").glob("*.svg"):
        ET.fromstring(path.read_bytes())
    for path in (tmp_path / "figures").glob("*.csv"):
        assert "\n=" not in path.read_text(encoding="utf-8")


def test_only_odd_texts_are_changed():
    frame = pl.DataFrame({"name": ["a\x07", "b", None], "n": [1, 2, 3]})
    assert visible_frame(frame)["name"].to_list() == ["a␇", "b", None]
    assert visible_values({"a\x07": ["x\x1b", 1, None, {"k": True}]}) == {"a␇": ["x␛", 1, None, {"k": True}]}
