"""Training throughput of an ensemble against PyTorch (`nn.LSTM`; a transformer with fused attention), on CPU.

    python benchmarks/train_throughput.py [--size quickstart|english|large|transformer] [--dtype bfloat16]
    python benchmarks/train_throughput.py --scale 1,2,8,64          cost of a member by the number of members
    python benchmarks/train_throughput.py --processes               two processes against one with two devices
    python benchmarks/train_throughput.py --memory                  memory of a member with a vocabulary of 50,000

Both sides take real training steps on the same model and batch: embedding, layers, output layer, cross-entropy,
clipping by the global norm, Adam. In bfloat16 PyTorch trains under autocast. PyTorch has no ensembles, so its members
train in the faster of two arrangements: one process that uses all cores, or one single-threaded process for each core,
all at once. Each round times the arrangements in turn. The result is the median over rounds of the ratio within a
round, because the speed of a shared machine drifts. Also printed are the ratio of processor time per token, which is
less sensitive to other programs, and our share of the machine's limit: the rate of a product of large float32 matrices
in the same round.

Each side runs in its own processes, which sleep while another is timed. Needs PyTorch
(`pip install npi-jax[torch]`).
"""

# Each process imports only the libraries of its side, so that no threads of the other side slow it down.
# ruff: noqa: PLC0415
import argparse
import dataclasses
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a model and of its batch."""

    hidden: int
    vocabulary: int
    layers: int = 2
    rows: int = 32
    length: int = 48
    dropout: float = 0.0
    heads: int = 0
    dtype: str = "float32"

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.rows * self.length


SIZES = {
    "quickstart": Size(hidden=96, vocabulary=250),
    "english": Size(hidden=256, vocabulary=10_000),
    "large": Size(hidden=650, vocabulary=10_000),
    # LLaMA's architecture with an MLP four times as wide.
    "transformer": Size(hidden=256, vocabulary=10_000, layers=4, heads=4),
}
POOL_ROWS = 512
SENTENCE = 10
LOSS_CHUNK = 256
CAPACITY = 256
LIMIT_SIDE = 1536


def model_config(size: Size) -> Any:
    """Return the configuration of our model."""
    from npi_jax.models import LSTMConfig, TransformerConfig

    if size.heads:
        width = size.hidden
        return TransformerConfig(
            width=width, layers=size.layers, heads=size.heads, mlp=4 * width, compute_dtype=size.dtype
        )
    return LSTMConfig(size.hidden, size.hidden, size.layers, compute_dtype=size.dtype)


def jax_runner(size: Size, members: int, cores: int, joint: tuple[str, int, int] | None = None) -> Callable:
    """Return a function that takes a number of steps with all members and returns its seconds.

    `joint` makes it one of several processes that train jointly: the coordinator's address, the number of processes,
    and the number of this one.
    """
    import jax
    import numpy as np

    from npi_jax.config.schema import TrainConfig
    from npi_jax.models import make_model
    from npi_jax.training.devices.data_axis import DataAxis
    from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, make_mesh, map_members, put
    from npi_jax.training.member.optimizer import HyperParameters
    from npi_jax.training.member.step import Pool, init_member, make_train_call

    jax.config.update("jax_num_cpu_devices", cores)
    if joint is not None:
        jax.distributed.initialize(*joint, cluster_detection_method="deactivate")
    train = TrainConfig(batch_size=size.rows, row_length=size.length, dropout=(size.dropout,), loss_chunk=LOSS_CHUNK)
    model = make_model(model_config(size), size.vocabulary)
    data, mesh = DataAxis(model), make_mesh(0, 1, n_members=members)
    specs = [MEMBERS, MEMBERS, MEMBERS, MEMBERS, REPLICATED, REPLICATED, REPLICATED, REPLICATED]
    call = map_members(make_train_call(data, train, 0), mesh, specs, update_first=True)
    seeds = put(np.arange(members, dtype=np.uint32), mesh, MEMBERS)
    state = map_members(init_member(data, train), mesh, [MEMBERS])(seeds)
    values = (np.full(members, value, np.float32) for value in (2e-3, 0.0, size.dropout))
    hyper = put(HyperParameters(*values), mesh, MEMBERS)
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, size.vocabulary, (POOL_ROWS, size.length + 1)).astype(np.uint16)
    tokens[:, ::SENTENCE] = 0
    pool = put(Pool(tokens, np.full(POOL_ROWS, size.length, np.int32)), mesh, REPLICATED)
    rows = rng.integers(0, POOL_ROWS, (members, CAPACITY, size.rows)).astype(np.int32)
    rows = put(rows, mesh, MEMBERS)

    def run(steps: int) -> float:
        nonlocal state
        start = time.perf_counter()
        state, progress = call(state, hyper, seeds, rows, pool, np.int32(0), np.int32(steps), np.bool_(False))
        jax.block_until_ready((state, progress))
        return time.perf_counter() - start

    return run


def limit_runner(cores: int) -> Callable[[int], float]:
    """Return the same function for products of matrices, one per core at a time."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_num_cpu_devices", cores)
    product = jax.jit(jnp.matmul)
    ours = [
        tuple(jax.device_put(jnp.ones((LIMIT_SIDE, LIMIT_SIDE)), device) for _ in range(2)) for device in jax.devices()
    ]

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            jax.block_until_ready([product(*pair) for pair in ours])
        return time.perf_counter() - start

    return run


