"""Dot products between the gradients of single items: alignment by NPI, and overlap of subspaces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from npi_jax.analysis.alignment.estimators import ERRORS_ABOVE_ZERO
from npi_jax.results.names import ALL_NPIS, DIFFERENT_NPIS, SAME_NPI

DIRECTIONS: Final = 3
"""Default number of principal directions that are compared."""
MIN_ITEMS: Final = 3
"""Two tasks have an NPI in common if both have this many items with it."""

OK, NOT_FINITE, NO_COMMON, NOT_POSITIVE, TOO_FEW, LOW_RANK, BEYOND = range(7)

_SPLITS: Final = 4

Norm = tuple[Float[np.ndarray, "*lead"], Float[np.ndarray, "*lead"]]
"""A squared norm and its standard error."""


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Agreement of two tasks over pairs of items of one kind.

    Attributes:
        first, second: numbers of the tasks.
        npis: "all", "same", "different" or one NPI's form.
        ratio: the estimate, which can exceed 1 in absolute value; NaN if a norm is not significantly above 0.
        state: `OK`, or why there is no corrected cosine.
        bad: for each of the two tasks, whether its squared norm is not significantly above 0.
        n_products: pairs of items behind the numerator.
    """

    first: int
    second: int
    npis: str
    ratio: Float[np.ndarray, "*lead"]
    state: Int[np.ndarray, "*lead"]
    bad: Bool[np.ndarray, "*lead 2"]
    n_products: int

    @property
    def corrected(self) -> Float[np.ndarray, "*lead"]:
        """The estimate if it is a cosine; NaN if ``state`` is not `OK`."""
        return np.where(self.state == OK, self.ratio, np.nan)


def npi_strata(
    gram: Float[np.ndarray, "*lead items items"],
    item_task: Sequence[str],
    item_npi: Sequence[str],
    tasks: Sequence[str],
) -> list[Stratum]:
    """Return corrected cosines of every pair of ``tasks``, stratified by the NPIs of the two items multiplied.

    The numerator and both norms of a stratum use pairs of items of the same kind:

    - "same": both items have the same NPI. An NPI has the same weight in all three terms: the smaller of its numbers of
      items in the two tasks.
    - "different": the items have different NPIs. A pair of NPIs is weighted by the product of their weights.
    - "all": any two different items.
    - an NPI's form: both items have this NPI. NPIs that only one of the tasks has get no stratum.

    An NPI counts only if both tasks have at least `MIN_ITEMS` items with it. A squared norm must be more than
    `ERRORS_ABOVE_ZERO` standard errors (jackknife over items) above 0.
    """
    forms = sorted(set(item_npi))
    task_of = np.array([list(tasks).index(task) if task in tasks else -1 for task in item_task], dtype=np.int64)
    form_of = np.array([forms.index(npi) for npi in item_npi], dtype=np.int64)
    clean = np.where(np.isfinite(gram), gram, np.nan).astype(np.float64)
    by_form = _Sums.of(clean, task_of, form_of, len(tasks), len(forms))
    pooled = _Sums.of(clean, task_of, np.zeros_like(form_of), len(tasks), 1)
    found = []
    for i in range(len(tasks)):
        for j in range(i + 1, len(tasks)):
            if not (pooled.counts[i, 0] and pooled.counts[j, 0]):
                continue
            least = np.minimum(by_form.counts[i], by_form.counts[j])
            weight = np.where(least >= MIN_ITEMS, least, 0).astype(np.float64)
            outer = np.outer(weight, weight)
            enough = np.array([[float(pooled.counts[[i, j]].min() >= MIN_ITEMS)]])
            found.append(_stratum(pooled, i, j, ALL_NPIS, enough))
            found.append(_stratum(by_form, i, j, SAME_NPI, np.diag(weight)))
            found.append(_stratum(by_form, i, j, DIFFERENT_NPIS, outer - np.diag(np.diag(outer))))
            for form in np.flatnonzero(least):
                single = np.zeros_like(outer)
                single[form, form] = weight[form]
                found.append(_stratum(by_form, i, j, forms[form], single))
    return found


