"""Simulations of the effective number of tasks, of means over pairs, and of contrasts between variants.

    python tests/analysis/test_alignment_effective_calibration.py

prints the tables of docs/concepts/alignment.md. Gradients are simulated as in test_alignment_calibration.py.
"""

import numpy as np
import pytest

from npi_jax.analysis.alignment.contrasts import paired
from npi_jax.analysis.alignment.effective import effective_number, squared_cosines
from npi_jax.analysis.alignment.estimators import align
from npi_jax.analysis.alignment.jackknife import leave_one_out, resampled
from npi_jax.analysis.alignment.products import as_blocks, bootstrap_counts, cosines, mean_of_known
from npi_jax.analysis.bounds import COSINE, FREE
from npi_jax.analysis.statistics import seed_interval

T, K, P = 9, 6, 400
PAIRS = np.triu_indices(T, 1)


def simulate(truth, noise, *, norms=1.0, shared=0.0, parameters=P, batches=K, trials=200, seed=0):
    """Grams [trials, T * K, T * K] of tasks with the true cosines ``truth`` [T, T].

    Args:
        truth: true cosines.
        noise: squared length of the noise in the mean of all items, over that of a gradient of length 1.
        norms: length of each task's gradient.
        shared: correlation of the noise of two tasks in micro-batches of the same number.
        parameters: directions of the noise.
        batches, trials, seed: micro-batches, repetitions and seed.
    """
    random = np.random.default_rng(seed)
    tasks = len(truth)
    n = tasks * batches
    values, axes = np.linalg.eigh(truth)
    directions = axes * np.sqrt(np.maximum(values, 0))
    signal = np.repeat(np.broadcast_to(norms, tasks)[:, None] * directions, batches, axis=0)
    common = np.kron((1 - shared) * np.eye(tasks) + shared, np.eye(batches))
    length = np.sqrt(np.repeat(np.broadcast_to(noise, tasks), batches) * batches / parameters)
    mix = length[:, None] * np.linalg.cholesky(common)
    plane = signal + mix @ random.normal(size=(trials, n, tasks))
    rest = np.tril(random.normal(size=(trials, n, n)), -1)
    index = np.arange(n)
    rest[:, index, index] = np.sqrt(random.chisquare(parameters - tasks - index, size=(trials, n)))
    rest = mix @ rest
    return plane @ plane.swapaxes(1, 2) + rest @ rest.swapaxes(1, 2)


def equal(cosine):
    return np.full((T, T), cosine) + (1 - cosine) * np.eye(T)


def blocks_of(*sizes, cosine):
    inside = np.repeat(range(len(sizes)), sizes)
    return cosine * (inside[:, None] == inside) + (1 - cosine) * np.eye(T)


def one_with_all(cosine):
    truth = np.eye(T)
    truth[0, 1:] = truth[1:, 0] = cosine
    return truth


MIXED = one_with_all(0.3)
UNEQUAL = np.geomspace(0.32, 3.2, T)
# Name: truth, noise, other arguments. Noise 0.11, 1 and 4 are reliabilities of .9, .5 and .2.
SCENARIOS = {
    "all 0, noise .11": (equal(0.0), 0.11, {}),
    "all 0, noise 1": (equal(0.0), 1.0, {}),
    "all .3, noise .11": (equal(0.3), 0.11, {}),
    "all .3, noise 1": (equal(0.3), 1.0, {}),
    "all .9, noise .11": (equal(0.9), 0.11, {}),
    "all .9, noise 1": (equal(0.9), 1.0, {}),
    "blocks of 5 and 4 at .8, noise 1": (blocks_of(5, 4, cosine=0.8), 1.0, {}),
    "one at .3 with all others, noise 1": (MIXED, 1.0, {}),
    "all .3, norms 1:10, noise 1": (equal(0.3), UNEQUAL**2, {"norms": UNEQUAL}),
    "all .3, shared noise .5, noise 1": (equal(0.3), 1.0, {"shared": 0.5}),
    "all 0, noise 4, 4000 directions": (equal(0.0), 4.0, {"parameters": 4000}),
    "all .3, noise 4, 4000 directions": (equal(0.3), 4.0, {"parameters": 4000}),
    "all .9, noise 4, 4000 directions": (equal(0.9), 4.0, {"parameters": 4000}),
    "all 0, shared noise .5, noise 4, 4000 directions": (equal(0.0), 4.0, {"parameters": 4000, "shared": 0.5}),
}


