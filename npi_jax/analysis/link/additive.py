"""Means of rows with missing cells, by an additive fit."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_MOST_ROUNDS = 2000
_CLOSE = 1e-10


def row_effects(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " rows"]:
    """Return least-squares estimates of the rows in ``value = row + column``, at the level of the mean over columns.

    Without missing values these are the plain means of the rows. With missing values, a row that is measured only in
    columns of high values does not come out high for that reason. A row is NaN if it has no value, or if no chain of
    common columns connects it to the largest set of rows, so that the two cannot be compared.

    Args:
        values: NaN where a value is missing.
    """
    there = np.isfinite(values)
    effects = np.full(len(values), np.nan)
    rows, columns = _largest(there)
    if not len(rows):
        return effects
    known, there = np.where(there, values, 0.0)[np.ix_(rows, columns)], there[np.ix_(rows, columns)]
    by_row, by_column = there.sum(axis=1), there.sum(axis=0)
    of_row, of_column = np.zeros(len(rows)), np.zeros(len(columns))
    # Gauss-Seidel on the normal equations, which needs no matrix of size rows plus columns.
    for _ in range(_MOST_ROUNDS):
        before = of_row
        of_column = (known.sum(axis=0) - there.T @ of_row) / by_column
        of_row = (known.sum(axis=1) - there @ of_column) / by_row
        if np.abs(of_row - before).max() <= _CLOSE * max(1.0, float(np.abs(known).max())):
            break
    effects[rows] = of_row + of_column.mean()
    return effects


def _largest(there: Bool[np.ndarray, "rows columns"]) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " taken"]]:
    """Return the rows and columns of the largest set that values connect."""
    n_rows, n_columns = there.shape
    row, column = np.nonzero(there)
    if not len(row):
        return row, column
    ties = coo_array((np.ones(len(row)), (row, n_rows + column)), shape=(n_rows + n_columns,) * 2)
    _, part = connected_components(ties, directed=False)
    largest = np.bincount(part[row]).argmax()
    return np.flatnonzero(part[:n_rows] == largest), np.flatnonzero(part[n_rows:] == largest)
