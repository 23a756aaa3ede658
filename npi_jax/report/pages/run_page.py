"""The report as one self-contained HTML file that needs no network."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import polars as pl
import pydantic
from markupsafe import Markup

from npi_jax.analysis.statistics import LEVEL
from npi_jax.errors import UserError
from npi_jax.files.writing import read_checked, write_json, write_text
from npi_jax.report.data.tables import Cell, ReportedRun, ReportTables, load_tables, of_cell
from npi_jax.report.figures.alignment import HEAT_MAPS
from npi_jax.report.figures.heatmap import heat_data
from npi_jax.report.figures.learning import pictures
from npi_jax.report.figures.picture import Picture, Section, save_figures
from npi_jax.report.figures.svg import colors, inline_svg
from npi_jax.report.format import pretty
from npi_jax.report.prose import findings, sentences
from npi_jax.report.prose.detail_tables import detail_tables
from npi_jax.report.prose.verdict import verdict
from npi_jax.results.names import MEAN_OVER_TASKS
from npi_jax.results.tables_learning import Acquisition, FinalResults
from npi_jax.results.tables_preparation import Corpus
from npi_jax.terminal.visible import visible

_SECTIONS: Final[tuple[tuple[Section, str, str, str], ...]] = (
    ("learning", "curves", "Learning", "While learning"),
    ("alignment", "alignment", "Alignment", "Do the tasks' gradients align?"),
    ("transfer", "transfer", "Transfer", "How does one environment's data affect the others?"),
    ("data", "data", "Data", "How much data does an environment need?"),
    ("diagnostics", "diagnostics", "Diagnostics", "How reliable are the measurements?"),
)
"""Name, anchor, link and title of the sections with figures."""
_LIST: Final = ".report.json"
"""File in figures/ that lists the figures of the last report."""
_NAMES: Final = pydantic.TypeAdapter(list[str]).validate_json


@dataclass(frozen=True)
class ResultCell:
    """One number of the table of results; sorting a column uses ``value``."""

    text: str
    interval: str
    value: float
    ngram: str = ""


@dataclass(frozen=True)
class ResultTable:
    """Final accuracies of one suite and kind: one row for each variant, one column for each task."""

    title: str
    tasks: list[str]
    rows: list[tuple[str, list[ResultCell], int, int]]

    @property
    def ngram(self) -> bool:
        """True if any cell has a 5-gram model's accuracy."""
        return any(cell.ngram for _, cells, _, _ in self.rows for cell in cells)


def write_report(run: ReportedRun) -> Path:
    """Write figures/*.png, *.svg and *.csv and report/index.html; returns the page's path.

    The page appears complete or not at all, and the same tables give the same bytes.

    Raises:
        UserError: if the run was not analyzed (no tables/).
    """
    tables = load_tables(run)
    found = pictures(tables)
    figures = tables.path / "figures"
    _replace_figures(found, figures)
    path = tables.path / "report" / "index.html"
    write_text(path, render(tables, found, figures))
    return path


def _replace_figures(found: list[Picture], figures: Path) -> None:
    """Save the pictures and remove other figures of the previous report; other files stay."""
    listed = figures / _LIST
    before = _names(listed)
    names = sorted(path.name for path in save_figures(found, figures))
    for name in before - set(names):
        if (figures / name).is_file():
            (figures / name).unlink()
    write_json(listed, names)


def _names(listed: Path) -> set[str]:
    """Return the names of the last report's figures; an empty set if their list is damaged, so that all files stay."""
    try:
        found = read_checked(listed, _NAMES)
    except (FileNotFoundError, UserError):
        return set()
    return {name for name in found if name and Path(name).name == name}


def render(tables: ReportTables, found: list[Picture], figures: Path) -> str:
    """Return the page as HTML text; ``figures`` is the folder with the SVG files of the pictures."""
    return (
        page_templates()
        .get_template("template.html")
        .render(
            style=page_part("style.css"),
            script=page_part("sort.js") + page_part("print.js") + page_part("heatmap.js"),
            data_light=colors(dark=False),
            data_dark=colors(dark=True),
            name=visible(str(tables.manifest.get("name", tables.path.name))),
            opening=[
                ("Question", findings.what_was_asked(tables)),
                *findings.what_gradients_say(tables),
                ("Accuracy", " ".join(sentences.accuracies(tables))),
            ],
            claims=verdict(tables),
            ran=sentences.what_ran(tables),
            warnings=sentences.warnings(tables),
            sections=_sections(tables, found, figures),
            heat=heat_data(tables),
            results=[result_table(tables, cell) for cell in tables.cells()],
            acquisition=[_acquisition(tables, cell) for cell in tables.main_cells()],
            mean=MEAN_OVER_TASKS,
            level=f"{LEVEL:.0%}",
            perplexities=sentences.perplexities(tables),
            unigram=tables.manifest.get("perplexity", {}).get("unigram"),
            corpus=_corpus(tables.corpus),
            facts=_facts(tables.manifest),
            manifest=_json(tables.manifest),
            config=_json(tables.config),
            members=tables.members.drop("label").to_dicts(),
        )
    )


