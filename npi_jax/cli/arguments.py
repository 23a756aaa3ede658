"""Words of a command line: numbers and ranges, the name of a config, and messages about unknown words."""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from npi_jax.errors import did_you_mean

OVERRIDE = "--config."

FIELD_EXAMPLE = "--config.train.steps=2000"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line that begins as all errors do, with the word that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """End with exit status 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"npi-jax: {_with_hint(message)}\n")


def _with_hint(message: str) -> str:
    match = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message, flags=re.DOTALL)
    if match is None:
        return message
    word, choices = match[1], [choice.strip("' ") for choice in match[2].split(",")]
    return f"there is no {word!r}{did_you_mean(word, choices)}; there are {', '.join(choices)}"


def whole(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {least}")
        return int(text)

    return read


def steps(text: str) -> range:
    """Steps from ``START:STOP``."""
    first, colon, last = text.partition(":")
    if not colon or not first.isdecimal() or not last.isdecimal() or int(first) >= int(last):
        raise argparse.ArgumentTypeError(f"{text!r}: write START:STOP, two steps, such as 100:120")
    return range(int(first), int(last))


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def add_config(command: argparse.ArgumentParser) -> None:
    """The config of a command, which is written with ``--config`` or without."""
    command.add_argument("given", nargs="?", metavar="CONFIG", help="a preset's name, or a config file")
    command.add_argument("--config", metavar="CONFIG", help="the same")


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, and the fields of the config that are overridden; ends with exit status 2 on what is unknown."""
    given = sys.argv[1:] if argv is None else argv
    # Apart from the rest: argparse takes a word with a space in it, as of a path, for no flag.
    overrides = [word for word in given if word.startswith(OVERRIDE)]
    arguments, words = parser.parse_known_args([word for word in given if not word.startswith(OVERRIDE)])
    flags = [word for word in words if word.startswith("-")]
    command = command_of(parser, arguments.command)
    if not hasattr(arguments, "config"):
        unknown = words + overrides
    else:
        _check_spaces(command, given)
        # argparse takes no optional word after a flag: it is left over.
        others = [word for word in words if not word.startswith("-")]
        names = [name for name in (arguments.config, arguments.given, *others) if name is not None]
        arguments.config = names[0] if names else None
        unknown = flags + names[1:]
    if unknown:
        command.error(f"cannot read {' '.join(unknown)}{_flag_meant(command, unknown[0])}")
    return arguments, overrides


def _check_spaces(command: argparse.ArgumentParser, words: Sequence[str]) -> None:
    # Fields that are true or false may stand alone; which they are is not known before the config is read.
    for word, following in itertools.pairwise(words):
        if word.startswith(OVERRIDE) and "=" not in word and not following.startswith("-"):
            command.error(f"{word} {following}: write {word}=VALUE, without a space")


def command_of(parser: argparse.ArgumentParser, name: str) -> Any:
    """The parser of a command."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[name]


def _flag_meant(command: argparse.ArgumentParser, word: str) -> str:
    usage = command.format_usage()
    meant = did_you_mean(re.split("[=.]", word)[0], re.findall(r"--[a-z][\w-]*", usage))
    if not meant and word.startswith("--") and "--config" in usage:
        return f"; a field of the config is given as --config.FIELD=VALUE, such as {FIELD_EXAMPLE}"
    return meant
