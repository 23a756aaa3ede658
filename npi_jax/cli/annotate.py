"""``npi-jax annotate``: find the items of a phenomenon in text."""

import argparse
from typing import Any

from npi_jax.cli.flags import add_command, add_text_flags, integer
from npi_jax.cli.invocation import Invocation

EXAMPLES = """examples:
  npi-jax annotate notes.txt --examples 3
  npi-jax annotate 'corpus/**/*.txt' --unit sentence --out npis.parquet
  npi-jax annotate books/ --against en_core_web_sm     compare with dependency parses (extra: spacy)
  npi-jax annotate books/ --phenomenon filler_gap_en
  npi-jax annotate books/ --tfds data/                 with Apache Beam, as a TFDS data set (extra: beam)
"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "annotate",
        run,
        "find the items of a phenomenon in text, and the licensor of each",
        description="Find the items of a phenomenon (by default NPIs) in text of your own, and the licensor of each.",
        epilog=EXAMPLES,
    )
    add_text_flags(parser, required=True)
    parser.add_argument("--examples", type=integer(0), default=0, help="sentences to show for each label (default: 0)")
    parser.add_argument("--out", help="write all items to this table, .parquet or .csv")
    parser.add_argument("--against", metavar="MODEL", help="compare with the parses of this spaCy model")
    _add_dataset(parser)


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data set", "annotate with Apache Beam instead, for text beyond one machine")
    group.add_argument("--tfds", metavar="FOLDER", help="write a TFDS data set of annotated text to this folder")
    group.add_argument("--validation", nargs="+", metavar="TEXT", help="text of the data set's validation split")
    text = "an option of the Beam pipeline, written as --beam=--runner=..."
    group.add_argument("--beam", action="append", metavar="OPTION", help=text)


def run(call: Invocation) -> None:
    """Annotate, print counts and examples, and write the items."""
    from npi_jax.cli.actions.annotate import annotate_text  # noqa: PLC0415

    annotate_text(call.arguments, call.console)
