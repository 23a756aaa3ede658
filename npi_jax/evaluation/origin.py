"""The file in an exported model's directory that names the run it comes from; transformers ignores this file."""

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
    """Content of `ORIGIN_FILE`.

    Attributes:
        score_end: whether the model was trained to predict the end of sentences, so that scores include the end token.
        origin: the member's names: model (the run), member, variant, seed, step.
    """

    score_end: bool
    origin: dict[str, Any]


_ORIGIN = pydantic.TypeAdapter(_Origin).validate_json


def origin_file(names: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the name and the content of `ORIGIN_FILE` for a member of a run."""
    return {ORIGIN_FILE: (json.dumps(asdict(_Origin(True, dict(names))), indent=2) + "\n").encode()}


def learned_ends(directory: Path) -> bool:
    """Return whether a model was trained to predict the end of sentences; False for a directory without `ORIGIN_FILE`.

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
