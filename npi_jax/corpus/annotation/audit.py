"""Accuracy of an annotator on real text, estimated from a stratified sample that a person judges.

The text is split into strata. The items of each label (`Phenomenon.labels`) form one stratum. The sentences in which
the annotator finds no item form the stratum `CLEAN`. A random sample is drawn from each stratum. A judge, who does not
see the labels, states what licenses each item, and which clean sentences contain an item. The share of correct labels
is the precision of an environment. Recall also weights each stratum by its size.
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
"""Identity of a case in a corpus: document, sentence, first character of the item."""

CLEAN = "clean"
"""Stratum of the sentences in which the annotator finds no item."""

FREE, NO_ITEM, UNCLEAR = "free_choice", "no_item", "unclear"
VERDICTS = (OTHER, FREE, NO_ITEM, UNLICENSED, UNCLEAR)
"""Verdicts on an item other than an environment.

`OTHER`: licensed by an expression that belongs to no environment. `FREE`: free choice, which needs no licensor.
`NO_ITEM`: not an item. `UNLICENSED`: an item without a licensor. `UNCLEAR`: undecidable.
"""

_POSTERIOR_DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class Case:
    """A sentence drawn for judgment.

    Attributes:
        document, sentence: name of the document, and number of the sentence in it, from 1.
        digest: first 12 hexadecimal digits of the sentence's SHA-256, to check its text.
        stratum: a label of the phenomenon, or `CLEAN`.
        item: name of the item; "" in a clean sentence.
        start, end: characters of the item in the sentence, ``[start, end)``; 0, 0 in a clean sentence.
        licensor: first character of the licensor that the annotator chose; -1 for none.
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
        """Identity of the case in its corpus."""
        return self.document, self.sentence, self.start


@dataclass(frozen=True)
class Sample:
    """Cases, and the sizes of the strata from which they were drawn.

    Attributes:
        phenomenon: name of the phenomenon.
        environments: its environments.
        sizes: number of items (or clean sentences) of each stratum in the text.
        cases: the drawn cases.
        texts: their sentences; empty if only references were kept.
    """

    phenomenon: str
    environments: tuple[str, ...]
    sizes: Mapping[str, int]
    cases: Sequence[Case]
    texts: Sequence[str] = ()


def cases_of(annotator: Annotator, document: str, number: int, sentence: str) -> list[Case]:
    """Return every item of a sentence as a case, or the sentence itself if it contains none."""
    spans = split_spans(sentence)
    digest = sentence_digest(sentence)
    annotations = [a for a in annotator.annotate([word for word, _, _ in spans]) if a.npi is not None]
    if not annotations:
        return [Case(document=document, sentence=number, digest=digest, stratum=CLEAN)]
    return [
        Case(
            document=document,
            sentence=number,
            digest=digest,
            stratum=a.environment,
            item=str(a.npi),
            start=spans[a.span[0]][1],
            end=spans[a.span[1] - 1][2],
            licensor=spans[a.licensor][1] if a.licensor >= 0 else -1,
        )
        for a in annotations
    ]


def sentence_digest(sentence: str) -> str:
    """Return the digest of a sentence, for `Case.digest`."""
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
    """Draw a stratified random sample of a corpus, in one pass and in constant memory.

    Args:
        documents: the corpus.
        annotator: annotator whose labels are to be judged.
        per_environment: number of items per environment.
        without: number of items without an environment, divided among `RESIDUALS` by their sizes.
        clean: number of sentences without an item.
        seed: random seed.
    """
    environments = annotator.phenomenon.environment_names
    quota = {**dict.fromkeys(environments, per_environment), **dict.fromkeys(RESIDUALS, without), CLEAN: clean}
    reservoirs = {name: _Reservoir(size, generator(seed, f"audit {name}")) for name, size in quota.items()}
    for document, number, sentence in numbered_sentences(documents):
        for case in cases_of(annotator, document, number, sentence):
            reservoirs[case.stratum].offer(case, sentence)
    sizes = {name: reservoir.seen for name, reservoir in reservoirs.items()}
    drawn = [pair for name in environments for pair in reservoirs[name].kept]
    for name, count in _allocate({name: sizes[name] for name in RESIDUALS}, without).items():
        drawn += reservoirs[name].kept[:count]
    drawn += reservoirs[CLEAN].kept
    order = generator(seed, "audit order").permutation(len(drawn))
    cases, texts = [drawn[at][0] for at in order], [drawn[at][1] for at in order]
    return Sample(annotator.phenomenon.name, environments, sizes, cases, texts)


