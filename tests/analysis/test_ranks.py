"""Ranks, Spearman's correlation and the median agree with SciPy and NumPy."""

import math

import numpy as np
import pytest
from scipy import stats

from npi_jax.analysis.ranks import ranks, spearman
from npi_jax.analysis.typical import median


@pytest.mark.parametrize("n_values", [2, 5, 1000])
def test_ranks_agree_with_scipy_with_and_without_ties(n_values):
    values = np.random.default_rng(0).integers(n_values, size=(50, 37)).astype(float)
    values[:, 0] = np.inf
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values, axis=1))


def test_ranks_of_no_values_are_empty():
    assert ranks(np.empty((3, 0))).shape == (3, 0)


def test_spearman_agrees_with_scipy():
    random = np.random.default_rng(0)
    for n in range(4, 30):
        one, other = random.integers(6, size=(2, n)) + random.permuted(np.eye(2, n), axis=1) / 2
        assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)


@pytest.mark.parametrize("n", range(1, 9))
def test_the_median_is_that_of_numpy(n):
    for values in np.random.default_rng(n).normal(size=(20, n)):
        assert median(values) == np.median(values)


def test_the_median_of_values_with_nan_is_nan():
    assert all(math.isnan(median(np.array(values))) for values in ([np.nan], [1.0, np.nan, 2.0], [np.nan, 1.0]))
