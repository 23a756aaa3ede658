"""The effective number of tasks: golden values, the unbiased square, and what is said if there is none."""

import itertools

import numpy as np
import pytest
from facts import facts
from gram_files import draw_gradients, products

from npi_jax.analysis.alignment.effective import (
    FEW_BATCHES,
    FEW_PAIRS,
    REASONS,
    effective_number,
    squared_cosines,
    squared_products,
)
from npi_jax.analysis.alignment.estimators import NOT_FINITE, NOT_POSITIVE, OK, align
from npi_jax.analysis.alignment.jackknife import resampled
from npi_jax.analysis.alignment.products import as_blocks, bootstrap_counts


def number(vectors, batches, n_tasks=None):
    """Effective number from gradients [..., T * K, P]."""
    gram = products(vectors)
    n = vectors.shape[-2] // batches
    return effective_number(gram, align(gram, np.full((n, batches), 10)), n_tasks or n)


def without_noise(directions, batches=4):
    """Every micro-batch has the true gradient."""
    return np.repeat(np.asarray(directions, float), batches, axis=0)


AXES = np.eye(9)
SPREAD = np.array([1.0, 10.0, 0.1, 3.0, 1.0])
GOLDEN = {
    "orthogonal": (AXES[:5], 5.0),
    "orthogonal, of other lengths": (AXES[:5] * SPREAD[:, None], 5.0),
    "identical": (AXES[[0] * 5] * SPREAD[:, None], 1.0),
    "opposite": (AXES[[0] * 4] * np.array([1, -1, 1, -1])[:, None], 1.0),
    # Blocks of sizes a and b: (a + b)^2 / (a^2 + b^2).
    "blocks of 2 and 3": (AXES[[0, 0, 1, 1, 1]], 25 / 13),
    "blocks of 1 and 8": (AXES[[0] + [1] * 8], 81 / 65),
    # cos 60 degrees: 4 / (2 + 2 * .25).
    "two tasks at .5": (np.array([[1, 0], [0.5, np.sqrt(0.75)]]), 1.6),
    # All cosines c: T / (1 + (T - 1) c^2) with c = .5 and T = 3.
    "three tasks at .5": (np.linalg.cholesky(np.full((3, 3), 0.5) + 0.5 * np.eye(3)), 2.0),
}


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("batches", [4, 6])
def test_golden_values_without_noise(name, batches):
    directions, expected = GOLDEN[name]
    found = number(without_noise(directions, batches), batches)
    assert found.number == pytest.approx(expected)
    assert (found.state, found.n_unreliable, found.n_pairs) == (OK, 0, len(directions) * (len(directions) - 1) // 2)
    np.testing.assert_allclose(found.log_replicates, np.log(expected), atol=1e-12)


def test_it_is_the_participation_ratio_of_eigenvalues():
    random = np.random.default_rng(0)
    directions = random.normal(size=(6, 8))
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T)
    assert number(without_noise(directions), 4).number == pytest.approx(values.sum() ** 2 / (values**2).sum())


@pytest.mark.parametrize("batches", [4, 5, 6])
def test_squares_are_means_over_four_distinct_micro_batches(batches):
    vectors = draw_gradients(members=1, groups=1, tasks=3, batches=batches)[0, 0]
    own = vectors.reshape(3, batches, -1)
    found = squared_products(as_blocks(products(vectors), batches))
    for i, j in np.ndindex(3, 3):
        terms = [
            (own[i, k] @ own[j, m]) * (own[i, n] @ own[j, p])
            for k, m, n, p in itertools.permutations(range(batches), 4)
        ]
        assert found[i, j] == pytest.approx(np.mean(terms))
    squared = align(products(vectors), np.full((3, batches), 10)).products
    cosines = squared_cosines(as_blocks(products(vectors), batches))
    assert cosines[0, 1] == pytest.approx(found[0, 1] / (squared[0, 0] * squared[1, 1]))


def test_it_maps_over_members_and_groups_and_leaves_text_out():
    vectors = draw_gradients(members=2, groups=3, tasks=4, batches=6)
    found = number(vectors, 6, n_tasks=3)
    assert found.number.shape == (2, 3)
    assert found.log_replicates.shape == (2, 3, 6)
    for place in np.ndindex(2, 3):
        assert found.number[place] == pytest.approx(number(vectors[place][:18], 6).number)


