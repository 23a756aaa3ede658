"""How well an annotator does on real text: a stratified sample, judged by hand, and what follows for all of the text.

The text is split into strata: for each label that the annotator gives (`Phenomenon.labels`) the items with that label,
and as `CLEAN` the sentences in which it found no item. Of each a random sample is drawn. A judge says for each item
what it truly is, without seeing the annotator's label; for a clean sentence, whether it holds an item after all. From
this follow precision (of each environment) and, weighting each stratum by its size, recall.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from npi_jax.corpus.annotation.annotations import OTHER, RESIDUALS, UNLICENSED
from npi_jax.corpus.annotation.annotator import Annotator
from npi_jax.corpus.storage.arrays import generator
from npi_jax.corpus.text.sources import Document, numbered_sentences
from npi_jax.corpus.text.words import split_spans

Key = tuple[str, int, int]
"""What tells a case from all others of a corpus: document, sentence, first character of the item."""

CLEAN = "clean"
"""The stratum of sentences without an item."""

FREE, NO_ITEM, UNCLEAR = "free_choice", "no_item", "unclear"
VERDICTS = (OTHER, FREE, NO_ITEM, UNLICENSED, UNCLEAR)
"""What an item can be judged to be, apart from an environment: licensed by something that belongs to none; with the
free-choice meaning, which needs no licensor; no item at all; an item that nothing licenses; not to be told."""

_DRAWS = 4000


@dataclass(frozen=True)
class Case:
    """A sentence drawn for judgement.

    Attributes:
        document, sentence: where it is: the document's name and the number of the sentence in it, from 1.
        digest: first 12 hexadecimal digits of the sentence's SHA-256, by which it can be checked.
        stratum: a label of the phenomenon, or `CLEAN`.
        item: the item's name; "" in a clean sentence.
        start, end: the item's characters in the sentence; 0, 0 in a clean one.
        licensor: where the annotator's licensor starts, as characters; -1 if it found none.
    """

    document: str
    sentence: int
    digest: str
    stratum: str
    item: str = ""
    start: int = 0
    end: int = 0
    licensor: int = -1

    @property
    def key(self) -> Key:
        """What tells a case from all others of a corpus."""
        return self.document, self.sentence, self.start


@dataclass(frozen=True)
class Sample:
    """Cases, and how many there were to draw from.

    Attributes:
        phenomenon: its name.
        environments: its environments.
        sizes: how many items (or clean sentences) each stratum has in the whole text.
        cases: what was drawn.
        texts: the sentences of the cases; empty where only references were kept.
    """

    phenomenon: str
    environments: tuple[str, ...]
    sizes: Mapping[str, int]
    cases: Sequence[Case]
    texts: Sequence[str] = ()


def cases_of(annotator: Annotator, document: str, number: int, sentence: str) -> list[Case]:
    """Every item of a sentence as a case, or the sentence itself where it holds none."""
    spans = split_spans(sentence)
    digest = sentence_digest(sentence)
    found = [a for a in annotator.annotate([word for word, _, _ in spans]) if a.npi is not None]
    if not found:
        return [Case(document, number, digest, CLEAN)]
    return [
        Case(
            document,
            number,
            digest,
            a.environment,
            str(a.npi),
            spans[a.span[0]][1],
            spans[a.span[1] - 1][2],
            spans[a.licensor][1] if a.licensor >= 0 else -1,
        )
        for a in found
    ]


def sentence_digest(sentence: str) -> str:
    """The digest that a case keeps of its sentence."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:12]


