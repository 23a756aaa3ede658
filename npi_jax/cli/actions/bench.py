"""Search for the fastest way to run the members of a device, for ``npi-jax bench``."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from rich.console import Console

from npi_jax.config.schema import Config, SweepMember
from npi_jax.models import make_model
from npi_jax.planning.text_sizes import vocabulary_size
from npi_jax.terminal.tables import TextTable
from npi_jax.training.arrangement import Arrangement, choice_file, save_choice
from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, make_mesh, put
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.feed import ROWS
from npi_jax.training.member.step import Pool
from npi_jax.training.programs import init_program, training_program

POOL_ROWS = 512
FIRST_STEPS = 10
"""Steps in one call of the compiled program while mappings are compared."""

STEPS_PER_CALL = (1, FIRST_STEPS, 50)
ROUNDS = 5
SLACK = 0.02
"""Share by which another choice must be faster than the default to replace it."""


@dataclasses.dataclass
class Candidate:
    """An arrangement and its measured rates, in tokens a second over all members."""

    mapping: Any
    members_per_device: int
    steps_per_call: int
    rates: list[float] = dataclasses.field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median of the measured rates."""
        return statistics.median(self.rates)


def bench(config: Config, console: Console, seconds: float) -> Arrangement:
    """Measure the real training step, print the rates, and save the choice for ``npi-jax run``.

    The first choice is the mapping: members in turn or at once. It is made with all members of a device; rates with
    fewer are only reported. The second choice is the number of steps in one call of the compiled program. Tokens are
    random, because speed does not depend on them.

    Args:
        config: the experiment. Its vocabulary size and amount of text must be known, as for ``npi-jax plan``.
        console: the terminal.
        seconds: approximate length of one timing.

    Returns:
        the choice.
    """
    vocabulary = vocabulary_size(config)
    most = -(-len(config.members) // max(1, jax.device_count() // config.mesh.data))
    counts = [4**power for power in range(most.bit_length()) if 4**power < most] + [most]
    candidates = [Candidate(mapping, count, FIRST_STEPS) for count in counts for mapping in ("map", "vmap")]
    for count in counts:
        # One number of members after another, because the states of all candidates may not fit on the devices.
        same_count = [candidate for candidate in candidates if candidate.members_per_device == count]
        _measure(config, vocabulary, same_count, console, seconds)
    full = [candidate for candidate in candidates if candidate.members_per_device == most]
    mapping = _best(full, full[0] if jax.devices()[0].platform == "cpu" else full[-1]).mapping
    lengths = [Candidate(mapping, most, length) for length in STEPS_PER_CALL]
    _measure(config, vocabulary, lengths, console, seconds)
    chosen = _best(lengths, lengths[-1])
    _print([*candidates, *lengths], chosen, console)
    path = choice_file(config)
    arrangement = Arrangement(mapping, chosen.steps_per_call, str(path))
    measured = [{**dataclasses.asdict(c), "tokens_per_second": c.rate} for c in (*candidates, *lengths)]
    save_choice(path, arrangement, measured)
    console.print(
        f"chosen: mapping {mapping}, {chosen.steps_per_call} steps a call; saved in {path}, which npi-jax run reads "
        "if the config has mesh.mapping = 'auto' and train.steps_per_call = 0",
        highlight=False,
        markup=False,
    )
    return arrangement


def _best(candidates: list[Candidate], default: Candidate) -> Candidate:
    fastest = max(candidates, key=lambda candidate: candidate.rate)
    return fastest if fastest.rate > (1 + SLACK) * default.rate else default


def _measure(config: Config, vocabulary: int, candidates: list[Candidate], console: Console, seconds: float) -> None:
    """Time the candidates in alternating rounds, so that other load on the machine affects all of them."""
    runners = []
    for candidate in candidates:
        console.print(
            f"compiling: {candidate.mapping}, {candidate.members_per_device} a device, "
            f"{candidate.steps_per_call} steps a call",
            highlight=False,
        )
        runners.append(_runner(config, vocabulary, candidate))
    calls = [max(1, round(seconds / run(1)[1])) for run in runners]
    for _ in range(ROUNDS):
        for candidate, run, count in zip(candidates, runners, calls, strict=True):
            tokens, took = run(count)
            candidate.rates.append(tokens / took)


def _runner(config: Config, vocabulary: int, candidate: Candidate) -> Callable[[int], tuple[int, float]]:
    """Compile a candidate, and return a function that times a number of calls.

    The returned function gives the number of trained tokens and the time in seconds.
    """
    devices = max(1, jax.device_count() // config.mesh.data)
    n_members = candidate.members_per_device * devices
    members = tuple(SweepMember(config.variants[0], seed) for seed in range(n_members))
    train = dataclasses.replace(config.train, steps_per_call=candidate.steps_per_call)
    arranged = dataclasses.replace(
        config,
        sweep=members,
        variants=config.variants[:1],
        seeds=tuple(range(n_members)),
        train=train,
        mesh=dataclasses.replace(config.mesh, mapping=candidate.mapping, ens=0),
    )
    mesh = make_mesh(0, config.mesh.data, n_members=n_members)
    ensemble = Ensemble(arranged, make_model(config.model, vocabulary, remat=train.remat), mesh)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, vocabulary, (POOL_ROWS, train.row_length + 1)).astype(np.uint32)
    pool = put(Pool(tokens, np.full(POOL_ROWS, train.row_length, np.int32)), mesh, REPLICATED)
    seeds, hyper = put((ensemble.seeds, ensemble.hyper), mesh, MEMBERS)
    state = init_program(ensemble).function(seeds)
    call_steps = training_program(ensemble, 0, pool, streamed=False).function
    rows = rng.integers(0, POOL_ROWS, ensemble.call_shape).astype(np.int32)

    def run(calls: int) -> tuple[int, float]:
        nonlocal state
        began = time.perf_counter()
        for call in range(calls):
            scalars = np.int32(call * train.steps_per_call), np.int32(train.steps_per_call), np.bool_(False)
            # The time includes placing the rows on the devices, since training does so before each call.
            state, progress = call_steps(state, hyper, seeds, put(rows, mesh, ROWS), pool, *scalars)
        jax.block_until_ready((state, progress))
        done = calls * train.steps_per_call * train.batch_size * train.row_length * n_members
        return done, time.perf_counter() - began

    run(1)
    return run


def _print(candidates: list[Candidate], chosen: Candidate, console: Console) -> None:
    heads = ("mapping", "members a device", "steps a call", "tokens/s, all members", "range", "time of a step")
    table = TextTable(f"tokens a second, {jax.device_count()} x {jax.devices()[0].device_kind}", heads)
    for candidate in candidates:
        low, high = min(candidate.rates), max(candidate.rates)
        table.add_row(
            candidate.mapping + (" *" if candidate is chosen else ""),
            str(candidate.members_per_device),
            str(candidate.steps_per_call),
            f"{candidate.rate:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            f"{candidates[0].rate / candidate.rate:.2f}",
        )
    console.print(table)
    console.print("time of a step: of one member, relative to the first line", highlight=False)
