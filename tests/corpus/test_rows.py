import numpy as np
import pytest
from facts import facts
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.corpus.storage.arrays import spread
from npi_jax.corpus.variants.rows import RowOrder, epoch_order, pack


@given(st.lists(st.integers(1, 16), max_size=200))
def test_slots_lie_in_rows_without_overlap(lengths):
    packing = pack(np.array(lengths, int), 16)
    taken = np.zeros((packing.n_rows, 16), int)
    for row, start, length in zip(packing.row, packing.start, lengths, strict=True):
        assert start + length <= 16
        taken[row, start : start + length] += 1
    assert taken.max(initial=0) <= 1
    assert taken.sum() == sum(lengths)
    # Rows are filled from the left: what is used is a prefix.
    assert (np.diff(taken, axis=1) <= 0).all()


def test_few_positions_stay_empty():
    lengths = np.random.default_rng(0).integers(5, 25, 5000)
    packing = pack(lengths, 48)
    assert lengths.sum() / (packing.n_rows * 48) > 0.97


def test_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match=facts("3 to 17", "1 to 16")):
        pack(np.array([3, 17]), 16)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=20))
def test_spread_is_concatenated_ranges(pairs):
    starts, lengths = np.array(pairs, int).reshape(-1, 2).T
    expected = [index for start, length in pairs for index in range(start, start + length)]
    assert spread(starts, lengths).tolist() == expected


def test_order_is_a_function_of_seed_and_step():
    order = RowOrder(n_rows=10, batch_size=3)
    seen = {(seed, step): order.rows(seed, step).tolist() for seed in (0, 1) for step in range(7)}
    again = RowOrder(n_rows=10, batch_size=3)
    for (seed, step), rows in reversed(seen.items()):
        assert again.rows(seed, step).tolist() == rows
    assert seen[0, 0] != seen[1, 0]


def test_an_epoch_sees_each_row_at_most_once():
    order = RowOrder(n_rows=10, batch_size=3)
    first = np.concatenate([order.rows(0, step) for step in range(3)])
    second = np.concatenate([order.rows(0, step) for step in range(3, 6)])
    assert len(set(first)) == len(set(second)) == 9
    assert first.tolist() != second.tolist()
    assert first.tolist() == epoch_order(0, 0, 10)[:9].tolist()


def test_a_corpus_smaller_than_a_batch_is_refused():
    with pytest.raises(ValueError, match=facts("2 rows", "batch of 3")):
        RowOrder(n_rows=2, batch_size=3)
