"""Annotations of many sentences as columns."""

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
"""Dtypes of the columns, in the order of the columns."""


@dataclass(frozen=True)
class AnnotationTable:
    """Annotations, one per row, in the order of sentences.

    Attributes:
        sentence: number of the sentence, from 0.
        label: environment or residual label, as an index into `Phenomenon.labels`.
        item: item as an index into `Phenomenon.items`; -1 for a licensor without an item.
        licensor: position of the licensor's word; -1 for none.
        start, stop: words of the item, ``[start, stop)``; -1 for none.
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
        """Build a table from the annotations of each sentence; `first` is the number of the first sentence."""
        labels = {name: index for index, name in enumerate(phenomenon.labels)}
        items = {name: index for index, name in enumerate(phenomenon.item_names)}
        rows = [
            (number, labels[a.environment], -1 if a.npi is None else items[a.npi], a.licensor, *a.span)
            for number, sentence_annotations in enumerate(annotations, first)
            for a in sentence_annotations
        ]
        table = np.array(rows, np.int64).reshape(-1, len(DTYPES))
        return cls(*(table[:, at].astype(dtype) for at, dtype in enumerate(DTYPES.values())))

    def __len__(self) -> int:
        return len(self.sentence)

    def columns(self) -> dict[str, Integer[np.ndarray, " rows"]]:
        """Return the columns by name."""
        return {name: getattr(self, name) for name in DTYPES}

    def where(self, mask: Bool[np.ndarray, " rows"] | Int[np.ndarray, " chosen"]) -> "AnnotationTable":
        """Return some of the rows, by mask or by index."""
        return AnnotationTable(*(column[mask] for column in self.columns().values()))

    @property
    def holds_item(self) -> Bool[np.ndarray, " rows"]:
        """Mask of the rows with an item; the other rows are licensors without an item."""
        return np.asarray(self.item >= 0)
