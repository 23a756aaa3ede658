"""Additive fits, ``value = row + column``, to matrices with missing values: row means and residuals."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_MOST_ROUNDS = 2000
_CLOSE = 1e-10
_RIDGE = 1e-9


def row_effects(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " rows"]:
    """Return the least-squares row effects of ``value = row + column``, plus the mean column effect.

    Without missing values, these are the row means. With missing values, they correct for the columns in which a row
    was measured: a row measured only in columns of high values gets no higher estimate for that. Rows are comparable if
    a chain of common columns connects them. A row is NaN if it has no value or is not connected to the largest set.

    Args:
        values: matrix with NaN for missing values.
    """
    there = np.isfinite(values)
    effects = np.full(len(values), np.nan)
    rows, columns = _largest(there)
    if not len(rows):
        return effects
    known, there = np.where(there, values, 0.0)[np.ix_(rows, columns)], there[np.ix_(rows, columns)]
    by_row, by_column = there.sum(axis=1), there.sum(axis=0)
    of_row, of_column = np.zeros(len(rows)), np.zeros(len(columns))
    # Solve the normal equations by Gauss-Seidel: a direct solver would need a matrix of size rows plus columns.
    for _ in range(_MOST_ROUNDS):
        before = of_row
        of_column = (known.sum(axis=0) - there.T @ of_row) / by_column
        of_row = (known.sum(axis=1) - there @ of_column) / by_row
        if np.abs(of_row - before).max() <= _CLOSE * max(1.0, float(np.abs(known).max())):
            break
    effects[rows] = of_row + of_column.mean()
    return effects


def residuals(values: Float[np.ndarray, "matrices rows columns"]) -> Float[np.ndarray, "matrices rows columns"]:
    """Return the residuals of the least-squares fit of ``value = row + column`` to each matrix; NaN for missing values.

    Args:
        values: matrices with NaN for missing values, which may differ between the matrices.
    """
    there = np.isfinite(values)
    # Matrices with the same missing values need one inversion only.
    ones = (there[:1] if (there == there[:1]).all() else there).astype(np.float64)
    by_column = np.maximum(ones.sum(axis=1), 1.0)
    # Column effects are eliminated from the normal equations. What is left determines row effects up to a constant for
    # each connected set of rows; this constant does not change residuals, and the ridge makes it unique.
    shares = ones / by_column[:, None, :]
    normal = -shares @ np.swapaxes(ones, 1, 2)
    diagonal = np.arange(values.shape[1])
    normal[:, diagonal, diagonal] += ones.sum(axis=2) + _RIDGE
    inverse, left = np.linalg.inv(normal), np.where(there, values, 0.0)
    # The second fit, to the residuals of the first, removes the error that is due to the ridge.
    for _ in range(2):
        of_rows, of_columns = left.sum(axis=2), left.sum(axis=1)
        row = (inverse @ (of_rows[..., None] - shares @ of_columns[..., None]))[..., 0]
        column = (of_columns - (row[:, None, :] @ ones)[:, 0]) / by_column
        left = np.where(there, left - row[:, :, None] - column[:, None, :], 0.0)
    fitted: Float[np.ndarray, "matrices rows columns"] = np.where(there, left, np.nan)
    return fitted


def free_values(there: Bool[np.ndarray, "rows columns"]) -> int:
    """Return the number of values minus the number of independent row and column effects in an additive fit."""
    part = _components(there)
    used = np.concatenate([there.any(axis=1), there.any(axis=0)])
    return int(there.sum()) - int(used.sum()) + len(np.unique(part[used]))


def _components(there: Bool[np.ndarray, "rows columns"]) -> Int[np.ndarray, " nodes"]:
    """Return the connected component of each row, then of each column; a value connects its row and column."""
    n_rows, n_columns = there.shape
    row, column = np.nonzero(there)
    ties = coo_array((np.ones(len(row)), (row, n_rows + column)), shape=(n_rows + n_columns,) * 2)
    part: Int[np.ndarray, " nodes"] = connected_components(ties, directed=False)[1]
    return part


def _largest(there: Bool[np.ndarray, "rows columns"]) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " taken"]]:
    """Return the rows and columns of the largest connected component."""
    n_rows = len(there)
    row, column = np.nonzero(there)
    if not len(row):
        return row, column
    part = _components(there)
    largest = np.bincount(part[row]).argmax()
    return np.flatnonzero(part[:n_rows] == largest), np.flatnonzero(part[n_rows:] == largest)