def draw(
    documents: Iterable[Document],
    annotator: Annotator,
    *,
    per_environment: int = 40,
    without: int = 100,
    clean: int = 200,
    seed: int = 0,
) -> Sample:
    """Draw a stratified random sample of a corpus, in one pass and in memory that does not grow with the corpus.

    Args:
        documents: the corpus.
        annotator: whose labels are to be judged.
        per_environment: items of each environment.
        without: items without an environment, shared among `RESIDUALS` by how many each has.
        clean: sentences in which no item was found.
        seed: of the draw.
    """
    environments = annotator.phenomenon.environment_names
    quota = {**dict.fromkeys(environments, per_environment), **dict.fromkeys(RESIDUALS, without), CLEAN: clean}
    pools = {name: _Reservoir(size, generator(seed, f"audit {name}")) for name, size in quota.items()}
    for document, number, sentence in numbered_sentences(documents):
        for case in cases_of(annotator, document, number, sentence):
            pools[case.stratum].offer(case, sentence)
    sizes = {name: pool.seen for name, pool in pools.items()}
    drawn = [pair for name in environments for pair in pools[name].kept]
    for name, share in _shares({name: sizes[name] for name in RESIDUALS}, without).items():
        drawn += pools[name].kept[:share]
    drawn += pools[CLEAN].kept
    order = generator(seed, "audit order").permutation(len(drawn))
    cases, texts = [drawn[at][0] for at in order], [drawn[at][1] for at in order]
    return Sample(annotator.phenomenon.name, environments, sizes, cases, texts)


class _Reservoir:
    """A uniform sample of a stream of unknown length (Vitter 1985, algorithm R); what is kept is in random order."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng, self.seen = size, rng, 0
        self.kept: list[tuple[Case, str]] = []

    def offer(self, case: Case, sentence: str) -> None:
        """Take the next of the stream, or not."""
        self.seen += 1
        if len(self.kept) < self.size:
            at = int(self.rng.integers(len(self.kept) + 1))
            self.kept.append((case, sentence))
            self.kept[at], self.kept[-1] = self.kept[-1], self.kept[at]
        elif (at := int(self.rng.integers(self.seen))) < self.size:
            self.kept[at] = (case, sentence)


def _shares(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Split a number among strata in proportion to their sizes, at least a tenth for each, as far as they go."""
    whole = sum(sizes.values())
    least = total // 10
    wanted = {name: max(least, round(total * size / whole)) if size else 0 for name, size in sizes.items()}
    largest = max(wanted, key=lambda name: wanted[name])
    wanted[largest] += total - sum(wanted.values())
    return {name: min(wanted[name], sizes[name]) for name in sizes}


@dataclass(frozen=True)
class Estimate:
    """A share, with its 95 % interval, of how many judged cases."""

    value: float
    low: float
    high: float
    judged: int
    hits: int


@dataclass(frozen=True)
class Findings:
    """What the judgements say.

    Attributes:
        precision: by environment: items that are licensed there, of those said to be (Clopper and Pearson 1934).
        recall: by environment: items found there, of those licensed there.
        overall: items given the environment that licenses them, of all that one of the environments licenses.
        missed: sentences that hold an item, of those in which none was found (Clopper and Pearson 1934).
        unclear: cases that the judge could not decide, left out of all the rest.
        errors: (label given, judgement) of what was wrong: how often.
    """

    precision: Mapping[str, Estimate]
    recall: Mapping[str, Estimate]
    overall: Estimate
    missed: Estimate
    unclear: int
    errors: Mapping[tuple[str, str], int]


