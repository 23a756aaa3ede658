"""Variants: the corpus after each intervention, as indices over rows that variants share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Integer

from npi_jax.corpus.edits import Edited, Editor
from npi_jax.corpus.interventions import Change, Intervention, Step, changes
from npi_jax.corpus.rows import Packing, RowOrder, generator, pack, spread
from npi_jax.corpus.store import Corpus
from npi_jax.errors import UserError

_ROWS = 20_000  # rendered at a time
REMOVED, EDITED, INJECTED = "removed", "edited", "injected"
SLOT_SCHEMA = {
    "variant": pl.String,
    "action": pl.String,
    "slot": pl.Int64,
    "donor": pl.Int64,
    "start": pl.Int64,
    "tokens": pl.Int64,
    "seed": pl.Int64,
    "step": pl.Int64,
}
"""Columns of the table of slots: what was done to which slot; `donor` is the sentence that stands there now (null where
there is none), from its token `start`, `tokens` long; seed and step are those of an injection."""


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
    overrides: Mapping[tuple[int, int], Integer[np.ndarray, " batch"]] = field(default_factory=dict)

    def batch(self, order: RowOrder, seed: int, step: int) -> Integer[np.ndarray, " batch"]:
        """Pool rows that a seed trains on in a step."""
        if (seed, step) in self.overrides:
            return self.overrides[seed, step]
        return self.rows[order.rows(seed, step)]


@runtime_checkable
class RowSink(Protocol):
    """Takes rendered rows, in order."""

    def append(self, *, tokens: np.ndarray, used: np.ndarray) -> None:
        """Append rows: tokens [rows, length + 1] and how many of each are used."""


@dataclass
class _Memory:
    """Rendered rows in memory."""

    tokens: list[np.ndarray] = field(default_factory=list)
    used: list[np.ndarray] = field(default_factory=list)

    def append(self, *, tokens: np.ndarray, used: np.ndarray) -> None:
        self.tokens.append(tokens)
        self.used.append(used)


@dataclass
class _Pieces:
    """Which sentence, from its first token, fills which stretch of which slot; slots in increasing order."""

    slot: np.ndarray
    sentence: np.ndarray
    start: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.slot)

    def where(self, mask: np.ndarray) -> "_Pieces":
        return _Pieces(self.slot[mask], self.sentence[mask], self.start[mask], self.length[mask])


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
        self._memory = _Memory()
        self._out: RowSink = self.sink or self._memory
        self._n_rows = 0
        self._lengths = np.asarray(self.corpus.lengths)
        self._packing = pack(self._lengths, self.row_length)
        self._donors = _Donors(self.corpus, self.seed)
        self._slots: list[pl.DataFrame] = []
        self.edited_text: dict[tuple[str, int], str] = {}
        self._render(self._packing, np.arange(self._packing.n_rows), None, {})

    def build(self, intervention: Intervention) -> Variant:
        """Apply one intervention; rows that no earlier variant has are added to the pool.

        Raises:
            UserError: if nothing is left, or no item-free sentence is there to fill slots with.
        """
        corpus = self.corpus
        change = changes(intervention, corpus.annotations, corpus.phenomenon, self._lengths, seed=self.seed)
        edits, unedited = self._edits(intervention, change)
        removed = change.removed.copy()
        removed[unedited] = True
        pieces, unmatched = self._fill(intervention, removed)
        slots = _Slots(str(intervention))
        if self.mode == "delete":
            rows, packing, kept = self._delete(removed, edits)
        else:
            rows, packing, kept = self._replace(removed, pieces, edits), self._packing, None
        slots.removed(removed, pieces)
        slots.edited(edits)
        self.edited_text.update({(str(intervention), slot): edit.text for slot, edit in edits.items()})
        injection = _Injection(self, packing, rows, kept, pieces, edits)
        overrides, placed, unplaced = injection.run(intervention, change.injected, slots)
        self._slots.append(slots.table())
        left = np.bincount(pieces.sentence, minlength=len(corpus)) + ~removed
        left[list(edits)] = 0
        items, contexts = self._counts(left, edits)
        return Variant(
            intervention,
            rows,
            int(removed.sum()),
            unmatched + change.missing + len(unedited) + unplaced,
            int((~removed).sum()) + len(pieces),
            int(self._lengths[~removed].sum() + pieces.length.sum()),
            items,
            contexts,
            len(edits),
            placed,
            overrides,
        )

    def pool(self) -> RowPool:
        """All rows of the variants built so far, if they are kept in memory."""
        return RowPool(np.concatenate(self._memory.tokens), np.concatenate(self._memory.used))

    def slots(self) -> pl.DataFrame:
        """What was done to which slot, for all variants built so far (`SLOT_SCHEMA`)."""
        return pl.concat([pl.DataFrame(schema=SLOT_SCHEMA), *self._slots])

    def _edits(self, intervention: Intervention, change: Change) -> tuple[dict[int, Edited], list[int]]:
        """Edited sentences by number, and the sentences that could not be edited."""
        wanted: dict[int, list[tuple[str, int]]] = {}
        for what, rows in change.replaced:
            for row in rows.tolist():
                wanted.setdefault(int(self.corpus.annotations.sentence[row]), []).append((what, row))
        if wanted and self.editor is None:
            raise UserError(f"variant {intervention}: replacing words needs an editor")
        edits, unedited = {}, []
        for sentence, swaps in sorted(wanted.items()):
            assert self.editor is not None
            found = self.editor.edit(sentence, swaps)
            if found is None:
                unedited.append(sentence)
            else:
                edits[sentence] = found
        return edits, unedited

    def _fill(self, intervention: Intervention, removed: np.ndarray) -> tuple[_Pieces, int]:
        if self.mode == "delete":
            if removed.all():
                raise UserError(f"variant {intervention}: no sentence is left")
            nothing = np.zeros(0, np.int64)
            return _Pieces(nothing, nothing, nothing, nothing), 0
        return self._donors.fill(np.flatnonzero(removed))

    def _replace(self, removed: np.ndarray, pieces: _Pieces, edits: Mapping[int, Edited]) -> np.ndarray:
        rows = np.arange(self._packing.n_rows)
        touched = removed.copy()
        touched[list(edits)] = True
        changed = np.unique(self._packing.row[touched])
        rows[changed] = self._render(self._packing, changed, pieces, edits, removed)
        return rows

    def _delete(
        self, removed: np.ndarray, edits: Mapping[int, Edited]
    ) -> tuple[np.ndarray, Packing, np.ndarray | None]:
        if not removed.any() and not edits:
            return np.arange(self._packing.n_rows), self._packing, None
        kept = np.flatnonzero(~removed)
        packing = pack(self._lengths[kept], self.row_length)
        rows = self._render(packing, np.arange(packing.n_rows), None, edits, sentences=kept)
        return rows, packing, kept

    def _counts(self, left: np.ndarray, edits: Mapping[int, Edited]) -> tuple[np.ndarray, np.ndarray]:
        """Items and bare licensors by label, where each sentence occurs so often."""
        tables = [(self.corpus.annotations, left[self.corpus.annotations.sentence])]
        tables += [(edit.annotations, np.ones(len(edit.annotations), np.int64)) for edit in edits.values()]
        n_labels = len(self.corpus.phenomenon.labels)
        totals = np.zeros((2, n_labels), np.int64)
        for table, weights in tables:
            for which, rows in ((0, table.holds_item), (1, ~table.holds_item)):
                totals[which] += np.bincount(table.label[rows], weights[rows], n_labels).astype(np.int64)
        return totals[0], totals[1]

    def _render(
        self,
        packing: Packing,
        wanted: np.ndarray,
        pieces: _Pieces | None,
        edits: Mapping[int, Edited],
        removed: np.ndarray | None = None,
        sentences: np.ndarray | None = None,
    ) -> np.ndarray:
        """Write some rows of a packing to the pool; returns their places in it."""
        order = np.argsort(packing.row, kind="stable")
        starts = np.searchsorted(packing.row, np.arange(packing.n_rows + 1), sorter=order)
        for start in range(0, len(wanted), _ROWS):
            chunk = wanted[start : start + _ROWS]
            slots = order[spread(starts[chunk], starts[chunk + 1] - starts[chunk])]
            self._out.append(**self._rows(packing, chunk, self._filling(slots, pieces, removed, sentences), edits))
        places = np.arange(self._n_rows, self._n_rows + len(wanted))
        self._n_rows += len(wanted)
        return places

    def _filling(
        self, slots: np.ndarray, pieces: _Pieces | None, removed: np.ndarray | None, sentences: np.ndarray | None
    ) -> _Pieces:
        """What fills some slots: their own sentences, or the pieces of those that were removed."""
        if sentences is not None:
            own = sentences[slots]
            return _Pieces(slots, own, np.zeros_like(slots), self._lengths[own].astype(np.int64))
        kept = slots if removed is None else slots[~removed[slots]]
        own = _Pieces(kept, kept, np.zeros_like(kept), self._lengths[kept].astype(np.int64))
        if removed is None or pieces is None or not len(pieces):
            return own
        gone = slots[removed[slots]]
        first, last = np.searchsorted(pieces.slot, gone), np.searchsorted(pieces.slot, gone, side="right")
        donated = pieces.where(spread(first, last - first))
        return _Pieces(
            np.concatenate([own.slot, donated.slot]),
            np.concatenate([own.sentence, donated.sentence]),
            np.concatenate([own.start, donated.start]),
            np.concatenate([own.length, donated.length]),
        )

    def _rows(
        self, packing: Packing, rows: np.ndarray, filling: _Pieces, edits: Mapping[int, Edited]
    ) -> dict[str, np.ndarray]:
        """Tokens [rows, length + 1] and how many are used; `rows` in increasing order."""
        width = self.row_length + 1
        tokens = np.full(len(rows) * width, self.corpus.eos, self.corpus.tokens.dtype)
        row = np.searchsorted(rows, packing.row[filling.slot])
        to = row * width + packing.start[filling.slot] + 1 + filling.start
        content = filling.length - 1  # a sentence that is cut ends in <eos> all the same
        tokens[spread(to, content)] = self.corpus.tokens[spread(self.corpus.offsets[filling.sentence], content)]
        if edits:
            for at in np.flatnonzero(np.isin(filling.sentence, list(edits)) & (filling.start == 0)):
                edited = edits[int(filling.sentence[at])]
                tokens[to[at] : to[at] + content[at]] = edited.tokens[:-1]
        used = np.bincount(row, weights=filling.length, minlength=len(rows)).astype(np.int32)
        return {"tokens": tokens.reshape(len(rows), width), "used": used}


class _Donors:
    """For every slot the sentence that would replace it, chosen without regard to the variant."""

    def __init__(self, corpus: Corpus, seed: int):
        self._lengths = np.asarray(corpus.lengths)
        rng = generator(seed, "donors")
        holding = np.zeros(len(corpus), bool)
        holding[corpus.annotations.sentence[corpus.annotations.holds_item]] = True
        free = rng.permutation(np.flatnonzero(~holding))
        of_free = self._lengths[free]
        order = np.argsort(of_free, kind="stable")
        lengths, starts = np.unique(of_free[order], return_index=True)
        ends = [*starts[1:].tolist(), len(free)][: len(lengths)]
        self._pools = {
            int(length): free[order[start:end]] for length, start, end in zip(lengths, starts, ends, strict=True)
        }
        self._rank = self._rank_within_length(rng)

    def _rank_within_length(self, rng: np.random.Generator) -> np.ndarray:
        """A random rank of each slot among the slots of its length: donors are handed out in turn."""
        shuffled = rng.permutation(len(self._lengths))
        order = shuffled[np.argsort(self._lengths[shuffled], kind="stable")]
        _, starts, counts = np.unique(self._lengths[order], return_index=True, return_counts=True)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - np.repeat(starts, counts)
        return rank

    def fill(self, slots: np.ndarray) -> tuple[_Pieces, int]:
        """What fills the slots, and how many of them not one donor of the very length fills."""
        if len(slots) and not self._pools:
            raise UserError("no sentence without an NPI is left to fill slots with; use corpus.removal='delete'")
        pieces: list[tuple[int, int, int, int]] = []
        sentence = np.full(len(slots), -1, np.int64)
        for length in np.unique(self._lengths[slots]).tolist():
            pool = self._pools.get(length)
            if pool is not None:
                where = np.flatnonzero(self._lengths[slots] == length)
                sentence[where] = self._exact(slots[where], pool)
        unmatched = np.flatnonzero(sentence < 0)
        for slot in slots[unmatched].tolist():
            pieces += self._pieces(slot, int(self._lengths[slot]))
        exact = sentence >= 0
        columns = np.array(pieces, np.int64).reshape(-1, 4).T
        slot = np.concatenate([slots[exact], columns[0]])
        order = np.argsort(slot, kind="stable")
        lengths = np.concatenate([self._lengths[slots[exact]].astype(np.int64), columns[3]])
        starts = np.concatenate([np.zeros(int(exact.sum()), np.int64), columns[2]])
        filled = _Pieces(
            slot[order],
            np.concatenate([sentence[exact], columns[1]])[order],
            starts[order],
            lengths[order],
        )
        return filled, len(unmatched)

    def _exact(self, slots: np.ndarray, pool: np.ndarray) -> np.ndarray:
        """A donor of the very length for each slot; -1 where the only one is the slot's own sentence."""
        donors = pool[self._rank[slots] % len(pool)]
        # A sentence that would replace itself makes way for the next one.
        itself = donors == slots
        donors[itself] = pool[(self._rank[slots[itself]] + 1) % len(pool)]
        return np.where(donors == slots, -1, donors)

    def _pieces(self, slot: int, room: int) -> list[tuple[int, int, int, int]]:
        """Fill one slot without a donor of its length: with a longer one cut, else several shorter ones."""
        pieces = []
        start = 0
        while room:
            usable = [length for length, pool in self._pools.items() if len(pool) > 1 or pool[0] != slot]
            if not usable:
                raise UserError("the only sentence without an NPI cannot replace itself; give more text")
            fitting = min((length for length in usable if length >= room), default=max(usable))
            take = min(room, fitting)
            pieces.append((slot, int(self._exact(np.array([slot]), self._pools[fitting])[0]), start, take))
            start, room = start + take, room - take
        return pieces


