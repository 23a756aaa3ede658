"""An experiment that trains in seconds."""

from typing import Any

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.suites.schema import Item
from npi_jax.suites.sentences import Span


def tiny_values(**changes: Any) -> dict[str, Any]:
    """A configuration that trains in seconds; `changes` are dotted fields, with ``__`` for the dots."""
    values: dict[str, Any] = {
        "name": "tiny",
        "variants": ("full", "no_npi"),
        "seeds": (0, 1),
        "corpus": {
            "source": "grammar",
            "grammar": {"sentences": 1500, "seed": 3},
            "grammar_valid_sentences": 60,
        },
        "model": {"kind": "lstm", "embedding": 8, "hidden": 8, "layers": 1},
        "train": {"steps": 10, "batch_size": 8, "row_length": 32, "steps_per_call": 3},
        "score": {"every": 4, "suites": {"grammar": {"limit": 3}}},
        # Compiling them takes longer than the training; tests that are about gradients enable them.
        "gradients": {"enabled": False, "limit": 8, "micro_batches": 4, "text_rows": 8, "single_items": 2},
        "checkpoints": {"every": 4},
    }
    for field, value in changes.items():
        *path, last = field.split("__")
        place = values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return values


def npi(environment: str) -> tuple[Annotation, ...]:
    """The annotations of a sentence whose second word is an NPI, licensed by the first."""
    return (Annotation(environment, 0, (0, 2), "any", (1, 2)),)


def minimal_pair(good: str, bad: str, critical_good: Span, critical_bad: Span, **fields: Any) -> Item:
    """A minimal pair; `fields` override names and kind."""
    values = {"item": "i", "paradigm": "p", "task": "t", "kind": "other", **fields}
    return Item(good=good, bad=bad, critical_good=critical_good, critical_bad=critical_bad, **values)
