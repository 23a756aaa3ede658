import numpy as np
import pytest
from facts import facts
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.scoring import ABSENT, EncodedSentences, ScoreSpec, encode_pairs, pack

START, END = 90, 91


def make_pairs(lengths: list[tuple[int, int]], types: int = 50, seed: int = 0) -> EncodedSentences:
    rng = np.random.default_rng(seed)
    sentences = [(rng.integers(1, types, good), rng.integers(1, types, bad)) for good, bad in lengths]
    critical = np.array([[(good - 1, good), (bad - 1, bad)] for good, bad in lengths])
    return encode_pairs(sentences, critical, start=START, end=END)


def read_back(packed, index: int) -> list[tuple[tuple[int, ...], int]]:
    """(what the model has read, what it is to predict) for each scored token of a sentence."""
    number, slots = packed.find(index)
    bucket = packed.buckets[number]
    n_chunks, _n_rows, length = bucket.tokens.shape
    flat = {name: getattr(bucket, name).reshape(n_chunks, -1) for name in ("tokens", "segment_ids", "positions")}
    found = []
    for slot in slots[slots != ABSENT]:
        chunk, number = divmod(int(slot), bucket.predictions.shape[2])
        context, token = bucket.predictions[chunk, :, number]
        place = bucket.contexts[chunk, context]
        start = place - flat["positions"][chunk, place]
        assert start // length == place // length
        assert len(set(flat["segment_ids"][chunk, start : place + 1])) == 1
        assert flat["positions"][chunk, start : place + 1].tolist() == list(range(place - start + 1))
        found.append((tuple(flat["tokens"][chunk, start : place + 1].tolist()), int(token)))
    return found


@given(
    st.lists(st.tuples(st.integers(2, 9), st.integers(2, 9)), min_size=1, max_size=30),
    st.sampled_from(["token", "none", "tokenizer"]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 5),
    # With few types sentences share beginnings, and some are equal.
    st.sampled_from([2, 3, 50]),
)
def test_every_scored_token_is_predicted_from_what_precedes_it(lengths, beginning, end, first, rows_per_chunk, types):
    pairs = make_pairs(lengths, types)
    spec = ScoreSpec(beginning=beginning, score_end=end, score_first=first, regions=("sentence",))
    packed = pack(pairs, spec, row_length=32, rows_per_chunk=rows_per_chunk)
    for index, ids in enumerate(pairs.ids):
        whole = [*([START] if beginning == "token" else []), *ids.tolist(), *([END] if end else [])]
        before = int(beginning == "token")
        from_token = max(1, before + (not first))
        expected = [(tuple(whole[:k]), whole[k]) for k in range(from_token, len(whole))]
        assert read_back(packed, index) == expected
        assert packed.counts("sentence")[index] == len(expected)
        assert packed.first[index] == from_token - before
    (bucket,) = packed.buckets
    assert bucket.tokens.shape[1] <= rows_per_chunk
    assert bucket.n_positions == (bucket.segment_ids > 0).sum()


def test_a_region_costs_only_what_it_needs():
    # One prefix, two continuations: one sentence is run, and only as far as the words that differ.
    pairs = encode_pairs([([1, 2, 3, 7], [1, 2, 4, 7])], np.array([[[2, 3], [2, 3]]]), start=START, end=END)
    packed = pack(pairs, ScoreSpec(regions=("critical",)))
    assert packed.buckets[0].n_positions == 3
    assert packed.buckets[0].n_contexts == 1
    assert read_back(packed, 0) == [((START, 1, 2), 3)]
    assert read_back(packed, 1) == [((START, 1, 2), 4)]
    difference = pack(pairs, ScoreSpec(regions=("difference",)))
    assert difference.counts("difference").tolist() == [3, 3]
    last = encode_pairs([([1, 2, 3], [4, 2, 3])], np.array([[[1, 3], [1, 3]]]), start=START)
    packed = pack(last, ScoreSpec(regions=("critical_last",), score_end=False))
    assert read_back(packed, 1) == [((START, 4, 2), 3)]


