"""The corpus as integers: tokens and NPI counts once, and a variant as an index over packed rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Integer

from npi_jax.corpus.annotations import ENVIRONMENTS, UNLICENSED, Annotation
from npi_jax.corpus.interventions import Intervention, select
from npi_jax.corpus.rows import Packing, RowOrder, generator, pack, spread
from npi_jax.corpus.tokenizer import Tokenizer, split_spans
from npi_jax.errors import UserError

COLUMNS = (*ENVIRONMENTS, UNLICENSED)


@dataclass(frozen=True)
class Corpus:
    """Tokenized, annotated sentences.

    Attributes:
        tokens: all sentences one after the other, each ended by `<eos>`.
        offsets: where each sentence starts in `tokens`, and the end.
        npi_counts: NPIs of each sentence by environment (`COLUMNS`).
        eos: id of `<eos>`.
        cut: sentences that were longer than a row and lost their end.
    """

    tokens: Integer[np.ndarray, " tokens"]
    offsets: Integer[np.ndarray, " sentences_and_end"]
    npi_counts: Integer[np.ndarray, "sentences columns"]
    eos: int
    cut: int = 0

    @property
    def lengths(self) -> Integer[np.ndarray, " sentences"]:
        """Tokens of each sentence, `<eos>` included."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def digest(self) -> str:
        """SHA-256 over tokens, boundaries and annotations: two corpora train alike exactly if these agree."""
        sha = hashlib.sha256()
        for array in (self.tokens, self.offsets, self.npi_counts):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


