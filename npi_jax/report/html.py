"""The report as one HTML file that needs nothing else, not even a network."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import polars as pl
from markupsafe import Markup

from npi_jax.analysis.curves import MEAN_OVER_TASKS
from npi_jax.analysis.statistics import DRAWS, LEVEL
from npi_jax.files import write_text
from npi_jax.report import sentences
from npi_jax.report.figures import Picture, pictures, save_figures
from npi_jax.report.svg import colors, inline_svg
from npi_jax.report.tables import Cell, ReportedRun, ReportTables, load_tables, of_cell, pretty

_TEMPLATE: Final = "template.html"


@dataclass(frozen=True)
class ResultCell:
    """One number of the table of results; ``value`` sorts it."""

    text: str
    interval: str
    value: float


@dataclass(frozen=True)
class ResultTable:
    """Final accuracy of one suite and kind: a row a variant, a column a task."""

    title: str
    tasks: list[str]
    rows: list[tuple[str, list[ResultCell], int, int]]


def write_report(run: ReportedRun) -> Path:
    """Write figures/*.png and *.svg and report/index.html; returns the page's path.

    The page appears complete or not at all, and the same tables give the same bytes.

    Raises:
        FileNotFoundError: if the run was not analyzed (no tables/).
    """
    tables = load_tables(run)
    found = pictures(tables)
    figures = tables.path / "figures"
    save_figures(found, figures)
    path = tables.path / "report" / "index.html"
    write_text(path, render(tables, found, figures))
    return path


def render(tables: ReportTables, found: list[Picture], figures: Path) -> str:
    """The page's text; ``figures`` is where the pictures were saved as SVG."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["pretty"] = pretty
    environment.filters["breakable"] = breakable
    source = resources.files("npi_jax.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(
        data_light=colors(dark=False),
        data_dark=colors(dark=True),
        name=str(tables.manifest.get("name", tables.path.name)),
        ran=sentences.what_ran(tables),
        found=sentences.what_was_found(tables),
        warnings=sentences.warnings(tables),
        pictures=[_picture(picture, figures) for picture in found],
        results=[result_table(tables, cell) for cell in tables.cells()],
        acquisition=[_acquisition(tables, cell) for cell in tables.main_cells()],
        mean=MEAN_OVER_TASKS,
        level=f"{LEVEL:.0%}",
        draws=DRAWS,
        perplexities=sentences.perplexities(tables),
        unigram=tables.manifest.get("perplexity", {}).get("unigram"),
        corpus=_corpus(tables.corpus),
        facts=_facts(tables.manifest),
        manifest=_json(tables.manifest),
        config=_json(tables.config),
        members=tables.members.drop("label").to_dicts(),
    )


def result_table(tables: ReportTables, cell: Cell) -> ResultTable:
    """Final accuracies in percent with their intervals, variants in the order of the members."""
    suite, kind, region = cell
    names = [MEAN_OVER_TASKS, *tables.tasks(cell)]
    by_place = {(row["label"], row["task"]): row for row in of_cell(tables.final, cell).to_dicts()}
    rows = []
    for label in tables.labels:
        found = [by_place.get((label, name)) for name in names]
        known = [row for row in found if row is not None]
        if known:
            cells = [_result(row) for row in found]
            rows.append((label, cells, known[0]["n_seeds"], known[0]["n_diverged"]))
    title = f"{pretty(suite)}, {kind} pairs, {pretty(region)} {'region' if region == 'critical' else 'score'}"
    return ResultTable(title, names, rows)


def breakable(name: str) -> Markup:
    """A name that may break after its underscores, escaped."""
    return Markup("_<wbr>").join(name.split("_"))


def _result(row: Mapping[str, Any] | None) -> ResultCell:
    if row is None or row["accuracy"] is None or math.isnan(row["accuracy"]):
        return ResultCell("–", "", -1.0)
    value, low, high = (100 * row[name] for name in ("accuracy", "low", "high"))
    return ResultCell(f"{value:.1f}", f"{low:.1f}–{high:.1f}", value)


def _picture(picture: Picture, figures: Path) -> dict[str, Any]:
    inlined = [
        Markup(inline_svg((figures / f"{stem}.svg").read_text(encoding="utf-8"), stem)) for stem, _ in picture.figures()
    ]
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "alt": picture.alt,
        "wide": inlined[0],
        "narrow": inlined[1] if len(inlined) > 1 else None,
    }


def _acquisition(tables: ReportTables, cell: Cell) -> dict[str, Any]:
    names = [MEAN_OVER_TASKS, *tables.tasks(cell)]
    frame = of_cell(tables.acquisition, cell)
    by_place = {(row["label"], row["task"]): row["acquired"] for row in frame.to_dicts()}
    rows = [
        (label, [by_place[label, name] for name in names])
        for label in tables.labels
        if (label, MEAN_OVER_TASKS) in by_place
    ]
    threshold = ", ".join(f"{value:.0%}" for value in frame["threshold"].unique())
    title = f"{pretty(cell[0])}, {cell[1]} pairs"
    return {"title": title, "tasks": names, "rows": rows, "threshold": threshold}


def _corpus(corpus: pl.DataFrame) -> dict[str, Any]:
    """Heads and rows; NPI counts last, environments by name."""
    heads = [name for name in corpus.columns if name != "variant"]
    rows = [(row["variant"], [("" if row[name] is None else row[name]) for name in heads]) for row in corpus.to_dicts()]
    titles = [f"NPIs: {name[4:]}" if name.startswith("npi_") else name for name in heads]
    heads_and_kinds = [
        {"name": pretty(title), "text": corpus.schema[name] == pl.String}
        for title, name in zip(titles, heads, strict=True)
    ]
    return {"heads": heads_and_kinds, "rows": rows}


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The manifest's short entries as lines; the whole of it is printed below them."""
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
