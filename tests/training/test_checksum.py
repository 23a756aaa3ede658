import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from npi_jax.training.checkpoints.checksum import member_checksum

STATE = {"a": np.arange(300, dtype=np.float32), "b": np.arange(7, dtype=np.int32), "c": np.float32(2.5)}
checksum = jax.jit(member_checksum)


def test_equal_states_have_equal_checksums_under_vmap_too():
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf + leaf.dtype.type(1)]), STATE)
    both = jax.vmap(member_checksum)(stacked)
    np.testing.assert_array_equal(both[0], checksum(STATE))
    assert (both[0] != both[1]).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 299), st.integers(0, 31))
def test_one_bit_changes_both_words(place, bit):
    words = STATE["a"].view(np.uint32).copy()
    words[place] ^= np.uint32(1 << bit)
    changed = checksum(STATE | {"a": words.view(np.float32)})
    assert (np.asarray(changed) != np.asarray(checksum(STATE))).all()


def test_exchanged_elements_and_leaves_are_told_apart():
    turned = STATE["a"].copy()
    turned[[3, 200]] = turned[[200, 3]]
    assert (checksum(STATE | {"a": turned}) != checksum(STATE)).any()
    one, two = jnp.ones(5), jnp.full(5, 2.0)
    assert (checksum({"x": one, "y": two}) != checksum({"x": two, "y": one})).any()


def test_what_is_not_a_number_is_summed_like_the_rest():
    assert checksum({"x": jnp.full(3, jnp.nan)}).any()


def test_checksums_of_shares_add_up_to_that_of_the_whole():
    whole = {"w": np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)}
    shares = [
        member_checksum({"w": whole["w"][rows, columns]}, [(rows.start, columns.start)], whole)
        for rows in (slice(0, 2), slice(2, 6))
        for columns in (slice(0, 5), slice(5, 8))
    ]
    np.testing.assert_array_equal(sum(shares), checksum(whole))
