from itertools import permutations

import numpy as np
import pytest
from gram_files import products

from npi_jax.analysis.alignment import items as alignment_items
from npi_jax.analysis.alignment.items import (
    BEYOND,
    LOW_RANK,
    NO_COMMON,
    NOT_FINITE,
    NOT_POSITIVE,
    OK,
    TOO_FEW,
    npi_strata,
    subspace_overlap,
)

PARAMETERS = 400


def lexical_items(counts, *, shared=1.0, of_npi=1.0, noise=0.3, seed=0):
    """Gradients of items: what all tasks share, what each NPI has alone, and noise.

    ``counts`` is {task: {npi: items}}. Returns gradients [N, P], tasks and NPIs.
    """
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(PARAMETERS, 8)))[0].T
    forms = sorted({npi for its in counts.values() for npi in its})
    vectors, task_of, npi_of = [], [], []
    for task, its in counts.items():
        for npi, n in its.items():
            clean = shared * directions[0] + of_npi * directions[1 + forms.index(npi)]
            vectors.append(clean + noise * random.normal(size=(n, PARAMETERS)) / np.sqrt(PARAMETERS))
            task_of += [task] * n
            npi_of += [npi] * n
    return np.concatenate(vectors), task_of, npi_of


def named(strata):
    return {stratum.npis: stratum for stratum in strata}


def naive_stratum(vectors, task_of, npi_of, tasks, kind, least=3):
    """One pair of tasks by loops: means over pairs of NPIs of means over pairs of items."""
    chosen = {(t, f): [v for v, a, b in zip(vectors, task_of, npi_of, strict=True) if (a, b) == (t, f)]
              for t in tasks for f in set(npi_of)}  # fmt: skip
    weight = {f: min(len(chosen[t, f]) for t in tasks) for f in set(npi_of)}
    weight = {f: w for f, w in weight.items() if w >= least}
    if kind == "same":
        forms = {(f, f): w for f, w in weight.items()}
    elif kind == "different":
        forms = {(f, g): weight[f] * weight[g] for f, g in permutations(weight, 2)}
    else:
        forms = {(kind, kind): 1}

    def mean(one, other):
        total = 0.0
        for (f, g), w in forms.items():
            first, second = chosen[one, f], chosen[other, g]
            values = [a @ b for x, a in enumerate(first) for y, b in enumerate(second)
                      if one != other or f != g or x != y]  # fmt: skip
            total += w * np.mean(values)
        return total / sum(forms.values())

    first, second = tasks
    return mean(first, second) / np.sqrt(mean(first, first) * mean(second, second))


COUNTS = {"only": {"ever": 6, "any": 4, "yet": 2}, "adverbs": {"ever": 3, "any": 5}}


@pytest.mark.parametrize("kind", ["same", "different", "ever", "any"])
def test_strata_agree_with_loops(kind):
    vectors, task_of, npi_of = lexical_items(COUNTS, noise=1.0)
    found = named(npi_strata(products(vectors), task_of, npi_of, ["only", "adverbs"]))[kind]
    assert found.state == (OK if abs(found.ratio) <= 1 else BEYOND)
    assert found.ratio == pytest.approx(naive_stratum(vectors, task_of, npi_of, ["only", "adverbs"], kind))
    n_products = {"same": 6 * 3 + 4 * 5, "different": 6 * 5 + 4 * 3, "ever": 18, "any": 20}
    assert found.n_products == n_products[kind]


def test_all_takes_any_two_items():
    vectors, task_of, npi_of = lexical_items(COUNTS, noise=1.0)
    found = named(npi_strata(products(vectors), task_of, npi_of, ["only", "adverbs"]))["all"]
    expected = naive_stratum(vectors, task_of, ["x"] * len(npi_of), ["only", "adverbs"], "x")
    assert found.ratio == pytest.approx(expected)
    assert found.n_products == 12 * 8


