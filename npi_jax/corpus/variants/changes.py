"""Changes that an intervention makes to a corpus: removed sentences, replaced words, injected sentences."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.annotation.phenomenon import Phenomenon
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.variants.interventions import SCARCE, Intervention, Step

Sentences = Bool[np.ndarray, " sentences"]
"""Mask of sentences."""


@dataclass(frozen=True)
class Change:
    """Changes to a corpus.

    Attributes:
        removed: mask of the removed sentences.
        thinned: mask of all sentences of the environments that `SCARCE` steps thin. None of them may be a donor
            sentence, in a random control neither: their number would no longer be the one that is asked for.
        replaced: pairs of the part to replace (one of `npi_jax.corpus.variants.interventions.REPLACED`) and the rows of
            the annotations that are selected.
        injected: steps that inject sentences.
        missing: number of sentences for which a random control has no item-free sentence of equal length.
    """

    removed: Sentences
    thinned: Sentences
    replaced: tuple[tuple[str, Integer[np.ndarray, " rows"]], ...] = ()
    injected: tuple[Step, ...] = ()
    missing: int = 0

    @property
    def size(self) -> int:
        """Number of removed sentences."""
        return int(self.removed.sum())


def find_change(
    intervention: Intervention,
    table: AnnotationTable,
    phenomenon: Phenomenon,
    lengths: Integer[np.ndarray, " sentences"],
    *,
    seed: int,
) -> Change:
    """Find the sentences of a corpus that an intervention changes.

    Args:
        intervention: the intervention.
        table: annotations of the corpus.
        phenomenon: phenomenon of the annotations.
        lengths: number of tokens of each sentence, for random controls.
        seed: seed of random choices (``downsample`` and ``random``).
    """
    if intervention.control_of is not None:
        target = find_change(intervention.control_of, table, phenomenon, lengths, seed=seed)
        return _control(target, table, lengths, generator(seed, str(intervention)))
    removed, thinned = np.zeros((2, len(lengths)), bool)
    replaced, injected = [], []
    for step in intervention.steps:
        rows = step.selection.mask(table, phenomenon)
        match step.kind:
            case "replace":
                replaced.append((step.what, np.flatnonzero(rows)))
            case "inject":
                injected.append(step)
            case _:
                removed |= _removed(step, rows, table, removed, seed)
        if step.kind in SCARCE:
            thinned |= _sentences_with(rows, table, len(lengths))
        if step.kind in ("alone", "pair"):
            whole = rows | (table.label == phenomenon.labels.index(step.donor)) if step.donor else rows
            removed |= _without_any(whole, table, len(lengths))
    kept = [(part, rows[~removed[table.sentence[rows]]]) for part, rows in replaced]
    return Change(removed, thinned, tuple(kept), tuple(injected))


def _removed(
    step: Step, rows: Bool[np.ndarray, " rows"], table: AnnotationTable, already_removed: Sentences, seed: int
) -> Sentences:
    """Return the sentences that one step removes, given the selected rows of the annotations."""
    n_sentences = len(already_removed)
    selected = _sentences_with(rows, table, n_sentences) & ~already_removed
    match step.kind:
        case "remove":
            return selected
        case "keep_only":
            return _without_any(rows, table, n_sentences)
    return _downsampled(step, selected, seed)


def _without_any(rows: Bool[np.ndarray, " rows"], table: AnnotationTable, n_sentences: int) -> Sentences:
    """Return the sentences with an item, but without any in the given rows."""
    holds_item = _sentences_with(table.holds_item, table, n_sentences)
    return holds_item & ~_sentences_with(rows & table.holds_item, table, n_sentences)


def _sentences_with(rows: Bool[np.ndarray, " rows"], table: AnnotationTable, n_sentences: int) -> Sentences:
    """Return the sentences with at least one of the rows."""
    sentences = np.zeros(n_sentences, bool)
    sentences[table.sentence[rows]] = True
    return sentences


def _downsampled(step: Step, selected: Sentences, seed: int) -> Sentences:
    """Return the selected sentences except a random share, which is kept."""
    members = np.flatnonzero(selected)
    n_kept = round(step.share * len(members))
    removed = np.zeros(len(selected), bool)
    # The order depends on the selection only, so that a larger share keeps all sentences that a smaller one keeps, and
    # `scarce`, `alone` and `pair` keep the same.
    kind = "scarce" if step.kind in SCARCE else step.kind
    order = generator(seed, f"{kind}({step.selection})").permutation(members)
    removed[order[n_kept:]] = True
    return removed


def _control(
    target: Change,
    table: AnnotationTable,
    lengths: Integer[np.ndarray, " sentences"],
    rng: np.random.Generator,
) -> Change:
    """Return the random control of a change: it removes as many item-free sentences of each length in tokens."""
    changed = target.removed.copy()
    for _, rows in target.replaced:
        changed[table.sentence[rows]] = True
    candidates = ~_sentences_with(table.holds_item, table, len(lengths)) & ~changed & ~target.thinned
    chosen = np.zeros(len(lengths), bool)
    missing = 0
    for length, wanted in zip(*np.unique(lengths[changed], return_counts=True), strict=True):
        pool = rng.permutation(np.flatnonzero(candidates & (lengths == length)))
        chosen[pool[:wanted]] = True
        missing += max(0, int(wanted) - len(pool))
    return Change(chosen, target.thinned, (), target.injected, missing)
