"""Row means of a matrix with missing values, from an additive fit."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_MOST_ROUNDS = 2000
_CLOSE = 1e-10


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


def _largest(there: Bool[np.ndarray, "rows columns"]) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " taken"]]:
    """Return the rows and columns of the largest connected component; a value connects its row and column."""
    n_rows, n_columns = there.shape
    row, column = np.nonzero(there)
    if not len(row):
        return row, column
    ties = coo_array((np.ones(len(row)), (row, n_rows + column)), shape=(n_rows + n_columns,) * 2)
    _, part = connected_components(ties, directed=False)
    largest = np.bincount(part[row]).argmax()
    return np.flatnonzero(part[:n_rows] == largest), np.flatnonzero(part[n_rows:] == largest)
