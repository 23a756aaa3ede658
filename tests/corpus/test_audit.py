import csv
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from npi_jax.cli.actions.audit_files import load_sample, load_verdicts
from npi_jax.corpus.annotation.annotations import RESIDUALS
from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.audit import CLEAN, NO_ITEM, UNCLEAR, Case, Sample, _Reservoir, cases_of, draw, estimate
from npi_jax.corpus.text.sources import Document, numbered_sentences, read_text

AUDIT = Path(__file__).parents[2] / "docs" / "audit"
LINES = [
    *(f"nobody has ever seen the house {n} ." for n in range(30)),
    *(f"he did not see any of it {n} ." for n in range(300)),
    *(f"any child can do {n} ." for n in range(50)),
    *(f"without any money {n} ." for n in range(50)),
    *(f"the man saw it {n} ." for n in range(400)),
]


def drawn(**numbers: int) -> Sample:
    documents = [Document("a", "\n".join(LINES[:500])), Document("b", "\n".join(LINES[500:]))]
    return draw(documents, annotator(), **{"per_environment": 20, "without": 40, "clean": 50, **numbers})


def test_the_sample_is_stratified_and_counts_everything():
    sample = drawn()
    sizes = {name: size for name, size in sample.sizes.items() if size}
    assert sizes == {
        "determiner_negation": 30,
        "sentential_negation": 300,
        "other": 50,
        "ambiguous": 50,
        CLEAN: 400,
    }
    counts = Counter(case.stratum for case in sample.cases)
    assert counts["determiner_negation"] == counts["sentential_negation"] == 20
    assert counts["other"] + counts["ambiguous"] == 40
    assert min(counts["other"], counts["ambiguous"]) > 10
    assert counts[CLEAN] == 50
    for case, text in zip(sample.cases, sample.texts, strict=True):
        assert text[case.start : case.end].lower() == case.item
        lines = LINES[:500] if case.document == "a" else LINES[500:]
        assert lines[case.sentence - 1] == text
    assert len({case.key for case in sample.cases}) == len(sample.cases)


def test_samples_repeat_and_differ_by_seed():
    assert drawn().cases == drawn().cases
    assert drawn(seed=1).cases != drawn().cases


@pytest.mark.drill
def test_every_item_is_as_likely():
    counts = np.zeros(300, int)
    places = np.zeros(20)
    for seed in range(600):
        pool = _Reservoir(20, np.random.default_rng(seed))
        for number in range(300):
            pool.offer(Case(document="d", sentence=number, digest="", stratum="x"), "")
        kept = [case.sentence for case, _ in pool.kept]
        assert len(set(kept)) == 20
        counts[kept] += 1
        places += kept
    assert stats.chisquare(counts).pvalue > 1e-4
    # The sample is in random order, so that its first cases are a sample, too.
    assert np.abs(places / 600 - 149.5).max() < 20


def sample_of(truth: dict[str, tuple[int, dict[str, int]]], judged: int, rng: np.random.Generator):
    """A sample of strata (size, true labels with their counts), and verdicts that are true."""
    cases, verdicts = [], {}
    for stratum, (size, labels) in truth.items():
        pool = np.repeat(list(labels), list(labels.values()))
        assert len(pool) == size
        for number, label in enumerate(rng.choice(pool, min(judged, size), replace=False)):
            case = Case(document=stratum, sentence=number, digest="", stratum=stratum, item="any", end=1)
            cases.append(case)
            verdicts[case.key] = [str(label)]
    sizes = {stratum: size for stratum, (size, _) in truth.items()}
    return Sample("t", ("x", "y"), sizes, cases), verdicts


TRUTH = {
    "x": (2000, {"x": 1900, "y": 60, "no_item": 40}),
    "y": (100, {"y": 95, "x": 5}),
    "other": (1000, {"other": 900, "x": 80, "y": 20}),
    "ambiguous": (0, {}),
    "unlicensed": (0, {}),
    CLEAN: (10_000, {NO_ITEM: 9950, "holds": 50}),
}