@dataclass(frozen=True)
class _Sums:
    """Sums of products of items, by task and by the form of the NPI.

    Attributes:
        counts: number of items of each task and form.
        total: sum of products over all pairs of items, by task and form of both items.
        to_form: sum of products of each item with the items of the same task, by their form.
        own: product of each item with itself.
        form_of: number of each item's form.
        members: numbers of the items of each task.
        norms: results of `norm`, by its arguments.
    """

    counts: Int[np.ndarray, "tasks forms"]
    total: Float[np.ndarray, "*lead tasks forms tasks forms"]
    to_form: Float[np.ndarray, "*lead items forms"]
    own: Float[np.ndarray, "*lead items"]
    form_of: Int[np.ndarray, " items"]
    members: list[Int[np.ndarray, " _"]]
    norms: dict[tuple[int, bytes], Norm] = field(default_factory=dict)

    def norm(self, task: int, weights: Float[np.ndarray, "forms forms"]) -> Norm:
        """Return `_squared_norm`, computed once, because many pairs of tasks need the same one."""
        key = (task, weights.tobytes())
        if key not in self.norms:
            self.norms[key] = _squared_norm(self, task, weights)
        return self.norms[key]

    @classmethod
    def of(
        cls,
        gram: Float[np.ndarray, "*lead items items"],
        task_of: Int[np.ndarray, " items"],
        form_of: Int[np.ndarray, " items"],
        n_tasks: int,
        n_forms: int,
    ) -> "_Sums":
        """Sum the products of items, given the number of each item's task (-1 for none) and form."""
        lead = gram.shape[:-2]
        members = [np.flatnonzero(task_of == task) for task in range(n_tasks)]
        to_all = np.zeros((*lead, gram.shape[-1], n_tasks, n_forms))
        counts = np.zeros((n_tasks, n_forms), np.int64)
        for task, items in enumerate(members):
            for form in range(n_forms):
                chosen = items[form_of[items] == form]
                counts[task, form] = len(chosen)
                # Sum the chosen columns: multiplying by a 0/1 mask would spread a NaN to the other tasks.
                to_all[..., task, form] = gram[..., chosen].sum(axis=-1)
        total = np.zeros((*lead, n_tasks, n_forms, n_tasks, n_forms))
        to_form = np.zeros((*lead, gram.shape[-1], n_forms))
        for task, items in enumerate(members):
            to_form[..., items, :] = to_all[..., items, task, :]
            for form in range(n_forms):
                total[..., task, form, :, :] = to_all[..., items[form_of[items] == form], :, :].sum(axis=-3)
        return cls(counts, total, to_form, np.diagonal(gram, axis1=-2, axis2=-1), form_of, members)


def _stratum(sums: _Sums, i: int, j: int, npis: str, weights: Float[np.ndarray, "forms forms"]) -> Stratum:
    """Return the stratum of two tasks; ``weights`` holds the weight of each pair of forms, 0 to exclude it."""
    lead = sums.own.shape[:-1]
    used = weights > 0
    n_products = int(np.outer(sums.counts[i], sums.counts[j])[used].sum())
    stratum = partial(Stratum, first=i, second=j, npis=npis, n_products=n_products)
    if not n_products:
        nothing = np.full(lead, np.nan)
        return stratum(ratio=nothing, state=np.full(lead, NO_COMMON), bad=np.zeros((*lead, 2), bool))
    per = np.where(used, weights / weights.sum() / np.maximum(np.outer(sums.counts[i], sums.counts[j]), 1), 0)
    # Replace excluded products by 0: a NaN times a weight of 0 would stay NaN.
    product = (np.where(used, sums.total[..., i, :, j, :], 0) * per).sum(axis=(-2, -1))
    squared, error = zip(*(sums.norm(task, weights / weights.sum()) for task in (i, j)), strict=True)
    bad = np.stack([~(one > ERRORS_ABOVE_ZERO * se) for one, se in zip(squared, error, strict=True)], axis=-1)
    state = np.where(bad.any(axis=-1), NOT_POSITIVE, OK)
    state = np.where(np.isnan(product + squared[0] + squared[1]), NOT_FINITE, state)
    both = np.where(state == OK, squared[0] * squared[1], np.nan)
    ratio = np.asarray(product / np.sqrt(both))
    return stratum(ratio=ratio, state=np.where(np.abs(ratio) > 1, BEYOND, state), bad=bad)


