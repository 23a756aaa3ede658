"""Training throughput with rows streamed from disk, relative to rows held on the devices.

    python benchmarks/stream_throughput.py [--config quickstart] [--steps 200] [--rounds 7]

Both train the members of a config in one process, in turn. The result is the median over rounds of the ratio of tokens
per second. Small members need many rows per second, so the quickstart is a hard case. Needs Grain
(`pip install npi-jax[grain]`).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax

from npi_jax.config.load import load_config
from npi_jax.config.schema import Config
from npi_jax.experiment.jax_setup import set_up_jax
from npi_jax.models import make_model
from npi_jax.preparation.prepare import Prepared, prepare
from npi_jax.training.arrangement import arrange
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.runner import make_runner


def timed_runner(config: Config, prepared: Prepared, *, streamed: bool) -> Callable[[int], float]:
    """Return a function that trains all members for a number of steps and returns its seconds."""
    model = make_model(config.model, prepared.tokenizer.vocab_size, remat=config.train.remat)
    mesh = make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members))
    rows = prepared.records() if streamed else prepared.pool
    runner = make_runner(
        Ensemble(config, model, mesh),
        prepared.tokenizer.eos,
        rows,
        prepared.variants,
        prepared.orders,
        prepared.valid,
        scorers={},
    ).compiled()
    state, step = runner.init(), 0

    def run(steps: int) -> float:
        nonlocal state, step
        most = config.train.steps_per_call
        calls = [(first, min(most, step + steps - first)) for first in range(step, step + steps, most)]
        start = time.perf_counter()
        runner.data.feed.expect(calls)
        for call in calls:
            state, progress = runner.train(state, *call, restart=False)
        jax.block_until_ready((state, progress))
        step += steps
        return time.perf_counter() - start

    return run


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="quickstart", help="whose members are trained")
    parser.add_argument("--steps", type=int, default=200, help="in a stretch")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    set_up_jax()
    config = load_config(arguments.config)
    config = arrange(config).applied(config)
    prepared = prepare(config, print)
    held, streamed = (timed_runner(config, prepared, streamed=streamed) for streamed in (False, True))
    held(config.train.steps_per_call), streamed(config.train.steps_per_call)
    train = config.train
    tokens = arguments.steps * train.batch_size * train.row_length * len(config.members)
    ratios = []
    for number in range(arguments.rounds):
        # Rounds alternate which side goes first.
        order = (held, streamed) if number % 2 else (streamed, held)
        seconds = {run: run(arguments.steps) for run in order}
        ratios.append(seconds[held] / seconds[streamed])
        print(f"  held {tokens / seconds[held]:,.0f} tokens/s, streamed {tokens / seconds[streamed]:,.0f} tokens/s")
    low, high = min(ratios), max(ratios)
    print(
        f"{len(config.members)} members on {jax.device_count()} x {jax.devices()[0].device_kind}: streamed over held "
        f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    )


if __name__ == "__main__":
    main()
