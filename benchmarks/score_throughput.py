"""Scoring BLiMP with a random GPT-2 against minicons, on CPU: sentences per second, memory, members, devices.

    NPI_JAX_DATA=... python benchmarks/score_throughput.py [--every 8] [--rounds 5]

The model is a random GPT-2 of 4 layers and width 256 with a byte-level BPE of 8,192 types, which both sides open from
one directory. Both map sentences in memory to scores in memory, in float32 on all cores. minicons is timed at its
fastest batch size, with sentences in file order and sorted by length. Its time includes tokenization, which it repeats
for every model. Ours includes tokenization in the row "with encoding and packing", which is done once for a suite. Each
round times all sides in turn; the result is the median over rounds of the ratio. Each side has its own process, which
sleeps while another is timed.

Needs minicons (`pip install npi-jax[parity]`).
"""

# Each process imports only the libraries of its side, so that no threads of the other side slow it down.
# ruff: noqa: PLC0415
import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LAYERS, WIDTH, HEADS, TYPES, POSITIONS = 4, 256, 4, 8192, 128
BATCHES = (16, 32, 64, 128, 256, 512)
CHUNK_ROWS = 32
Job = Callable[[str], float]


def make_model(directory: Path, data: Path) -> None:
    """Write a random GPT-2 and its tokenizer."""
    import jax

    from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files
    from npi_jax.corpus.text.tokenizer import BPETokenizer
    from npi_jax.models import TransformerConfig, make_model, save_hf

    text = [
        line
        for file in sorted((data / "corpus" / "standardebooks").glob("*.txt"))[:12]
        for line in file.read_text(encoding="utf-8").splitlines()
        if line
    ]
    tokenizer = BPETokenizer.train(text, size=TYPES)
    config = TransformerConfig(
        width=WIDTH, layers=LAYERS, heads=HEADS, mlp=4 * WIDTH, tie=True, norm="layer", norm_epsilon=1e-5,
        positions="learned", max_positions=POSITIONS, activation="gelu_tanh", gated=False, attention_bias=True,
        mlp_bias=True,
    )  # fmt: skip
    model = make_model(config, tokenizer.vocab_size)
    params = jax.tree.map(lambda leaf: leaf * 3, model.init(jax.random.key(0)))
    save_hf(directory, model, params, start=0, end=0, files=hf_tokenizer_files(tokenizer))


def memory_now(reset: bool = False) -> tuple[float, float]:
    """Return the resident and the peak memory of this process (since a reset), MiB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def ours(directory: str, path: str, every: int, members: int, devices: int, cores: int) -> tuple[Job, dict[str, Any]]:
    """Return our jobs ``sentence``, ``critical``, ``prepare`` and ``stacked``."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import jax
    import numpy as np
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    jax.config.update("jax_num_cpu_devices", devices)
    from npi_jax.corpus.text.hf_tokenizer import load_hf_tokenizer
    from npi_jax.models import load_hf
    from npi_jax.scoring import ScoreSpec, make_scorer
    from npi_jax.suites import load_suite
    from npi_jax.suites.schema import Suite

    suite = load_suite("blimp", Path(path))
    suite = Suite("blimp", suite.items[::every])
    loaded, tokenizer = load_hf(directory), load_hf_tokenizer(directory)
    assert tokenizer is not None
    specs = {"sentence": ScoreSpec.preset("minicons"), "critical": ScoreSpec(regions=("critical",), score_end=False)}

    def make(spec: ScoreSpec) -> Any:
        return make_scorer(loaded.model, suite.encode(tokenizer), spec, rows_per_chunk=CHUNK_ROWS)

    scorers = {name: make(spec) for name, spec in specs.items()}
    params = jax.device_put(loaded.params)
    mesh = jax.make_mesh((devices,), ("ens",))
    several = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * members), loaded.params)
    stacked = jax.device_put(several, NamedSharding(mesh, P("ens"))) if devices > 1 else jax.device_put(several)

    def run(job: str) -> float:
        start = time.perf_counter()
        if job == "prepare":
            make(specs["sentence"])
        elif job == "stacked":
            jax.block_until_ready(list(scorers["sentence"].stacked(stacked).log_probs.values()))
        else:
            jax.block_until_ready(list(scorers[job](params).log_probs.values()))
        return time.perf_counter() - start

    packed = scorers["sentence"].packed
    first = packed.buckets[0]
    facts = {
        "sentences": 2 * len(suite),
        "utilization": packed.utilization,
        "contexts": first.n_contexts / first.n_positions,
        "chunk_tokens": first.tokens[0].size,
    }
    return run, facts


