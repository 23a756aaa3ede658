import re
from html.parser import HTMLParser

import polars as pl
import pytest
from facts import denies, sentence_with
from synthetic import VARIANTS, make_run

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.files.writing import write_table
from npi_jax.report.data.tables import load_tables
from npi_jax.report.figures.svg import colors, inline_svg
from npi_jax.report.pages.run_page import breakable, result_table, write_report

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "-->&amp;'")
VOID = {"meta", "link", "br", "img", "wbr", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, text by element, and whether tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        tag = self.open[-1] if self.open else ""
        self.texts.setdefault(tag, []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text(report):
    return report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    tasks = (ENVIRONMENTS[0], "</script><script>alert(5)</script>")
    run = make_run(folder, variants=HOSTILE, seeds=2, environments=tasks, steps=(0, 1, 8), diverged=(2,))
    run.manifest["name"] = "</title><script>alert(3)</script>"
    run.config["note"] = "</pre><script>alert(4)</script>"
    return write_report(run).read_text(encoding="utf-8")


def test_page_has_its_parts(page):
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {"curves", "results", "acquisition", "perplexities", "corpus", "ran"} <= ids
    assert {"alignment", "transfer", "data", "diagnostics", "heat-data", "heat-step", "heat-group"} <= ids
    anchors = {attributes["href"][1:] for attributes in page.all("a")}
    assert anchors <= ids
    assert len(page.all("figure")) == 15
    assert len(page.all("svg")) == 20
    assert len(page.all("table")) == 16
    assert page.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert all(figure.get("aria-label") for tag, figure in page.elements if figure.get("role") == "img")


def test_prose_has_the_numbers_and_their_intervals(run, page):
    row = (
        load_tables(run)
        .final.filter(label="full", kind="licensor", region="critical", task="mean over tasks")
        .to_dicts()[0]
    )
    said = " ".join(page.texts["p"])
    assert sentence_with(said, "12 LSTM language models", "123,456 parameters", "4 variants × 3 seeds")
    number = f"{100 * row['accuracy']:.1f}% (3 seeds, too few for an interval)"
    assert sentence_with(said, "2,000 steps", "full", number)
    assert re.search(r"no_npi \d\d\.\d% \(3 seeds, too few for an interval\)", said)
    assert sentence_with(" ".join(page.texts["li"]), "2 to 4 seeds", "without intervals")
    assert sentence_with(said, "earliest in conditional", "step 8", "latest in superlative")
    assert sentence_with(said, "unigram", "412.7")


def test_five_seeds_have_intervals(tmp_path):
    run = make_run(tmp_path, seeds=5, environments=ENVIRONMENTS[:2], steps=(0, 2000), multitask=False)
    tables = load_tables(run)
    row = tables.final.filter(label="full", kind="licensor", region="critical", task="mean over tasks").to_dicts()[0]
    said = " ".join(Page(write_report(run).read_text(encoding="utf-8")).texts["p"])
    mean, low, high = (f"{100 * row[name]:.1f}" for name in ("accuracy", "low", "high"))
    assert sentence_with(said, "2,000 steps", "full", f"{mean}% (95% interval {low} to {high}, 5 seeds)")
    interval = r"no_npi \d\d\.\d% \(95% interval [\d.]+ to [\d.]+, 5 seeds; not significantly different from chance\)"
    assert re.search(interval, said)
    final = tables.final.filter(label="no_npi", kind="licensor", region="critical", task=ENVIRONMENTS[0]).to_dicts()[0]
    table = result_table(tables, tables.cells()[0])
    cell = table.rows[1][1][table.tasks.index(ENVIRONMENTS[0])]
    assert cell.interval == f"{100 * final['low']:.1f}–{100 * final['high']:.1f}"


def test_results_have_a_row_a_variant_and_a_column_a_task(run):
    tables = load_tables(run)
    table = result_table(tables, tables.cells()[0])
    assert table.tasks == ["mean over tasks", *ENVIRONMENTS]
    assert [row[0] for row in table.rows] == list(VARIANTS)
    final = tables.final.filter(label="no_npi", kind="licensor", region="critical", task="only").to_dicts()[0]
    cell = table.rows[1][1][table.tasks.index("only")]
    assert cell.text == f"{100 * final['accuracy']:.1f}"
    assert cell.interval == ""  # three seeds
    assert table.rows[1][2:] == (3, 0)


def test_warnings_name_what_went_wrong(hostile, page):
    said = " ".join(page.texts["li"])
    assert sentence_with(said, "no_npi", "12 slots", "4,500")
    assert "diverged" not in said
    said = " ".join(Page(hostile).texts["li"])
    assert "Member 2" in said
    assert sentence_with(said, "Member 2", "diverged", "40 updates")
    assert "one seed" in said


def test_a_run_without_trouble_has_no_warnings(tmp_path):
    options = {"seeds": 5, "environments": ENVIRONMENTS[:2], "steps": (0, 1), "multitask": False}
    run = make_run(tmp_path, variants=("full",), **options)
    assert 'class="warnings"' not in write_report(run).read_text(encoding="utf-8")


def test_a_bare_manifest_is_enough(tmp_path):
    run = make_run(tmp_path, variants=("full",), seeds=1, environments=("only",), steps=(0, 1), diverged=())
    run.manifest.clear()
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert sentence_with(" ".join(page.texts["p"]), "1 language model", "1 variant × 1 seed", "1 step")


def test_a_run_of_diverged_members_only_still_has_a_report(tmp_path):
    run = make_run(tmp_path, variants=("a", "b"), seeds=1, environments=("only",), steps=(0, 1), diverged=(0, 1))
    said = Page(write_report(run).read_text(encoding="utf-8"))
    assert "has a result" in " ".join(said.texts["p"])


def test_nothing_is_loaded_from_anywhere(text, hostile):
    for source in (text, hostile):
        page = Page(source)
        for tag, attributes in page.elements:
            for name, value in attributes.items():
                if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
                    assert value.startswith(("#", "data:")), (tag, name, value)
        rest = re.sub(r'xmlns(:\w+)?="[^"]*"', "", source)
        assert not re.search(r"https?://", rest)
        assert "@import" not in source
        assert not re.search(r"url\((?!#)", source)
    assert "default-src 'none'" in text


def test_ids_are_unique_and_found(text):
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    assert wanted
    assert wanted <= set(ids)


def test_hostile_names_are_text(hostile):
    page = Page(hostile)
    assert page.all("script") == [{"type": "application/json", "id": "heat-data"}, {}]
    assert "alert(5)" in hostile
    assert "\\u003c/script\\u003e\\u003cscript\\u003ealert(5)" in hostile
    assert not page.all("img")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "alert(1)" in hostile
    assert "<script>alert" not in hostile
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hostile
    assert "{{ 7 * 7 }}" in hostile


@pytest.mark.drill
def test_page_and_figures_are_the_same_each_time(tmp_path):
    run = make_run(tmp_path, variants=("full",), seeds=2, environments=ENVIRONMENTS[:2], steps=(0, 8))
    text = write_report(run).read_text(encoding="utf-8")
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert write_report(run).read_text(encoding="utf-8") == text
    assert {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()} == files


def test_the_first_paragraphs_say_what_was_asked_and_found(page):
    leads = page.texts["strong"]
    assert leads[:5] == ["Question.", "Alignment.", "Transfer.", "Link.", "Accuracy."]
    said = page.texts["p"]
    assert "one task or nine?" in said[0]
    assert sentence_with(said[1], "step 2,000", "mean", "alignment")
    claims = page.texts["li"][:2]
    assert sentence_with(claims[0], "more than in models without NPIs")
    assert sentence_with(claims[1], "helps")
    badges = [text for text in page.texts["span"] if text in ("clear", "suggestive", "cannot say")]
    assert badges == ["suggestive", "clear"]


def test_a_run_without_gradients_has_a_report_that_says_so(plain):
    text = write_report(plain).read_text(encoding="utf-8")
    page = Page(text)
    said = " ".join(page.texts["p"])
    assert denies(sentence_with(said, "no gradients", "alignment"))
    assert denies(sentence_with(said, "Transfer between environments"))
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {"curves", "diagnostics"} <= ids
    assert not {"alignment", "transfer", "data", "heat-data"} & ids
    assert {attributes["href"][1:] for attributes in page.all("a")} <= ids
    assert "5-gram" not in said


def test_an_unfinished_run_says_so_first(tmp_path):
    run = make_run(tmp_path, seeds=2, environments=ENVIRONMENTS[:2], steps=(0, 1, 8))
    run.config["train"] = {"steps": 600}
    aligned = pl.read_parquet(tmp_path / "tables" / "alignment.parquet")
    write_table(tmp_path / "tables" / "alignment.parquet", aligned.filter(pl.col("step") != 1))
    stale = tmp_path / "figures" / "alignment_of_before.svg"
    stale.parent.mkdir()
    stale.write_text("<svg/>")
    (stale.parent / ".report.json").write_text('["alignment_of_before.svg"]')
    (stale.parent / "mine.png").write_text("mine")
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert not stale.exists()
    assert (stale.parent / "mine.png").exists()
    warned = Page(re.search(r'<section class="warnings".*?</section>', text, re.DOTALL).group())
    assert sentence_with(warned.texts["li"][0], "step 8 of 600", "final")
    assert sentence_with(" ".join(page.texts["li"]), "scores", "gradients", "step 1")
    said = " ".join(page.texts["p"])
    assert sentence_with(said, "step 8 of 600", "mean", "alignment")
    assert "end of training" not in said


def test_a_5_gram_model_is_beside_the_accuracies(page):
    assert page.texts["small"].count("5-gram 71.2") == len(VARIANTS) * (len(ENVIRONMENTS) + 1)
    assert sentence_with(" ".join(page.texts["p"]), "5-gram model", "71.2%")


def test_the_page_is_small_enough_to_send(report):
    assert report.stat().st_size < 4_000_000


def test_page_appears_whole(run, text):
    folder = run.path / "report"
    assert [path.name for path in folder.iterdir()] == ["index.html"]


def test_names_break_after_underscores_and_are_escaped():
    assert breakable("no_<b>") == "no_<wbr>&lt;b&gt;"


def test_inline_svg_refuses_what_is_none():
    with pytest.raises(ValueError, match="no <svg>"):
        inline_svg("<html></html>", "x")


def test_colors_are_declared_for_light_and_dark():
    assert colors(dark=False).count("--data-") == colors(dark=True).count("--data-") == 6
    assert colors(dark=False) != colors(dark=True)
