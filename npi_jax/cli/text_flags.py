"""Flags of the commands that look at text; apart, so that asking for help loads nothing else."""

import argparse
from typing import Any

from npi_jax.cli.arguments import whole

# Those of `npi_jax.corpus.text.sources`, which takes longer to load than asking for help should.
UNITS = ("document", "sentence")
AUDIT_DEFAULTS = {
    "unit": "document",
    "field": "",
    "phenomenon": "npi_en",
    "per_environment": 40,
    "without": 100,
    "clean": 200,
    "seed": 0,
}
"""How ``npi-jax audit`` draws, unless it is told otherwise."""


def add_annotate(commands: Any) -> None:
    """The flags of ``npi-jax annotate``."""
    parser = commands.add_parser(
        "annotate",
        help="find the items of a phenomenon in text, and what licenses each",
        description="Find the items of a phenomenon (NPIs by default) in text of your own, and what licenses each.",
        epilog=(
            "examples:\n"
            "  npi-jax annotate notes.txt --examples 3\n"
            "  npi-jax annotate 'corpus/**/*.txt' --unit sentence --out npis.parquet\n"
            "  npi-jax annotate books/ --against en_core_web_sm     compare with dependency parses (extra: spacy)\n"
            "  npi-jax annotate books/ --phenomenon filler_gap_en\n"
            "  npi-jax annotate books/ --tfds data/                 with Apache Beam, as a TFDS data set (extra: beam)"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("text", nargs="+", help="files, folders or patterns; .txt, or JSON lines with --field")
    parser.add_argument("--unit", choices=UNITS, default="document", help="what a line holds")
    parser.add_argument("--field", default="", help="the texts are JSON lines with the text in this field")
    parser.add_argument("--phenomenon", default="npi_en", help="name or file of the phenomenon")
    parser.add_argument("--against", metavar="MODEL", help="compare with parses of this spaCy model")
    parser.add_argument("--examples", type=whole(0), default=0, help="sentences to show of each label")
    parser.add_argument("--tfds", metavar="FOLDER", help="write a TFDS data set of annotated text there, with Beam")
    parser.add_argument("--validation", nargs="+", metavar="TEXT", help="of the data set: text of its second split")
    parser.add_argument(
        "--beam", action="append", metavar="OPTION", help="an option of the Beam pipeline, as --beam=--runner=..."
    )
    parser.add_argument("--out", help="write every item to this table, .parquet or .csv")


def add_audit(commands: Any) -> None:
    """The flags of ``npi-jax audit``."""
    parser = commands.add_parser(
        "audit",
        help="judge a sample of a corpus by hand: precision and recall of the annotator",
        description=(
            "Draw a stratified random sample of a corpus, ask in the terminal what licenses each item (the annotator's "
            "own answer is not shown), and report precision and recall with intervals. Stop and go on whenever you "
            "like: every answer is kept. sample.json and judgements.jsonl hold references, no sentences."
        ),
        epilog=(
            "examples:\n"
            "  npi-jax audit 'corpus/**/*.txt' --unit sentence --out audit     draw, judge, report\n"
            "  npi-jax audit --out audit                                       go on judging\n"
            "  npi-jax audit --out docs/audit --report                         the audit of npi_en"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("text", nargs="*", help="files, folders or patterns; .txt, or JSON lines with --field")
    parser.add_argument("--out", required=True, help="folder of the sample and its judgements")
    parser.add_argument("--unit", choices=UNITS, help="what a line holds")
    parser.add_argument("--field", help="the texts are JSON lines with the text in this field")
    parser.add_argument("--phenomenon", help="name or file of the phenomenon")
    parser.add_argument("--per-environment", type=whole(0), help="items judged of each environment")
    parser.add_argument("--without", type=whole(0), help="items judged of those without an environment")
    parser.add_argument("--clean", type=whole(0), help="sentences judged of those without an item")
    parser.add_argument("--seed", type=whole(0), help="of the drawing")
    parser.add_argument("--report", action="store_true", help="report what was judged so far, ask nothing")
    parser.set_defaults(**AUDIT_DEFAULTS)