class _Reservoir:
    """A uniform sample, in random order, of a stream of unknown length (Vitter 1985, algorithm R)."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng, self.seen = size, rng, 0
        self.kept: list[tuple[Case, str]] = []

    def offer(self, case: Case, sentence: str) -> None:
        """Take or skip the next element of the stream."""
        self.seen += 1
        if len(self.kept) < self.size:
            at = int(self.rng.integers(len(self.kept) + 1))
            self.kept.append((case, sentence))
            self.kept[at], self.kept[-1] = self.kept[-1], self.kept[at]
        elif (at := int(self.rng.integers(self.seen))) < self.size:
            self.kept[at] = (case, sentence)


def _allocate(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide a number among strata by their sizes: each gets at least a tenth, but never more than its size."""
    all_sizes = sum(sizes.values())
    least = total // 10
    wanted = {name: max(least, round(total * size / all_sizes)) if size else 0 for name, size in sizes.items()}
    largest = max(wanted, key=lambda name: wanted[name])
    wanted[largest] += total - sum(wanted.values())
    return {name: min(wanted[name], sizes[name]) for name in sizes}


@dataclass(frozen=True)
class Estimate:
    """An estimated proportion and its 95 % interval.

    Attributes:
        value: the estimate; NaN without judgments.
        low, high: ends of the interval.
        judged: number of judged cases.
        hits: number of judged cases that count as correct (or, for `Findings.missed`, as missed).
    """

    value: float
    low: float
    high: float
    judged: int
    hits: int


@dataclass(frozen=True)
class Findings:
    """Results of an audit.

    Attributes:
        precision: by environment, the share of its annotated items that it licenses (Clopper and Pearson 1934).
        recall: by environment, the share of items with its label among the items that it licenses.
        overall: share of correctly labeled items among the items that any environment licenses. A label is correct if
            it is an environment that licenses the item.
        missed: share of the clean sentences that contain an item (Clopper and Pearson 1934).
        unclear: number of cases that the judge could not decide; they are excluded from the estimates.
        errors: number of wrong labels by (label, verdict).
    """

    precision: Mapping[str, Estimate]
    recall: Mapping[str, Estimate]
    overall: Estimate
    missed: Estimate
    unclear: int
    errors: Mapping[tuple[str, str], int]


Judged = Mapping[str, Sequence[Sequence[str]]]
"""Verdicts of each stratum's decided cases."""


def estimate(sample: Sample, verdicts: Mapping[Key, Sequence[str]], *, seed: int = 0) -> Findings:
    """Estimate precision and recall from verdicts.

    Precision and `Findings.missed` have exact binomial intervals. Recall weights each stratum by its size. For its
    interval, each stratum's shares (correct, licensed by another environment, not licensed) are drawn from their
    posterior. The low end uses a Jeffreys prior, so that a stratum without an observed error does not count as free
    of errors. The high end uses no prior, so that unobserved errors count as absent. The recall of a rare environment
    therefore has a very low end: the large strata can contain many of its items. Recall is NaN as long as a stratum
    other than `CLEAN` has no verdict.

    Args:
        sample: the sample, with the sizes of the strata.
        verdicts: verdicts by key of the case: environments (several if each of them could license the item), or one
            of `VERDICTS`. For a clean sentence: `NO_ITEM`, or anything else if it contains an item.
        seed: seed of the draws behind the intervals of recall.
    """
    environments = sample.environments
    decided = [(case, verdicts[case.key]) for case in sample.cases if case.key in verdicts]
    unclear = sum(UNCLEAR in verdict for _, verdict in decided)
    decided = [(case, verdict) for case, verdict in decided if UNCLEAR not in verdict]
    judged: dict[str, list[Sequence[str]]] = {name: [] for name in sample.sizes}
    for case, verdict in decided:
        judged[case.stratum].append(verdict)
    precision = {name: _binomial(sum(name in v for v in judged[name]), len(judged[name])) for name in environments}
    rng = generator(seed, "audit intervals")
    recall = {name: _recall(sample, judged, (name,), rng) for name in environments}
    overall = _recall(sample, judged, environments, rng)
    missed = _binomial(sum(NO_ITEM not in v for v in judged[CLEAN]), len(judged[CLEAN]))
    return Findings(precision, recall, overall, missed, unclear, _errors(decided, environments))


