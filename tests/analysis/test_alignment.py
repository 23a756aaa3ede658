from itertools import combinations

import numpy as np
import pytest
from facts import facts
from gram_files import GROUPS, TASKS, draw_gradients, file_arrays, item_arrays, products

from npi_jax.analysis.alignment.estimators import (
    ERRORS_ABOVE_ZERO,
    NOT_FINITE,
    NOT_POSITIVE,
    align,
)
from npi_jax.analysis.alignment.grams import load_grams
from npi_jax.analysis.alignment.products import (
    bootstrap_counts,
    cross_products,
    sign_conflict,
)


def as_batches(vectors, batches):
    """Gradients [T, K, P] of one member and group, [T * K, P] or stacked."""
    return vectors.reshape(-1, batches, vectors.shape[-1])


def naive_cross(first, second, left=None):
    """Mean product of micro-batches of different numbers, ``left`` left out, by loops over gradients [K, P]."""
    found = [
        float(first[k] @ second[m])
        for k in range(len(first))
        for m in range(len(second))
        if k != m and left not in (k, m)
    ]
    return np.mean(found)


def naive_cosine(first, second, left=None):
    norms = naive_cross(first, first, left) * naive_cross(second, second, left)
    return naive_cross(first, second, left) / np.sqrt(norms)


def naive_jackknife(values):
    n = len(values)
    return np.sqrt((n - 1) / n * sum((value - np.mean(values)) ** 2 for value in values))