def test_a_sentence_that_lacks_the_end_of_the_other_has_an_empty_difference():
    pairs = encode_pairs([([1, 2], [1, 2, 3])], start=START)
    packed = pack(pairs, ScoreSpec(regions=("difference",), score_end=False))
    assert packed.counts("difference").tolist() == [0, 1]


def test_context_and_the_tokenizers_own_tokens_come_first():
    sentences = EncodedSentences(
        ids=[np.array([1, 2]), np.array([1, 3])], groups=np.array([0, 0]), start=START, prefix=(5, 6)
    )
    with_prefix = pack(sentences, ScoreSpec(beginning="tokenizer", score_end=False, regions=("sentence",)))
    assert read_back(with_prefix, 0) == [((5, 6), 1), ((5, 6, 1), 2)]
    context = EncodedSentences(ids=[np.array([1, 2])], groups=np.array([0]), start=START, context=(8,))
    packed = pack(context, ScoreSpec(score_end=False, regions=("sentence",)))
    assert read_back(packed, 0) == [((8, START), 1), ((8, START, 1), 2)]


def test_positions_are_used_well_and_groups_stay_together():
    rng = np.random.default_rng(1)
    pairs = make_pairs([(int(n), int(n)) for n in rng.integers(4, 15, 1000)])
    packed = pack(pairs, ScoreSpec())
    assert packed.utilization > 0.96
    # The last context of each sentence, which no other of these sentences has.
    (bucket,) = packed.buckets
    last = bucket.table[np.arange(2000), packed.counts("sentence") - 1]
    chunk, number = np.divmod(last, bucket.predictions.shape[2])
    row = bucket.contexts[chunk, bucket.predictions[chunk, 0, number]] // bucket.tokens.shape[2]
    assert (chunk.reshape(-1, 2)[:, 0] == chunk.reshape(-1, 2)[:, 1]).all()
    assert (row.reshape(-1, 2)[:, 0] == row.reshape(-1, 2)[:, 1]).all()


def test_errors_name_the_sentence():
    pairs = make_pairs([(3, 3), (20, 20)])
    with pytest.raises(ValueError, match=facts("group 1, good sentence", "42", "32")):
        pack(pairs, ScoreSpec(), row_length=32)
    with pytest.raises(ValueError, match=facts("group 1, good sentence", "21", "16", "2 sentences")):
        pack(pairs, ScoreSpec(), max_length=16)
    with pytest.raises(ValueError, match=facts("start token", "start=None")):
        pack(encode_pairs([([1], [2])], end=END), ScoreSpec(regions=("sentence",)))
    with pytest.raises(ValueError, match=facts("'npi'", "sentence, difference, critical")):
        pack(pairs, ScoreSpec(regions=("npi",)))
    with pytest.raises(ValueError, match=facts("group 0, good sentence", "one token")):
        pack(encode_pairs([([1], [2])]), ScoreSpec(beginning="none", score_end=False, regions=("sentence",)))


def test_a_region_at_the_unscored_first_token_is_absent():
    pairs = encode_pairs([([1, 2], [1, 3]), ([1, 2], [2, 2])], np.array([[[1, 2]] * 2, [[0, 1]] * 2]), end=END)
    packed = pack(pairs, ScoreSpec(beginning="none"))
    assert packed.spans["critical"][2:].tolist() == [[ABSENT, ABSENT]] * 2
    assert (packed.spans["critical"][:2] != ABSENT).all()
    with pytest.raises(ValueError, match=facts("'critical'", "ScoreSpec")):
        pack(encode_pairs([([1, 2], [2, 2])], np.array([[[0, 1]] * 2]), end=END), ScoreSpec(beginning="none"))


def test_regions_outside_the_sentence_are_refused():
    with pytest.raises(ValueError, match=facts("group 0, bad sentence", "'critical'", "[1, 3)", "2")):
        encode_pairs([([1, 2], [1, 2])], np.array([[[0, 1], [1, 3]]]))
    with pytest.raises(ValueError, match="no sentences"):
        encode_pairs([])
    with pytest.raises(ValueError, match=facts("group 0, bad sentence", "no tokens")):
        encode_pairs([([1], [])])
