"""Training throughput of an ensemble of LSTMs against PyTorch's `nn.LSTM`, on CPU.

    python benchmarks/train_throughput.py [--size quickstart|english|large] [--scale 2,8,32]

Both sides take real training steps on the same model and batch: embedding, two LSTM layers, output layer,
cross-entropy, clipping by the global norm, Adam. PyTorch has no ensembles, so it may train its members in
whichever of two arrangements is faster: one process that uses all cores, or one single-threaded process a
core, all running at once. A round times the arrangements one right after another, and what is printed is the
median over rounds of the ratio within a round, because a shared machine drifts. Beside it stands the ratio of
processor time for a token, which other programs on the machine disturb less.

Each side runs in processes of its own, which sleep while another is timed. PyTorch must be installed
(`pip install npi-jax[torch]`).
"""

# Libraries are imported by the process that uses them: neither side pays for the other's threads.
# ruff: noqa: PLC0415
import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


@dataclass(frozen=True)
class Size:
    """A model and the batch it is trained on."""

    hidden: int
    vocabulary: int
    layers: int = 2
    rows: int = 32
    length: int = 48
    dropout: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.rows * self.length


SIZES = {
    "quickstart": Size(96, 250),
    "english": Size(256, 10_000),
    "large": Size(650, 10_000),
}
POOL_ROWS = 512
SENTENCE = 10
LOSS_CHUNK = 256
CAPACITY = 256


def jax_runner(size: Size, members: int, cores: int) -> Callable[[int], float]:
    """A function that takes a number of steps with all members and returns the seconds it took."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from npi_jax.config import TrainConfig
    from npi_jax.models import LSTMConfig, make_model
    from npi_jax.training.data_axis import DataAxis
    from npi_jax.training.mesh import MEMBERS, SHARED, make_mesh, map_members, put
    from npi_jax.training.optimizer import HyperParameters
    from npi_jax.training.step import Pool, init_member, make_train_call

    jax.config.update("jax_num_cpu_devices", cores)
    train = TrainConfig(batch_size=size.rows, row_length=size.length, dropout=(size.dropout,), loss_chunk=LOSS_CHUNK)
    model = make_model(LSTMConfig(size.hidden, size.hidden, size.layers), size.vocabulary)
    data, mesh = DataAxis(model), make_mesh(0, 1, n_members=members)
    specs = [MEMBERS, MEMBERS, MEMBERS, MEMBERS, SHARED, SHARED, SHARED, SHARED]
    call = map_members(make_train_call(data, train, 0), mesh, specs, update_first=True)
    seeds = put(np.arange(members, dtype=np.uint32), mesh, MEMBERS)
    state = map_members(init_member(data, train), mesh, [MEMBERS])(seeds)
    values = (jnp.full(members, value, jnp.float32) for value in (2e-3, 0.0, size.dropout))
    hyper = put(HyperParameters(*values), mesh, MEMBERS)
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, size.vocabulary, (POOL_ROWS, size.length + 1)).astype(np.uint16)
    tokens[:, ::SENTENCE] = 0
    pool = put(Pool(jnp.asarray(tokens), jnp.full(POOL_ROWS, size.length)), mesh, SHARED)
    rows = rng.integers(0, POOL_ROWS, (members, CAPACITY, size.rows)).astype(np.int32)
    rows = put(rows, mesh, MEMBERS)

    def run(steps: int) -> float:
        nonlocal state
        start = time.perf_counter()
        state, progress = call(state, hyper, seeds, rows, pool, np.int32(0), np.int32(steps), np.bool_(False))
        jax.block_until_ready((state, progress))
        return time.perf_counter() - start

    return run


def torch_runner(size: Size, members: int, threads: int) -> Callable[[int], float]:
    """The same for `members` PyTorch models, trained in turn with `threads` threads."""
    import torch

    torch.set_num_threads(threads)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(size.vocabulary, size.hidden)
            self.drop = torch.nn.Dropout(size.dropout)
            self.lstm = torch.nn.LSTM(size.hidden, size.hidden, size.layers, dropout=size.dropout)
            self.output = torch.nn.Linear(size.hidden, size.vocabulary)

        def forward(self, tokens: Any) -> Any:
            return self.output(self.drop(self.lstm(self.drop(self.embedding(tokens)))[0]))

    models = [Model() for _ in range(members)]
    # The fused update is the fastest of PyTorch's three on CPU.
    optimizers = [torch.optim.Adam(model.parameters(), lr=2e-3, fused=True) for model in models]
    loss_function = torch.nn.CrossEntropyLoss()
    pool = torch.randint(0, size.vocabulary, (size.length + 1, POOL_ROWS))

    def run(steps: int) -> float:
        start = time.perf_counter()
        for model, optimizer in zip(models, optimizers, strict=True):
            for _ in range(steps):
                rows = pool[:, torch.randint(0, POOL_ROWS, (size.rows,))]
                optimizer.zero_grad()
                logits = model(rows[:-1])
                loss = loss_function(logits.reshape(-1, size.vocabulary), rows[1:].reshape(-1))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        return time.perf_counter() - start

    return run


def serve(connection: Connection, make: Callable[..., Callable[[int], float]], arguments: tuple) -> None:
    """Build a runner in this process, then time it whenever asked."""
    start = time.perf_counter()
    run = make(*arguments)
    run(1)
    connection.send((time.perf_counter() - start, 0.0))
    while steps := connection.recv():
        before = time.process_time()
        connection.send((run(steps), time.process_time() - before))


class Arrangement:
    """Processes that train members at the same time."""

    def __init__(self, make: Callable[..., Callable[[int], float]], arguments: tuple, processes: int = 1):
        context = multiprocessing.get_context("spawn")
        self.connections: list[Connection] = []
        for _ in range(processes):
            here, there = context.Pipe()
            context.Process(target=serve, args=(there, make, arguments), daemon=True).start()
            self.connections.append(here)
        self.seconds_to_start = max(connection.recv()[0] for connection in self.connections)

    def seconds(self, steps: int) -> tuple[float, float]:
        """Time until the last process has taken its steps, and processor time of all processes."""
        for connection in self.connections:
            connection.send(steps)
        walls, processors = zip(*(connection.recv() for connection in self.connections), strict=True)
        return max(walls), sum(processors)

    def steps_in(self, seconds: float) -> int:
        """About how many steps fill this time; at least 2."""
        self.seconds(2)
        return max(2, min(CAPACITY, round(2 * seconds / self.seconds(2)[0])))

    def close(self) -> None:
        """End the processes."""
        for connection in self.connections:
            connection.send(0)


def spread(values: list[float]) -> str:
    """The median and the range."""
    return f"{statistics.median(values):.3f}  ({min(values):.3f} to {max(values):.3f})"


def compare(size: Size, members: int, cores: int, rounds: int, seconds: float) -> None:
    """Print our throughput, PyTorch's in both arrangements, and the ratio to the better of them."""
    arrangements = {
        "JAX": (Arrangement(jax_runner, (size, members, cores)), members),
        "PyTorch, all threads": (Arrangement(torch_runner, (size, 1, cores)), 1),
        "PyTorch, a process a core": (Arrangement(torch_runner, (size, 1, 1), cores), cores),
    }
    steps = {name: arrangement.steps_in(seconds) for name, (arrangement, _) in arrangements.items()}
    rates: dict[str, list[float]] = {name: [] for name in arrangements}
    costs: dict[str, list[float]] = {name: [] for name in arrangements}
    for _ in range(rounds):
        for name, (arrangement, trained) in arrangements.items():
            wall, processor = arrangement.seconds(steps[name])
            tokens = trained * steps[name] * size.tokens
            rates[name].append(tokens / wall)
            costs[name].append(processor / tokens)
            time.sleep(0.1)
    for name in arrangements:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(f"  {name:26} {rate:9,.0f} tokens/s, all members together; {cost * 1e6:6.1f} us of CPU a token")
    ours, *theirs = rates.values()
    print("  ratio JAX / best PyTorch  ", spread([a / max(b) for a, *b in zip(ours, *theirs, strict=True)]))
    ours, *theirs = costs.values()
    print("  the same, processor time  ", spread([min(b) / a for a, *b in zip(ours, *theirs, strict=True)]))
    for arrangement, _ in arrangements.values():
        arrangement.close()


