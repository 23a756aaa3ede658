"""Variants: the corpus after each intervention, as indices over rows that variants share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Bool, Integer

from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.variants.donors import Donors
from npi_jax.corpus.variants.edits import Edited, Editor
from npi_jax.corpus.variants.injections import Injections, Injector
from npi_jax.corpus.variants.interventions import Change, Intervention, changes
from npi_jax.corpus.variants.layout import Layout, Pieces, Renderer, RowSink, RowsInMemory
from npi_jax.corpus.variants.rows import RowOrder, pack
from npi_jax.corpus.variants.slot_log import SlotLog
from npi_jax.errors import UserError


@dataclass(frozen=True)
class RowPool:
    """Every distinct row that some variant uses.

    Attributes:
        tokens: `<eos>`, then the row's sentences, then `<eos>` to the end.
        used: how many tokens of each row are to be predicted; the rest is padding.
    """

    tokens: Integer[np.ndarray, "rows length_and_one"]
    used: Integer[np.ndarray, " rows"]


@dataclass(frozen=True)
class Variant:
    """The corpus after one intervention, as an index over the pool's rows.

    Attributes:
        intervention: what was done.
        rows: pool row of each of the variant's rows.
        removed: how many sentences were taken out.
        unmatched: of what was to be changed, how much was not changed exactly: removed slots that no single donor of
            the same length fills, replacements that had no counterpart of as many tokens (the sentence is removed
            then), injections that found no slot, removals of a control that found no sentence of their length.
        sentences, tokens: what is left to train on.
        items: items by label (`Phenomenon.labels`).
        contexts: licensors without an item, by label.
        edited: sentences in which words were replaced.
        injected: sentences put in, over all seeds.
        unreplaced: words for which the table has nothing to replace them by, and in how many sentences.
        overrides: rows that take the place of `rows` for one seed at one step, by (seed, step).
    """

    intervention: Intervention
    rows: Integer[np.ndarray, " rows"]
    removed: int
    unmatched: int
    sentences: int
    tokens: int
    items: Integer[np.ndarray, " labels"]
    contexts: Integer[np.ndarray, " labels"]
    edited: int = 0
    injected: int = 0
    unreplaced: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[tuple[int, int], Integer[np.ndarray, " batch"]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Sentences that were removed, edited or put in."""
        return self.removed + self.edited + self.injected

    def batch(self, order: RowOrder, seed: int, step: int) -> Integer[np.ndarray, " batch"]:
        """Pool rows that a seed trains on in a step."""
        if (seed, step) in self.overrides:
            return self.overrides[seed, step]
        return self.rows[order.rows(seed, step)]


