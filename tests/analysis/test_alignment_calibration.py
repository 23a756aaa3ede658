"""Simulated gradients of which the truth is known; the table of docs/concepts/alignment.md.

    python tests/analysis/test_alignment_calibration.py

prints it. A gradient is a fixed unit vector plus isotropic Gaussian noise in P coordinates. The dot products of such
vectors are drawn exactly, without the vectors: the true gradients span two coordinates, and the products of the noise
in all others have a Wishart distribution, drawn by Bartlett's decomposition.
"""

import numpy as np
import pytest

from npi_jax.analysis.alignment.estimators import align
from npi_jax.analysis.alignment.jackknife import leave_one_out, resampled
from npi_jax.analysis.alignment.products import as_blocks, bootstrap_counts, cosines
from npi_jax.analysis.bounds import COSINE
from npi_jax.analysis.statistics import seed_interval

P, K, ITEMS, TRIALS = 20_000, 4, 1024, 2000
N_ITEMS = np.full((2, K), ITEMS // K)


def simulate(rho, noise, *, shared=0.0, size=1.0, batches=K, parameters=P, trials=TRIALS, seed=0):
    """Grams [trials, 2K, 2K] of two tasks.

    Args:
        rho: true cosine.
        noise: B / n, the squared length of the noise in the mean of all items, over that of the gradient.
        shared: correlation of the noise of the two tasks in micro-batches of the same number.
        size: length of the true gradients; 0 leaves noise alone.
    """
    random = np.random.default_rng(seed)
    n = 2 * batches
    signal = np.repeat(size * np.array([[1, 0], [rho, np.sqrt(1 - rho**2)]]), batches, axis=0)
    common = np.kron([[1, shared], [shared, 1]], np.eye(batches))
    # The noise of one micro-batch has K times the squared length of that of all.
    mix = np.linalg.cholesky(common) * np.sqrt(noise * batches / parameters)
    plane = signal + mix @ random.normal(size=(trials, n, 2))
    rest = np.tril(random.normal(size=(trials, n, n)), -1)
    index = np.arange(n)
    rest[:, index, index] = np.sqrt(random.chisquare(parameters - 2 - index, size=(trials, n)))
    rest = mix @ rest
    return plane @ plane.swapaxes(1, 2) + rest @ rest.swapaxes(1, 2)


def medians(grams):
    """Medians over trials of naive, all cross terms, corrected and same-task; spread of corrected; share reliable."""
    found = align(grams, N_ITEMS)
    same_batch = grams.reshape(-1, 2, K, 2, K).mean(axis=(2, 4))[:, 0, 1]
    squared = found.products[:, [0, 1], [0, 1]]
    every_term = same_batch / np.sqrt(np.where((squared > 0).all(axis=1), squared.prod(axis=1), np.nan))
    corrected, reliable = found.ratio[:, 0, 1], found.reliable[:, 0, 1]
    return {
        "naive": np.median(found.naive[:, 0, 1]),
        "every term": np.nanmedian(every_term),
        "corrected": np.nanmedian(corrected) if reliable.any() else np.nan,
        "sd": np.nanstd(corrected) if reliable.any() else np.nan,
        "se": np.nanmedian(found.se[:, 0, 1]) if reliable.any() else np.nan,
        "same task": np.nanmedian(found.ratio[:, 0, 0]) if reliable.any() else np.nan,
        "reliable": reliable.mean(),
    }


# (true cosine, B / n, correlation of the noise of the two tasks): what the naive cosine is.
ROWS = {
    (0.3, 7.8, 0.0): 0.035,
    (0.3, 2.0, 0.0): 0.101,
    (0.7, 2.0, 0.0): 0.237,
    (0.7, 0.24, 0.0): 0.562,
    (0.0, 7.8, 0.0): 0.000,
    # The same cosine throughout, while the gradient shrinks: B from 100 to 10,000 at 1024 items.
    (0.5, 0.098, 0.0): 0.455,
    (0.5, 0.293, 0.0): 0.387,
    (0.5, 0.977, 0.0): 0.253,
    (0.5, 2.93, 0.0): 0.128,
    (0.5, 9.77, 0.0): 0.047,
    # Gradients taken from the same sentences.
    (0.2, 4.0, 0.3): 0.280,
    (0.2, 4.0, 0.8): 0.680,
}


@pytest.mark.parametrize(("rho", "noise", "shared"), ROWS)
def test_corrected_finds_the_truth_where_naive_does_not(rho, noise, shared):
    found = medians(simulate(rho, noise, shared=shared))
    assert found["corrected"] == pytest.approx(rho, abs=0.02)
    # The check divides by norms from a single product each, and comes out high where noise is great.
    assert found["same task"] == pytest.approx(1, abs=0.06 if noise > 5 else 0.02)
    assert found["naive"] == pytest.approx(ROWS[rho, noise, shared], abs=0.01)
    assert found["reliable"] > 0.95
    if shared:
        # Dividing by corrected norms alone is worse than nothing.
        assert found["every term"] == pytest.approx(rho + shared * noise, abs=0.05)


def test_noise_scale_and_reliability_are_calibrated():
    found = align(simulate(0.3, 2.0), N_ITEMS)
    assert np.nanmedian(found.noise_scale) == pytest.approx(2.0 * ITEMS, rel=0.02)
    assert np.median(found.reliability) == pytest.approx(1 / 3, abs=0.01)
    assert np.nanmedian(found.norm) == pytest.approx(1, abs=0.01)
    inside = (found.norm_low < 1) & (found.norm_high > 1)
    assert 0.93 < inside.mean() <= 1


def test_too_much_noise_is_said_and_not_shown():
    """B = 150,000 at 1024 items."""
    found = medians(simulate(0.5, 146.0))
    assert found["reliable"] < 0.05


def passed(batches, directions, trials):
    """Share of tasks without any gradient that pass for reliable, by the number of directions that noise has."""
    if directions > 2 * batches + 2:
        grams = simulate(0.0, 1.0, size=0.0, batches=batches, parameters=directions, trials=trials)
    else:
        vectors = np.random.default_rng(0).normal(size=(trials, 2 * batches, directions))
        grams = vectors @ vectors.swapaxes(1, 2)
    return (align(grams, np.full((2, batches), 100)).task_state == 0).mean()


NULLS = [(3, P), (4, P), (6, P), (8, P), (4, 200), (8, 200), (4, 1), (8, 1)]


@pytest.mark.parametrize(("batches", "directions"), NULLS)
def test_pure_noise_rarely_passes_for_a_gradient(batches, directions):
    assert 0 < passed(batches, directions, trials=2000) < 0.045


def drawn(grams, n_batches, draws):
    """Cosines of two tasks with micro-batches resampled, as means over pairs have them."""
    replicates = cosines(leave_one_out(as_blocks(grams, n_batches)))[..., 0, 1]
    return resampled(align(grams, N_ITEMS).ratio[..., 0, 1], replicates, bootstrap_counts(n_batches, draws))


@pytest.mark.parametrize(("truth", "spread"), [(0.3, 0.05), (0.95, 0.01)])
def test_the_interval_over_seeds_covers_the_truth(truth, spread):
    """Five seeds whose true cosines scatter around one, in the middle or near 1."""
    random = np.random.default_rng(1)
    held = []
    for number in range(120):
        of_seeds = truth + spread * random.normal(size=5)
        grams = np.concatenate([simulate(rho, 2.0, trials=1, seed=5 * number + s) for s, rho in enumerate(of_seeds)])
        found = align(grams, N_ITEMS).ratio[:, 0, 1]
        interval = seed_interval(found, drawn(grams, K, 1000), n_items=K, bounds=COSINE)
        assert -1 <= interval.low <= interval.high <= 1
        held.append(interval.low <= truth <= interval.high)
    assert np.mean(held) > 0.9


def test_the_bootstrap_is_no_narrower_than_the_spread():
    """Resampled micro-batches spread at least as much as fresh ones, so that intervals are not too short."""
    grams = simulate(0.3, 2.0, trials=300)
    spread = np.std(align(grams, N_ITEMS).ratio[:, 0, 1])
    assert 0.9 < np.median(np.std(drawn(grams, K, 200), axis=1)) / spread < 3


def main() -> None:
    """Print the tables."""
    print(f"{TRIALS} trials, P = {P:,}, {ITEMS} items in K = {K} micro-batches; medians")
    print("| true cosine | B/n | shared noise | naive | every term | corrected | sd | se | same task | reliable |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for rho, noise, shared in [*ROWS, (0.5, 29.3, 0.0), (0.5, 146.0, 0.0)]:
        found = medians(simulate(rho, noise, shared=shared))
        cells = [f"{rho:.1f}", f"{noise:g}", f"{shared:g}", *(f"{value:.3f}" for value in found.values())]
        print("|", " | ".join(cells), "|")
    print("\n| micro-batches | directions of noise | share of tasks without a gradient that pass for reliable |")
    print("|---|---|---|")
    for batches, directions in NULLS:
        print(f"| {batches} | {directions} | {passed(batches, directions, trials=20_000):.3f} |")


if __name__ == "__main__":
    main()
