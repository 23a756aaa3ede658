"""``npi-jax annotate``: what the annotator finds in text of one's own, and how two annotators agree."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.text import Text

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.annotator import Annotator, annotator
from npi_jax.corpus.annotation.parses import ParseAnnotator, load_parser, parsed
from npi_jax.corpus.annotation.stored_text import DATASET
from npi_jax.corpus.text import sources
from npi_jax.corpus.text.words import split_spans
from npi_jax.errors import UserError
from npi_jax.files.csv_cells import write_csv
from npi_jax.files.writing import check_output, write_table
from npi_jax.results.folder import refuse_own
from npi_jax.terminal.tables import TextTable

SCHEMA = {
    "document": pl.String,
    "sentence": pl.Int64,
    "item": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "environment": pl.String,
    "licensor": pl.String,
    "parse_environment": pl.String,
    "text": pl.String,
}
"""Columns of the table: the item's characters ``[start, end)`` of the text; parse_environment only with a parser."""

MOST_TEXT = 10_000
"""Characters of a sentence that is kept whole; of a longer one each item has what is around it.

A file without an end of a sentence would otherwise be kept once an item, which no memory has room for.
"""

AROUND = 500
"""Characters that are kept on both sides of an item then."""

_ABSENT = "not found"
_Row = dict[str, Any]


def annotate_text(arguments: argparse.Namespace, console: Console) -> None:
    """Annotate text, print how often what was found, and write every item where asked to.

    Raises:
        UserError: as reading text and loading the parser do; or the table's name ends in neither .parquet nor .csv.
    """
    out = None if arguments.out is None else Path(arguments.out)
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise UserError(f"--out {out}: the name must end in .parquet or .csv")
    if out is not None:
        check_output(out, inputs=map(Path, arguments.text))
        refuse_own(out)
    given = [f"--{name}" for name in ("out", "examples", "against") if getattr(arguments, name)]
    if arguments.tfds and given:
        raise UserError(f"{' and '.join(given)}: not together with --tfds, which writes a data set and nothing else")
    if not arguments.tfds and (arguments.beam or arguments.validation):
        raise UserError("--beam and --validation are for --tfds")
    if arguments.tfds:
        _write_dataset(arguments, console)
        return
    chosen = annotator(arguments.phenomenon)
    pipeline = load_parser(arguments.against) if arguments.against else None
    documents = sources.read_files(arguments.text, unit=arguments.unit, field=arguments.field)
    with console.status("annotating ..."):
        rows = list(_rows(documents, chosen, pipeline))
    frame = pl.DataFrame(rows, schema=SCHEMA)
    if pipeline is None:
        frame = frame.drop("parse_environment")
    console.print(_counts(frame, chosen))
    if pipeline is not None:
        print_agreement(frame, chosen, console)
    for label in chosen.phenomenon.labels:
        for row in frame.filter(environment=label).head(arguments.examples).iter_rows(named=True):
            console.print(_example(row))
    if out is not None:
        (write_table if out.suffix == ".parquet" else write_csv)(out, frame)
        console.print(f"{len(frame):,} items -> {out}", highlight=False, markup=False, soft_wrap=True)


def _write_dataset(arguments: argparse.Namespace, console: Console) -> None:
    """Annotate with Beam, into a TFDS data set."""
    try:
        from npi_jax.corpus.annotation.beam import write_dataset  # noqa: PLC0415
    except ImportError as error:
        raise UserError(f"--tfds needs Apache Beam and TFDS ({error}): pip install 'npi-jax[beam]'") from error
    given = {"options": arguments.beam} if arguments.beam else {}
    folder = write_dataset(
        {"train": arguments.text} | ({"validation": arguments.validation} if arguments.validation else {}),
        Path(arguments.tfds),
        phenomenon=arguments.phenomenon,
        unit=arguments.unit,
        field=arguments.field,
        **given,
    )
    console.print(f"data set: {folder}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"read it with corpus.source='tfds', corpus.tfds_name='{DATASET}', corpus.tfds_dir='{arguments.tfds}'",
        highlight=False,
        markup=False,
    )
    if not arguments.validation:
        console.print("it has no validation split, which training needs: name its text with --validation")