@dataclass
class VariantBuilder:
    """Builds variants of one corpus, sharing the rows that they have in common.

    Args:
        corpus: what the variants are made of.
        row_length: tokens of a row.
        mode: ``"replace"`` (slots are refilled, all variants have the same tokens at the same places but for
            the slots changed) or ``"delete"`` (slots vanish, as in published work: packing and order change).
        seed: of donors, random controls and replacements.
        editor: for interventions that replace words.
        batch_size, seeds: of training, for interventions that inject.
        sink: takes the rows; None keeps them in memory, for `pool`.
    """

    corpus: Corpus
    row_length: int
    mode: str = "replace"
    seed: int = 0
    editor: Editor | None = None
    batch_size: int = 0
    seeds: Sequence[int] = ()
    sink: RowSink | None = None

    def __post_init__(self) -> None:
        self._memory = RowsInMemory()
        self._renderer = Renderer(self.corpus, self.row_length, self.sink or self._memory)
        self._lengths = self._renderer.lengths
        own = np.arange(len(self.corpus))
        self._base = Layout(pack(self._lengths, self.row_length), own, np.zeros(len(own), bool))
        self._base_rows = self._renderer.write(self._base, np.arange(self._base.packing.n_rows))
        self._donors = Donors(self.corpus, self.seed)
        self.log = SlotLog()

    def build(self, intervention: Intervention) -> Variant:
        """Apply one intervention; rows that no earlier variant has are added to the pool.

        Raises:
            UserError: if nothing is left, or no item-free sentence is there to fill slots with.
        """
        corpus, name = self.corpus, str(intervention)
        if (
            self.mode == "delete"
            and intervention.control_of
            and any(step.kind == "replace" for step in intervention.control_of.steps)
        ):
            raise UserError(f"variant {name}: with removal='delete' nothing controls for replaced words; use 'replace'")
        change = changes(intervention, corpus.annotations, corpus.phenomenon, self._lengths, seed=self.seed)
        edits, unedited = self._edits(intervention, change)
        removed = change.removed.copy()
        removed[unedited] = True
        layout, unmatched = self._layout(intervention, removed, edits)
        rows = self._rows(layout)
        injected = self._inject(intervention, change, layout, rows)
        self.log.removed(name, np.flatnonzero(removed), layout.pieces)
        self.log.edited(name, edits)
        for (seed, step), pieces in injected.pieces.items():
            self.log.injected(name, self._named(layout, pieces), seed, step)
        left = np.bincount(layout.pieces.sentence, minlength=len(corpus)) + ~removed
        left[list(edits)] = 0
        items, contexts = self._counts(left, edits)
        return Variant(
            intervention,
            rows,
            int(removed.sum()),
            unmatched + change.missing + len(unedited) + injected.unplaced,
            int((~removed).sum()) + len(layout.pieces),
            int(self._lengths[~removed].sum(dtype=np.int64) + layout.pieces.length.sum()),
            items,
            contexts,
            len(edits),
            injected.placed,
            {} if self.editor is None else dict(self.editor.without_counterpart.most_common()),
            injected.overrides,
        )

    def pool(self) -> RowPool:
        """All rows of the variants built so far, if they are kept in memory."""
        return RowPool(np.concatenate(self._memory.tokens), np.concatenate(self._memory.used))

    def _edits(self, intervention: Intervention, change: Change) -> tuple[dict[int, Edited], list[int]]:
        """Edited sentences by number, and the sentences that could not be edited."""
        wanted: dict[int, list[tuple[str, int]]] = {}
        for what, rows in change.replaced:
            for row in rows.tolist():
                wanted.setdefault(int(self.corpus.annotations.sentence[row]), []).append((what, row))
        if wanted and self.editor is None:
            raise UserError(f"variant {intervention}: replacing words needs an editor")
        edits, unedited = {}, []
        if self.editor is not None:
            self.editor.without_counterpart.clear()
        for sentence, swaps in sorted(wanted.items()):
            assert self.editor is not None
            found = self.editor.edit(sentence, swaps)
            if found is None:
                unedited.append(sentence)
            else:
                edits[sentence] = found
        return edits, unedited

    def _layout(
        self, intervention: Intervention, removed: Bool[np.ndarray, " sentences"], edits: Mapping[int, Edited]
    ) -> tuple[Layout, int]:
        """What stands where, and how many slots not one donor of the very length fills."""
        if self.mode != "delete":
            barred = removed.copy()
            barred[list(edits)] = True
            # A control would rather take back a sentence that it removed itself than leave a slot to be filled badly.
            strict = intervention.control_of is None
            pieces, unmatched = self._donors.fill(np.flatnonzero(removed), barred, strict=strict)
            return Layout(self._base.packing, self._base.own, removed, pieces, edits), unmatched
        kept = np.flatnonzero(~removed)
        if not len(kept):
            raise UserError(f"variant {intervention}: no sentence is left")
        packing = pack(self._lengths[kept], self.row_length)
        return Layout(packing, kept, np.zeros(len(kept), bool), Pieces.none(), edits), 0

    def _rows(self, layout: Layout) -> Integer[np.ndarray, " rows"]:
        """The pool rows of a layout; those of the corpus as it is are shared."""
        if len(layout.own) < len(self._base.own):  # packed anew
            return self._renderer.write(layout, np.arange(layout.packing.n_rows))
        touched = layout.removed.copy()
        touched[list(layout.edits)] = True
        rows = self._base_rows.copy()
        changed = np.unique(layout.packing.row[touched])
        rows[changed] = self._renderer.write(layout, changed)
        return rows

    def _inject(
        self, intervention: Intervention, change: Change, layout: Layout, rows: Integer[np.ndarray, " rows"]
    ) -> Injections:
        if not change.injected:
            return Injections()
        if not self.batch_size or not self.seeds:
            raise UserError(f"variant {intervention}: injecting needs the batch size and the seeds of training")
        donors = None if intervention.control_of is None else self._donors
        injector = Injector(self._renderer, layout, rows, donors, self.seed)
        return injector.inject(change.injected, batch_size=self.batch_size, seeds=self.seeds)

    def _named(self, layout: Layout, pieces: Pieces) -> Pieces:
        """Pieces with the number of the sentence that a slot belongs to, which is what tables call the slot."""
        return Pieces(layout.own[pieces.slot], pieces.sentence, pieces.start, pieces.length)

    def _counts(
        self, left: Integer[np.ndarray, " sentences"], edits: Mapping[int, Edited]
    ) -> tuple[Integer[np.ndarray, " labels"], Integer[np.ndarray, " labels"]]:
        """Items and bare licensors by label, where each sentence occurs so often."""
        tables = [(self.corpus.annotations, left[self.corpus.annotations.sentence])]
        tables += [(edit.annotations, np.ones(len(edit.annotations), np.int64)) for edit in edits.values()]
        n_labels = len(self.corpus.phenomenon.labels)
        totals = np.zeros((2, n_labels), np.int64)
        for table, weights in tables:
            for which, rows in ((0, table.holds_item), (1, ~table.holds_item)):
                totals[which] += np.bincount(table.label[rows], weights[rows], n_labels).astype(np.int64)
        return totals[0], totals[1]


