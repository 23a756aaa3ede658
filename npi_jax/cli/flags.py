"""Parts of the parsers that several commands share: types of values, the config, text files."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from npi_jax.cli.invocation import Invocation

FIELD_EXAMPLE = "--config.train.steps=2000"
_PACKAGE = Path(__file__).parents[1]
# A copy, because importing `npi_jax.corpus.text.sources` takes too long for --help.
UNITS = ("document", "sentence")

Handler = Callable[[Invocation], None]
Check = Callable[[argparse.Namespace, argparse.ArgumentParser], None]


def add_command(
    commands: Any,
    name: str,
    handler: Handler,
    text: str,
    *,
    description: str | None = None,
    epilog: str | None = None,
    check: Check | None = None,
) -> argparse.ArgumentParser:
    """Add the parser of a command.

    Args:
        commands: the subparsers of the command line.
        name: the command's name.
        handler: runs the command.
        text: line about the command in the list of commands.
        description: first paragraph of its help; `text` if None.
        epilog: last paragraph of its help, in which line breaks are kept.
        check: calls the parser's ``error`` if flags conflict.
    """
    keep_lines = epilog is not None and "\n" in epilog
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=description or text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter if keep_lines else argparse.HelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(handler=handler, check=check)
    return parser


def add_config_command(
    commands: Any, name: str, handler: Handler, text: str, *, writes: bool = True, check: Check | None = None
) -> argparse.ArgumentParser:
    """Add the parser of a command that takes a config; `writes` is True if the command writes a run directory."""
    epilog = (
        f"Any field of the config can be overridden: {FIELD_EXAMPLE} --config.seeds=0,1,2. "
        + ("Writes to run_dir, by default runs/NAME. " if writes else "")
        + f"Fields and their defaults are in {_PACKAGE / 'config' / 'schema.py'}, interventions (variants) in "
        f"{_PACKAGE / 'corpus' / 'variants' / 'interventions.py'}."
    )
    parser = add_command(commands, name, handler, text, epilog=epilog, check=check or require_config)
    parser.add_argument("given", nargs="?", metavar="CONFIG", help="name of a preset, or a config file")
    parser.add_argument("--config", metavar="CONFIG", help="the same")
    return parser


def require_config(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End with exit status 2 if no config is given."""
    if arguments.config is None:
        parser.error(f"{arguments.command} needs a config: the name of a preset (npi-jax presets), or a file")


def add_text_flags(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the flags that name text files and the phenomenon to annotate."""
    text = "files, folders or glob patterns: .txt, or JSON lines with --field"
    parser.add_argument("text", nargs="+" if required else "*", help=text)
    parser.add_argument("--unit", choices=UNITS, default="document", help="content of a line (default: document)")
    parser.add_argument("--field", default="", help="read JSON lines, with the text in this field")
    parser.add_argument("--phenomenon", default="npi_en", help="name or file of the phenomenon (default: npi_en)")


def integer(least: int) -> Callable[[str], int]:
    """Return a function that parses an integer of at least `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {least}")
        return int(text)

    return read


def step_range(text: str) -> range:
    """Parse a range of steps, ``START:STOP``."""
    first, colon, last = text.partition(":")
    if not colon or not first.isdecimal() or not last.isdecimal() or int(first) >= int(last):
        raise argparse.ArgumentTypeError(f"{text!r}: write START:STOP, two steps, such as 100:120")
    return range(int(first), int(last))


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value
