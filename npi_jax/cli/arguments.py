"""Parsing of the command line; errors suggest the word that the user probably meant."""

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from npi_jax.cli.flags import FIELD_EXAMPLE
from npi_jax.errors import did_you_mean

OVERRIDE = "--config."


class Parser(argparse.ArgumentParser):
    """Argument parser whose error messages are one line, ``npi-jax: MESSAGE``, after the usage."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and end with exit status 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"npi-jax: {_with_hint(message)}\n")


def _with_hint(message: str) -> str:
    match = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message, flags=re.DOTALL)
    if match is None:
        return message
    word, choices = match[1], [choice.strip("' ") for choice in match[2].split(",")]
    return f"there is no {word!r}{did_you_mean(word, choices)}; there are {', '.join(choices)}"


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Return the arguments, and the words that override fields of the config.

    Unknown words and conflicting flags end the process with exit status 2.
    """
    given = sys.argv[1:] if argv is None else argv
    # argparse would read an override whose value contains a space as a positional argument.
    overrides = tuple(word for word in given if word.startswith(OVERRIDE))
    arguments, words = parser.parse_known_args([word for word in given if not word.startswith(OVERRIDE)])
    command = _command_parser(parser, arguments.command)
    if hasattr(arguments, "config"):
        _check_spaces(command, given)
        unknown = _take_config(arguments, words)
    else:
        unknown = [*words, *overrides]
    if unknown:
        command.error(f"cannot read {' '.join(unknown)}{_flag_meant(command, unknown[0])}")
    if arguments.check is not None:
        arguments.check(arguments, command)
    return arguments, overrides


def _take_config(arguments: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """Set ``arguments.config`` to the config among flags and words, and return the other words."""
    # argparse does not recognize an optional positional argument after a flag.
    others = [word for word in words if not word.startswith("-")]
    names = [name for name in (arguments.config, arguments.given, *others) if name is not None]
    arguments.config = names[0] if names else None
    return [*(word for word in words if word.startswith("-")), *names[1:]]


def _check_spaces(command: argparse.ArgumentParser, words: Sequence[str]) -> None:
    # Only booleans need no value, but the types of fields are not known before the config is read. A word after a field
    # without a value is therefore refused.
    for word, following in itertools.pairwise(words):
        if word.startswith(OVERRIDE) and "=" not in word and not following.startswith("-"):
            command.error(f"{word} {following}: write {word}=VALUE, without a space")


def _command_parser(parser: argparse.ArgumentParser, name: str) -> Any:
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[name]


def _flag_meant(command: argparse.ArgumentParser, word: str) -> str:
    usage = command.format_usage()
    meant = did_you_mean(re.split("[=.]", word)[0], re.findall(r"--[a-z][\w-]*", usage))
    if not meant and word.startswith("--") and "--config" in usage:
        return f"; a field of the config is given as --config.FIELD=VALUE, such as {FIELD_EXAMPLE}"
    return meant