def test_a_lexical_confound_is_seen():
    """Two tasks that have nothing in common but their NPIs agree over the same NPIs and not over different ones."""
    counts = {task: {"ever": 20, "any": 20, "yet": 20} for task in ("only", "adverbs")}
    vectors, task_of, npi_of = lexical_items(counts, shared=0.0)
    found = named(npi_strata(products(vectors), task_of, npi_of, ["only", "adverbs"]))
    assert found["same"].ratio == pytest.approx(1, abs=0.05)
    assert found["all"].ratio == pytest.approx(1, abs=0.05)
    assert found["different"].state == NOT_POSITIVE
    assert found["different"].bad.tolist() == [True, True]
    # And the other way round: where all NPIs share a direction the different ones agree as well.
    vectors, task_of, npi_of = lexical_items(counts, shared=1.0)
    found = named(npi_strata(products(vectors), task_of, npi_of, ["only", "adverbs"]))
    assert found["different"].ratio == pytest.approx(1, abs=0.05)


def test_shares_of_npis_do_not_make_alignment():
    """Tasks that use the same NPIs in unlike shares: "same" stays at 1, and "all" falls."""
    counts = {"only": {"ever": 30, "any": 3}, "adverbs": {"ever": 3, "any": 30}}
    vectors, task_of, npi_of = lexical_items(counts, shared=0.0, noise=0.1)
    found = named(npi_strata(products(vectors), task_of, npi_of, ["only", "adverbs"]))
    assert found["same"].ratio == pytest.approx(1, abs=0.02)
    assert found["all"].corrected < 0.5


def test_jackknife_over_items_flags_noise():
    random = np.random.default_rng(0)
    gram = products(random.normal(size=(500, 16, 200)))
    strata = npi_strata(gram, ["only"] * 8 + ["adverbs"] * 8, ["ever", "any"] * 8, ["only", "adverbs"])
    for kind in ("all", "same", "different", "ever"):
        passed = 1 - named(strata)[kind].bad.mean()
        assert passed < 0.05, kind


def test_jackknife_agrees_with_loops():
    """The rule by hand for one task: leave out each item in turn."""
    random = np.random.default_rng(1)
    for _ in range(20):
        vectors = random.normal(size=(10, 30)) + 0.3
        task_of, npi_of = ["only"] * 6 + ["adverbs"] * 4, ["ever"] * 10
        found = named(npi_strata(products(vectors), task_of, npi_of, ["only", "adverbs"]))["all"]
        for side, own in enumerate((vectors[:6], vectors[6:])):
            values = []
            for left in [None, *range(len(own))]:
                rest = np.delete(own, left, axis=0) if left is not None else own
                gram = products(rest)
                values.append((gram.sum() - np.trace(gram)) / (len(rest) * (len(rest) - 1)))
            n = len(own)
            se = np.sqrt((n - 1) / n * ((np.array(values[1:]) - np.mean(values[1:])) ** 2).sum())
            assert bool(found.bad[side]) == (not values[0] > 2 * se)


def test_strata_without_items_say_so():
    counts = {"only": {"ever": 5, "any": 2}, "adverbs": {"ever": 5, "any": 5}, "questions": {"yet": 5}}
    vectors, task_of, npi_of = lexical_items(counts)
    strata = npi_strata(products(vectors), task_of, npi_of, ["only", "adverbs", "questions"])
    found = {(s.first, s.second, s.npis): s.state for s in strata}
    assert found[0, 1, "ever"] == found[0, 1, "same"] == OK
    assert found[0, 1, "any"] == found[0, 1, "different"] == NO_COMMON
    assert found[0, 2, "same"] == found[1, 2, "different"] == NO_COMMON
    assert (0, 2, "yet") not in found
    assert found[0, 2, "all"] == OK


def test_a_nan_reaches_its_own_task_only():
    counts = {task: {"ever": 5, "any": 5} for task in ("only", "adverbs", "questions")}
    vectors, task_of, npi_of = lexical_items(counts)
    gram = np.stack([products(vectors)] * 2)
    gram[1, 3, :] = gram[1, :, 3] = np.nan
    for stratum in npi_strata(gram, task_of, npi_of, ["only", "adverbs", "questions"]):
        touched = stratum.first == 0 and stratum.npis != "any"
        own = OK if abs(stratum.ratio[0]) <= 1 else BEYOND
        assert stratum.state.tolist() == [own, NOT_FINITE if touched else own]
        assert np.isnan(stratum.corrected[0]) == (own == BEYOND)
    _, _, state = subspace_overlap(gram, task_of, ["only", "adverbs", "questions"], k=2)
    assert state.tolist() == [[OK, OK, OK], [NOT_FINITE, OK, OK]]