FEW = 1000
"""A variant that changes fewer than one in so many sentences is warned of."""


def check_changes(
    variants: Sequence[Variant], sentences: int, say: Callable[[str], None], *, allow_empty: bool = False
) -> None:
    """Refuse variants that change nothing, and warn of those that change next to nothing.

    Args:
        variants: those of an experiment.
        sentences: of the corpus.
        say: gets the warnings.
        allow_empty: whether a variant that changes nothing is warned of, too.

    Raises:
        UserError: naming the variants.
    """
    changing = [one for one in variants if one.intervention.steps or one.intervention.control_of]
    empty = [str(one.intervention) for one in changing if not one.changed]
    if empty and not allow_empty:
        raise UserError(
            f"variants: {', '.join(empty)} {'changes' if len(empty) == 1 else 'change'} 0 of {sentences:,} sentences, "
            "and would be the same as 'full'; leave out what does nothing, or set corpus.allow_empty=True"
        )
    for one in changing:
        if one.changed * FEW < sentences:
            share = f"{one.changed:,} of {sentences:,} sentences"
            say(f"warning: variant {one.intervention} changes {share}; effects of so few are hard to find")


def variant_table(variants: Sequence[Variant], labels: Sequence[str]) -> pl.DataFrame:
    """What each variant changed: one row a variant, as documented in `npi_jax.results.directory`."""
    return pl.DataFrame(
        [
            {
                "variant": str(variant.intervention),
                "control_of": str(variant.intervention.control_of) if variant.intervention.control_of else None,
                "sentences": variant.sentences,
                "tokens": variant.tokens,
                "slots_changed": variant.removed + variant.edited,
                "slots_unmatched": variant.unmatched,
                "edited": variant.edited,
                "injected": variant.injected,
                **{f"npi_{name}": int(n) for name, n in zip(labels, variant.items, strict=True)},
                **{f"contexts_{name}": int(n) for name, n in zip(labels, variant.contexts, strict=True)},
            }
            for variant in variants
        ],
        schema_overrides={"control_of": pl.String},
    )
