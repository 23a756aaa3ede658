"""The file that says which run an exported member comes from, beside what transformers reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pydantic

from npi_jax.errors import UserError
from npi_jax.files.plain import JSON_LIMIT, read_plain
from npi_jax.files.writing import read_checked

ORIGIN_FILE = "npi_jax.json"


@dataclass(frozen=True)
class _Origin:
    """What is in `ORIGIN_FILE`.

    Attributes:
        score_end: whether the model learned where sentences end, so that the end token belongs to their scores.
        origin: the member's names: model (the name of its run), member, variant, seed, step.
    """

    score_end: bool
    origin: dict[str, Any]


_ORIGIN = pydantic.TypeAdapter(_Origin).validate_json


def origin_file(names: Mapping[str, Any]) -> dict[str, bytes]:
    """The content of `ORIGIN_FILE` by its name; members of a run read every sentence with its end."""
    return {ORIGIN_FILE: (json.dumps(asdict(_Origin(True, dict(names))), indent=2) + "\n").encode()}


def learned_ends(directory: Path) -> bool:
    """Whether a directory holds a model that learned where sentences end; False where no file says so.

    Raises:
        UserError: naming the file and the field, if it is damaged.
    """
    file = directory / ORIGIN_FILE
    try:
        read_plain(file, JSON_LIMIT)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"{file}: {error}") from error
    return bool(read_checked(file, _ORIGIN).score_end)
