"""Reference page of the commands: each with what its ``--help`` prints."""

import argparse
import os
from pathlib import Path

import npi_jax
from npi_jax.cli.main import parser

INTRODUCTION = """# Commands

`npi-jax COMMAND --help` prints what is here. `python -m npi_jax` is the same as `npi-jax`. `python -m npi_jax.lm_eval`
runs the lm-evaluation-harness with members of a run ([Export](../how-to/export.md)).
"""
WIDTH = "100"


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands by name."""
    (sub,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(sub.choices)


def page() -> str:
    """The page, as Markdown."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        parts = [INTRODUCTION, _block(parser())]
        parts += [f"## {name}\n\n{_block(command)}" for name, command in commands().items()]
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join(parts)


def _block(command: argparse.ArgumentParser) -> str:
    # Paths of the package are printed in full; here they begin at the package.
    text = command.format_help().replace(f"{Path(npi_jax.__file__).parent.parent}{os.sep}", "")
    return f"```text\n{text}```\n"