def inverse(truth):
    """T / N of true cosines."""
    return 1 + (T - 1) * (truth[PAIRS] ** 2).mean()


def compare(name, trials):
    """Estimates of T / N [trials] by three ways to square a cosine."""
    truth, noise, more = SCENARIOS[name]
    grams = simulate(truth, noise, trials=trials, **more)
    found = align(grams, np.full((T, K), 20))
    measured = found.measured[:, *PAIRS]
    ratio, se = found.ratio[:, *PAIRS], found.se[:, *PAIRS]
    ways = {
        "square": ratio**2,
        "square less se²": ratio**2 - se**2,
        "four micro-batches": squared_cosines(as_blocks(grams, K))[:, *PAIRS],
    }
    half = measured.sum(axis=1) * 2 >= measured.shape[1]
    return {way: 1 + (T - 1) * mean_of_known(np.where(measured, its, np.nan))[half] for way, its in ways.items()}


def test_the_number_is_unbiased_where_squared_cosines_are_not():
    found = compare("all 0, noise 1", trials=60)
    assert found["four micro-batches"].mean() == pytest.approx(1, abs=0.01)
    assert found["square"].mean() > 1.05
    assert found["square less se²"].mean() < 0.97


@pytest.mark.drill
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_number_is_within_4_percent_in_every_scenario(name):
    truth = inverse(SCENARIOS[name][0])
    found = compare(name, trials=400)
    assert found["four micro-batches"].mean() == pytest.approx(truth, rel=0.04)
    ways = {way: abs(values.mean() - truth) for way, values in found.items()}
    if "shared" not in name:  # there, two errors of the square happen to cancel
        assert ways["four micro-batches"] < ways["square"] + 0.02


def seed_cosines(random, mean, spread, n, failing=0.0):
    """True cosines of n seeds around a mean; a share of them failed to learn and has cosines of 0."""
    drawn = np.tanh(np.arctanh(mean) + spread * random.normal(size=n))
    return np.maximum(np.where(random.random(n) < failing, 0.0, drawn), -1 / T)


# Mean cosine, spread between seeds (of Fisher's z), noise, share of seeds that fail.
SEEDS = {
    "cosines .3": (0.3, 0.1, 1.0, 0.0),
    "cosines .3, equal in all seeds": (0.3, 0.0, 1.0, 0.0),
    "cosines 0": (0.0, 0.05, 1.0, 0.0),
    "cosines .9": (0.9, 0.1, 0.5, 0.0),
    "cosines .3, from -.1 to .8": (0.3, 0.4, 0.11, 0.0),
    "cosines .5, one seed in ten fails": (0.5, 0.1, 0.11, 0.1),
}


def coverage(name, n_seeds, experiments):
    """Share of intervals that contain the true median over seeds: of the mean cosine, and of the logarithm of N."""
    mean, spread, noise, failing = SEEDS[name]
    many = seed_cosines(np.random.default_rng(1), mean, spread, 200_000, failing)
    targets = np.median(many), np.median(np.log(T / (1 + (T - 1) * many**2)))
    truths = seed_cosines(np.random.default_rng(2), mean, spread, experiments * n_seeds, failing)
    counts = bootstrap_counts(K, 1000)
    held = []
    for start in range(0, len(truths), n_seeds):
        chosen = enumerate(truths[start : start + n_seeds])
        grams = np.concatenate([simulate(equal(rho), noise, trials=1, seed=start + s) for s, rho in chosen])
        found = align(grams, np.full((T, K), 20))
        number = effective_number(grams, found, T)
        replicates = cosines(leave_one_out(as_blocks(grams, K)))[..., *PAIRS]
        means = mean_of_known(found.ratio[:, *PAIRS])
        left_out = mean_of_known(np.where(found.measured[:, None, *PAIRS], replicates, np.nan))
        held.append(
            [
                _inside(means, resampled(means, left_out, counts), COSINE, targets[0]),
                _inside(
                    logs := np.log(number.number), resampled(logs, number.log_replicates, counts), FREE, targets[1]
                ),
            ]
        )
    return np.mean(held, axis=0)


