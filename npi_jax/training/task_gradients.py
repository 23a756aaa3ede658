"""The gradients that a training run compares: which tasks, and what is computed of every member at a checkpoint."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from npi_jax.config.schema import Config
from npi_jax.corpus.variants.builder import RowPool
from npi_jax.errors import UserError
from npi_jax.files.writing import write_arrays
from npi_jax.gradients import (
    LOOKAHEAD_STEP,
    Products,
    TaskItems,
    choose_items,
    item_batches,
    make_lookahead,
    make_products,
    task_batches,
    text_batches,
)
from npi_jax.models import Model
from npi_jax.suites import Suite
from npi_jax.suites.encode import EncodedSuite
from npi_jax.training.member.optimizer import second_moment
from npi_jax.training.member.step import MemberState

AT_CHECKPOINT, AT_END = "at checkpoints", "at the end"


@dataclass(frozen=True)
class TaskGradients:
    """The comparisons of gradients in one run.

    Attributes:
        products: of all tasks' micro-batches, at every checkpoint.
        single: of single items, after the last step; None if not wanted.
        lookahead: see `make_lookahead`; None if not wanted.
        items: which items stand for which task.
        single_items: numbers, tasks and NPIs of the single items.
        suite, kind: of the items.
    """

    products: Products
    single: Products | None
    lookahead: Any
    items: TaskItems
    single_items: tuple[list[int], list[str], list[str]]
    suite: str
    kind: str

    @property
    def arrays(self) -> dict[str, Any]:
        """What the calls need besides the members' states."""
        return {
            "products": self.products.arrays,
            "single": None if self.single is None else self.single.arrays,
            "families": self.products.batches.families if self.lookahead else None,
        }

    @property
    def calls(self) -> dict[str, Callable[[MemberState, dict[str, Any]], dict[str, jax.Array]]]:
        """Functions of one member's state and of `arrays`, by when they are called."""
        last = {AT_END: self._at_end} if self.single is not None or self.lookahead is not None else {}
        return {AT_CHECKPOINT: self._at_checkpoint, **last}

    def _at_checkpoint(self, state: MemberState, arrays: dict[str, Any]) -> dict[str, jax.Array]:
        """Of one member: what every checkpoint has."""
        return dict(self.products.apply(state.params, second_moment(state.opt_state), arrays["products"]))

    def _at_end(self, state: MemberState, arrays: dict[str, Any]) -> dict[str, jax.Array]:
        """Of one member: what only the last checkpoint has."""
        found: dict[str, jax.Array] = {}
        if self.single is not None:
            found["item_gram"] = self.single.apply(state.params, None, arrays["single"])["gram"]
        if self.lookahead is not None:
            found["lookahead"], found["parameter_norm"] = self.lookahead(state.params, arrays["families"])
        return found

    def write(self, path: Path, values: dict[str, np.ndarray], *, step: int) -> None:
        """Write gradients/STEP.npz: what was computed of all members, with the names of its axes.

        Preconditioned products are NaN where there is no second moment: before the first step, and under sgd.
        """
        values = {name: np.asarray(array, np.float32) for name, array in values.items()}
        if "gram_adam" not in values or step == 0:
            values["gram_adam"] = np.full_like(values["gram"], np.nan)
        names = {
            "groups": np.array(self.products.groups),
            "tasks": np.array(self.products.batches.tasks),
            "n_items": self.products.batches.n_items,
            "suite": np.array(self.suite),
            "kind": np.array(self.kind),
        }
        if "item_gram" in values:
            numbers, tasks, npis = self.single_items
            labels = self.items.sentences.labels["item"]
            names |= {
                "item_task": np.array(tasks),
                "item_npi": np.array(npis),
                "item_name": np.array([str(labels[number]) for number in numbers]),
            }
        if "lookahead" in values:
            names["lookahead_step"] = np.array(LOOKAHEAD_STEP)
        write_arrays(path, names | values)

    def description(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "suite": self.suite,
            "kind": self.kind,
            "region": self.items.spec.regions[0],
            "tasks": list(self.products.batches.tasks),
            "groups": list(self.products.groups),
            "micro_batches": int(self.products.batches.n_items.shape[1]),
            "method": self.products.method,
        }


def gradient_items(config: Config, encoded: EncodedSuite) -> tuple[TaskItems, str]:
    """The items of every task whose gradients are compared, dealt to micro-batches, and their kind.

    Raises:
        UserError: if the suite has no items of that kind, or too few for the micro-batches.
    """
    wanted, name = config.gradients, config.gradient_suite
    spec = config.score.suites[name].spec
    assert isinstance(encoded.suite, Suite)
    kinds = list(dict.fromkeys(item.kind for item in encoded.suite))
    kind = wanted.kind or ("licensor" if "licensor" in kinds else kinds[0])
    with _explained(name):
        sentences = encoded.sentences(spec)
        return choose_items(sentences, spec, kind=kind, n_batches=wanted.micro_batches, most=wanted.limit), kind


@contextmanager
def _explained(suite: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(
            f"gradients (suite {suite!r}): {error}. gradients.enabled = False compares no gradients"
        ) from error


def make_task_gradients(
    config: Config, model: Model, encoded: EncodedSuite | None, valid: RowPool, eos: int
) -> TaskGradients | None:
    """What the configuration asks for; None if nothing.

    Args:
        config: the experiment.
        model: the architecture.
        encoded: the minimal pairs; None to compare nothing.
        valid: text, where its gradient is compared too.
        eos: id of `<eos>`.

    Raises:
        UserError: if the suite has no items of that kind, or too few for the micro-batches.
    """
    if encoded is None:
        return None
    wanted, name = config.gradients, config.gradient_suite
    items, kind = gradient_items(config, encoded)
    assert isinstance(encoded.suite, Suite)
    with _explained(name):
        batches = task_batches(items)
        if wanted.text_rows:
            batches += text_batches(
                valid.tokens, valid.used, eos, n_batches=wanted.micro_batches, rows=wanted.text_rows
            )
        params = jax.eval_shape(model.init, jax.random.key(0))
        budget = None if wanted.memory_mib is None else wanted.memory_mib << 20
        products = make_products(model, params, batches, budget=budget, method=wanted.method)
    single = None
    single_items: tuple[list[int], list[str], list[str]] = ([], [], [])
    if wanted.single_items:
        one_by_one, numbers, tasks = item_batches(items, wanted.single_items)
        single = make_products(model, params, one_by_one, budget=budget, method=wanted.method, absolute=False)
        chosen = [encoded.suite.items[number] for number in numbers]
        npis = [item.good[slice(*item.critical_good)].lower() for item in chosen]
        single_items = (numbers, tasks, npis)
    lookahead = make_lookahead(model, batches) if wanted.lookahead else None
    return TaskGradients(products, single, lookahead, items, single_items, name, kind)