def _rows(documents: Iterable[sources.Document], chosen: Annotator, pipeline: Any) -> Iterator[_Row]:
    numbered = sources.numbered_sentences(documents)
    if pipeline is None:
        for document, number, text in numbered:
            spans = split_spans(text)
            found = chosen.annotate([word for word, _, _ in spans])
            yield from (_row(document, number, text, spans, one) for one in found)
        return
    tree_annotator = ParseAnnotator(chosen)
    # Parsing takes a thousand times as long as the patterns do: only sentences with an item are parsed.
    held = (entry for entry in numbered if chosen.holds_form(entry[2]))
    while block := list(islice(held, 1000)):
        for (document, number, text), tree in zip(block, parsed(pipeline, [e[2] for e in block]), strict=True):
            spans = split_spans(text)
            one = {a.span: a for a in chosen.annotate(tree.words)}
            other = {a.span: a.environment for a in tree_annotator.annotate(tree)}
            for annotation in one.values():
                row = _row(document, number, text, spans, annotation)
                yield row | {"parse_environment": other.get(annotation.span, _ABSENT)}


def _row(document: str, number: int, text: str, spans: Sequence[tuple[str, int, int]], found: Annotation) -> _Row:
    start, end = spans[found.span[0]][1], spans[found.span[1] - 1][2]
    first, last = (0, len(text)) if len(text) <= MOST_TEXT else (max(start - AROUND, 0), end + AROUND)
    return {
        "document": document,
        "sentence": number,
        "item": found.npi,
        "start": start - first,
        "end": end - first,
        "environment": found.environment,
        "licensor": spans[found.licensor][0] if found.licensor >= 0 else None,
        "parse_environment": None,
        "text": text[first:last],
    }


def _counts(frame: pl.DataFrame, chosen: Annotator) -> TextTable:
    """Items by label."""
    phenomenon = chosen.phenomenon
    heads = ("what licenses", "items", "most frequent")
    table = TextTable(f"{len(frame):,} {phenomenon.item}s", heads, words={0, 2})
    for label in phenomenon.labels:
        items = frame.filter(environment=label)["item"].to_list()
        first = ", ".join(f"{item} {count:,}" for item, count in Counter(items).most_common(5))
        table.add_row(label, f"{len(items):,}", first)
    return table


def print_agreement(frame: pl.DataFrame, chosen: Annotator, console: Console) -> None:
    """How two annotators agree: a table of labels, the share of items that agree, and Cohen's kappa."""
    labels = chosen.phenomenon.labels
    pairs = Counter(frame.select("environment", "parse_environment").iter_rows())
    seen = [label for label in (*labels, _ABSENT) if any(label in pair for pair in pairs)]
    table = TextTable("word patterns (rows) and parses (columns)", ["", *seen])
    for label in seen:
        table.add_row(label, *(f"{pairs[label, other]:,}" if pairs[label, other] else "" for other in seen))
    console.print(table)
    agreed, kappa = agreement(pairs)
    said = "not defined" if kappa is None else f"{kappa:.3f}"
    console.print(f"the same label: {agreed:.3f} of {len(frame):,} items; Cohen's kappa {said}", highlight=False)


def agreement(pairs: Counter[tuple[str, str]]) -> tuple[float, float | None]:
    """The share of equal pairs, and Cohen's kappa (1960); None where chance alone would agree always."""
    total = pairs.total()
    if not total:
        return float("nan"), None
    equal = sum(count for (one, other), count in pairs.items() if one == other) / total
    rows: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    for (one, other), count in pairs.items():
        rows[one] += count
        columns[other] += count
    chance = sum(rows[label] * columns[label] for label in rows) / total**2
    return equal, None if chance == 1 else (equal - chance) / (1 - chance)


def _example(row: _Row) -> Text:
    start, end, text = row["start"], row["end"], row["text"]
    marked = Text.assemble(text[:start], (f"[{text[start:end]}]", "bold reverse"), text[end:])
    licensor = f"  ({row['licensor']})" if row["licensor"] else ""
    return Text(f"{row['environment']}: ", style="bold") + marked + Text(licensor, style="dim")