class _Slots:
    """Collects what was done to the slots of one variant."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self._frames: list[pl.DataFrame] = []

    def _add(self, action: str, **columns: np.ndarray | int) -> None:
        frame = pl.DataFrame({name: values for name, values in columns.items() if isinstance(values, np.ndarray)})
        fixed = [pl.lit(values).alias(name) for name, values in columns.items() if not isinstance(values, np.ndarray)]
        frame = frame.with_columns(pl.lit(self.variant).alias("variant"), pl.lit(action).alias("action"), *fixed)
        absent = [pl.lit(None).alias(name) for name in SLOT_SCHEMA if name not in frame.columns]
        self._frames.append(frame.with_columns(absent).select(list(SLOT_SCHEMA)).cast(SLOT_SCHEMA))  # type: ignore[arg-type]

    def removed(self, removed: np.ndarray, pieces: _Pieces) -> None:
        self._add(REMOVED, slot=pieces.slot, donor=pieces.sentence, start=pieces.start, tokens=pieces.length)
        self._add(REMOVED, slot=np.setdiff1d(np.flatnonzero(removed), pieces.slot))

    def edited(self, edits: Mapping[int, Edited]) -> None:
        self._add(EDITED, slot=np.array(sorted(edits), np.int64))

    def injected(self, pieces: _Pieces, seed: int, step: int) -> None:
        columns = {"slot": pieces.slot, "donor": pieces.sentence, "start": pieces.start, "tokens": pieces.length}
        self._add(INJECTED, **columns, seed=seed, step=step)

    def table(self) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=SLOT_SCHEMA), *self._frames])


@dataclass
class _Injection:
    """Puts sentences into the batches of certain steps of one variant, slot by slot."""

    builder: VariantBuilder
    packing: Packing
    rows: np.ndarray
    sentences: np.ndarray | None
    pieces: _Pieces
    edits: Mapping[int, Edited]

    def run(
        self, intervention: Intervention, steps: Sequence[Step], slots: _Slots
    ) -> tuple[dict[tuple[int, int], np.ndarray], int, int]:
        """The rows that are overridden, how many sentences were put in, and how many found no slot."""
        if not steps:
            return {}, 0, 0
        builder = self.builder
        if not builder.batch_size or not builder.seeds:
            raise UserError(f"variant {intervention}: injecting needs the batch size and the seeds of training")
        order = RowOrder(len(self.rows), builder.batch_size)
        overrides: dict[tuple[int, int], np.ndarray] = {}
        placed = unplaced = 0
        for seed in builder.seeds:
            for at in sorted({at for step in steps for at in step.at}):
                wanted = [(step, step.count) for step in steps if at in step.at]
                chosen = order.rows(seed, at)
                put = self._choose(intervention, chosen, wanted, generator(builder.seed, f"inject {seed} {at}"))
                placed += len(put)
                unplaced += sum(count for _, count in wanted) - len(put)
                overrides[seed, at] = self._override(chosen, put)
                slots.injected(put, seed, at)
        return overrides, placed, unplaced

    def _choose(
        self,
        intervention: Intervention,
        rows: np.ndarray,
        wanted: Sequence[tuple[Step, int]],
        rng: np.random.Generator,
    ) -> _Pieces:
        """Which sentences take which slots of the rows: those of the same length, drawn at random."""
        corpus, lengths = self.builder.corpus, self.builder._lengths
        table = corpus.annotations
        slots = rng.permutation(np.flatnonzero(np.isin(self.packing.row, rows)))
        room = lengths[slots if self.sentences is None else self.sentences[slots]]
        free = np.ones(len(slots), bool)
        found: list[tuple[int, int]] = []
        for step, count in wanted:
            holding = np.zeros(len(corpus), bool)
            holding[table.sentence[step.selection.mask(table, corpus.phenomenon)]] = True
            last = len(found) + count
            for sentence in rng.permutation(np.flatnonzero(holding)).tolist():
                if len(found) == last:
                    break
                fitting = np.flatnonzero(free & (room == lengths[sentence]))
                if len(fitting):
                    free[fitting[0]] = False
                    found.append((int(slots[fitting[0]]), sentence))
        pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
        slot, sentence = pairs[:, 0], pairs[:, 1]
        if intervention.control_of is not None:  # the same slots, but sentences without items
            donated, _ = self.builder._donors.fill(slot)
            return donated
        return _Pieces(slot, sentence, np.zeros_like(slot), lengths[sentence].astype(np.int64))

    def _override(self, rows: np.ndarray, put: _Pieces) -> np.ndarray:
        """Pool rows of a batch, those with an injection rendered anew."""
        builder, packing = self.builder, self.packing
        batch = self.rows[rows].copy()
        touched = np.unique(packing.row[put.slot])
        if not len(touched):
            return batch
        tokens, used = self._base(touched)
        width = builder.row_length + 1
        to = np.searchsorted(touched, packing.row[put.slot]) * width + packing.start[put.slot] + 1
        content = put.length - 1
        flat = tokens.reshape(-1)
        flat[spread(to, content)] = builder.corpus.tokens[spread(builder.corpus.offsets[put.sentence], content)]
        builder._out.append(tokens=tokens, used=used)
        places = np.arange(builder._n_rows, builder._n_rows + len(touched))
        builder._n_rows += len(touched)
        at = {int(row): int(place) for row, place in zip(touched, places, strict=True)}
        return np.array([at.get(int(row), int(old)) for row, old in zip(rows, batch, strict=True)], batch.dtype)

    def _base(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The variant's own rows, rendered."""
        builder = self.builder
        slots = np.flatnonzero(np.isin(self.packing.row, rows))
        removed = None
        if self.sentences is None:
            removed = np.zeros(len(builder.corpus), bool)
            removed[self.pieces.slot] = True
        filling = builder._filling(slots, self.pieces, removed, self.sentences)
        rendered = builder._rows(self.packing, rows, filling, self.edits)
        return rendered["tokens"], rendered["used"]


