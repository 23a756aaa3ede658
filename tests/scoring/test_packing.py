import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.scoring import EncodedPairs, ScoreSpec, pack_pairs

START, END = 90, 91


def make_pairs(lengths: list[tuple[int, int]]) -> EncodedPairs:
    rng = np.random.default_rng(0)
    sentences = tuple((rng.integers(1, 50, good), rng.integers(1, 50, bad)) for good, bad in lengths)
    critical = np.array([[(good - 1, good), (bad - 1, bad)] for good, bad in lengths])
    return EncodedPairs(sentences, critical)


@given(
    st.lists(st.tuples(st.integers(2, 9), st.integers(2, 9)), min_size=1, max_size=40),
    st.sampled_from(["token", "none"]),
    st.booleans(),
    st.integers(1, 5),
)
def test_every_sentence_can_be_read_back(lengths, beginning, score_end, rows_per_chunk):
    pairs = make_pairs(lengths)
    spec = ScoreSpec(beginning=beginning, score_end=score_end)
    packed = pack_pairs(pairs, spec, start=START, end=END, row_length=32, rows_per_chunk=rows_per_chunk)
    tokens, targets, positions, segments = (
        array.reshape(-1) for array in (packed.tokens, packed.targets, packed.positions, packed.segment_ids)
    )
    seen = np.zeros(tokens.shape, int)
    for sentence, ids in enumerate(side for pair in pairs.sentences for side in pair):
        whole = [*([START] if beginning == "token" else []), *ids, *([END] if score_end else [])]
        place = packed.first[sentence] + np.arange(packed.n_sentence[sentence])
        seen[place] += 1
        assert tokens[place].tolist() == whole[:-1]
        assert targets[place].tolist() == whole[1:]
        assert positions[place].tolist() == list(range(len(place)))
        assert len(set(segments[place])) == 1
        start, end = packed.critical[sentence]
        assert targets[place][start:end].tolist() == [ids[-1]]
    assert (seen == (segments > 0)).all()
    # Both sentences of a pair lie in one row, so that both see the same shapes.
    rows = (packed.first // 32).reshape(-1, 2)
    assert (rows[:, 0] == rows[:, 1]).all()
    assert packed.tokens.shape[1] <= rows_per_chunk


def test_positions_are_used_well():
    rng = np.random.default_rng(1)
    lengths = [(int(n), int(n)) for n in rng.integers(4, 15, 1000)]
    packed = pack_pairs(make_pairs(lengths), ScoreSpec(), start=START, end=END, row_length=128)
    assert packed.utilization > 0.95


def test_errors_name_the_pair():
    pairs = make_pairs([(3, 3), (20, 20)])
    with pytest.raises(ValueError, match="pair 1 takes 42 positions; rows have 32"):
        pack_pairs(pairs, ScoreSpec(), start=START, end=END, row_length=32)
    with pytest.raises(ValueError, match=r"asks for a start token, but none was given \(start=None\)"):
        pack_pairs(pairs, ScoreSpec(), start=None, end=END)
    first = EncodedPairs(((np.array([1, 2]), np.array([1, 2])),), np.array([[[0, 1], [1, 2]]]))
    with pytest.raises(ValueError, match="pair 0: its critical region starts at the first token"):
        pack_pairs(first, ScoreSpec(beginning="none"), start=None, end=END)
    short = EncodedPairs(((np.array([1]), np.array([2])),), np.array([[[0, 1], [0, 1]]]))
    with pytest.raises(ValueError, match="pair 0: its critical region starts at the first token"):
        pack_pairs(short, ScoreSpec(beginning="none", score_end=False), start=None, end=None)


def test_regions_outside_the_sentence_are_refused():
    with pytest.raises(ValueError, match=r"pair 0, bad sentence: critical region \[1, 3\) does not lie in its 2"):
        EncodedPairs(((np.array([1, 2]), np.array([1, 2])),), np.array([[[0, 1], [1, 3]]]))
    with pytest.raises(ValueError, match="no pairs"):
        EncodedPairs((), np.zeros((0, 2, 2), int))
