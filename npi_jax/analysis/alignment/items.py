"""What dot products between the gradients of single items say: lexical strata, and overlap of subspaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from npi_jax.analysis.alignment.estimators import ERRORS_ABOVE_ZERO

DIRECTIONS: Final = 3
"""How many principal directions are compared by default."""
MIN_ITEMS: Final = 3
"""An NPI counts as one that two tasks have in common if both have this many items with it."""

OK, NOT_FINITE, NO_COMMON, NOT_POSITIVE, TOO_FEW, LOW_RANK, BEYOND = range(7)

_SPLITS: Final = 4


@dataclass(frozen=True)
class Stratum:
    """Agreement of two tasks over pairs of items of one kind.

    Attributes:
        first, second: numbers of the tasks.
        npis: "all", "same", "different" or one NPI's form.
        ratio: [*lead], the estimate, which may be beyond 1; NaN where a norm is not above 0.
        state: [*lead], `OK` or why it is missing.
        bad: [*lead, 2], which of the two tasks' squared norms is not told from 0.
        n_products: pairs of items behind the numerator.
    """

    first: int
    second: int
    npis: str
    ratio: np.ndarray
    state: np.ndarray
    bad: np.ndarray
    n_products: int

    @property
    def corrected(self) -> np.ndarray:
        """[*lead], the estimate where it is a cosine; NaN where ``state`` is not `OK`."""
        return np.where(self.state == OK, self.ratio, np.nan)


def npi_strata(
    gram: Float[np.ndarray, "*lead items items"],
    item_task: Sequence[str],
    item_npi: Sequence[str],
    tasks: Sequence[str],
) -> list[Stratum]:
    """Corrected cosines of every pair of ``tasks`` from pairs of items with the same, with different, or with one NPI.

    Of a stratum all three terms are of one kind. "same": products of items of i and j with one NPI, over norms from
    products of two items of one task with one NPI, and an NPI has the same weight in all three (the smaller of its
    numbers of items in i and j); likewise "different", each pair of two NPIs weighted by the product of their weights.
    Only NPIs that both tasks have enter, `MIN_ITEMS` times each. "all": any two different items. As elsewhere a norm
    has to be `ERRORS_ABOVE_ZERO` standard errors (jackknife over items) above 0.

    Strata of NPIs that only one of the tasks has are left out.
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
            found.append(_stratum(pooled, i, j, "all", enough))
            found.append(_stratum(by_form, i, j, "same", np.diag(weight)))
            found.append(_stratum(by_form, i, j, "different", outer - np.diag(np.diag(outer))))
            for form in np.flatnonzero(least):
                single = np.zeros_like(outer)
                single[form, form] = weight[form]
                found.append(_stratum(by_form, i, j, forms[form], single))
    return found


@dataclass(frozen=True)
class _Sums:
    """Sums of products between the items of tasks and forms.

    Attributes:
        counts: [T, F] items.
        total: [*lead, T, F, T, F].
        to_form: [*lead, N, F], sum of item a's products with the items of its own task that have form f.
        own: [*lead, N], product of each item with itself.
        form_of: [N]
        members: for each task, the numbers of its items.
    """

    counts: np.ndarray
    total: np.ndarray
    to_form: np.ndarray
    own: np.ndarray
    form_of: np.ndarray
    members: list[np.ndarray]

    @classmethod
    def of(cls, gram: np.ndarray, task_of: np.ndarray, form_of: np.ndarray, n_tasks: int, n_forms: int) -> "_Sums":
        """From products [*lead, N, N], with the numbers of each item's task (-1 for none) and form."""
        lead = gram.shape[:-2]
        members = [np.flatnonzero(task_of == task) for task in range(n_tasks)]
        to_all = np.zeros((*lead, gram.shape[-1], n_tasks, n_forms))
        counts = np.zeros((n_tasks, n_forms), np.int64)
        for task, items in enumerate(members):
            for form in range(n_forms):
                chosen = items[form_of[items] == form]
                counts[task, form] = len(chosen)
                # Sums and not products with 0 and 1: a NaN must not reach the other tasks.
                to_all[..., task, form] = gram[..., chosen].sum(axis=-1)
        total = np.zeros((*lead, n_tasks, n_forms, n_tasks, n_forms))
        to_form = np.zeros((*lead, gram.shape[-1], n_forms))
        for task, items in enumerate(members):
            to_form[..., items, :] = to_all[..., items, task, :]
            for form in range(n_forms):
                total[..., task, form, :, :] = to_all[..., items[form_of[items] == form], :, :].sum(axis=-3)
        return cls(counts, total, to_form, np.diagonal(gram, axis1=-2, axis2=-1), form_of, members)