def minicons(directory: str, path: str, every: int) -> tuple[Job, dict[str, Any]]:
    """Return the jobs of minicons, ``BATCH`` and ``BATCH sorted``."""
    import torch
    from minicons import scorer

    torch.set_num_threads(os.cpu_count() or 1)
    model = scorer.IncrementalLMScorer(directory, "cpu")
    texts = []
    for file in sorted((Path(path) / "data").glob("*.jsonl")):
        texts += [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    sentences = [text[key] for text in texts[::every] for key in ("sentence_good", "sentence_bad")]
    by_length = sorted(sentences, key=len)

    def run(job: str) -> float:
        batch, *order = job.split()
        chosen, size = by_length if order else sentences, int(batch)
        start = time.perf_counter()
        for first in range(0, len(chosen), size):
            model.sequence_score(chosen[first : first + size])
        return time.perf_counter() - start

    return run, {"sentences": len(sentences)}


def serve(connection: Connection, make: Callable[..., tuple[Job, dict[str, Any]]], arguments: tuple) -> None:
    """Build the jobs in this process, and time one for each request."""
    run, facts = make(*arguments)
    connection.send(facts)
    while job := connection.recv():
        before, _ = memory_now(reset=True)
        seconds = run(job)
        connection.send((seconds, memory_now()[1] - before))


class Side:
    """Process that runs the jobs of one side."""

    def __init__(self, make: Callable[..., Any], *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        context.Process(target=serve, args=(there, make, arguments), daemon=True).start()
        self.facts: dict[str, Any] = self.connection.recv()

    def time(self, job: str) -> float:
        """Run a job and return its seconds."""
        self.connection.send(job)
        seconds, self.grown = self.connection.recv()
        return float(seconds)

    def close(self) -> None:
        """End the process."""
        self.connection.send("")


def spread(values: list[float]) -> str:
    """Return median and range as text."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def compare(directory: str, path: str, every: int, rounds: int) -> None:
    """Print sentences per second of both sides and their ratios."""
    cores = os.cpu_count() or 1
    we, they = Side(ours, directory, path, every, 1, 1, cores), Side(minicons, directory, path, every)
    n = we.facts["sentences"]
    assert n == they.facts["sentences"]
    print(
        f"{n:,} sentences; {we.facts['utilization']:.1%} of positions hold a token, and for "
        f"{we.facts['contexts']:.0%} of those the output layer is computed"
    )
    tried = {}
    they.time("16")
    for job in (f"{batch}{order}" for batch in BATCHES for order in ("", " sorted")):
        tried[job] = they.time(job)
        print(f"  minicons, batches of {job:11} {n / tried[job]:8,.0f} sentences/s")
    best = min(tried, key=lambda job: tried[job])
    for job in ("sentence", "critical"):
        we.time(job)
    seconds: dict[str, list[float]] = {job: [] for job in ("minicons", "sentence", "critical", "prepare")}
    for _ in range(rounds):
        seconds["minicons"].append(they.time(best))
        for job in ("sentence", "critical", "prepare"):
            seconds[job].append(we.time(job))
    rows = {
        f"minicons, batches of {best}": seconds["minicons"],
        "ours, sentences": seconds["sentence"],
        "ours, critical regions": seconds["critical"],
        "ours, sentences, with encoding and packing": [
            a + b for a, b in zip(seconds["sentence"], seconds["prepare"], strict=True)
        ],
    }
    for name, values in rows.items():
        ratios = [a / b for a, b in zip(seconds["minicons"], values, strict=True)]
        print(f"{name:44} {n / statistics.median(values):8,.0f} sentences/s; {spread(ratios)} x minicons")
    we.close()
    they.close()


def memory(directory: str, path: str) -> None:
    """Print how much scoring raises each side's peak memory with equal tokens per batch, for few and many items."""
    cores = os.cpu_count() or 1
    for every in (32, 8, 1):
        we = Side(ours, directory, path, every, 1, 1, cores)
        we.time("sentence")
        batch = we.facts["chunk_tokens"] // 10
        print(
            f"{we.facts['sentences']:8,} sentences: ours + {we.grown:6.0f} MiB in chunks of "
            f"{we.facts['chunk_tokens']:,} positions",
            flush=True,
        )
        we.close()
        they = Side(minicons, directory, path, max(every, 8))
        they.time(f"{batch}")
        print(
            f"{they.facts['sentences']:8,} sentences: minicons + {they.grown:6.0f} MiB in batches of {batch} "
            "(about as many tokens)",
            flush=True,
        )
        they.close()


def members(directory: str, path: str, every: int, rounds: int) -> None:
    """Print the time of eight stacked members relative to one, and of two one-core devices relative to one."""
    cores = os.cpu_count() or 1
    sides = {
        "1 member, all cores": Side(ours, directory, path, every, 1, 1, cores),
        "8 members, all cores": Side(ours, directory, path, every, 8, 1, cores),
        "8 members, 1 device of one core": Side(ours, directory, path, every, 8, 1, 1),
        "8 members, 2 devices of a core each": Side(ours, directory, path, every, 8, 2, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side.time("stacked")
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side.time("stacked"))
    one, eight, single, double = seconds.values()
    for name, values in seconds.items():
        print(f"{name:36} {statistics.median(values):7.2f} s")
    print("8 members against 1:                 ", spread([a / b for a, b in zip(eight, one, strict=True)]))
    print("2 devices against 1, speed:          ", spread([a / b for a, b in zip(single, double, strict=True)]))
    for side in sides.values():
        side.close()


def main() -> None:
    """Run the comparisons that the command line requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=8, help="take every so many of BLiMP's 67,000 pairs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("speed", "memory", "members"), action="append")
    options = parser.parse_args()
    data = Path(os.environ.get("NPI_JAX_DATA", ""))
    if not (data / "blimp").is_dir():
        parser.error("set NPI_JAX_DATA to a folder that has blimp/ and corpus/")
    only = options.only or ["speed", "memory", "members"]
    with tempfile.TemporaryDirectory() as folder:
        directory = str(Path(folder) / "gpt2")
        multiprocessing.get_context("spawn").Process(target=make_model, args=(Path(directory), data)).start()
        for process in multiprocessing.active_children():
            process.join()
        path = str(data / "blimp")
        if "speed" in only:
            compare(directory, path, options.every, options.rounds)
        if "memory" in only:
            memory(directory, path)
        if "members" in only:
            members(directory, path, 4 * options.every, options.rounds)


if __name__ == "__main__":
    main()
