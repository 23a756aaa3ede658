import numpy as np
import pytest

from npi_jax.corpus.annotations import ENVIRONMENTS
from npi_jax.corpus.interventions import parse_intervention, select

COLUMNS = len(ENVIRONMENTS) + 1


def counts(*columns: int | None) -> np.ndarray:
    """One sentence an argument: the environment that licenses its NPI, or None."""
    table = np.zeros((len(columns), COLUMNS), np.uint8)
    for row, column in enumerate(columns):
        if column is not None:
            table[row, column] = 1
    return table


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("full", "full"),
        (" no_npi ", "no_npi"),
        ("without(adverbs)", "without(adverbs)"),
        ("only( superlative )", "only(superlative)"),
        ("downsample(only,0.10)", "downsample(only, 0.1)"),
        ("random(no_npi)", "random(no_npi)"),
        ("random(downsample(only, .5))", "random(downsample(only, 0.5))"),
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
        ("without(adverb)", "no environment 'adverb'; valid are adverbs"),
        ("without", "write it as without(ENVIRONMENT)"),
        ("full(adverbs)", "write it as full"),
        ("downsample(only, 2)", "from 0 to 1"),
        ("downsample(only, x)", "from 0 to 1"),
        ("random(full)", "needs the removal"),
        ("random", "needs the removal"),
        ("", "unknown intervention"),
    ],
)
def test_parse_says_what_is_wrong(text, words):
    with pytest.raises(ValueError) as caught:
        parse_intervention(text)
    assert words in str(caught.value)
    assert repr(text)[1:-1] in str(caught.value)


def removed(text: str, npi_counts: np.ndarray, lengths: np.ndarray | None = None) -> list[int]:
    lengths = np.full(len(npi_counts), 5) if lengths is None else lengths
    mask, _ = select(parse_intervention(text), npi_counts, lengths, seed=0)
    return np.flatnonzero(mask).tolist()


def test_each_kind_removes_what_it_says():
    adverbs, only, unlicensed = 0, ENVIRONMENTS.index("only"), COLUMNS - 1
    table = counts(None, adverbs, only, unlicensed, None)
    table[2, adverbs] = 1  # licensed by two environments
    assert removed("full", table) == []
    assert removed("no_npi", table) == [1, 2, 3]
    assert removed("without(adverbs)", table) == [1, 2]
    assert removed("without(only)", table) == [2]
    assert removed("only(adverbs)", table) == [3]
    assert removed("only(only)", table) == [1, 3]


def test_downsampling_keeps_the_share_and_nests():
    table = counts(*[0] * 200)
    kept = {share: set(range(200)) - set(removed(f"downsample(adverbs, {share})", table)) for share in (0, 0.1, 0.5, 1)}
    assert [len(kept[share]) for share in (0, 0.1, 0.5, 1)] == [0, 20, 100, 200]
    assert kept[0.1] < kept[0.5]


def test_random_control_matches_lengths_and_spares_npis():
    rng = np.random.default_rng(0)
    columns = rng.choice([None, 0, 1], 600, p=[0.7, 0.15, 0.15]).tolist()
    table, lengths = counts(*columns), rng.integers(4, 12, 600)
    target = removed("without(adverbs)", table, lengths)
    control = removed("random(without(adverbs))", table, lengths)
    assert sorted(lengths[target]) == sorted(lengths[control])
    assert not table[control].any()
    assert control != removed("random(no_npi)", table, lengths)[: len(control)]


def test_random_control_counts_what_it_cannot_match():
    table = counts(0, 0, None)
    mask, missing = select(parse_intervention("random(no_npi)"), table, np.array([5, 5, 5]), seed=0)
    assert (int(mask.sum()), missing) == (1, 1)
