"""The annotations of many sentences as columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.phenomenon import Phenomenon

DTYPES = {
    "sentence": np.int64,
    "label": np.int16,
    "item": np.int16,
    "licensor": np.int32,
    "start": np.int32,
    "stop": np.int32,
}
"""The columns, in order, with their dtypes."""


@dataclass(frozen=True)
class AnnotationTable:
    """One row an annotation, sentences in order.

    Attributes:
        sentence: number of the sentence, from 0.
        label: what licenses, as an index into `Phenomenon.labels`.
        item: the item as an index into `Phenomenon.items`; -1 for a licensor without one.
        licensor: word of the licensor; -1 for none.
        start, stop: the item's words; -1 for none.
    """

    sentence: Integer[np.ndarray, " rows"]
    label: Integer[np.ndarray, " rows"]
    item: Integer[np.ndarray, " rows"]
    licensor: Integer[np.ndarray, " rows"]
    start: Integer[np.ndarray, " rows"]
    stop: Integer[np.ndarray, " rows"]

    @classmethod
    def from_sentences(
        cls, annotations: Iterable[Sequence[Annotation]], phenomenon: Phenomenon, *, first: int = 0
    ) -> "AnnotationTable":
        """The annotations of sentences, the first of which has the number `first`."""
        labels = {name: index for index, name in enumerate(phenomenon.labels)}
        items = {name: index for index, name in enumerate(phenomenon.item_names)}
        rows = [
            (number, labels[a.environment], -1 if a.npi is None else items[a.npi], a.licensor, *a.span)
            for number, found in enumerate(annotations, first)
            for a in found
        ]
        table = np.array(rows, np.int64).reshape(-1, len(DTYPES))
        return cls(*(table[:, at].astype(dtype) for at, dtype in enumerate(DTYPES.values())))

    def __len__(self) -> int:
        return len(self.sentence)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        return {name: getattr(self, name) for name in DTYPES}

    def where(self, mask: Bool[np.ndarray, " rows"] | Int[np.ndarray, " chosen"]) -> "AnnotationTable":
        """Some of the rows."""
        return AnnotationTable(*(column[mask] for column in self.columns().values()))

    @property
    def holds_item(self) -> Bool[np.ndarray, " rows"]:
        """Which rows are about an item, not about a licensor alone."""
        return np.asarray(self.item >= 0)
