"""Annotation of text files for ``npi-jax annotate``."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.text import Text

from npi_jax.cli.actions.agreement import NO_ITEM_FOUND, print_agreement
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
"""Columns of the table. The item is the characters ``[start, end)`` of text; parse_environment needs a parser."""

MAX_TEXT = 10_000
"""Longest sentence, in characters, that is stored in full with each of its items; of longer ones, only an excerpt is.

Otherwise a file without sentence boundaries would be copied for each of its items, which exhausts memory.
"""

EXCERPT = 500
"""Length of an excerpt on each side of the item, in characters."""

PARSED_AT_ONCE = 1000
_Row = dict[str, Any]


def annotate_text(arguments: argparse.Namespace, console: Console) -> None:
    """Annotate text, print the number of items of each label, and write all items if a table is named.

    Raises:
        UserError: if the text or the parser cannot be read, if flags conflict, or if the table is neither .parquet nor
            .csv.
    """
    out = None if arguments.out is None else Path(arguments.out)
    _check(arguments, out)
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
        print_agreement(frame, chosen.phenomenon.labels, console)
    for label in chosen.phenomenon.labels:
        for row in frame.filter(environment=label).head(arguments.examples).iter_rows(named=True):
            console.print(_example(row))
    if out is not None:
        (write_table if out.suffix == ".parquet" else write_csv)(out, frame)
        console.print(f"{len(frame):,} items -> {out}", highlight=False, markup=False, soft_wrap=True)


def _check(arguments: argparse.Namespace, out: Path | None) -> None:
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise UserError(f"--out {out}: the name must end in .parquet or .csv")
    if out is not None:
        check_output(out, inputs=map(Path, arguments.text))
        refuse_own(out)
    given = [f"--{name}" for name in ("out", "examples", "against") if getattr(arguments, name)]
    if arguments.tfds and given:
        raise UserError(f"{' and '.join(given)}: cannot be used with --tfds, which only writes a data set")
    if not arguments.tfds and (arguments.beam or arguments.validation):
        raise UserError("--beam and --validation need --tfds")


def _write_dataset(arguments: argparse.Namespace, console: Console) -> None:
    """Annotate with Apache Beam, and write a TFDS data set."""
    try:
        from npi_jax.corpus.annotation.beam import write_dataset  # noqa: PLC0415
    except ImportError as error:
        raise UserError(f"--tfds needs Apache Beam and TFDS ({error}): pip install 'npi-jax[beam]'") from error
    splits = {"train": arguments.text}
    if arguments.validation:
        splits["validation"] = arguments.validation
    folder = write_dataset(
        splits,
        Path(arguments.tfds),
        phenomenon=arguments.phenomenon,
        unit=arguments.unit,
        field=arguments.field,
        **({"options": arguments.beam} if arguments.beam else {}),
    )
    console.print(f"data set: {folder}", highlight=False, markup=False, soft_wrap=True)
    fields = f"corpus.source='tfds', corpus.tfds_name='{DATASET}', corpus.tfds_dir='{arguments.tfds}'"
    console.print(f"read it with {fields}", highlight=False, markup=False)
    if not arguments.validation:
        console.print("it has no validation split, which training needs: name its text with --validation")


def _rows(documents: Iterable[sources.Document], chosen: Annotator, pipeline: Any) -> Iterator[_Row]:
    numbered = sources.numbered_sentences(documents)
    if pipeline is None:
        for document, number, text in numbered:
            spans = split_spans(text)
            annotations = chosen.annotate([word for word, _, _ in spans])
            yield from (_row(document, number, text, spans, annotation) for annotation in annotations)
        return
    tree_annotator = ParseAnnotator(chosen)
    # Only sentences with an item's form are parsed, because parsing takes about a thousand times as long as matching
    # patterns.
    with_item = (entry for entry in numbered if chosen.holds_form(entry[2]))
    while block := list(islice(with_item, PARSED_AT_ONCE)):
        for (document, number, text), tree in zip(block, parsed(pipeline, [e[2] for e in block]), strict=True):
            spans = split_spans(text)
            by_patterns = {a.span: a for a in chosen.annotate(tree.words)}
            by_parse = {a.span: a.environment for a in tree_annotator.annotate(tree)}
            for annotation in by_patterns.values():
                row = _row(document, number, text, spans, annotation)
                yield row | {"parse_environment": by_parse.get(annotation.span, NO_ITEM_FOUND)}


def _row(document: str, number: int, text: str, spans: Sequence[tuple[str, int, int]], annotation: Annotation) -> _Row:
    start, end = spans[annotation.span[0]][1], spans[annotation.span[1] - 1][2]
    first, last = (0, len(text)) if len(text) <= MAX_TEXT else (max(start - EXCERPT, 0), end + EXCERPT)
    return {
        "document": document,
        "sentence": number,
        "item": annotation.npi,
        "start": start - first,
        "end": end - first,
        "environment": annotation.environment,
        "licensor": spans[annotation.licensor][0] if annotation.licensor >= 0 else None,
        "parse_environment": None,
        "text": text[first:last],
    }


def _counts(frame: pl.DataFrame, chosen: Annotator) -> TextTable:
    """Return a table with the number of items of each label, and its most frequent items."""
    phenomenon = chosen.phenomenon
    heads = ("licensed by", "items", "most frequent")
    table = TextTable(f"{len(frame):,} {phenomenon.item}s", heads, words={0, 2})
    for label in phenomenon.labels:
        items = frame.filter(environment=label)["item"].to_list()
        most_frequent = ", ".join(f"{item} {count:,}" for item, count in Counter(items).most_common(5))
        table.add_row(label, f"{len(items):,}", most_frequent)
    return table


def _example(row: _Row) -> Text:
    start, end, text = row["start"], row["end"], row["text"]
    marked = Text.assemble(text[:start], (f"[{text[start:end]}]", "bold reverse"), text[end:])
    licensor = f"  ({row['licensor']})" if row["licensor"] else ""
    return Text(f"{row['environment']}: ", style="bold") + marked + Text(licensor, style="dim")