def _squared_norm(sums: _Sums, task: int, weights: Float[np.ndarray, "forms forms"]) -> Norm:
    """Return the weighted mean product of two different items of a task, and its standard error (jackknife)."""
    counts = sums.counts[task].astype(np.float64)
    items = sums.members[task]
    forms = sums.form_of[items]
    same = np.eye(len(counts))
    own = np.stack([sums.own[..., items[forms == form]].sum(axis=-1) for form in range(len(counts))], axis=-1)
    total = sums.total[..., task, :, task, :] - own[..., None] * same
    pairs = np.outer(counts, counts) - np.diag(counts)
    used = weights > 0
    per = np.divide(weights, pairs, where=used, out=np.zeros_like(weights))
    value = (np.where(used, total, 0) * per).sum(axis=(-2, -1))
    rows = sums.to_form[..., items, :] - sums.own[..., items, None] * same[forms]
    change = _without_each(total, rows, forms, counts, weights)
    entered = change[..., np.isin(forms, np.argwhere(used)[:, 0])]
    n = entered.shape[-1]
    apart = entered - entered.mean(axis=-1, keepdims=True)
    return np.asarray(value), np.asarray(np.sqrt((n - 1) / n * (apart**2).sum(axis=-1)))


def _without_each(
    total: Float[np.ndarray, "*lead forms forms"],
    rows: Float[np.ndarray, "*lead items forms"],
    forms: Int[np.ndarray, " items"],
    counts: Float[np.ndarray, " forms"],
    weights: Float[np.ndarray, "forms forms"],
) -> Float[np.ndarray, "*lead items"]:
    """Return the change of the weighted mean product when each item is left out.

    Without an item of form f, the sums for f lose that item's products, and f has one item fewer.

    Args:
        total: sums of products of different items, by form.
        rows: sums of the products of each item with the other items, by form.
        forms: form of each item.
        counts: items of each form.
        weights: weight of each pair of forms.
    """
    pairs = np.outer(counts, counts) - np.diag(counts)
    change = np.zeros(rows.shape[:-1])
    for form in range(len(counts)):
        here = forms == form
        for other in np.flatnonzero(weights[form] > 0):
            fewer = (counts[form] - 1) * (counts[form] - 2 if other == form else counts[other])
            lost = rows[..., here, other] * (2 if other == form else 1)
            mean = (total[..., form, other, None] - lost) / fewer
            before = total[..., form, other, None] / pairs[form, other]
            change[..., here] += weights[form, other] * (1 if other == form else 2) * (mean - before)
    return change


