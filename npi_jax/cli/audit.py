"""``npi-jax audit``: judge a sample of a corpus by hand, to measure the annotator's precision and recall."""

from typing import Any

from npi_jax.cli.flags import add_command, add_text_flags, integer
from npi_jax.cli.invocation import Invocation

EXAMPLES = """examples:
  npi-jax audit 'corpus/**/*.txt' --unit sentence --out audit     draw, judge, report
  npi-jax audit --out audit                                       continue judging
  npi-jax audit --out docs/audit --report                         the audit of npi_en
"""

DEFAULTS = {
    "unit": "document",
    "field": "",
    "phenomenon": "npi_en",
    "per_environment": 40,
    "without": 100,
    "clean": 200,
    "seed": 0,
}
"""Default settings of drawing a sample."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "audit",
        run,
        "judge a sample of a corpus by hand: precision and recall of the annotator",
        description=(
            "Draw a stratified random sample of a corpus, ask in the terminal for the licensor of each item (without "
            "showing the annotator's answer), and report precision and recall with intervals. You can stop and "
            "continue at any time: every answer is saved at once. sample.json and judgements.jsonl hold references, "
            "not sentences."
        ),
        epilog=EXAMPLES,
    )
    add_text_flags(parser, required=False)
    parser.add_argument("--out", required=True, help="folder of the sample and its judgements")
    for name, text in (
        ("per-environment", "items to judge in each environment"),
        ("without", "items to judge among those without an environment"),
        ("clean", "sentences to judge among those without an item"),
        ("seed", "random seed of drawing"),
    ):
        default = DEFAULTS[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=integer(0), help=f"{text} (default: {default})")
    parser.add_argument("--report", action="store_true", help="report the judgements so far without asking")
    parser.set_defaults(**DEFAULTS)


def run(call: Invocation) -> None:
    """Draw a sample, ask for judgements, and report."""
    from npi_jax.cli.actions.audit import audit  # noqa: PLC0415

    audit(call.arguments, DEFAULTS, call.console)