def build_corpus(
    sentences: Sequence[str],
    annotations: Sequence[tuple[Annotation, ...]],
    tokenizer: Tokenizer,
    *,
    row_length: int,
) -> Corpus:
    """Tokenize sentences and count their NPIs.

    Sentences that do not fit a row are cut to ``row_length - 1`` tokens and `<eos>`, and counted in `cut`.

    Raises:
        UserError: if there is no sentence, or a sentence holds no token.
    """
    if not sentences:
        raise UserError("the corpus has no sentences")
    encoded = tokenizer.encode_batch(sentences)
    lengths = np.array([len(ids) for ids in encoded], np.int64)
    if not lengths.all():
        where = int(np.flatnonzero(lengths == 0)[0])
        raise UserError(f"sentence {where + 1} of the corpus has no tokens: {sentences[where]!r}")
    kept = np.minimum(lengths, row_length - 1)
    offsets = np.concatenate([[0], np.cumsum(kept + 1)])
    tokens = np.full(offsets[-1], tokenizer.eos, np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
    tokens[spread(offsets[:-1], kept)] = np.concatenate([ids[:keep] for ids, keep in zip(encoded, kept, strict=True)])
    counts = np.zeros((len(sentences), len(COLUMNS)), np.uint16)
    for index, found in enumerate(annotations):
        if not found:
            continue
        # Words that a cut took away take their NPIs with them.
        words = _words_kept(sentences[index], tokenizer, int(kept[index])) if kept[index] < lengths[index] else None
        for annotation in found:
            if annotation.npi is not None and (words is None or annotation.span[1] <= words):
                counts[index, COLUMNS.index(annotation.environment)] += 1
    return Corpus(tokens, offsets, counts, tokenizer.eos, int((kept < lengths).sum()))


def _words_kept(sentence: str, tokenizer: Tokenizer, tokens: int) -> int:
    """How many words of a sentence lie whole in its first tokens."""
    end = int(tokenizer.encode(sentence).offsets[tokens - 1, 1])
    return sum(word_end <= end for _, _, word_end in split_spans(sentence))


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
        unmatched: removed slots that no single donor of the same length could fill, and for a random control
            the removals that found no sentence of their length.
        sentences, tokens: what is left to train on.
        npis: NPIs by environment (`COLUMNS`).
    """

    intervention: Intervention
    rows: Integer[np.ndarray, " rows"]
    removed: int
    unmatched: int
    sentences: int
    tokens: int
    npis: Integer[np.ndarray, " columns"]


@dataclass
class _Filling:
    """Which sentence, from its first token, fills which stretch of which slot."""

    slot: np.ndarray
    sentence: np.ndarray
    start: np.ndarray
    length: np.ndarray
    unmatched: int = 0


@dataclass
class VariantBuilder:
    """Builds variants of one corpus, sharing the rows that they have in common.

    Args:
        corpus: what the variants are made of.
        row_length: tokens of a row.
        mode: ``"replace"`` (slots are refilled, all variants have the same tokens at the same places but for
            the slots changed) or ``"delete"`` (slots vanish, as in published work: packing and order change).
        seed: of donors and random controls.
    """

    corpus: Corpus
    row_length: int
    mode: str = "replace"
    seed: int = 0
    _tokens: list[np.ndarray] = field(default_factory=list)
    _used: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lengths = self.corpus.lengths
        self._packing = pack(self._lengths, self.row_length)
        everything = np.arange(len(self.corpus))
        base = _Filling(everything, everything, np.zeros_like(everything), self._lengths)
        self._base, used = self._render(self._packing, base)
        self._tokens.append(self._base)
        self._used.append(used)
        self._donors = _Donors(self.corpus, self.seed)

    def build(self, intervention: Intervention) -> Variant:
        """Apply one intervention; rows that no earlier variant has are added to the pool.

        Raises:
            UserError: if nothing is left, or no NPI-free sentence is there to fill slots with.
        """
        removed, missing = select(intervention, self.corpus.npi_counts, self._lengths, seed=self.seed)
        if self.mode == "delete":
            rows, filling = self._delete(intervention, removed)
        else:
            rows, filling = self._replace(removed)
        counts = self.corpus.npi_counts[filling.sentence].sum(axis=0, dtype=np.int64)
        return Variant(
            intervention,
            rows,
            int(removed.sum()),
            filling.unmatched + missing,
            len(filling.sentence),
            int(filling.length.sum()),
            counts,
        )

    def pool(self) -> RowPool:
        """All rows of the variants built so far."""
        return RowPool(np.concatenate(self._tokens), np.concatenate(self._used))

    def _replace(self, removed: np.ndarray) -> tuple[np.ndarray, _Filling]:
        kept = np.flatnonzero(~removed)
        donated = self._donors.fill(np.flatnonzero(removed))
        filling = _Filling(
            np.concatenate([kept, donated.slot]),
            np.concatenate([kept, donated.sentence]),
            np.concatenate([np.zeros_like(kept), donated.start]),
            np.concatenate([self._lengths[kept], donated.length]),
            donated.unmatched,
        )
        rows = np.arange(self._packing.n_rows)
        changed = np.unique(self._packing.row[removed])
        if len(changed):
            tokens, used = self._render(self._packing, filling)
            rows[changed] = self._add(tokens[changed], used[changed])
        return rows, filling

    def _delete(self, intervention: Intervention, removed: np.ndarray) -> tuple[np.ndarray, _Filling]:
        kept = np.flatnonzero(~removed)
        if not len(kept):
            raise UserError(f"variant {intervention}: no sentence is left")
        lengths = self._lengths[kept]
        filling = _Filling(np.arange(len(kept)), kept, np.zeros_like(kept), lengths)
        if not removed.any():
            return np.arange(self._packing.n_rows), filling
        return self._add(*self._render(pack(lengths, self.row_length), filling)), filling

    def _add(self, tokens: np.ndarray, used: np.ndarray) -> np.ndarray:
        first = sum(map(len, self._used))
        self._tokens.append(tokens)
        self._used.append(used)
        return np.arange(first, first + len(used))

    def _render(self, packing: Packing, filling: _Filling) -> tuple[np.ndarray, np.ndarray]:
        width = self.row_length + 1
        rows = np.full(packing.n_rows * width, self.corpus.eos, self.corpus.tokens.dtype)
        to = packing.row[filling.slot].astype(np.int64) * width + packing.start[filling.slot] + 1 + filling.start
        content = filling.length - 1  # a sentence that is cut ends in <eos> all the same
        rows[spread(to, content)] = self.corpus.tokens[spread(self.corpus.offsets[filling.sentence], content)]
        used = np.bincount(packing.row[filling.slot], weights=filling.length, minlength=packing.n_rows)
        return rows.reshape(packing.n_rows, width), used.astype(np.int32)


class _Donors:
    """For every slot the sentence that would replace it, chosen without regard to the variant."""

    def __init__(self, corpus: Corpus, seed: int):
        self._lengths = corpus.lengths
        rng = generator(seed, "donors")
        free = rng.permutation(np.flatnonzero(corpus.npi_counts.sum(axis=1) == 0))
        of_free = self._lengths[free]
        self._pools = {int(length): free[of_free == length] for length in np.unique(of_free)}
        self._rank = self._rank_within_length(rng)

    def _rank_within_length(self, rng: np.random.Generator) -> np.ndarray:
        """A random rank of each slot among the slots of its length: donors are handed out in turn."""
        shuffled = rng.permutation(len(self._lengths))
        order = shuffled[np.argsort(self._lengths[shuffled], kind="stable")]
        _, starts, counts = np.unique(self._lengths[order], return_index=True, return_counts=True)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - np.repeat(starts, counts)
        return rank

    def fill(self, slots: np.ndarray) -> _Filling:
        if len(slots) and not self._pools:
            raise UserError("no sentence without an NPI is left to fill slots with; use corpus.removal='delete'")
        pieces: list[tuple[int, int, int, int]] = []
        unmatched = 0
        for slot in slots.tolist():
            pieces_of_slot = self._pieces(slot, int(self._lengths[slot]))
            # One piece that is not cut is a donor of the very length.
            unmatched += len(pieces_of_slot) > 1 or self._lengths[pieces_of_slot[0][1]] != self._lengths[slot]
            pieces += pieces_of_slot
        columns = np.array(pieces, np.int64).reshape(-1, 4).T
        return _Filling(columns[0], columns[1], columns[2], columns[3], int(unmatched))

    def _pieces(self, slot: int, room: int) -> list[tuple[int, int, int, int]]:
        """Fill one slot: with a donor of its length, else a longer one cut, else several shorter ones."""
        pieces = []
        start = 0
        while room:
            usable = [length for length, pool in self._pools.items() if len(pool) > 1 or pool[0] != slot]
            if not usable:
                raise UserError("the only sentence without an NPI cannot replace itself; give more text")
            fitting = min((length for length in usable if length >= room), default=max(usable))
            take = min(room, fitting)
            pieces.append((slot, self._donor(slot, fitting), start, take))
            start, room = start + take, room - take
        return pieces

    def _donor(self, slot: int, length: int) -> int:
        pool = self._pools[length]
        rank = int(self._rank[slot])
        donor = int(pool[rank % len(pool)])
        # A sentence that would replace itself makes way for the next one.
        return int(pool[(rank + 1) % len(pool)]) if donor == slot else donor


def variant_table(variants: Sequence[Variant]) -> pl.DataFrame:
    """What each variant changed: one row a variant, as documented in `npi_jax.run`."""
    return pl.DataFrame(
        [
            {
                "variant": str(variant.intervention),
                "control_of": str(variant.intervention.control_of) if variant.intervention.control_of else None,
                "sentences": variant.sentences,
                "tokens": variant.tokens,
                "slots_changed": variant.removed,
                "slots_unmatched": variant.unmatched,
                **{f"npi_{name}": int(n) for name, n in zip(COLUMNS, variant.npis, strict=True)},
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
