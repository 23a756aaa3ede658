"""The built-in suite: minimal pairs of the grammar for the licensors and the scopes of each environment."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.grammar.clauses import NPIPosition
from npi_jax.corpus.grammar.derivation import Derivation
from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.suites.schema import Item, Suite
from npi_jax.suites.sentences import Span

T = TypeVar("T")

# In four environments only about one draw in five gives a scope pair. Pairs that repeat or are excluded need further
# draws.
_DRAWS_PER_ITEM = 200


class _Side(NamedTuple):
    """One sentence of a pair, and the positions of its NPI's words."""

    words: tuple[str, ...]
    npi: Span


class _Pair(NamedTuple):
    good: _Side
    bad: _Side


def grammar_suite(spec: GrammarSpec, *, items: int, exclude: Collection[str] = ()) -> Suite:
    """Derive minimal pairs with the words, forms and sentence frames of a grammar.

    Kind ``"licensor"``: the bad sentence has a non-licensor instead of the licensor. "No teacher has ever ..." is good,
    "some teacher has ever ..." is bad. A simple question becomes a statement. Kind ``"scope"``: the bad sentence has
    the same words, but its NPI is outside of the licensor's scope. Either the licensor moves into a relative clause,
    or the NPI into another clause; simple questions have no such pairs. The critical region is the NPI. A sentence
    contains one NPI; its other NPI positions hold counterparts or nothing. Items have names like
    ``adverbs/licensor/17``, paradigms have names like ``adverbs_licensor``.

    Args:
        spec: settings of the grammar; only `seed` and `sharing` have an effect.
        items: number of pairs per environment and kind.
        exclude: training sentences, words joined by single spaces; no sentence of a pair is among them.

    Raises:
        ValueError: if ``items`` is not positive, or too few different pairs are drawn.
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
    """Draw pairs until there are `items` different pairs that are not excluded."""
    pairs: dict[tuple[str, str], _Pair] = {}
    make = _MAKERS[kind]
    for _ in range(items * _DRAWS_PER_ITEM):
        if (pair := make(writer, environment)) is None:
            continue
        good, bad = " ".join(pair.good.words), " ".join(pair.bad.words)
        if good not in exclude and bad not in exclude:
            pairs.setdefault((good, bad), pair)
        if len(pairs) == items:
            return [_item(environment, kind, number, pair) for number, pair in enumerate(pairs.values())]
    raise ValueError(
        f"grammar_suite: only {len(pairs)} of {items} pairs for {environment}, kind {kind!r}, in "
        f"{items * _DRAWS_PER_ITEM} draws; ask for fewer items or exclude fewer than {len(exclude)} sentences"
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
    """Return the NPI's span of characters in the sentence's text."""
    start = sum(len(word) + 1 for word in side.words[: side.npi[0]])
    return start, start + len(" ".join(side.words[slice(*side.npi)]))


def _licensor_pair(writer: Derivation, environment: str) -> _Pair | None:
    """Derive a sentence with a licensed NPI, and the same sentence with a non-licensor instead of the licensor."""
    writer.sentence(environment)
    site = _pick(writer, (site for site in writer.positions if site.licensed))
    if site is None or any(" " in other for _, other in writer.swaps):
        return None
    _, npi = writer.npi(site.position)
    good = _with_npi(writer.words, site, npi)
    if environment == "simple_question":
        auxiliary, *rest = good.words[:-1]
        words = (*rest[: writer.subject - 1], auxiliary, *rest[writer.subject - 1 :], ".")
        return _Pair(good, good._replace(words=words))
    return _Pair(good, good._replace(words=_replaced(good.words, writer.swaps)))


def _scope_pair(writer: Derivation, environment: str) -> _Pair | None:
    """Derive a sentence with the NPI in the licensor's scope, and one with the NPI outside of it."""
    writer.sentence(environment, embedded=False)
    if environment in ("conditional", "quantifier", "embedded_question", "superlative"):
        return _moved_npi(writer)
    return _moved_licensor(writer)


def _moved_licensor(writer: Derivation) -> _Pair | None:
    """Swap the licensor with a non-licensor in the relative clause of the subject."""
    site = _pick(writer, (site for site in writer.positions if site.licensed))
    if site is None or writer.distractor < 0:
        return None
    good = _with_npi(writer.words, site, writer.npi(site.position)[1])
    licensor, distractor = writer.licensor, writer.distractor
    swaps = [(licensor, good.words[distractor]), (distractor, good.words[licensor])]
    return _Pair(good, good._replace(words=_replaced(good.words, swaps)))


def _moved_npi(writer: Derivation) -> _Pair | None:
    """Swap the NPI with a counterpart in a clause outside of the licensor's scope."""
    first, last = writer.scope
    outer = [site for site in writer.positions if not (site.licensed or first <= site.start < last)]
    pair = _pick(
        writer,
        ((a, b) for a in writer.positions if a.licensed for b in outer if a.position == b.position),
    )
    if pair is None:
        return None
    inside, outside = pair
    filler = tuple(writer.words[outside.start : outside.stop])
    if inside.position == "determiner" and filler[0] in ("this", "these"):
        filler = ("the",)  # agrees with singular and plural nouns
    npi = writer.npi(inside.position)[1]
    return _Pair(
        _with_two(writer.words, inside, npi, outside, filler),
        _with_two(writer.words, outside, npi, inside, filler),
    )


def _pick(writer: Derivation, choices: Iterable[T]) -> T | None:
    options = list(choices)
    return options[int(next(writer.unit) * len(options))] if options else None


def _with_npi(words: Sequence[str], site: NPIPosition, npi: tuple[str, ...]) -> _Side:
    filled = (*words[: site.start], *npi, *words[site.stop :])
    return _Side(filled, (site.start, site.start + len(npi)))


def _with_two(
    words: Sequence[str], site: NPIPosition, npi: tuple[str, ...], other: NPIPosition, filler: tuple[str, ...]
) -> _Side:
    """Return the sentence with the NPI at one position and the filler at the other."""
    if other.start > site.start:
        return _with_npi([*words[: other.start], *filler, *words[other.stop :]], site, npi)
    side = _with_npi(words, site, npi)
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
