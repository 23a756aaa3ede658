"""Construction of variants: applies interventions to a corpus, and writes the rows that change."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.encoded import Corpus
from npi_jax.corpus.variants.changes import Change, find_change
from npi_jax.corpus.variants.donors import Donors
from npi_jax.corpus.variants.edits import EditedSentence, Editor
from npi_jax.corpus.variants.injections import Injections, Injector
from npi_jax.corpus.variants.interventions import Intervention
from npi_jax.corpus.variants.rendering import Renderer, RowSink, RowsInMemory
from npi_jax.corpus.variants.rows import pack
from npi_jax.corpus.variants.slot_contents import Pieces, SlotContents
from npi_jax.corpus.variants.slot_log import SlotLog
from npi_jax.corpus.variants.variant import RowPool, Variant
from npi_jax.errors import UserError


class VariantBuilder:
    """Builds variants of one corpus; each variant shares its unchanged rows with the corpus.

    Args:
        corpus: the corpus.
        row_length: number of tokens per row.
        mode: ``"replace"``: donors fill the slots of removed sentences. All variants have the same tokens at the same
            positions in all unchanged slots. ``"delete"``: the slots of removed sentences are deleted, as in published
            work, so that packing and order change.
        seed: seed of donors, random controls and replacements.
        editor: replaces words; needed by interventions that replace words.
        batch_size, seeds: batch size and seeds of training; needed by interventions that inject sentences.
        sink: receives the rows; None to keep them in memory, where `pool` returns them.

    Attributes:
        log: changes to slots, for all variants so far.
    """

    def __init__(
        self,
        corpus: Corpus,
        row_length: int,
        *,
        mode: str = "replace",
        seed: int = 0,
        editor: Editor | None = None,
        batch_size: int = 0,
        seeds: Sequence[int] = (),
        sink: RowSink | None = None,
    ) -> None:
        self.corpus, self.row_length, self.mode, self.seed = corpus, row_length, mode, seed
        self.editor, self.batch_size, self.seeds = editor, batch_size, seeds
        self.log = SlotLog()
        self._memory = RowsInMemory()
        self._renderer = Renderer(corpus, row_length, sink or self._memory)
        self._lengths = self._renderer.lengths
        slots = np.arange(len(corpus))
        self._base = SlotContents(pack(self._lengths, row_length), slots, np.zeros(len(slots), bool))
        self._base_rows = self._renderer.write(self._base, np.arange(self._base.packing.n_rows))
        self._donors = Donors(corpus, seed)

    def build(self, intervention: Intervention) -> Variant:
        """Apply one intervention, and add changed rows to the pool.

        Raises:
            UserError: if no sentence is left, or no item-free sentence can fill a slot.
        """
        self._check_mode(intervention)
        corpus = self.corpus
        change = find_change(intervention, corpus.annotations, corpus.phenomenon, self._lengths, seed=self.seed)
        edits, unedited = self._edit(intervention, change)
        removed = change.removed.copy()
        removed[unedited] = True
        contents, unmatched = self._fill(intervention, removed, change.thinned, edits)
        rows = self._render(contents)
        injections = self._inject(intervention, change, contents, rows)
        self._log(str(intervention), removed, contents, injections)
        pieces = contents.pieces
        occurrences = np.bincount(pieces.sentence, minlength=len(corpus)) + ~removed
        occurrences[list(edits)] = 0
        items, contexts = self._count_labels(occurrences, edits)
        return Variant(
            intervention=intervention,
            rows=rows,
            removed=int(removed.sum()),
            unmatched=unmatched + change.missing + len(unedited) + injections.unplaced,
            sentences=int((~removed).sum()) + len(pieces),
            tokens=int(self._lengths[~removed].sum(dtype=np.int64) + pieces.length.sum()),
            items=items,
            contexts=contexts,
            edited=len(edits),
            injected=injections.placed,
            unreplaced={} if self.editor is None else dict(self.editor.without_counterpart.most_common()),
            overrides=injections.overrides,
        )

    def pool(self) -> RowPool:
        """Return all rows of the variants so far; the builder must have no sink."""
        return RowPool(np.concatenate(self._memory.tokens), np.concatenate(self._memory.used))

    def _check_mode(self, intervention: Intervention) -> None:
        controlled = intervention.control_of
        if self.mode == "delete" and controlled and any(step.kind == "replace" for step in controlled.steps):
            raise UserError(
                f"variant {intervention}: with removal='delete', replaced words have no control; use 'replace'"
            )

    def _edit(self, intervention: Intervention, change: Change) -> tuple[dict[int, EditedSentence], list[int]]:
        """Return edited sentences by their number, and the numbers of sentences that could not be edited."""
        wanted: dict[int, list[tuple[str, int]]] = {}
        for part, rows in change.replaced:
            for row in rows.tolist():
                wanted.setdefault(int(self.corpus.annotations.sentence[row]), []).append((part, row))
        if self.editor is None:
            if wanted:
                raise UserError(f"variant {intervention}: replacing words needs an editor")
            return {}, []
        self.editor.without_counterpart.clear()
        edits, unedited = {}, []
        for sentence, parts in sorted(wanted.items()):
            edited = self.editor.edit(sentence, parts)
            if edited is None:
                unedited.append(sentence)
            else:
                edits[sentence] = edited
        return edits, unedited

    def _fill(
        self,
        intervention: Intervention,
        removed: Bool[np.ndarray, " sentences"],
        thinned: Bool[np.ndarray, " sentences"],
        edits: Mapping[int, EditedSentence],
    ) -> tuple[SlotContents, int]:
        """Fill or delete the slots of removed sentences; return also the number without a donor of equal length."""
        if self.mode != "delete":
            barred = removed.copy()
            barred[list(edits)] = True
            # For a control, a donor that the control removed is better than donors of another length.
            last_resort = None if intervention.control_of is None else barred
            slots = np.flatnonzero(removed)
            pieces, unmatched = self._donors.fill(slots, barred | thinned, last_resort=last_resort)
            return SlotContents(self._base.packing, self._base.original, removed, pieces, edits), unmatched
        kept = np.flatnonzero(~removed)
        if not len(kept):
            raise UserError(f"variant {intervention}: no sentence is left")
        packing = pack(self._lengths[kept], self.row_length)
        return SlotContents(packing, kept, np.zeros(len(kept), bool), Pieces.empty(), edits), 0

    def _render(self, contents: SlotContents) -> Integer[np.ndarray, " rows"]:
        """Return the variant's pool rows; rows without a change are those of the corpus."""
        if len(contents.original) < len(self._base.original):  # deleted slots change the packing of all rows
            return self._renderer.write(contents, np.arange(contents.packing.n_rows))
        changed_slots = contents.removed.copy()
        changed_slots[list(contents.edits)] = True
        rows = self._base_rows.copy()
        changed = np.unique(contents.packing.row[changed_slots])
        rows[changed] = self._renderer.write(contents, changed)
        return rows

    def _inject(
        self,
        intervention: Intervention,
        change: Change,
        contents: SlotContents,
        rows: Integer[np.ndarray, " rows"],
    ) -> Injections:
        if not change.injected:
            return Injections()
        if not self.batch_size or not self.seeds:
            raise UserError(f"variant {intervention}: injecting needs the batch size and the seeds of training")
        donors = None if intervention.control_of is None else self._donors
        injector = Injector(self._renderer, contents, rows, donors, self.seed, change.thinned)
        return injector.inject(change.injected, batch_size=self.batch_size, seeds=self.seeds)

    def _log(
        self,
        variant: str,
        removed: Bool[np.ndarray, " sentences"],
        contents: SlotContents,
        injections: Injections,
    ) -> None:
        self.log.removed(variant, np.flatnonzero(removed), contents.pieces)
        self.log.edited(variant, contents.edits)
        for (seed, step), pieces in injections.pieces.items():
            # Tables name a slot by its original sentence.
            named = Pieces(contents.original[pieces.slot], pieces.sentence, pieces.start, pieces.length)
            self.log.injected(variant, named, seed, step)

    def _count_labels(
        self, occurrences: Integer[np.ndarray, " sentences"], edits: Mapping[int, EditedSentence]
    ) -> tuple[Integer[np.ndarray, " labels"], Integer[np.ndarray, " labels"]]:
        """Count items and licensors without an item by label, given the number of occurrences of each sentence."""
        tables = [(self.corpus.annotations, occurrences[self.corpus.annotations.sentence])]
        tables += [(edit.annotations, np.ones(len(edit.annotations), np.int64)) for edit in edits.values()]
        n_labels = len(self.corpus.phenomenon.labels)
        totals = np.zeros((2, n_labels), np.int64)
        for table, weights in tables:
            for at, rows in ((0, table.holds_item), (1, ~table.holds_item)):
                totals[at] += np.bincount(table.label[rows], weights[rows], n_labels).astype(np.int64)
        return totals[0], totals[1]