def torch_runner(size: Size, members: int, threads: int) -> Callable[[int], float]:
    """Return the same function for `members` PyTorch models, trained in turn with `threads` threads."""
    import torch

    torch.set_num_threads(threads)

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = size.hidden
            self.norms = torch.nn.ModuleList(torch.nn.RMSNorm(width) for _ in range(2))
            self.qkv = torch.nn.Linear(width, 3 * width, bias=False)
            self.mix = torch.nn.Linear(width, width, bias=False)
            self.expand = torch.nn.Linear(width, 8 * width, bias=False)
            self.contract = torch.nn.Linear(4 * width, width, bias=False)

        def forward(self, stream: Any, cosine: Any, sine: Any) -> Any:
            rows, length, width = stream.shape
            parts = self.qkv(self.norms[0](stream)).view(rows, length, 3, size.heads, -1).permute(2, 0, 3, 1, 4)
            query, key, value = parts
            query, key = (rotate(part, cosine, sine) for part in (query, key))
            mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            stream = stream + self.mix(mixed.transpose(1, 2).reshape(rows, length, width))
            gate, up = self.expand(self.norms[1](stream)).chunk(2, dim=-1)
            return stream + self.contract(torch.nn.functional.silu(gate) * up)

    def rotate(part: Any, cosine: Any, sine: Any) -> Any:
        first, second = part.float().chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1).to(part.dtype)

    class Transformer(torch.nn.Module):
        """Attention without a mask between sentences, which is slightly less work than ours."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(size.vocabulary, size.hidden)
            self.blocks = torch.nn.ModuleList(Block() for _ in range(size.layers))
            self.norm = torch.nn.RMSNorm(size.hidden)
            self.output = torch.nn.Linear(size.hidden, size.vocabulary, bias=False)
            half = size.hidden // size.heads // 2
            angles = torch.arange(size.length)[:, None] * 10_000.0 ** (-torch.arange(half) / half)
            self.angles = angles.cos(), angles.sin()

        def forward(self, tokens: Any) -> Any:
            stream = self.embedding(tokens.T)
            for block in self.blocks:
                stream = block(stream, *self.angles)
            return self.output(self.norm(stream)).transpose(0, 1)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(size.vocabulary, size.hidden)
            self.drop = torch.nn.Dropout(size.dropout)
            self.lstm = torch.nn.LSTM(size.hidden, size.hidden, size.layers, dropout=size.dropout)
            self.output = torch.nn.Linear(size.hidden, size.vocabulary)

        def forward(self, tokens: Any) -> Any:
            return self.output(self.drop(self.lstm(self.drop(self.embedding(tokens)))[0]))

    models = [Transformer() if size.heads else Model() for _ in range(members)]
    halved = size.dtype == "bfloat16"
    # The fused update is the fastest of PyTorch's three implementations on CPU.
    optimizers = [torch.optim.Adam(model.parameters(), lr=2e-3, fused=True) for model in models]
    loss_function = torch.nn.CrossEntropyLoss()
    pool = torch.randint(0, size.vocabulary, (size.length + 1, POOL_ROWS))

    def run(steps: int) -> float:
        start = time.perf_counter()
        for model, optimizer in zip(models, optimizers, strict=True):
            for _ in range(steps):
                rows = pool[:, torch.randint(0, POOL_ROWS, (size.rows,))]
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=halved):
                    logits = model(rows[:-1])
                    loss = loss_function(logits.reshape(-1, size.vocabulary), rows[1:].reshape(-1))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        return time.perf_counter() - start

    return run


def serve(connection: Connection, make: Callable[..., Callable[[int], float]], arguments: tuple) -> None:
    """Build a runner in this process, and time it for each request."""
    start = time.perf_counter()
    run = make(*arguments)
    run(1)
    connection.send((time.perf_counter() - start, 0.0))
    while steps := connection.recv():
        before = time.process_time()
        connection.send((run(steps), time.process_time() - before))


class Arrangement:
    """Processes that train members simultaneously."""

    def __init__(self, make: Callable[..., Callable[[int], float]], *of_processes: tuple):
        context = multiprocessing.get_context("spawn")
        self.connections: list[Connection] = []
        for arguments in of_processes:
            here, there = context.Pipe()
            context.Process(target=serve, args=(there, make, arguments), daemon=True).start()
            self.connections.append(here)
        self.seconds_to_start = max(connection.recv()[0] for connection in self.connections)

    def seconds(self, steps: int) -> tuple[float, float]:
        """Return the time until the last process ends its steps, and the processor time of all processes."""
        for connection in self.connections:
            connection.send(steps)
        walls, processors = zip(*(connection.recv() for connection in self.connections), strict=True)
        return max(walls), sum(processors)

    def steps_in(self, seconds: float) -> int:
        """Return the number of steps that fill a time, at least 2."""
        self.seconds(2)
        return max(2, min(CAPACITY, round(2 * seconds / self.seconds(2)[0])))

    def close(self) -> None:
        """End the processes."""
        for connection in self.connections:
            connection.send(0)


def spread(values: list[float]) -> str:
    """Return median and range as text."""
    return f"{statistics.median(values):.3f}  ({min(values):.3f} to {max(values):.3f})"


def compare(size: Size, members: int, cores: int, rounds: int, seconds: float) -> None:
    """Print our throughput, PyTorch's in both arrangements, and the ratio to the faster one."""
    arrangements = {
        "JAX": (Arrangement(jax_runner, (size, members, cores)), members),
        "PyTorch, all threads": (Arrangement(torch_runner, (size, 1, cores)), 1),
        "PyTorch, a process a core": (Arrangement(torch_runner, *[(size, 1, 1)] * cores), cores),
    }
    limit = Arrangement(limit_runner, (cores,))
    limit_steps = limit.steps_in(seconds / 3)
    shares = []
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
        products = cores * limit_steps * 2 * LIMIT_SIDE**3 / limit.seconds(limit_steps)[0]
        shares.append(rates["JAX"][-1] * flops(size) / products)
    for name in arrangements:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(f"  {name:26} {rate:9,.0f} tokens/s, all members joint; {cost * 1e6:6.1f} us of CPU a token")
    ours, *theirs = rates.values()
    print("  ratio JAX / best PyTorch  ", spread([a / max(b) for a, *b in zip(ours, *theirs, strict=True)]))
    ours, *theirs = costs.values()
    print("  the same, processor time  ", spread([min(b) / a for a, *b in zip(ours, *theirs, strict=True)]))
    print("  JAX, share of the limit   ", spread(shares))
    for arrangement, _ in (*arrangements.values(), (limit, 0)):
        arrangement.close()