def subspace_overlap(
    gram: Float[np.ndarray, "*lead items items"], item_task: Sequence[str], tasks: Sequence[str], k: int = DIRECTIONS
) -> tuple[
    Float[np.ndarray, "*lead tasks tasks"], Float[np.ndarray, "*lead tasks tasks"], Int[np.ndarray, "*lead tasks"]
]:
    """Return the overlap of the subspaces spanned by the k principal directions of two tasks' item gradients.

    The items of each task are split into two random halves. U holds the k leading directions of the gradients of a
    half, which are not centered: the mean gradient is included. U itself is never computed, because U_A^T U_B follows
    from Gram matrices. The overlap is |U_A^T U_B|_F^2 / k, averaged over pairs of halves and 4 splits; it is 1 for
    equal subspaces. The overlap of the two halves of task i is self_i. The ceiling sqrt(self_i self_j) is the overlap
    that two tasks with equal subspaces reach with so few items.

    Returns:
        the overlaps, with self_i on the diagonal; the ceilings; and the state of each task. States are `OK`, `TOO_FEW`
        (a half has fewer than 2k items), `NOT_FINITE` or `LOW_RANK` (a half has fewer than k directions).

    Raises:
        ValueError: if k is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; compare at least one direction")
    clean = np.where(np.isfinite(gram), gram, np.nan).astype(np.float64)
    members = [np.flatnonzero(np.array([its == task for its in item_task])) for task in tasks]
    n_tasks, lead = len(tasks), clean.shape[:-2]
    state = np.full((*lead, n_tasks), OK)
    for task, items in enumerate(members):
        own = clean[..., items, :][..., items]
        state[..., task] = np.where(np.isnan(own).any(axis=(-2, -1)), NOT_FINITE, OK)
        if len(items) < 4 * k:
            state[..., task] = TOO_FEW
    random = np.random.default_rng(0)
    filled = np.nan_to_num(clean)
    total = np.zeros((*lead, n_tasks, n_tasks))
    for _ in range(_SPLITS):
        maps, low = _directions(clean, members, state, k, random)
        state = np.where((state == OK) & low, LOW_RANK, state)
        total += _overlaps(filled, maps, n_tasks, k)
    fine = state == OK
    overlap = np.where(fine[..., :, None] & fine[..., None, :], total / _SPLITS, np.nan)
    itself = np.sqrt(np.diagonal(overlap, axis1=-2, axis2=-1))
    return overlap, itself[..., :, None] * itself[..., None, :], state


def _directions(
    gram: Float[np.ndarray, "*lead items items"],
    members: Sequence[Int[np.ndarray, " _"]],
    state: Int[np.ndarray, "*lead tasks"],
    k: int,
    random: np.random.Generator,
) -> tuple[Float[np.ndarray, "*lead directions items"], Bool[np.ndarray, "*lead tasks"]]:
    """Return M, with U^T = M X for gradients X, and a mask of the tasks with fewer than k directions.

    The rows of M are ordered by half, then task, then direction.
    """
    lead, n_items = gram.shape[:-2], gram.shape[-1]
    maps = np.zeros((*lead, 2, len(members), k, n_items))
    low = np.zeros((*lead, len(members)), bool)
    for task, items in enumerate(members):
        if len(items) < 4 * k:
            continue
        mixed = random.permutation(items)
        for half, chosen in enumerate((mixed[: len(items) // 2], mixed[len(items) // 2 :])):
            own = np.where((state[..., task] == OK)[..., None, None], gram[..., chosen, :][..., chosen], 0)
            values, vectors = np.linalg.eigh(own)
            values, vectors = values[..., -k:], vectors[..., -k:]
            # Products are computed in float32; smaller eigenvalues are rounding errors.
            empty = values <= 1e-5 * np.maximum(values[..., -1:], np.finfo(np.float64).tiny)
            low[..., task] |= empty.any(axis=-1)
            scale = np.where(empty, 0, 1 / np.sqrt(np.where(empty, 1, values)))
            maps[..., half, task, :, chosen] = np.moveaxis(vectors * scale[..., None, :], -2, 0)
    return maps.reshape(*lead, -1, n_items), low


def _overlaps(
    gram: Float[np.ndarray, "*lead items items"],
    maps: Float[np.ndarray, "*lead directions items"],
    n_tasks: int,
    k: int,
) -> Float[np.ndarray, "*lead tasks tasks"]:
    """Return overlaps averaged over pairs of halves; the diagonal holds the overlap of a task's two halves."""
    between = (maps @ gram @ np.swapaxes(maps, -1, -2)).reshape(*gram.shape[:-2], 2, n_tasks, k, 2, n_tasks, k)
    squared = (between**2).sum(axis=(-4, -1)) / k
    overlap = squared.mean(axis=(-4, -2))
    across = np.diagonal(squared[..., 0, :, 1, :], axis1=-2, axis2=-1)
    index = np.arange(n_tasks)
    overlap[..., index, index] = across
    return overlap
