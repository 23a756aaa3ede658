"""Cost of the dot products of task gradients, in time and in memory.

    python benchmarks/gradient_cost.py [--only time|memory]

Time: the gradients of nine tasks in four micro-batches each, with all their dot products (plain, of absolute values and
preconditioned), for every member of an ensemble of the quickstart's size. The baseline is the same number of plain
backward passes: `jax.grad` of each micro-batch, added up, with the same mapping over members. Each round times both.
The result is the median over rounds of their ratio, because the speed of a shared machine drifts.

Memory: arguments and scratch of one member's compiled program for an LSTM 2 x 650 with 50,000 words, relative to the
member's parameters (`compiled.memory_analysis()`). A program of that size is only compiled.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from npi_jax.corpus.grammar.generate import GrammarSpec, generate
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.gradients import Batches, choose_items, make_products, task_batches
from npi_jax.gradients.objectives import analysis_model, objective_of
from npi_jax.models import LSTMConfig, make_model
from npi_jax.scoring import ScoreSpec
from npi_jax.suites.grammar import grammar_suite
from npi_jax.training.devices.backend import compiler_options, use_all_cpu_devices
from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, make_mesh, map_members, put

ITEMS, N_BATCHES, MEMBERS_TIMED = 80, 4, 12


def nine_tasks() -> tuple[Batches, int]:
    """Return the quickstart's micro-batches, and the size of its vocabulary."""
    text = [" ".join(words) for words in generate(GrammarSpec(sentences=20_000)).sentences]
    tokenizer = WordTokenizer.train(text)
    spec = ScoreSpec()
    suite = grammar_suite(GrammarSpec(sentences=1), items=ITEMS).encode(tokenizer)
    chosen = choose_items(suite.sentences(spec), spec, kind="licensor", n_batches=N_BATCHES)
    return task_batches(chosen), tokenizer.vocab_size


def measure_time(rounds: int) -> None:
    """Print the ratio of products to plain backward passes."""
    batches, vocab_size = nine_tasks()
    model = analysis_model(make_model(LSTMConfig(96, 96, 2, initialization="scaled"), vocab_size))
    mesh = make_mesh(0, 1, n_members=MEMBERS_TIMED)
    init = map_members(lambda seed: model.init(jax.random.key(seed)), mesh, [MEMBERS])
    params = init(put(np.arange(MEMBERS_TIMED, dtype=np.uint32), mesh, MEMBERS))
    moments = jax.tree.map(jnp.square, params)
    products = make_products(model, jax.eval_shape(model.init, jax.random.key(0)), batches)
    families = tuple(jax.tree.map(jnp.asarray, family) for family in batches.families)

    def plain(params: Any, families: Any) -> Any:
        def add(total: Any, batch: Any) -> tuple[Any, None]:
            gradient = jax.grad(lambda at: objective_of(model, at, batch))(params)
            return jax.tree.map(jnp.add, total, gradient), None

        with jax.default_matmul_precision("highest"):
            zeros = jax.tree.map(jnp.zeros_like, params)
            return jax.lax.scan(add, zeros, families[0])[0]

    calls = {
        "products": (
            map_members(products.apply, mesh, [MEMBERS, MEMBERS, REPLICATED]),
            (params, moments, products.arrays),
        ),
        "plain": (map_members(plain, mesh, [MEMBERS, REPLICATED]), (params, families)),
    }
    placed = {
        name: (call, (*arguments[:-1], put(jax.tree.map(np.asarray, arguments[-1]), mesh, REPLICATED)))
        for name, (call, arguments) in calls.items()
    }
    for call, arguments in placed.values():
        jax.block_until_ready(call(*arguments))
    ratios = []
    for _ in range(rounds):
        seconds = {}
        for name, (call, arguments) in placed.items():
            started = time.perf_counter()
            jax.block_until_ready(call(*arguments))
            seconds[name] = time.perf_counter() - started
        ratios.append(seconds["products"] / seconds["plain"])
        print(f"  products {seconds['products']:.3f} s, plain {seconds['plain']:.3f} s, ratio {ratios[-1]:.2f}")
    print(
        f"{MEMBERS_TIMED} members, {batches.n_items.size} micro-batches: {statistics.median(ratios):.2f} x "
        f"({min(ratios):.2f} to {max(ratios):.2f}) as many plain backward passes"
    )


def measure_memory() -> None:
    """Print the memory of one member's program at the scale of the paper."""
    batches, _ = nine_tasks()
    model = make_model(LSTMConfig(650, 650, 2), 50_000)
    params = jax.eval_shape(model.init, jax.random.key(0))
    size = sum(leaf.size * 4 for leaf in jax.tree.leaves(params))
    for method in ("reverse", "forward"):
        products = make_products(model, params, batches, method=method)  # type: ignore[arg-type]
        for name, moments in (("", None), (" with second moments", params)):
            compiled = jax.jit(products.apply).lower(params, moments, products.arrays).compile(compiler_options("cpu"))
            memory = compiled.memory_analysis()
            scratch, given = memory.temp_size_in_bytes, memory.argument_size_in_bytes
            print(
                f"{method}{name}: parameters {size / 2**20:,.0f} MiB, scratch {scratch / 2**20:,.0f} MiB, with all "
                f"arguments {(scratch + given) / size:.2f} x the parameters"
            )


def main() -> None:
    """Run the measurements that the command line requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("time", "memory"))
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    use_all_cpu_devices()
    if arguments.only != "memory":
        measure_time(arguments.rounds)
    if arguments.only != "time":
        measure_memory()


if __name__ == "__main__":
    main()