def flops(size: Size) -> int:
    """Return the operations per token of a training step, as `npi_jax.models.flops` counts them."""
    from npi_jax.models.flops import train_flops

    return train_flops(model_config(size), size.vocabulary, size.length)


def scale(size: Size, counts: list[int], cores: int, rounds: int, seconds: float) -> None:
    """Print the cost of a member's step and of starting by the number of members."""
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


def processes(size: Size, cores: int, rounds: int, seconds: float) -> None:
    """Print the throughput of joint training with one process per core, relative to one process with all cores."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    one = Arrangement(jax_runner, (size, 2 * cores, cores))
    several = Arrangement(jax_runner, *((size, 2 * cores, 1, (address, cores, number)) for number in range(cores)))
    steps = one.steps_in(seconds)
    ratios = [one.seconds(steps)[0] / several.seconds(steps)[0] for _ in range(rounds)]
    print(f"  {cores} processes / one with {cores} devices", spread(ratios))
    for arrangement in (one, several):
        arrangement.close()


def memory(size: Size) -> None:
    """Print the memory of one member's compiled training call, relative to its parameters."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from npi_jax.config.schema import TrainConfig
    from npi_jax.models import make_model
    from npi_jax.training.devices.data_axis import DataAxis
    from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, make_mesh, map_members
    from npi_jax.training.member.optimizer import HyperParameters
    from npi_jax.training.member.step import Pool, init_member, make_train_call

    train = TrainConfig(batch_size=size.rows, row_length=size.length, loss_chunk=LOSS_CHUNK)
    data = DataAxis(make_model(model_config(size), size.vocabulary))
    mesh = make_mesh(1, 1, n_members=1)
    specs = [MEMBERS, MEMBERS, MEMBERS, MEMBERS, REPLICATED, REPLICATED, REPLICATED, REPLICATED]
    call = map_members(make_train_call(data, train, 0), mesh, specs, update_first=True)
    state = jax.eval_shape(jax.vmap(init_member(data, train)), jax.ShapeDtypeStruct((1,), jnp.uint32))
    hyper = HyperParameters(*[np.zeros(1, np.float32)] * 3)
    pool = Pool(np.zeros((POOL_ROWS, size.length + 1), np.uint16), np.zeros(POOL_ROWS, np.int32))
    rows = np.zeros((1, 1, size.rows), np.int32)
    scalars = np.int32(0), np.int32(1), np.bool_(False)
    compiled = call.lower(state, hyper, np.zeros(1, np.uint32), rows, pool, *scalars).compile()
    parameters = sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    scratch = compiled.memory_analysis().temp_size_in_bytes
    print(
        f"  parameters {parameters / 1e6:.1f} MB; state {held / parameters:.2f} x, scratch {scratch / parameters:.2f} x"
    )
    print(f"  in all {(held + scratch) / parameters:.2f} x the parameters")


def main() -> None:
    """Run the comparisons that the command line requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, action="append", help="may be given several times")
    parser.add_argument("--members", type=int, default=0, help="members of the comparison; 0: one a core")
    parser.add_argument("--scale", default="", help="numbers of members to compare the costs of, as 2,8,32")
    parser.add_argument("--processes", action="store_true", help="compare several processes with one")
    parser.add_argument("--memory", action="store_true", help="of a member at LSTM 2 x 650, 50,000 words, 32 x 35")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one timing")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.memory:
        memory(dataclasses.replace(SIZES["large"], vocabulary=50_000, length=35, dtype=options.dtype))
        return
    for name in options.size or list(SIZES):
        size = dataclasses.replace(SIZES[name], dropout=options.dropout, dtype=options.dtype)
        print(f"{name}: {size}, {options.cores} cores")
        if options.processes:
            processes(size, options.cores, options.rounds, options.seconds)
        elif options.scale:
            counts = [int(count) for count in options.scale.split(",")]
            scale(size, counts, options.cores, options.rounds, options.seconds)
        else:
            compare(size, options.members or options.cores, options.cores, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
