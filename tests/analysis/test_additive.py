"""Means of rows and residuals where cells are missing."""

import numpy as np
import pytest

from npi_jax.analysis.link.additive import free_values, residuals, row_effects


def test_without_a_gap_it_is_the_plain_mean():
    values = np.random.default_rng(0).normal(size=(6, 9))
    np.testing.assert_allclose(row_effects(values), values.mean(axis=1))


def test_rows_measured_late_only_come_out_as_they_are():
    """No noise: what is true of the rows is found, whatever is missing."""
    random = np.random.default_rng(1)
    rows, columns = random.normal(size=20), np.linspace(0, 3, 12)
    values = rows[:, None] + columns
    values[np.arange(12) < random.integers(0, 11, size=20)[:, None]] = np.nan
    found = row_effects(values)
    np.testing.assert_allclose(found - found[0], rows - rows[0], atol=1e-6)
    # A plain mean takes those measured late for the larger ones.
    plain = np.nanmean(values, axis=1)
    assert np.abs(plain - plain[0] - (rows - rows[0])).max() > 0.5


def test_it_is_the_least_squares_fit():
    random = np.random.default_rng(2)
    values = random.normal(size=(7, 5)) + np.arange(5)
    values[random.random((7, 5)) < 0.3] = np.nan
    row, column = np.nonzero(np.isfinite(values))
    design = np.zeros((len(row), 12))
    design[np.arange(len(row)), row] = 1
    design[np.arange(len(row)), 7 + column] = 1
    fit = np.linalg.lstsq(design, values[row, column], rcond=None)[0]
    found = row_effects(values)
    np.testing.assert_allclose(found - found.mean(), fit[:7] - fit[:7].mean(), atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (3, 4)])
def test_nothing_gives_nothing(shape):
    assert np.isnan(row_effects(np.full(shape, np.nan))).all()


def test_rows_that_nothing_ties_to_the_others_cannot_be_compared():
    values = np.full((4, 3), np.nan)
    values[:3, :2] = [[1.0, 2.0], [2.0, 3.0], [3.0, np.nan]]
    values[3, 2] = 9.0
    found = row_effects(values)
    np.testing.assert_allclose(found[:3], [1.5, 2.5, 3.5])
    assert np.isnan(found[3])


def fitted(values):
    """Residuals and degrees of freedom of the least-squares fit, by a general solver."""
    row, column = np.nonzero(np.isfinite(values))
    design = np.concatenate([np.eye(values.shape[0])[row], np.eye(values.shape[1])[column]], axis=1)
    fit, _, rank, _ = np.linalg.lstsq(design, values[row, column], rcond=None)
    left = np.full(values.shape, np.nan)
    left[row, column] = values[row, column] - design @ fit
    return left, len(row) - rank


@pytest.mark.parametrize("same", [True, False])
def test_residuals_are_those_of_least_squares(same):
    random = np.random.default_rng(3)
    values = 5 + random.normal(size=(8, 4, 6))
    values[
        np.broadcast_to(random.random((4, 6)) < 0.4, values.shape) if same else random.random(values.shape) < 0.5
    ] = np.nan
    values[:, 1] = np.nan  # a row without values
    for found, matrix in zip(residuals(values), values, strict=True):
        expected, free = fitted(matrix)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert free_values(np.isfinite(matrix)) == free


def test_rows_that_nothing_ties_are_fitted_apart():
    values = np.full((1, 4, 4), np.nan)
    values[0, :2, :2] = [[1.0, 2.0], [3.0, 8.0]]
    values[0, 2:, 2:] = [[100.0, 200.0], [300.0, 400.0]]
    np.testing.assert_allclose(residuals(values)[0, :2, :2], [[1, -1], [-1, 1]], atol=1e-12)
    np.testing.assert_allclose(residuals(values)[0, 2:, 2:], 0, atol=1e-12)
    assert free_values(np.isfinite(values[0])) == 2
