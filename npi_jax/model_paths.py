"""Directories that hold models: those of runs, and Hugging Face checkpoints."""

from pathlib import Path

from npi_jax.errors import UserError
from npi_jax.plain_files import read_json_object


def check_directory(path: Path) -> None:
    """Refuse what is no directory with a ``config.json``.

    Raises:
        UserError: naming the path.
    """
    wanted = "give the directory of a run, or of a Hugging Face checkpoint; nothing is downloaded"
    if not path.is_dir():
        raise UserError(f"{path}: {'a file' if path.exists() else 'there is no such directory'}; {wanted}")
    if not (path / "config.json").exists():
        raise UserError(f"{path}: no config.json is in the directory; {wanted}")


def is_run(path: Path) -> bool:
    """Both kinds of directory have a config.json; a run's says which variants of the corpus there are."""
    try:
        return "variants" in read_json_object(path / "config.json")
    except OSError:
        return False
