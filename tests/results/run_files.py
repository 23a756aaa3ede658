"""Functions that read, compare and damage the files of a run directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from calls import call

from npi_jax.analysis.alignment.tables import alignment_tables
from npi_jax.errors import UserError
from npi_jax.evaluation.models import open_models
from npi_jax.results.directory import open_run
from npi_jax.results.folder import TABLES

CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"
LAST = 4
"""The last step of the run."""


def called(command: str, config_file: Path, run_dir: Path, *more: str) -> Any:
    """Call a command on a config file and a run directory."""
    return call(command, "--config", str(config_file), f"--config.run_dir={run_dir}", *more, seconds=120)


def _tokens(path: Path) -> list[str]:
    tokenizer = open_models([path]).tokenizer
    return [tokenizer.token(number) for number in range(tokenizer.vocab_size)]


def gradient_tables(path: Path) -> list[pl.DataFrame]:
    return list(alignment_tables(path, open_run(path).members()).values())


def all_tables(path: Path) -> list[pl.DataFrame]:
    run = open_run(path)
    return [run.members(), run.corpus(), run.metrics(), run.scores(), run.curves()]


READ: dict[str, Callable[[Path], Any]] = {
    "config.json": lambda path: open_run(path).config,
    "manifest.json": lambda path: open_run(path).manifest,
    "checksums.json": all_tables,
    "members.parquet": lambda path: open_run(path).members(),
    "corpus.parquet": lambda path: open_run(path).corpus(),
    **{name: lambda path, name=name: open_run(path).kept(name) for name in TABLES},
    "tokenizer/vocab.txt": _tokens,
    "tokenizer/tokenizer.json": _tokens,
    "metrics/4.parquet": lambda path: open_run(path).metrics(),
    "scores/4.parquet": lambda path: open_run(path).scores(),
    "gradients/4.npz": gradient_tables,
    "metrics/checksums.json": all_tables,
    "scores/checksums.json": all_tables,
    "tables/checksums.json": all_tables,
    **{f"tables/{name}.parquet": lambda path, name=name: open_run(path).table(name) for name in ("curves", "final")},
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, pl.DataFrame):
        return one.equals(other, null_equal=True)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def read_or_name(read: Callable[[Path], Any], path: Path, named: Path | None = None) -> Any:
    """Return what is read; None if reading is refused with a message that names the path. Other errors are raised."""
    try:
        return read(path)
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = str(error.filename)
    assert str(named or path) in message
    return None


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def contents(path: Path) -> dict[str, bytes]:
    skipped = ("log.jsonl", "manifest.json", ".lock")
    found = (file for file in path.rglob("*") if file.is_file() and "checkpoints" not in file.parts)
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in found if file.name not in skipped}


def flip(file: Path) -> None:
    file.write_bytes(flipped(file.read_bytes(), np.random.default_rng(0)))