def naive_same_task(vectors):
    found = []
    for half in combinations(range(len(vectors)), len(vectors) // 2):
        other = [k for k in range(len(vectors)) if k not in half]
        across = np.mean([vectors[k] @ vectors[m] for k in half for m in other])
        norms = [naive_cross(vectors[list(part)], vectors[list(part)]) for part in (half, other)]
        found.append(across / np.sqrt(norms[0] * norms[1]))
    return np.mean(found)


@pytest.mark.parametrize("batches", [3, 4, 6])
def test_agrees_with_loops_over_gradients(batches):
    tasks = 3
    vectors = draw_gradients(members=2, groups=2, tasks=tasks, batches=batches, noise=1.0)
    n_items = np.random.default_rng(1).integers(5, 15, size=(tasks, batches))
    found = align(products(vectors), n_items)
    assert found.reliable[..., *np.triu_indices(tasks, 1)].all()
    for member, group in np.ndindex(2, 2):
        at = (member, group)
        own = as_batches(vectors[at], batches)
        means = np.stack([np.average(own[t], axis=0, weights=n_items[t]) for t in range(tasks)])
        for i, j in np.ndindex(tasks, tasks):
            assert found.products[at][i, j] == pytest.approx(naive_cross(own[i], own[j]))
            cosine = means[i] @ means[j] / np.linalg.norm(means[i]) / np.linalg.norm(means[j])
            assert found.naive[at][i, j] == pytest.approx(cosine)
            if i != j:
                assert found.corrected[at][i, j] == pytest.approx(naive_cosine(own[i], own[j]))
                left = [naive_cosine(own[i], own[j], left) for left in range(batches)]
                assert found.se[at][i, j] == pytest.approx(naive_jackknife(left))
        for t in range(tasks):
            squared = naive_cross(own[t], own[t])
            assert found.norm[at][t] == pytest.approx(np.sqrt(squared))
            even = own[t].mean(axis=0)
            assert found.reliability[at][t] == pytest.approx(squared / (even @ even))
            assert 0 <= found.reliability[at][t] <= 1
            trace = sum(own[t, k] @ own[t, k] - squared for k in range(batches)) / (1 / n_items[t]).sum()
            assert found.noise_scale[at][t] == pytest.approx(trace / squared)
            if batches % 2 == 0:
                assert found.corrected[at][t, t] == pytest.approx(naive_same_task(own[t]))


def test_reliable_is_two_standard_errors():
    vectors = draw_gradients(members=40, groups=1, tasks=2, noise=5.0)
    found = align(products(vectors), np.full((2, 4), 10))
    assert 0.1 < (found.task_state == NOT_POSITIVE).mean() < 0.9
    for member in range(40):
        for task, own in enumerate(as_batches(vectors[member, 0], 4)):
            left = [naive_cross(own, own, left) for left in range(4)]
            passes = naive_cross(own, own) > ERRORS_ABOVE_ZERO * naive_jackknife(left)
            assert (found.task_state[member, 0, task] == 0) == passes
            assert np.isnan(found.norm[member, 0, task]) != passes


def test_sign_conflict_is_a_weighted_share_of_coordinates():
    vectors = draw_gradients(members=1, groups=1, tasks=2, batches=3)[0, 0]
    conflict = sign_conflict(products(vectors), products(np.abs(vectors)), 3)
    own = as_batches(vectors, 3)
    for i, j in np.ndindex(2, 2):
        opposite = total = 0.0
        for k, m in ((k, m) for k in range(3) for m in range(3) if k != m):
            weight = np.abs(own[i, k] * own[j, m])
            opposite += weight[own[i, k] * own[j, m] < 0].sum()
            total += weight.sum()
        assert conflict[i, j] == pytest.approx(opposite / total)


def test_scale_changes_no_cosine():
    gram = products(draw_gradients())
    scale = np.repeat([1.0, 1e-3, 7.0, 1e4], 4)
    n_items = np.full((4, 4), 10)
    one, other = align(gram, n_items), align(gram * np.outer(scale, scale), n_items)
    for name in ("corrected", "se", "naive", "reliability", "noise_scale"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
    np.testing.assert_allclose(one.norm * [1.0, 1e-3, 7.0, 1e4], other.norm)
    assert (one.state == other.state).all()


def test_order_of_micro_batches_changes_nothing():
    gram = products(draw_gradients())
    n_items = np.tile([9, 10, 11, 12], (4, 1))
    order = [2, 0, 3, 1]
    rows = np.concatenate([np.array(order) + 4 * t for t in range(4)])
    one, other = align(gram, n_items), align(gram[..., rows, :][..., rows], n_items[:, order])
    for name in ("corrected", "se", "naive", "norm", "norm_low", "norm_high", "noise_scale", "reliability"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)


def test_products_within_a_micro_batch_do_not_enter():
    """Noise that two tasks share in a micro-batch is in the naive cosine and nowhere else."""
    gram = products(draw_gradients(tasks=2))
    shared = gram + 50 * np.kron(np.ones((2, 2)), np.eye(4))
    n_items = np.full((2, 4), 10)
    one, other = align(gram, n_items), align(shared, n_items)
    np.testing.assert_allclose(one.corrected, other.corrected)
    np.testing.assert_allclose(one.se, other.se)
    assert (other.naive[..., 0, 1] > one.naive[..., 0, 1]).all()


def test_cross_products_are_those_of_align():
    gram = products(draw_gradients())
    np.testing.assert_array_equal(cross_products(gram, 4), align(gram, np.full((4, 4), 10)).products)


def test_many_micro_batches_are_split_in_a_sample_of_ways():
    vectors = draw_gradients(members=1, groups=1, tasks=2, batches=14, parameters=2000, noise=1.0)
    found = align(products(vectors), np.full((2, 14), 1)).corrected
    assert np.diagonal(found, axis1=-2, axis2=-1) == pytest.approx(np.ones((1, 1, 2)), abs=0.05)


@pytest.mark.parametrize("batches", [2, 4])
def test_bootstrap_draws_have_two_micro_batches(batches):
    counts = bootstrap_counts(batches, 500, seed=3)
    assert counts.shape == (500, batches)
    assert (counts.sum(axis=1) == batches).all()
    assert ((counts > 0).sum(axis=1) >= 2).all()
    assert (counts == bootstrap_counts(batches, 500, seed=3)).all()
    assert len(np.unique(counts, axis=0)) == {2: 1, 4: 31}[batches]


def test_one_micro_batch_is_an_error():
    gram = np.eye(3)
    for call in (lambda: align(gram, np.ones((3, 1), int)), lambda: cross_products(gram, 1)):
        with pytest.raises(ValueError, match=facts("1 micro-batch", "2")):
            call()
    with pytest.raises(ValueError, match="1 micro-batch"):
        bootstrap_counts(1, 10)


def test_sizes_that_disagree_are_an_error():
    with pytest.raises(ValueError, match=facts("gram", "12", "n_items", "2 tasks", "4 micro-batches")):
        align(np.eye(12), np.ones((2, 4), int))
    with pytest.raises(ValueError, match=facts("gram", "10", "4 micro-batches")):
        cross_products(np.eye(10), 4)


def test_two_micro_batches_have_products_but_no_error():
    vectors = draw_gradients(tasks=2, batches=2)
    found = align(products(vectors), np.full((2, 2), 10))
    assert np.isnan(found.corrected).all()
    assert set(found.reasons(["a", "b"]).ravel()) == {"two micro-batches give no standard error"}
    assert set(found.task_reasons(["a", "b"]).ravel()) == {"two micro-batches give no standard error"}
    assert np.isfinite(found.products).all()
    assert np.isfinite(found.naive).all()


def test_same_task_needs_halves():
    vectors = draw_gradients(members=1, groups=1, tasks=2, batches=5)
    found = align(products(vectors), np.full((2, 5), 10))
    reasons = found.reasons(["a", "b"])[0, 0]
    assert "even number" in reasons[0, 0]
    assert reasons[0, 1] == ""
    assert np.isnan(found.corrected[0, 0, 0, 0])
    assert np.isfinite(found.corrected[0, 0, 0, 1])


def test_a_norm_not_told_from_zero_is_named():
    """Two micro-batches against the other two: products sum to less than nothing."""
    vectors = draw_gradients(members=1, groups=1, tasks=3, parameters=500)[0, 0]
    vectors[4:8] = np.repeat([1, -1], 2)[:, None] * vectors[4]
    found = align(products(vectors), np.full((3, 4), 10))
    reasons = found.reasons(["a", "b", "c"])
    assert reasons.tolist() == [
        ["", "norm of b is not told from 0", ""],
        ["norm of b is not told from 0"] * 3,
        ["", "norm of b is not told from 0", ""],
    ]
    assert found.task_reasons(["a", "b", "c"]).tolist() == ["", "norm of b is not told from 0", ""]
    assert np.isnan(found.corrected[1]).all()
    assert np.isnan(found.norm[1])
    assert (found.norm_low[1], np.isnan(found.noise_scale[1])) == (0, True)
    assert found.reliable.tolist() == [[True, False, True], [False] * 3, [True, False, True]]
    both = align(products(np.concatenate([vectors[4:8]] * 2)), np.full((2, 4), 10)).reasons(["a", "b"])
    assert both.tolist() == [
        ["norm of a is not told from 0", "norms of a and b are not told from 0"],
        ["norms of b and a are not told from 0", "norm of b is not told from 0"],
    ]


def test_a_half_without_a_norm_is_said():
    """All products are 1 but one, -0.1: the task has a norm, but not the half with that product."""
    gram = np.ones((4, 4)) + np.eye(4)
    gram[0, 1] = gram[1, 0] = -0.1
    found = align(gram, np.full((1, 4), 10))
    assert found.task_state.tolist() == [0]
    assert found.reasons(["a"]).tolist() == [["half of the micro-batches leave no norm of a"]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_where_it_is(bad):
    gram = products(draw_gradients())
    before = align(gram, np.full((4, 4), 10))
    gram[1, 2, 5, :] = gram[1, 2, :, 5] = bad
    found = align(gram, np.full((4, 4), 10))
    lost = np.zeros(found.corrected.shape, bool)
    lost[1, 2, 1, :] = lost[1, 2, :, 1] = True
    assert (found.state[lost] == NOT_FINITE).all()
    assert set(found.reasons(TASKS)[lost]) == {"not finite, or lost in rounding"}
    assert np.isnan(found.corrected[lost]).all()
    np.testing.assert_array_equal(found.corrected[~lost], before.corrected[~lost])


def test_nothing_is_clipped():
    """Estimates of a cosine of 1 lie above 1 about as often as below."""
    random = np.random.default_rng(0)
    truth = random.normal(size=300)
    vectors = truth + 2 * random.normal(size=(200, 8, 300))
    found = align(products(vectors), np.full((2, 4), 10))
    ratio, corrected = found.ratio[:, 0, 1], found.corrected[:, 0, 1]
    assert 0.3 < (ratio > 1).mean() < 0.7
    assert np.isnan(corrected[ratio > 1]).all()
    np.testing.assert_array_equal(corrected[ratio <= 1], ratio[ratio <= 1])
    reasons = found.reasons(["a", "b"])[:, 0, 1]
    assert set(reasons[ratio > 1]) == {"the estimate is beyond 1 or -1, which no cosine is"}
    assert set(reasons[ratio <= 1]) == {""}
    # The same-task check is no cosine of two directions.
    assert (found.corrected[:, 0, 0] > 1).any()


def test_a_share_is_a_share_whatever_the_noise():
    random = np.random.default_rng(1)
    for batches in (2, 3, 6):
        vectors = random.normal(size=(3000, 2 * batches, 3))
        found = align(products(vectors), random.integers(1, 9, size=(2, batches)))
        known = found.reliability[np.isfinite(found.reliability)]
        assert 0 <= known.min() < 0.01
        assert known.max() <= 1
        # A squared norm below 0 is no share, and the row says why.
        missing = np.isnan(found.reliability)
        assert 0.3 < missing.mean() < 0.7
        assert set(found.task_reasons(["a", "b"])[missing]) <= {
            "norm of a is not told from 0",
            "norm of b is not told from 0",
            "two micro-batches give no standard error",
        }


def save(tmp_path, **change):
    arrays = {name: value for name, value in {**file_arrays(draw_gradients()), **change}.items() if value is not None}
    path = tmp_path / "8.npz"
    np.savez(path, **arrays)
    return path


def test_loads_what_was_written(tmp_path):
    vectors = draw_gradients()
    items = item_arrays(draw_gradients(tasks=6, batches=1), ["only"] * 6, ["ever"] * 6)
    change = np.arange(32.0).reshape(2, 4, 4)
    grams = load_grams(save(tmp_path, **items, lookahead=change, lookahead_step=np.float64(1e-3)))
    assert (grams.groups, grams.tasks, grams.n_items.tolist()) == (GROUPS, TASKS, [[10] * 4] * 4)
    np.testing.assert_allclose(grams.gram, products(vectors), rtol=1e-4, atol=1e-4)
    assert np.isnan(grams.gram_adam).all()
    assert grams.items.npi == ("ever",) * 6
    assert grams.items.name[1] == "only-1"
    assert grams.lookahead.step == 1e-3
    assert np.isnan(grams.lookahead.parameter_norm).all()
    np.testing.assert_array_equal(grams.lookahead.change, change)
    plain = load_grams(save(tmp_path, gram_adam=None, gram_abs=None))
    assert np.isnan(plain.gram_abs).all()
    assert plain.items is None
    assert plain.lookahead is None


def test_groups_add_up(tmp_path):
    items = item_arrays(draw_gradients(tasks=6, batches=1), ["only"] * 6, ["ever"] * 6)
    grams = load_grams(save(tmp_path, **items)).with_sums()
    assert grams.groups == (*GROUPS, "recurrent", "all")
    for name in ("gram", "gram_abs"):
        gram = getattr(grams, name)
        np.testing.assert_allclose(gram[:, 4], gram[:, 1] + gram[:, 2])
        np.testing.assert_allclose(gram[:, 5], gram[:, :4].sum(axis=1))
    np.testing.assert_allclose(grams.items.gram[:, 5], grams.items.gram[:, :4].sum(axis=1))
    assert grams.with_sums().groups == grams.groups
    blocks = load_grams(save(tmp_path, groups=np.array(["embedding", "blocks_0", "blocks_1", "output"])))
    assert blocks.with_sums().groups[-2:] == ("blocks", "all")


def test_tasks_in_another_order(tmp_path):
    change = np.arange(32.0).reshape(2, 4, 4)
    grams = load_grams(
        save(tmp_path, n_items=np.arange(16).reshape(4, 4) + 1, lookahead=change, lookahead_step=np.float64(1e-3))
    )
    other = grams.ordered(["lm", "questions", "nobody"])
    assert other.tasks == ("questions", "only", "adverbs", "lm")
    assert other.n_items[:, 0].tolist() == [9, 1, 5, 13]
    assert other.gram[1, 2, 1, 6] == grams.gram[1, 2, 9, 2]
    assert other.lookahead.change[1, 0, 2] == change[1, 2, 1]


def test_a_product_of_which_rounding_is_left_is_lost_for_its_member_alone(tmp_path):
    gram = products(draw_gradients()).astype(np.float32)
    gram[1, 2, 3, 4] += 10
    gram[1, 2, 5, 6] = np.nan
    found = load_grams(save(tmp_path, gram=gram)).with_sums()
    lost = np.isnan(found.gram[:, :4])
    assert lost.sum() == 4
    assert lost[1, 2, [3, 4, 5, 6], [4, 3, 6, 5]].all()
    np.testing.assert_allclose(found.gram[0, :4], gram[0], rtol=1e-6)


def test_a_group_that_is_next_to_nothing_takes_nothing_from_the_sum(tmp_path):
    gram = products(draw_gradients()).astype(np.float64)
    gram[:, 0] = 1e-12 * np.random.default_rng(0).normal(size=gram[:, 0].shape)
    found = load_grams(save(tmp_path, gram=gram)).with_sums()
    assert np.isnan(found.gram[:, 0]).mean() > 0.5
    np.testing.assert_allclose(found.gram[:, 5], gram[:, 1:].sum(axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": None}, ("'gram'", "gram_abs, gram_adam, groups")),
        ({"gram": np.zeros((2, 4, 16, 15))}, ("gram", "[2, 4, 16, 15]", "[any, 4, 16, 16]")),
        (
            {"gram": np.arange(2 * 4 * 16.0 * 16).reshape(2, 4, 16, 16)},
            ("gram", "symmetric", "[0, 0, 0, 1]"),
        ),
        ({"gram_abs": np.zeros((3, 4, 16, 16))}, ("gram_abs", "[3, 4, 16, 16]")),
        ({"tasks": np.array(["only"] * 4)}, ("tasks", "twice")),
        ({"tasks": np.array([], dtype=str)}, ("tasks", "empty")),
        ({"groups": np.arange(4)}, ("groups", "int64", "names")),
        ({"n_items": np.full((4, 4), 1.5)}, ("n_items", "float64")),
        ({"n_items": np.full((3, 4), 1)}, ("n_items", "[3, 4]", "[4, any]")),
        ({"item_gram": np.zeros((2, 4, 3, 3))}, "'item_task'"),
        ({"lookahead": np.zeros((2, 4, 3))}, ("lookahead", "[2, 4, 3]", "[2, 4, 4]")),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, message):
    path = save(tmp_path, **change)
    with pytest.raises(ValueError, match=facts(message)) as error:
        load_grams(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(ValueError, match=facts("gradient products")) as error:
        load_grams(path)
    assert str(path) in str(error.value)