def test_a_census_gives_the_truth():
    sample, verdicts = sample_of(TRUTH, 20_000, np.random.default_rng(0))
    found = estimate(sample, verdicts)
    assert found.precision["x"].value == 0.95
    assert found.recall["x"].value == pytest.approx(1900 / (1900 + 5 + 80))
    assert found.recall["y"].value == pytest.approx(95 / (95 + 60 + 20))
    assert found.overall.value == pytest.approx((1900 + 95) / (1960 + 100 + 100))
    assert found.missed.value == 0.005
    assert found.errors["other", "x"] == 80


def test_intervals_hold_the_truth():
    inside = Counter()
    for seed in range(60):
        sample, verdicts = sample_of(TRUTH, 60, np.random.default_rng(seed))
        found = estimate(sample, verdicts)
        truth = {"precision": 0.95, "recall": 1900 / 1985, "overall": 1995 / 2160, "rare": 95 / 175, "missed": 0.005}
        ends = {
            "precision": found.precision["x"],
            "recall": found.recall["x"],
            "overall": found.overall,
            "rare": found.recall["y"],
            "missed": found.missed,
        }
        for name, one in ends.items():
            assert one.low <= one.value + 1e-9
            assert one.value <= one.high + 1e-9
            inside[name] += one.low <= truth[name] <= one.high
    assert min(inside.values()) >= 54, inside


def test_undecided_cases_are_left_out():
    sample, verdicts = sample_of(TRUTH, 40, np.random.default_rng(0))
    first = sample.cases[0].key
    unclear = {**verdicts, first: [UNCLEAR]}
    assert estimate(sample, unclear).unclear == 1
    del verdicts[first]
    assert estimate(sample, verdicts).precision == estimate(sample, unclear).precision
    nothing = estimate(sample, {})
    assert nothing.precision["x"].judged == 0
    assert (nothing.overall.low, nothing.overall.high) == (0, 1)


def test_several_labels_are_all_right():
    case = Case(document="d", sentence=1, digest="", stratum="x", item="any", end=3)
    sample = Sample("t", ("x", "y"), {"x": 1, "y": 0, **dict.fromkeys(RESIDUALS, 0), CLEAN: 0}, [case])
    assert estimate(sample, {case.key: ["y", "x"]}).precision["x"].hits == 1


def test_the_audit_of_the_documentation_matches_the_annotator(data_folder):
    """Every sentence of docs/audit still gets the label that it was drawn under."""
    sample, verdicts = load_sample(AUDIT), load_verdicts(AUDIT)
    assert len(verdicts) == len(sample.cases)
    wanted = {(case.document, case.sentence) for case in sample.cases}
    texts = {}
    for name in {case.document for case in sample.cases}:
        path = data_folder / "corpus" / name
        for _, number, sentence in numbered_sentences(read_text(path, unit="sentence")):
            if (name, number) in wanted:
                texts[name, number] = sentence
    changed = []
    for case in sample.cases:
        now = cases_of(annotator(), case.document, case.sentence, texts[case.document, case.sentence])
        assert now[0].digest == case.digest, "the corpus is another one"
        changed += [case] if case not in now else []
    assert not changed, "the annotator has changed: judge a new sample (npi-jax audit), or mend it"
    found = estimate(sample, verdicts)
    assert found.overall.value > 0.9
    assert found.missed.value <= 0.01
    assert min(one.value for one in found.precision.values()) > 0.93


def test_development_judgements_are_met(data_folder):
    """The judgments from which the rules were developed still hold."""
    right = total = 0
    by_document: dict[str, dict[int, list[tuple[int, set[str]]]]] = {}
    with (AUDIT / "development.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            sentences = by_document.setdefault(row["document"], {})
            sentences.setdefault(int(row["sentence"]), []).append((int(row["start"]), set(row["labels"].split("/"))))
    for name, judged in sorted(by_document.items())[:60]:
        documents = read_text(data_folder / "corpus" / name, unit="sentence")
        for _, number, sentence in numbered_sentences(documents):
            for start, labels in judged.get(number, ()):
                now = [
                    case for case in cases_of(annotator(), name, number, sentence) if case.start == start and case.item
                ]
                if now and now[0].stratum not in RESIDUALS:
                    total += 1
                    right += now[0].stratum in labels
    assert total > 100
    assert right / total > 0.94


def test_cases_are_plain():
    assert dataclasses.astuple(Case(document="d", sentence=1, digest="x", stratum=CLEAN)) == (
        "d",
        1,
        "x",
        CLEAN,
        "",
        0,
        0,
        -1,
    )