def _inside(values, draws, bounds, target):
    interval = seed_interval(values, draws, n_items=K, bounds=bounds)
    return interval.low <= target <= interval.high


@pytest.mark.drill
@pytest.mark.parametrize("n_seeds", [5, 8])
@pytest.mark.parametrize("name", SEEDS)
def test_intervals_contain_the_median_over_seeds(name, n_seeds):
    # The range of five seeds contains the median in 93.75 % of samples; less four standard errors.
    assert coverage(name, n_seeds, 200).min() > 0.9375 - 4 * 0.0171


def values_of(random, mean, shape, *, spread=0.12, failing=0.0, skewed=False, common=None):
    """Measured mean cosines of seeds; ``common`` is what a seed's members share."""
    apart = random.exponential(size=shape) - 1 if skewed else random.normal(size=shape)
    drawn = np.tanh(np.arctanh(mean) + common + spread * apart)
    drawn = np.where(random.random(shape) < failing, 0.02 * random.normal(size=shape), drawn)
    return drawn + 0.02 * random.normal(size=shape)


SKEWED, FAILING = {"skewed": True, "spread": 0.2}, {"failing": 0.1}
# Name: mean cosine and arguments of the baseline, and of the variant; equal means are null hypotheses.
CONTRASTS = {
    "equal, .35": ((0.35, {}), (0.35, {})),
    "equal, .02": ((0.02, {}), (0.02, {})),
    "equal, .9": ((0.9, {}), (0.9, {})),
    "equal, .35, skewed": ((0.35, SKEWED), (0.35, SKEWED)),
    "equal, .35, one seed in ten fails": ((0.35, FAILING), (0.35, FAILING)),
    "equal, .8, one seed in ten fails": ((0.8, FAILING), (0.8, FAILING)),
    "equal, .35, spread .08 and .32": ((0.35, {"spread": 0.08}), (0.35, {"spread": 0.32})),
    ".35 and .02": ((0.35, {}), (0.02, {})),
    ".35 and .20": ((0.35, {}), (0.2, {})),
    ".9 and .8": ((0.9, {}), (0.8, {})),
    ".35 and .02, skewed": ((0.35, SKEWED), (0.02, SKEWED)),
    ".35 and .02, one seed in ten fails": ((0.35, FAILING), (0.02, FAILING)),
}


def rejected(name, n_seeds, experiments=10_000):
    """Share of p below .05 on four scales: cosine, its Fisher z, effective number, its logarithm."""
    random = np.random.default_rng(0)
    shape = (n_seeds, experiments)
    common = 0.08 * random.normal(size=shape)
    one, other = (values_of(random, mean, shape, common=common, **more) for mean, more in CONTRASTS[name])

    def number(values):
        return T / (1 + (T - 1) * (values**2 + 0.01))  # cosines vary between pairs

    scales = (
        lambda its: its,
        lambda its: np.arctanh(np.clip(its, -0.999, 0.999)),
        number,
        lambda its: np.log(number(its)),
    )
    return [float((paired(scale(one), scale(other)).p < 0.05).mean()) for scale in scales]


@pytest.mark.parametrize("name", ["equal, .35", "equal, .35, one seed in ten fails"])
def test_paired_tests_keep_their_level(name):
    cosine, _, _, log = rejected(name, 5)
    assert 0.03 < cosine < 0.06
    assert 0.03 < log < 0.06


@pytest.mark.drill
@pytest.mark.parametrize("name", CONTRASTS)
@pytest.mark.parametrize("n_seeds", [3, 5, 8])
def test_paired_tests_keep_their_level_and_have_power(name, n_seeds):
    cosine, _, number, log = rejected(name, n_seeds)
    if name.startswith("equal"):
        assert max(cosine, log) < 0.075
    else:
        # Neither transformation is needed for power.
        assert cosine >= max(number, log) - 0.03


