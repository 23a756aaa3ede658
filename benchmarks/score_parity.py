"""Comparison of our scores with those of minicons and lm-eval: all of BLiMP, one random GPT-2.

    NPI_JAX_DATA=... python benchmarks/score_parity.py [--every 1] [--only minicons|lm_eval]

Prints the largest difference of a sentence's score (nats) and of a paradigm's accuracy. Takes about 15 minutes on two
cores. Needs minicons and lm-eval (`pip install npi-jax[parity]`).
"""

# ruff: noqa: PLC0415
import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from score_throughput import make_model

from npi_jax.corpus.text.hf_tokenizer import load_hf_tokenizer
from npi_jax.models import load_hf
from npi_jax.scoring import ScoreSpec, make_scorer
from npi_jax.suites import load_suite
from npi_jax.suites.schema import Suite


def by_minicons(directory: str, texts: list[str]) -> np.ndarray:
    """Return summed log-probabilities; the default of minicons is their mean over tokens."""
    from minicons import scorer

    model = scorer.IncrementalLMScorer(directory, "cpu")
    order = np.argsort([len(text) for text in texts], kind="stable")
    values = np.zeros(len(texts))
    for start in range(0, len(texts), 32):
        batch = order[start : start + 32]
        values[batch] = model.sequence_score([texts[i] for i in batch], reduction=lambda x: x.sum(0).item())
    return values


def by_lm_eval(directory: str, texts: list[str]) -> np.ndarray:
    """Return log-likelihoods as the harness computes them for BLiMP, with a space before the sentence."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=directory, device="cpu", batch_size=64, dtype="float32")
    requests = [Instance("loglikelihood", {}, ("", f" {text}"), index) for index, text in enumerate(texts)]
    return np.array([value for value, _ in model.loglikelihood(requests, disable_tqdm=True)])


def compare(name: str, directory: str, suite: Suite, spec: ScoreSpec, theirs: np.ndarray) -> None:
    """Print the differences between our scores and those of a tool."""
    loaded, tokenizer = load_hf(directory), load_hf_tokenizer(directory)
    assert tokenizer is not None
    start = time.perf_counter()
    scores = make_scorer(loaded.model, suite.encode(tokenizer), spec)(loaded.params)
    ours, correct = scores.score(), scores.correct()
    seconds = time.perf_counter() - start
    theirs = theirs.reshape(-1, 2)
    right = theirs[:, 0] >= theirs[:, 1] if spec.ties == "good" else theirs[:, 0] > theirs[:, 1]
    paradigms = np.array([item.paradigm for item in suite])
    gaps = {p: abs(correct[paradigms == p].mean() - right[paradigms == p].mean()) for p in dict.fromkeys(paradigms)}
    differing = np.flatnonzero(correct != right)
    print(
        f"{name}: {ours.size:,} sentences, largest difference {np.abs(ours - theirs).max():.1e} nats; "
        f"accuracy {correct.mean():.4f} and {right.mean():.4f}, largest gap "
        f"of {len(gaps)} paradigms {max(gaps.values()):.4f}; "
        f"{len(differing)} pairs decided differently (ours took {seconds:.0f} s in total)",
        flush=True,
    )
    for index in differing[:10]:
        delta, other = ours[index, 0] - ours[index, 1], theirs[index, 0] - theirs[index, 1]
        print(f"  {suite.items[index].item}: delta {delta:.1e} and {other:.1e}")


def main() -> None:
    """Run the comparisons that the command line requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="use every N-th of BLiMP's 67,000 pairs")
    parser.add_argument("--only", choices=("minicons", "lm_eval"))
    options = parser.parse_args()
    data = Path(os.environ.get("NPI_JAX_DATA", ""))
    if not (data / "blimp").is_dir():
        parser.error("set NPI_JAX_DATA to a folder that has blimp/ and corpus/")
    full = load_suite("blimp", data / "blimp")
    suite = Suite("blimp", full.items[:: options.every])
    texts = [text for item in suite for text in (item.good, item.bad)]
    sides: dict[str, tuple[ScoreSpec, Any]] = {
        "minicons": (ScoreSpec.preset("minicons", normalization="sum"), by_minicons),
        "lm_eval": (ScoreSpec.preset("lm_eval_v04"), by_lm_eval),
    }
    with tempfile.TemporaryDirectory() as folder:
        directory = str(Path(folder) / "gpt2")
        make_model(Path(directory), data)
        for name, (spec, run) in sides.items():
            if options.only in (None, name):
                compare(name, directory, suite, spec, run(directory, texts))


if __name__ == "__main__":
    main()
