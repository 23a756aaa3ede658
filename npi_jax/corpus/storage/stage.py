"""Stages of preparation, and the keys under which the cache keeps their output."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One step of preparation whose output is cached.

    The key of an output consists of the stage's version, the versions of its libraries, and its inputs. Inputs
    name the output of an earlier stage by its key. A new version of a stage therefore renews all later stages.

    Attributes:
        name: the stage's folder in the cache.
        version: number of the algorithm. Raise it whenever equal inputs give another output. A test compares the
            output for a small corpus with the digest that is recorded for the version.
        libraries: distributions that do part of the work, so that their versions can change the output.
    """

    name: str
    version: int
    libraries: tuple[str, ...] = ()

    def key(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that an output depends on, as plain values."""
        return {
            "stage": self.name,
            "version": self.version,
            "libraries": {name: importlib.metadata.version(name) for name in self.libraries},
            "inputs": dict(inputs),
        }


def key_digest(key: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a key; the order of its entries does not matter."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