def varied(mean, spread):
    """True cosines that vary around a mean, made positive definite."""
    drawn = np.triu(mean + spread * np.random.default_rng(1).normal(size=(T, T)), 1)
    values, axes = np.linalg.eigh(drawn + drawn.T + np.eye(T))
    truth = axes @ np.diag(np.maximum(values, 0.02)) @ axes.T
    length = np.sqrt(np.diag(truth))
    return truth / np.outer(length, length)


# True cosines and norms of tasks whose cosines are averaged over pairs.
AVERAGED = {
    "all 0": (equal(0.0), 1.0),
    "all .3": (equal(0.3), 1.0),
    "all .9": (equal(0.9), 1.0),
    "unequal, mean .3": (varied(0.3, 0.2), 1.0),
    "blocks of 5 and 4 at .8": (blocks_of(5, 4, cosine=0.8), 1.0),
    "all .5, six norms of .35": (equal(0.5), np.repeat([1.0, 0.35], [3, 6])),
}


def errors(name, noise, parameters, trials):
    """Root mean squared errors of the mean and the median over pairs, and the share of pairs measured."""
    truth, norms = AVERAGED[name]
    grams = simulate(truth, noise, norms=norms, parameters=parameters, trials=trials)
    found = align(grams, np.full((T, K), 20))
    ratio = found.ratio[:, *PAIRS]
    ratio = ratio[np.isfinite(ratio).any(axis=1)]
    means = mean_of_known(ratio) - truth[PAIRS].mean(), np.nanmedian(ratio, axis=1) - np.median(truth[PAIRS])
    return [*(float(np.sqrt((error**2).mean())) for error in means), float(found.measured[:, *PAIRS].mean())]


@pytest.mark.drill
@pytest.mark.parametrize("name", AVERAGED)
@pytest.mark.parametrize("noise", [0.11, 1.0, 2.0, 4.0, 8.0])
def test_the_mean_over_pairs_is_no_worse_than_the_median(name, noise):
    mean, median, _ = errors(name, noise, 20_000, 200)
    # Where most pairs are of tasks barely above noise, their outliers cost the mean a third.
    assert mean < (1.4 if "norms" in name else 1.02) * median
    assert "norms" in name or mean < 0.035


def main() -> None:
    """Print the tables."""
    print("| scenario | true N | N from squares | N from squares less se² | N from four micro-batches | sd |")
    print("|---|---|---|---|---|---|")
    for name, (truth, *_) in SCENARIOS.items():
        found = compare(name, trials=400)
        cells = [f"{T / values.mean():.2f}" for values in found.values()]
        print(
            f"| {name} | {T / inverse(truth):.2f} |",
            " | ".join(cells),
            f"| {np.std(T / found['four micro-batches']):.2f} |",
        )
    print("\n| pairs | noise | mean | median | pairs measured |\n|---|---|---|---|---|")
    for name in AVERAGED:
        for noise in (0.11, 1.0, 8.0):
            mean, median, measured = errors(name, noise, 20_000, 200)
            print(f"| {name} | {noise:g} | {mean:.4f} | {median:.4f} | {measured:.2f} |")
    print("\n| seeds' true cosines | seeds | mean cosine | effective tasks |\n|---|---|---|---|")
    for name in SEEDS:
        for n_seeds in (5, 8):
            held = coverage(name, n_seeds, 1000)
            print(f"| {name} | {n_seeds} | {held[0]:.1%} | {held[1]:.1%} |")
    print("\n| baseline and variant | seeds | mean cosine | Fisher's z | effective tasks | their logarithm |")
    print("|---|---|---|---|---|---|")
    for name in CONTRASTS:
        for n_seeds in (3, 5, 8):
            print(f"| {name} | {n_seeds} |", " | ".join(f"{share:.1%}" for share in rejected(name, n_seeds)), "|")


if __name__ == "__main__":
    main()
