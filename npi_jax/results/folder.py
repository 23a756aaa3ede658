"""Names of the files in a run directory, and checks before a command writes into a folder."""

import os
import re
from pathlib import Path

from npi_jax.errors import UserError
from npi_jax.files.checksums import SUMS
from npi_jax.results import manifest, schema
from npi_jax.results.tables_alignment import WITH_GRADIENTS
from npi_jax.results.tables_preparation import Corpus, Environments, Examples, Ngram, Slots
from npi_jax.results.tables_training import Members

CONFIG = "config.json"
LOCK = ".lock"

NGRAM = Ngram.FILE
TABLES = tuple(table.FILE for table in (Corpus, Slots, Examples, Environments, Ngram))
"""Tables that preparation writes."""

TOKENIZER = ("tokenizer/tokenizer.json", "tokenizer/vocab.txt", "tokenizer/bpe.json")

STEP_FOLDERS = {"metrics": ".parquet", "scores": ".parquet", "gradients": ".npz"}
"""Folders with one file per checkpoint, and the suffix of these files."""

ANALYZED = tuple(table.NAME for table in schema.TABLES.values() if table.FILE.startswith("tables/"))
"""Tables of the analysis."""

OF_GRADIENTS = tuple(name for name in ANALYZED if schema.TABLES[name].WHEN == WITH_GRADIENTS)
"""Tables of the analysis that only runs with gradients have."""

FILES = (CONFIG, manifest.FILE, SUMS, LOCK, Members.FILE, "log.jsonl", *TABLES)
FOLDERS = ("tokenizer", *STEP_FOLDERS, "checkpoints", "tables", "report", "figures", "profile", "tensorboard", "wandb")

_LEFT_BY_SYSTEMS = re.compile(r"\.DS_Store|\.nfs.*|\..*\.tmp|\.lock")


class RunError(UserError):
    """A run directory cannot be used as requested; the message states a remedy."""


def step_files(folder: Path, ending: str) -> dict[int, Path]:
    """Return the files of a folder that are named by a step and have this suffix, by step in ascending order."""
    if not folder.is_dir():
        return {}
    named = ((re.fullmatch(r"(0|[1-9][0-9]{0,17})", path.stem, re.ASCII), path) for path in folder.iterdir())
    files = {int(step[0]): path for step, path in named if step and path.suffix == ending and path.is_file()}
    return dict(sorted(files.items()))


def check_usable(path: Path) -> None:
    """Raise an error if a run must not be written to a path; change nothing there.

    Raises:
        RunError: if the path is not a folder, or if the folder has contents but is not a run directory.
    """
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path} is a link to nothing; run_dir must be a folder or a name that is free")
    if not path.exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file; run_dir must be a folder or a name that is free")
    # Ignore locks and temporary files: a run that was killed at its start leaves nothing else.
    foreign = sorted(entry.name for entry in path.iterdir() if not _LEFT_BY_SYSTEMS.fullmatch(entry.name))
    if foreign and not manifest.is_run(path):
        raise RunError(
            f"{path} is not empty and not a run directory (it holds {foreign[0]}); choose another run_dir. Nothing "
            "in it was changed"
        )
    manifest.read_manifest(path)
    check_links(path)


def check_links(path: Path) -> None:
    """Raise an error if a file or folder of a run is a symbolic link, because a run would overwrite its target.

    Raises:
        RunError: naming the link.
    """
    for name in (*FILES, *FOLDERS):
        _refuse_link(path / name)
    for name in FOLDERS:
        for folder, folders, files in os.walk(path / name):
            for entry in (*folders, *files):
                _refuse_link(Path(folder) / entry)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise RunError(
            f"{path} is a link to {os.readlink(path)}: a run writes in its own folder only. Replace the "
            "link by a copy of its target"
        )


def refuse_own(path: Path) -> None:
    """Raise an error if a command's output path is among the files of a run, except in report/ and figures/.

    Raises:
        RunError: naming the run.
    """
    absolute = path.absolute()
    for folder in absolute.parents:
        first = absolute.relative_to(folder).parts[0]
        if first in {*FILES, *FOLDERS} - {"report", "figures"} and manifest.is_run(folder):
            raise RunError(f"{path} belongs to the run in {folder}, and is not written over; choose another name")


def has_trained(path: Path) -> bool:
    """Return True if any trace of training or analysis exists, even if other files were removed."""
    if any((path / name).exists() for name in ("members.parquet", "log.jsonl", "report", "figures")):
        return True
    if any(step_files(path / folder, ending) for folder, ending in STEP_FOLDERS.items()):
        return True
    if any((path / "tables").glob("*.parquet")) or any((path / "checkpoints").glob("[0-9]*")):
        return True
    return "tokens_per_second" in manifest.read_manifest(path)