def page_templates() -> jinja2.Environment:
    """Return the templates of the pages. Values are escaped; NaN in JSON raises an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("npi_jax.report.pages", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pretty"] = pretty
    environment.filters["breakable"] = breakable
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def page_part(name: str) -> Markup:
    """Return a style sheet or script of the package, to be inserted unescaped."""
    return Markup(resources.files("npi_jax.report.pages").joinpath("assets", name).read_text(encoding="utf-8"))


def _sections(tables: ReportTables, found: list[Picture], figures: Path) -> list[dict[str, Any]]:
    """Return the sections that have figures or tables."""
    sections = []
    for section, anchor, name, title in _SECTIONS:
        drawn = [inlined(picture, figures) for picture in found if picture.section == section]
        details = detail_tables(tables, section)
        if drawn or details:
            sections.append({"id": anchor, "name": name, "title": title, "pictures": drawn, "tables": details})
    return sections


def result_table(tables: ReportTables, cell: Cell) -> ResultTable:
    """Return final accuracies in percent with intervals, with variants in the order of the labels."""
    suite, kind, _ = cell
    names = [MEAN_OVER_TASKS, *tables.tasks(cell)]
    by_place = {(row["label"], row[FinalResults.task]): row for row in of_cell(tables.final, cell).to_dicts()}
    rows = []
    for label in tables.labels:
        found = [by_place.get((label, name)) for name in names]
        known = [row for row in found if row is not None]
        if known:
            cells = [_result(row) for row in found]
            rows.append((label, cells, known[0][FinalResults.n_seeds], known[0][FinalResults.n_diverged]))
    title = f"{pretty(suite)}, {kind} pairs, {tables.scored(cell)}"
    return ResultTable(title, names, rows)


def breakable(name: str) -> Markup:
    """Escape a name and allow line breaks after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _result(row: Mapping[str, Any] | None) -> ResultCell:
    if row is None or row[FinalResults.accuracy] is None or math.isnan(row[FinalResults.accuracy]):
        return ResultCell("–", "", -1.0)
    value, low, high = (100 * row[name] for name in (FinalResults.accuracy, FinalResults.low, FinalResults.high))
    interval = "" if math.isnan(low) else f"{low:.1f}–{high:.1f}"
    ngram = row.get(FinalResults.ngram)
    beside = "" if ngram is None or math.isnan(ngram) else f"{100 * ngram:.1f}"
    return ResultCell(f"{value:.1f}", interval, value, beside)


def inlined(picture: Picture, figures: Path) -> dict[str, Any]:
    """Return a picture for a template, with SVG elements read from the folder ``figures``."""
    elements = [
        Markup(inline_svg((figures / f"{stem}.svg").read_text(encoding="utf-8"), stem)) for stem, _ in picture.figures()
    ]
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "alt": picture.alt,
        "wide": elements[0],
        "narrow": elements[1] if len(elements) > 1 else None,
        "compact": picture.compact,
        # With scripts enabled, the interactive heat map replaces the static one on the screen.
        "static": picture.name == HEAT_MAPS,
    }


def _acquisition(tables: ReportTables, cell: Cell) -> dict[str, Any]:
    names = [MEAN_OVER_TASKS, *tables.tasks(cell)]
    frame = of_cell(tables.acquisition, cell)
    by_place = {(row["label"], row[Acquisition.task]): row[Acquisition.acquired] for row in frame.to_dicts()}
    rows = [
        (label, [by_place[label, name] for name in names])
        for label in tables.labels
        if (label, MEAN_OVER_TASKS) in by_place
    ]
    threshold = ", ".join(f"{value:.0%}" for value in frame[Acquisition.threshold].unique())
    title = f"{pretty(cell[0])}, {cell[1]} pairs"
    return {"title": title, "tasks": names, "rows": rows, "threshold": threshold}


def _corpus(corpus: pl.DataFrame) -> dict[str, Any]:
    """Return heads and rows of the table of variants."""
    heads = [name for name in corpus.columns if name != "variant"]
    rows = [
        (row[Corpus.variant], [("" if row[name] is None else row[name]) for name in heads]) for row in corpus.to_dicts()
    ]
    titles = [f"NPIs: {name[4:]}" if name.startswith("npi_") else name for name in heads]
    heads_and_kinds = [
        {"name": pretty(title), "text": corpus.schema[name] == pl.String}
        for title, name in zip(titles, heads, strict=True)
    ]
    return {"heads": heads_and_kinds, "rows": rows}


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the manifest's short entries as lines; the page prints the complete manifest below them."""
    facts = []
    for key in ("command", "started"):
        if key in manifest:
            facts.append((key, str(manifest[key])))
    for key in ("model", "devices", "versions", "seconds"):
        if isinstance(manifest.get(key), Mapping):
            facts.append((key, ", ".join(f"{pretty(k)} {_short(v)}" for k, v in manifest[key].items())))
    if manifest.get("tokens_per_second"):
        speed = f"{manifest['tokens_per_second']:,.0f} tokens per second, all members together"
        facts.append(("speed", speed))
    return facts


def _short(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
