"""Minimal pairs from the built-in grammar, with and without each environment's licensor and scope."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.grammar.clauses import NPIPosition
from npi_jax.corpus.grammar.derivation import Derivation
from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.suites.schema import Item, Span, Suite

T = TypeVar("T")

# One draw in about four can be turned into a pair; the rest allows for pairs that occur in the corpus.
_TRIES_PER_ITEM = 200


class _Side(NamedTuple):
    """One sentence of a pair, with the words that are its NPI."""

    words: tuple[str, ...]
    npi: Span


class _Pair(NamedTuple):
    good: _Side
    bad: _Side


def grammar_suite(spec: GrammarSpec, *, items: int, exclude: Collection[str] = ()) -> Suite:
    """Minimal pairs in the words, forms and frames of a spec's text.

    Kind ``"licensor"``: the licensor against its non-licensor, the NPI after both ("no teacher has ever
    ..." and "some teacher has ever ..."; for simple questions the statement). Kind ``"scope"``: the same
    words with the NPI in the licensor's scope and out of it, the licensor moved into a relative clause or
    the NPI into another clause; simple questions have none. The critical region is the NPI. Apart from the
    NPI a pair holds counterparts only. Names are like ``adverbs/licensor/17``, paradigms like
    ``adverbs_licensor``.

    Args:
        spec: seed and sharing rule are taken from it; its rates are not. The pairs of a seed do not depend on
            the number of sentences.
        items: pairs for each environment and kind.
        exclude: training sentences, words joined by one space; no sentence of a pair is among them.

    Raises:
        ValueError: if ``items`` is not positive, or so many pairs cannot be found.
    """
    if items < 1:
        raise ValueError(f"grammar_suite: items is {items!r}; it must be at least 1")
    rng = np.random.default_rng([spec.seed, 1])
    writer = Derivation(rng, npi_rate=0.0, sharing=spec.sharing, record=True)
    barred = exclude if isinstance(exclude, set | frozenset | dict) else frozenset(exclude)
    collected: list[Item] = []
    for environment in ENVIRONMENTS:
        for kind in _MAKERS:
            if (environment, kind) != ("simple_question", "scope"):
                collected += _fill(writer, environment, kind, items, barred)
    return Suite("grammar", tuple(collected))


def _fill(
    writer: Derivation,
    environment: str,
    kind: str,
    items: int,
    exclude: Collection[str],
) -> list[Item]:
    """Draw pairs until there are enough that are new and not excluded."""
    found: dict[tuple[str, str], _Pair] = {}
    make = _MAKERS[kind]
    for _ in range(items * _TRIES_PER_ITEM):
        if (pair := make(writer, environment)) is None:
            continue
        good, bad = " ".join(pair.good.words), " ".join(pair.bad.words)
        if good not in exclude and bad not in exclude:
            found.setdefault((good, bad), pair)
        if len(found) == items:
            return [_item(environment, kind, number, pair) for number, pair in enumerate(found.values())]
    raise ValueError(
        f"grammar_suite: {len(found)} of {items} pairs found for {environment}, kind {kind!r}, in "
        f"{items * _TRIES_PER_ITEM} tries; ask for fewer items or exclude fewer than {len(exclude)} sentences"
    )


def _item(environment: str, kind: str, number: int, pair: _Pair) -> Item:
    return Item(
        item=f"{environment}/{kind}/{number}",
        paradigm=f"{environment}_{kind}",
        task=environment,
        kind=kind,
        good=" ".join(pair.good.words),
        bad=" ".join(pair.bad.words),
        critical_good=_characters(pair.good),
        critical_bad=_characters(pair.bad),
    )


def _characters(side: _Side) -> Span:
    """The NPI's span of characters in the sentence's text."""
    start = sum(len(word) + 1 for word in side.words[: side.npi[0]])
    return start, start + len(" ".join(side.words[slice(*side.npi)]))


def _licensor_pair(writer: Derivation, environment: str) -> _Pair | None:
    """The NPI with the licensor before it, and with the non-licensor in its place."""
    writer.sentence(environment)
    slot = _pick(writer, (slot for slot in writer.positions if slot.licensed))
    if slot is None or any(" " in other for _, other in writer.swaps):
        return None
    _, npi = writer.npi(slot.position)
    good = _with_npi(writer.words, slot, npi)
    if environment == "simple_question":
        auxiliary, *rest = good.words[:-1]
        words = (*rest[: writer.subject - 1], auxiliary, *rest[writer.subject - 1 :], ".")
        return _Pair(good, good._replace(words=words))
    return _Pair(good, good._replace(words=_replaced(good.words, writer.swaps)))


def _scope_pair(writer: Derivation, environment: str) -> _Pair | None:
    """The NPI in the licensor's scope, and out of it."""
    writer.sentence(environment, embedded=False)
    if environment in ("conditional", "quantifier", "embedded_question", "superlative"):
        return _moved_npi(writer)
    return _moved_licensor(writer)


def _moved_licensor(writer: Derivation) -> _Pair | None:
    """The licensor trades places with a non-licensor in the relative clause on the subject."""
    slot = _pick(writer, (slot for slot in writer.positions if slot.licensed))
    if slot is None or writer.distractor < 0:
        return None
    good = _with_npi(writer.words, slot, writer.npi(slot.position)[1])
    here, there = writer.licensor, writer.distractor
    swaps = [(here, good.words[there]), (there, good.words[here])]
    return _Pair(good, good._replace(words=_replaced(good.words, swaps)))


def _moved_npi(writer: Derivation) -> _Pair | None:
    """The NPI trades places with a counterpart in a clause the licensor does not reach."""
    first, last = writer.scope
    outer = [slot for slot in writer.positions if not (slot.licensed or first <= slot.start < last)]
    pair = _pick(
        writer,
        ((a, b) for a in writer.positions if a.licensed for b in outer if a.position == b.position),
    )
    if pair is None:
        return None
    inside, outside = pair
    filler = tuple(writer.words[outside.start : outside.stop])
    if inside.position == "determiner" and filler[0] in ("this", "these"):
        filler = ("the",)  # fits both nouns, whatever their number
    npi = writer.npi(inside.position)[1]
    return _Pair(
        _with_two(writer.words, inside, npi, outside, filler),
        _with_two(writer.words, outside, npi, inside, filler),
    )


def _pick(writer: Derivation, choices: Iterable[T]) -> T | None:
    options = list(choices)
    return options[int(next(writer.unit) * len(options))] if options else None


def _with_npi(words: Sequence[str], slot: NPIPosition, npi: tuple[str, ...]) -> _Side:
    filled = (*words[: slot.start], *npi, *words[slot.stop :])
    return _Side(filled, (slot.start, slot.start + len(npi)))


def _with_two(
    words: Sequence[str], slot: NPIPosition, npi: tuple[str, ...], other: NPIPosition, filler: tuple[str, ...]
) -> _Side:
    """The NPI in one slot, the filler in the other."""
    if other.start > slot.start:
        return _with_npi([*words[: other.start], *filler, *words[other.stop :]], slot, npi)
    side = _with_npi(words, slot, npi)
    shift = len(filler) - (other.stop - other.start)
    filled = (*side.words[: other.start], *filler, *side.words[other.stop :])
    return _Side(filled, (side.npi[0] + shift, side.npi[1] + shift))


def _replaced(words: Sequence[str], swaps: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    result = list(words)
    for index, word in swaps:
        result[index] = word
    return tuple(result)


_MAKERS: dict[str, Callable[[Derivation, str], _Pair | None]] = {
    "licensor": _licensor_pair,
    "scope": _scope_pair,
}