def variant_table(variants: Sequence[Variant], labels: Sequence[str]) -> pl.DataFrame:
    """What each variant changed: one row a variant, as documented in `npi_jax.run`."""
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


def row_orders(variants: Sequence[Variant], batch_size: int) -> list[RowOrder]:
    """For each variant the order of its rows; variants with equally many rows share theirs.

    Raises:
        UserError: naming the variant whose rows do not fill a batch.
    """
    orders: dict[int, RowOrder] = {}
    for variant in variants:
        n_rows = len(variant.rows)
        try:
            orders.setdefault(n_rows, RowOrder(n_rows, batch_size))
        except ValueError as error:
            raise UserError(f"variant {variant.intervention}: {error}") from error
    return [orders[len(variant.rows)] for variant in variants]


EXAMPLE_SCHEMA = {"variant": pl.String, "action": pl.String, "slot": pl.Int64, "before": pl.String, "after": pl.String}
"""Columns of `examples`."""


def examples(builder: VariantBuilder, *, per_action: int = 20) -> pl.DataFrame:
    """Some of the changed slots of each variant and kind of change, drawn at random, as text before and after."""
    text, rows = builder.corpus.text, []
    for _, changed in builder.slots().group_by("variant", "action", maintain_order=True):
        for row in changed.sample(min(per_action, len(changed)), seed=builder.seed).iter_rows(named=True):
            variant, slot, donor = row["variant"], row["slot"], row["donor"]
            if row["action"] == EDITED:
                after = builder.edited_text[variant, slot]
            else:
                after = "" if donor is None else text[donor]
            rows.append((variant, row["action"], slot, text[slot], after))
    return pl.DataFrame(rows, schema=EXAMPLE_SCHEMA, orient="row")