def _errors(decided: Iterable[tuple[Case, Sequence[str]]], environments: Sequence[str]) -> dict[tuple[str, str], int]:
    errors: dict[tuple[str, str], int] = {}
    for case, verdict in decided:
        licensed = any(name in environments for name in verdict)
        wrong = case.stratum not in verdict if case.stratum in environments else licensed
        if wrong or (case.stratum == CLEAN and NO_ITEM not in verdict):
            pair = (case.stratum, "/".join(verdict))
            errors[pair] = errors.get(pair, 0) + 1
    return errors


_NO_ESTIMATE = Estimate(float("nan"), 0.0, 1.0, 0, 0)


def _binomial(hits: int, judged: int) -> Estimate:
    if not judged:
        return _NO_ESTIMATE
    interval = stats.binomtest(hits, judged).proportion_ci(0.95, method="exact")
    return Estimate(hits / judged, float(interval.low), float(interval.high), judged, hits)


def _recall(sample: Sample, judged: Judged, wanted: Sequence[str], rng: np.random.Generator) -> Estimate:
    """Estimate the recall of the wanted environments together; a label counts if it licenses the item."""
    if any(size and not judged[name] for name, size in sample.sizes.items() if name != CLEAN):
        return _NO_ESTIMATE
    # Row 0 is the estimate. The draws with the prior follow, then those without.
    correct, licensed = np.zeros(1 + 2 * _POSTERIOR_DRAWS), np.zeros(1 + 2 * _POSTERIOR_DRAWS)
    n_judged = n_hits = 0
    for name, size in sample.sizes.items():
        # Recall ignores clean sentences; `Findings.missed` estimates their items.
        if name == CLEAN or not size or not judged[name]:
            continue
        counts = _counts(name, judged[name], wanted)
        # The share of correct items is 0 in a stratum that is not wanted, so it is not drawn.
        prior = np.array([0.5 if name in wanted else 0.0, 0.5, 0.5])
        draws = [_dirichlet(counts + prior, rng), _dirichlet(counts, rng)]
        shares = np.vstack([counts / counts.sum(), *draws])
        correct += size * shares[:, 0]
        licensed += size * (shares[:, 0] + shares[:, 1])
        n_judged += int(counts[0] + counts[1])
        n_hits += int(counts[0])
    if not n_judged:
        return _NO_ESTIMATE
    with np.errstate(invalid="ignore"):
        values = correct / licensed
    low = np.nanquantile(values[1 : _POSTERIOR_DRAWS + 1], 0.025)
    high = np.nanquantile(values[_POSTERIOR_DRAWS + 1 :], 0.975)
    return Estimate(float(values[0]), float(low), float(high), n_judged, n_hits)


def _counts(stratum: str, verdicts: Sequence[Sequence[str]], wanted: Sequence[str]) -> Float[np.ndarray, " kinds"]:
    """Count a stratum's cases: correct, licensed by another of the wanted environments, not licensed by any."""
    correct = sum(stratum in v and stratum in wanted for v in verdicts)
    licensed = sum(any(name in wanted for name in v) for v in verdicts)
    return np.array([correct, licensed - correct, len(verdicts) - licensed], float)


def _dirichlet(weights: Float[np.ndarray, " kinds"], rng: np.random.Generator) -> Float[np.ndarray, "draws kinds"]:
    """Draw shares from a Dirichlet distribution; a kind with weight 0 has share 0."""
    gamma = rng.gamma(np.maximum(weights, 1e-12), size=(_POSTERIOR_DRAWS, len(weights)))
    gamma = np.where(weights > 0, gamma, 0.0)
    return np.asarray(gamma / gamma.sum(axis=1, keepdims=True))
