import numpy as np
import pytest
from facts import facts

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS, Annotation
from npi_jax.corpus.annotation.npi_en import NPI_EN
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.variants.changes import find_change
from npi_jax.corpus.variants.interventions import Dose, controls, parse_intervention


def table_of(*labels: str | tuple[str, ...] | None) -> AnnotationTable:
    """One sentence an argument: what licenses its NPIs."""
    rows = [(one,) if isinstance(one, str) else one or () for one in labels]
    found = [tuple(Annotation(label, 0, (0, 2), "ever", (1, 2)) for label in row) for row in rows]
    return AnnotationTable.from_sentences(found, NPI_EN)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("full", "full"),
        (" no_npi ", "no_npi"),
        ("without(adverbs)", "without(adverbs)"),
        ("only( superlative )", "only(superlative)"),
        ("downsample(only & npi,0.10)", "downsample(only, 0.1)"),
        ("downsample(only,0.10)", "downsample(only, 0.1)"),
        ("downsample(only & any,0.10)", "downsample(only & any, 0.1)"),
        ("random(no_npi)", "random(no_npi)"),
        ("random(downsample(only, .5))", "random(downsample(only, 0.5))"),
        ("remove(npi)", "no_npi"),
        ("remove(only&npi)", "without(only)"),
        ("remove(only)", "remove(only)"),
        ("keep_only( only )", "only(only)"),
        ("keep_only(only|adverbs)", "keep_only(only | adverbs)"),
        ("remove(!(only | 'at all') & npi)", "remove(!(only | 'at all') & npi)"),
        ("remove(any & only) + no_npi+full", "remove(any & only) + no_npi"),
        ("replace( npi,ever )", "replace(npi, ever)"),
        ("replace(licensor, only & npi)", "replace(licensor, only & npi)"),
        ("without(only) + inject(only & npi,64,10,20)", "without(only) + inject(only & npi, 64, 10, 20)"),
        ("random(without(only) + no_npi)", "random(without(only) + no_npi)"),
    ],
)
def test_parse_reads_what_str_writes(text, canonical):
    intervention = parse_intervention(text)
    assert str(intervention) == canonical
    assert parse_intervention(canonical) == intervention


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wihtout(adverbs)", "unknown intervention"),
        ("without(only) + random(no_npi)", "random(ONE + ANOTHER)"),
        ("remove(only &)", "a word is missing at the end"),
        ("remove(only ever)", "'ever' is unexpected after character 4"),
        ("remove((only)", "brackets are not closed"),
        ("replace(word, only)", "write it as replace(licensor, SELECTION)"),
        ("inject(only, 3)", "write it as inject(SELECTION, N, STEP, ...)"),
        ("inject(only, 3, -1)", "write it as inject"),
        ("without", "write it as without(ENVIRONMENT)"),
        ("full(adverbs)", "write it as full"),
        ("downsample(only, 2)", "from 0 to 1"),
        ("downsample(only, x)", "from 0 to 1"),
        ("random(full)", "random(no_npi)"),
        ("random", "random(no_npi)"),
        ("", "unknown intervention"),
    ],
)
def test_parse_says_what_is_wrong(text, words):
    with pytest.raises(ValueError) as caught:
        parse_intervention(text)
    assert words in str(caught.value)
    assert repr(text)[1:-1] in str(caught.value)


def change(text: str, table: AnnotationTable, lengths: np.ndarray):
    return find_change(parse_intervention(text), table, NPI_EN, lengths, seed=0)


def removed(text: str, table: AnnotationTable, n: int = 5) -> list[int]:
    return np.flatnonzero(change(text, table, np.full(n, 5)).removed).tolist()