def _stratum(sums: _Sums, i: int, j: int, npis: str, weights: np.ndarray) -> Stratum:
    """One pair of tasks; ``weights`` [F, F] of pairs of forms, 0 where they do not enter."""
    lead = sums.own.shape[:-1]
    used = weights > 0
    n_products = int(np.outer(sums.counts[i], sums.counts[j])[used].sum())
    if not n_products:
        nothing = np.full(lead, np.nan)
        return Stratum(i, j, npis, nothing, np.full(lead, NO_COMMON), np.zeros((*lead, 2), bool), 0)
    per = np.where(used, weights / weights.sum() / np.maximum(np.outer(sums.counts[i], sums.counts[j]), 1), 0)
    # What has no weight is left out rather than multiplied by 0, which a NaN would survive.
    product = (np.where(used, sums.total[..., i, :, j, :], 0) * per).sum(axis=(-2, -1))
    squared, error = zip(*(_squared_norm(sums, task, weights / weights.sum()) for task in (i, j)), strict=True)
    bad = np.stack([~(one > ERRORS_ABOVE_ZERO * se) for one, se in zip(squared, error, strict=True)], axis=-1)
    state = np.where(bad.any(axis=-1), NOT_POSITIVE, OK)
    state = np.where(np.isnan(product + squared[0] + squared[1]), NOT_FINITE, state)
    both = np.where(state == OK, squared[0] * squared[1], np.nan)
    ratio = np.asarray(product / np.sqrt(both))
    return Stratum(i, j, npis, ratio, np.where(np.abs(ratio) > 1, BEYOND, state), bad, n_products)


def _squared_norm(sums: _Sums, task: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean product of two different items of a task, and its standard error, each [*lead]."""
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
    # Leave out item a of form f: the sums with f lose a's products, and f has one item fewer.
    rows = sums.to_form[..., items, :] - sums.own[..., items, None] * same[forms]
    change = np.zeros((*value.shape, len(items)))
    for form in range(len(counts)):
        here = forms == form
        for other in np.flatnonzero(used[form]):
            fewer = (counts[form] - 1) * (counts[form] - 2 if other == form else counts[other])
            lost = rows[..., here, other] * (2 if other == form else 1)
            mean = (total[..., form, other, None] - lost) / fewer
            before = total[..., form, other, None] / pairs[form, other]
            change[..., here] += weights[form, other] * (1 if other == form else 2) * (mean - before)
    entered = change[..., np.isin(forms, np.argwhere(used)[:, 0])]
    n = entered.shape[-1]
    apart = entered - entered.mean(axis=-1, keepdims=True)
    return np.asarray(value), np.asarray(np.sqrt((n - 1) / n * (apart**2).sum(axis=-1)))


def subspace_overlap(
    gram: Float[np.ndarray, "*lead items items"], item_task: Sequence[str], tasks: Sequence[str], k: int = DIRECTIONS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much of the k principal directions of single items' gradients two tasks have in common.

    The items of each task are split in two halves at random; of each half U holds the k leading directions of its
    items' gradients (not centered, so that the mean gradient is among what is described). They never need to be known:
    U_A^T U_B follows from Gram matrices. overlap = |U_A^T U_B|_F^2 / k, 1 for equal subspaces; the mean over pairs of
    halves and 4 splits. The ceiling is sqrt(self_i self_j) of the overlaps of the two halves of one task: what two
    tasks with equal subspaces reach with so few items.

    Returns:
        overlap [*lead, T, T] with the self overlaps on its diagonal, ceiling [*lead, T, T], state [*lead, T]: `OK`,
        `TOO_FEW` (a half has fewer than 2k items), `NOT_FINITE` or `LOW_RANK` (a half has fewer than k directions).

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
    gram: np.ndarray, members: list[np.ndarray], state: np.ndarray, k: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Maps M [*lead, 2T * k, N] with U^T = M X for gradients X [N, P], rows (half, task, direction); and who is low."""
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
            # Products come in float32; below this a direction is rounding.
            empty = values <= 1e-5 * np.maximum(values[..., -1:], np.finfo(np.float64).tiny)
            low[..., task] |= empty.any(axis=-1)
            scale = np.where(empty, 0, 1 / np.sqrt(np.where(empty, 1, values)))
            maps[..., half, task, :, chosen] = np.moveaxis(vectors * scale[..., None, :], -2, 0)
    return maps.reshape(*lead, -1, n_items), low


def _overlaps(gram: np.ndarray, maps: np.ndarray, n_tasks: int, k: int) -> np.ndarray:
    """[*lead, T, T]: the mean over pairs of halves; on the diagonal the two halves of one task."""
    between = (maps @ gram @ np.swapaxes(maps, -1, -2)).reshape(*gram.shape[:-2], 2, n_tasks, k, 2, n_tasks, k)
    squared = (between**2).sum(axis=(-4, -1)) / k
    overlap = squared.mean(axis=(-4, -2))
    across = np.diagonal(squared[..., 0, :, 1, :], axis1=-2, axis2=-1)
    index = np.arange(n_tasks)
    overlap[..., index, index] = across
    return overlap