def spread_items(bases, n=40, noise=0.05, seed=0):
    """Items of each task in the span of its basis [k, P]."""
    random = np.random.default_rng(seed)
    parts = [random.normal(size=(n, len(basis))) @ basis + noise * random.normal(size=(n, PARAMETERS)) / 20
             for basis in bases]  # fmt: skip
    return np.concatenate(parts), [str(task) for task in range(len(bases)) for _ in range(n)]


def test_overlap_is_the_share_of_common_directions():
    axes = np.eye(PARAMETERS)
    bases = [axes[:4], axes[:4], axes[2:6], axes[10:14]]
    vectors, task_of = spread_items(bases)
    overlap, ceiling, state = subspace_overlap(products(vectors), task_of, list("0123"), k=4)
    assert (state == OK).all()
    expected = np.array([[1, 1, 0.5, 0], [1, 1, 0.5, 0], [0.5, 0.5, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(overlap, expected, atol=0.02)
    np.testing.assert_allclose(ceiling, np.ones((4, 4)), atol=0.02)


def test_noise_lowers_ceiling_and_overlap_alike():
    vectors, task_of = spread_items([np.eye(PARAMETERS)[:3]] * 2, noise=3.0)
    overlap, ceiling, _ = subspace_overlap(products(vectors), task_of, list("01"), k=3)
    assert 0.1 < ceiling[0, 1] < 0.9
    assert overlap[0, 1] == pytest.approx(ceiling[0, 1], abs=0.1)


def test_overlap_is_that_of_explicit_directions():
    """Against singular vectors of the gradients themselves."""
    random = np.random.default_rng(2)
    half = random.normal(size=(2, 9, PARAMETERS))
    directions = [np.linalg.svd(part, full_matrices=False)[2][:2].T for part in half]
    expected = np.linalg.norm(directions[0].T @ directions[1]) ** 2 / 2
    # Each item is there twice, and split such that each half is the whole task.
    vectors = np.concatenate([half[0], half[0], half[1], half[1]])

    class Parted(np.random.Generator):
        def permutation(self, x, axis=0):
            return x

    members = [np.arange(18), np.arange(18, 36)]
    gram = products(vectors)
    maps, low = alignment_items._directions(gram, members, np.zeros(2, int), 2, Parted(np.random.PCG64()))
    found = alignment_items._overlaps(gram, maps, 2, 2)
    assert not low.any()
    assert found[0, 1] == pytest.approx(expected)
    assert found[0, 0] == pytest.approx(1)


def test_scale_changes_no_overlap():
    vectors, task_of = spread_items([np.eye(PARAMETERS)[:3], np.eye(PARAMETERS)[1:4]], noise=2.0)
    scale = np.where(np.array(task_of) == "0", 1e-4, 10.0)[:, None]
    one, _, _ = subspace_overlap(products(vectors), task_of, list("01"))
    other, _, _ = subspace_overlap(products(scale * vectors), task_of, list("01"))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_too_few_items_and_directions():
    axes = np.eye(PARAMETERS)
    vectors, task_of = spread_items([axes[:3], axes[:2], axes[:3]], n=12, noise=0)
    keep = [*range(24), *range(24, 35)]
    overlap, ceiling, state = subspace_overlap(
        products(vectors[keep]), [task_of[place] for place in keep], list("012"), k=3
    )
    assert state.tolist() == [OK, LOW_RANK, TOO_FEW]
    assert np.isnan(overlap[0, 1:]).all()
    assert np.isnan(ceiling[0, 1:]).all()
    assert overlap[0, 0] == pytest.approx(1)
    with pytest.raises(ValueError, match="k is 0"):
        subspace_overlap(products(vectors), task_of, ["0"], k=0)