def test_noise_moves_the_square_but_not_the_number():
    """Tasks without anything in common: half of the estimates are above T, and none is clipped."""
    random = np.random.default_rng(0)
    truth = np.linalg.qr(random.normal(size=(400, 5)))[0].T
    vectors = np.repeat(truth, 6, axis=0) + random.normal(size=(300, 30, 400)) * np.sqrt(6 / 400)
    gram = products(vectors)
    found = align(gram, np.full((5, 6), 10))
    estimates = effective_number(gram, found, 5).number
    assert np.mean(5 / estimates) == pytest.approx(1, abs=0.005)
    assert 0.3 < np.mean(estimates > 5) < 0.7
    square = found.ratio[:, *np.triu_indices(5, 1)] ** 2
    assert np.mean(1 + 4 * square.mean(axis=1)) > 1.03


def test_a_number_needs_half_of_the_pairs():
    """Of 4 tasks, one without a gradient leaves 3 of 6 pairs, two leave 1."""
    random = np.random.default_rng(3)
    vectors = without_noise(AXES[:4, :9]) @ np.eye(9, 500) + 0.01 * random.normal(size=(16, 500))
    noise = np.array([1.0, -1.0, 1.0, -1.0])[:, None] * np.eye(500)[100]
    vectors[:4] = noise
    one = number(vectors, 4)
    assert (one.state, one.n_unreliable, one.n_pairs) == (OK, 3, 6)
    assert one.number == pytest.approx(4, abs=0.1)
    vectors[4:8] = noise
    two = number(vectors, 4)
    assert (two.state, two.n_unreliable) == (FEW_PAIRS, 5)
    assert np.isnan(two.number)
    assert np.isnan(two.log_replicates).all()
    assert REASONS[FEW_PAIRS].startswith("noise hides more than half of the pairs")


def test_three_micro_batches_have_no_unbiased_square():
    found = number(draw_gradients(tasks=3, batches=3), 3)
    assert (found.state == FEW_BATCHES).all()
    assert np.isnan(found.number).all()
    assert REASONS[FEW_BATCHES] == "fewer than 4 micro-batches (gradients.micro_batches)"


def test_what_is_not_finite_has_a_reason():
    found = number(np.full((2, 12, 30), np.nan), 4)
    assert (found.state == NOT_FINITE).all()
    assert np.isnan(found.number).all()


def test_a_sum_of_squares_that_is_not_positive_has_a_reason():
    """Four numbers can be paired in three ways; the products are 1 times -9, 0 and 0, so the mean is -3."""
    own = np.ones((4, 4)) + np.eye(4)
    between = np.zeros((4, 4))
    between[[0, 1], [1, 0]] = 1.0
    between[[2, 3], [3, 2]] = -9.0
    gram = np.block([[own, between], [between.T, own]])
    assert squared_cosines(as_blocks(gram, 4))[0, 1] == pytest.approx(-3)
    found = effective_number(gram, align(gram, np.full((2, 4), 10)), 2)
    assert found.state == NOT_POSITIVE
    assert np.isnan(found.number)


def test_one_task_is_an_error():
    gram = np.eye(4)
    with pytest.raises(ValueError, match=facts("1 task", "2")):
        effective_number(gram, align(gram, np.full((1, 4), 10)), 1)


def test_resampled_draws_have_the_variance_of_the_jackknife():
    values = np.array([[1.0, 2.0, 4.0, 9.0], [0.0, 0.0, 0.0, 3.0]])
    mean = values.mean(axis=1)
    replicates = (values.sum(axis=1, keepdims=True) - values) / 3
    counts = np.array([[1, 1, 1, 1], [2, 1, 1, 0], [0, 0, 1, 3]])
    # For a mean of values, first order is exact: the draw is the mean of the drawn values.
    np.testing.assert_allclose(resampled(mean, replicates, counts), values @ counts.T / 4)
    many = resampled(mean, replicates, bootstrap_counts(4, 20_000))
    # Draws of a single micro-batch are left out, which takes away 1 in 64, and some variance.
    np.testing.assert_allclose(many.var(axis=1), values.var(axis=1) / 4, rtol=0.08)