def scale(size: Size, counts: list[int], cores: int, rounds: int, seconds: float) -> None:
    """Print the cost of a member's step, and of starting, against the number of members."""
    arrangements = {count: Arrangement(jax_runner, (size, count, cores)) for count in counts}
    steps = {count: arrangement.steps_in(seconds) for count, arrangement in arrangements.items()}
    costs: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count, arrangement in arrangements.items():
            costs[count].append(arrangement.seconds(steps[count])[0] / steps[count] / count)
    for count, values in costs.items():
        relative = statistics.median(a / b for a, b in zip(values, costs[counts[0]], strict=True))
        start = arrangements[count].seconds_to_start
        print(
            f"  {count:3} members: {statistics.median(values) * 1e3:8.2f} ms a member's step, "
            f"{relative:.3f} of the first; {start:.1f} s to import, compile and take one step"
        )
        arrangements[count].close()


def main() -> None:
    """Read the command line and print the comparisons asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, action="append", help="may be given several times")
    parser.add_argument("--members", type=int, default=0, help="members of the comparison; 0: one a core")
    parser.add_argument("--scale", default="", help="numbers of members to compare the costs of, as 2,8,32")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one timing")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    for name in options.size or ["quickstart", "english"]:
        shape = SIZES[name]
        size = Size(shape.hidden, shape.vocabulary, dropout=options.dropout)
        print(f"{name}: {size}, {options.cores} cores")
        if options.scale:
            counts = [int(count) for count in options.scale.split(",")]
            scale(size, counts, options.cores, options.rounds, options.seconds)
        else:
            compare(size, options.members or options.cores, options.cores, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