def test_each_kind_removes_what_it_says():
    table = table_of(None, "adverbs", ("only", "adverbs"), "unlicensed", None)
    assert removed("full", table) == []
    assert removed("no_npi", table) == [1, 2, 3]
    assert removed("without(adverbs)", table) == [1, 2]
    assert removed("without(only)", table) == [2]
    assert removed("only(adverbs)", table) == [3]
    assert removed("only(only)", table) == [1, 3]
    assert removed("keep_only(adverbs | unlicensed)", table) == []
    assert removed("remove(licensed)", table) == [1, 2]
    assert removed("remove(npi & !adverbs)", table) == [2, 3]
    assert removed("remove(any)", table) == []
    assert removed("remove(ever & weak & (only | unlicensed))", table) == [2, 3]
    assert removed("without(only) + without(unlicensed)", table) == [2, 3]


def test_downsampling_keeps_the_share_and_nests():
    table = table_of(*["adverbs"] * 200)
    kept = {
        share: set(range(200)) - set(removed(f"downsample(adverbs & npi, {share})", table, 200))
        for share in (0, 0.1, 0.5, 1)
    }
    assert [len(kept[share]) for share in (0, 0.1, 0.5, 1)] == [0, 20, 100, 200]
    assert kept[0.1] < kept[0.5]


def test_random_control_matches_lengths_and_spares_npis():
    rng = np.random.default_rng(0)
    table = table_of(*rng.choice([None, "adverbs", "only"], 600, p=[0.7, 0.15, 0.15]).tolist())
    lengths = rng.integers(4, 12, 600)
    target = np.flatnonzero(change("without(adverbs)", table, lengths).removed)
    control = np.flatnonzero(change("random(without(adverbs))", table, lengths).removed)
    assert sorted(lengths[target]) == sorted(lengths[control])
    assert not set(control.tolist()) & set(table.sentence.tolist())
    assert control.tolist() != np.flatnonzero(change("random(no_npi)", table, lengths).removed)[: len(control)].tolist()


def test_random_control_counts_what_it_cannot_match():
    found = change("random(no_npi)", table_of("adverbs", "adverbs", None), np.array([5, 5, 5]))
    assert (found.size, found.missing) == (1, 1)


def test_replacements_of_what_is_removed_are_dropped():
    found = change("without(only) + replace(licensor, npi)", table_of("only", "adverbs"), np.array([5, 5]))
    assert found.size == 1
    ((what, rows),) = found.replaced
    assert (what, rows.tolist()) == ("licensor", [1])


@pytest.mark.parametrize(
    ("text", "dose", "alone"),
    [
        ("without(only)", Dose("only", 0.0, False), "only"),
        ("only(only)", Dose("only", 1.0, True), ""),
        ("downsample(only & npi, 0.3)", Dose("only", 0.3, False), ""),
        ("only(only) + downsample(only & npi, 0.3)", Dose("only", 0.3, True), ""),
        ("only(only) + downsample(adverbs & npi, 0.3)", None, ""),
        ("no_npi", None, "all"),
        ("remove(only)", None, ""),
        ("random(without(only))", None, ""),
        ("full", None, ""),
    ],
)
def test_the_dose_and_the_removed_environment(text, dose, alone):
    intervention = parse_intervention(text)
    assert intervention.dose == dose
    assert intervention.removed == alone


def test_words_are_checked_against_the_phenomenon():
    parse_intervention("without(only) + remove('at all')").check(NPI_EN)
    with pytest.raises(ValueError, match=facts("'without(relative_clause)'", "'relative_clause'")):
        parse_intervention("without(relative_clause)").check(NPI_EN)
    parse_intervention("random(without(relative_clause))").check(load_phenomenon("filler_gap_en"))
    with pytest.raises(ValueError, match=facts("'ever'")):
        parse_intervention("random(remove(ever))").check(load_phenomenon("filler_gap_en"))


def test_all_interventions_but_full_and_controls_have_a_control():
    held_out = tuple(f"without({name})" for name in ENVIRONMENTS[:2])
    assert controls(("full", "no_npi", *held_out)) == (
        "random(no_npi)",
        "random(without(adverbs))",
        "random(without(conditional))",
    )