def estimate(sample: Sample, verdicts: Mapping[Key, Sequence[str]], *, seed: int = 0) -> Findings:
    """Precision and recall from judgements.

    Args:
        sample: what was drawn, with the sizes of the strata.
        verdicts: by the key of a case what it was judged to be: environments (several where several would do), or one
            of `VERDICTS`. For a clean sentence `NO_ITEM`, or anything else if it holds an item.
        seed: of the draws behind the intervals of recall.

    Returns:
        precision and the share missed with exact binomial intervals. Recall weights each stratum by its size; for its
        interval the shares of each stratum (right, licensed elsewhere, not licensed) are drawn from their posterior:
        the low end under a Jeffreys prior, so that a stratum without an error seen does not count as free of errors,
        the high end without, so that what was not seen counts as absent. The recall of a rare environment has a low
        end far down for that reason: its misses may hide in the large strata. As long as a stratum has no judgement,
        nothing is said of recall.
    """
    environments = sample.environments
    judged: dict[str, list[Sequence[str]]] = {name: [] for name in sample.sizes}
    errors: dict[tuple[str, str], int] = {}
    unclear = 0
    for case in sample.cases:
        verdict = verdicts.get(case.key)
        if verdict is None:
            continue
        if UNCLEAR in verdict:
            unclear += 1
            continue
        judged[case.stratum].append(verdict)
        licensed = any(name in environments for name in verdict)
        wrong = case.stratum not in verdict if case.stratum in environments else licensed
        if wrong or (case.stratum == CLEAN and NO_ITEM not in verdict):
            pair = (case.stratum, "/".join(verdict))
            errors[pair] = errors.get(pair, 0) + 1
    precision = {name: _binomial(sum(name in v for v in judged[name]), len(judged[name])) for name in environments}
    rng = generator(seed, "audit intervals")
    recall = {name: _recall(sample, judged, (name,), rng) for name in environments}
    holding = [v for v in judged[CLEAN] if NO_ITEM not in v]
    missed = _binomial(len(holding), len(judged[CLEAN]))
    return Findings(precision, recall, _recall(sample, judged, environments, rng), missed, unclear, errors)


def _binomial(hits: int, judged: int) -> Estimate:
    if not judged:
        return Estimate(float("nan"), 0.0, 1.0, 0, 0)
    interval = stats.binomtest(hits, judged).proportion_ci(0.95, method="exact")
    return Estimate(hits / judged, float(interval.low), float(interval.high), judged, hits)


def _recall(
    sample: Sample, judged: Mapping[str, Sequence[Sequence[str]]], wanted: Sequence[str], rng: np.random.Generator
) -> Estimate:
    """Of the items that the wanted environments license, the share that was given one that licenses them."""
    # The first row is the estimate itself, then draws with the prior, then without.
    if any(size and not judged[name] for name, size in sample.sizes.items() if name != CLEAN):
        return Estimate(float("nan"), 0.0, 1.0, 0, 0)
    found, there = np.zeros(1 + 2 * _DRAWS), np.zeros(1 + 2 * _DRAWS)
    n_judged = n_hits = 0
    for name, size in sample.sizes.items():
        verdicts = judged[name]
        # Items in clean sentences are no part of this: `Findings.missed` says how many there are.
        if name == CLEAN or not size or not verdicts:
            continue
        right = sum(name in v and name in wanted for v in verdicts)
        licensed = sum(any(one in wanted for one in v) for v in verdicts)
        counts = np.array([right, licensed - right, len(verdicts) - licensed], float)
        # A share that cannot be is not drawn: what is not among the wanted is never right.
        prior = np.array([0.5 if name in wanted else 0.0, 0.5, 0.5])
        drawn = [_shares_drawn(counts + prior, rng), _shares_drawn(counts, rng)]
        shares = np.vstack([counts / counts.sum(), *drawn])
        found += size * shares[:, 0]
        there += size * (shares[:, 0] + shares[:, 1])
        n_judged += licensed
        n_hits += right
    if not n_judged:
        return Estimate(float("nan"), 0.0, 1.0, 0, 0)
    with np.errstate(invalid="ignore"):
        values = found / there
    low, high = np.nanquantile(values[1 : _DRAWS + 1], 0.025), np.nanquantile(values[_DRAWS + 1 :], 0.975)
    return Estimate(float(values[0]), float(low), float(high), n_judged, n_hits)


def _shares_drawn(weights: Float[np.ndarray, " kinds"], rng: np.random.Generator) -> Float[np.ndarray, "draws kinds"]:
    """Draws from a Dirichlet distribution; a kind without weight has no share."""
    gamma = np.where(weights > 0, rng.gamma(np.maximum(weights, 1e-12), size=(_DRAWS, len(weights))), 0.0)
    return np.asarray(gamma / gamma.sum(axis=1, keepdims=True))
