"""Read dot products of gradients from the files that training wrote, one for each checkpoint, and check them."""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float, Integer

from npi_jax.errors import UserError
from npi_jax.results.names import ALL, LM

_LAYERED: Final = ("recurrent", "blocks")
_REQUIRED: Final = ("groups", "tasks", "n_items", "gram")
# Largest difference between the products ij and ji, relative to the two norms. Both are float32 sums of the same terms
# in different orders. A larger difference means that the terms cancel and the sum is mostly rounding error.
_ASYMMETRY: Final = 1e-3
# If a larger share of an array's products differs by more, the file is damaged.
_DAMAGED: Final = 0.5


@dataclass(frozen=True)
class Items:
    """Dot products of single items' gradients.

    Attributes:
        gram: products of every pair of items.
        task, npi, name: task, NPI and name of each item; ``npi`` is the text of its critical region in lower case.
    """

    gram: Float[np.ndarray, "members groups items items"]
    task: tuple[str, ...]
    npi: tuple[str, ...]
    name: tuple[str, ...]


@dataclass(frozen=True)
class Lookahead:
    """Changes of every task's objective after a small step along the gradient of one task.

    Attributes:
        change: entry [m, i, j] is the change of task j's objective (nats) in member m, after a step along task i's
            gradient. The gradient is from one half of the micro-batches, the change is measured on the other half. It
            is the mean over both choices of the halves.
        step: length of the step as a share of the parameters' norm.
        parameter_norm: norm of the parameters; NaN if the file does not hold it.
    """

    change: Float[np.ndarray, "members tasks tasks"]
    step: float
    parameter_norm: Float[np.ndarray, " members"]


@dataclass(frozen=True, kw_only=True)
class Grams:
    """Dot products of the gradients of micro-batches at one checkpoint.

    Attributes:
        groups: parameter groups, with sums of groups after `with_sums`.
        tasks: names of the T tasks; `LM` stands for ordinary text.
        n_items: items (of text: tokens) in each of the K micro-batches of each of the T tasks.
        gram: products; micro-batch k of task t is row ``t * K + k``. They are as in the file: rounding can make them
            asymmetric, which `with_sums` corrects.
        gram_adam: products of gradients divided, by coordinate, by the square root of Adam's second moment; NaN if
            there is none.
        gram_abs: products of the gradients' absolute values; NaN if they were not computed.
        items, lookahead: products of single items, and changes after a step; only the last checkpoint has them.
        suite, kind: suite and kind of the items; "" if the file does not hold them.
    """

    groups: tuple[str, ...]
    tasks: tuple[str, ...]
    n_items: Integer[np.ndarray, "tasks batches"]
    gram: Float[np.ndarray, "members groups vectors vectors"]
    gram_adam: Float[np.ndarray, "members groups vectors vectors"]
    gram_abs: Float[np.ndarray, "members groups vectors vectors"]
    items: Items | None = None
    lookahead: Lookahead | None = None
    suite: str = ""
    kind: str = ""

    def with_sums(self) -> "Grams":
        """Add the groups "recurrent" or "blocks" (sum over layers) and "all" (sum over groups); symmetrize.

        Products of disjoint groups of parameters add up. Every product becomes the mean of ij and ji. It becomes NaN if
        the two differ by more than rounding of products of that size.
        """
        sums = [(name, [g.rpartition("_")[0] == name for g in self.groups]) for name in _LAYERED]
        sums = [(name, taken) for name, taken in sums if any(taken)] + [(ALL, [True] * len(self.groups))]
        sums = [(name, taken) for name, taken in sums if name not in self.groups]

        def joined(gram: Float[np.ndarray, "members before n n"]) -> Float[np.ndarray, "members after n n"]:
            # Add before checking for asymmetry, so that NaN in a tiny group does not make the sum NaN.
            whole = np.concatenate([gram, *(gram[:, taken].sum(axis=1, keepdims=True) for _, taken in sums)], axis=1)
            # One member at a time stays in the processor's cache, which is several times as fast.
            for one in whole:
                one[...] = np.where(_apart(one), np.nan, (one + np.swapaxes(one, -1, -2)) / 2)
            return whole

        return replace(
            self,
            groups=(*self.groups, *(name for name, _ in sums)),
            gram=joined(self.gram),
            gram_adam=joined(self.gram_adam),
            gram_abs=joined(self.gram_abs),
            items=None if self.items is None else replace(self.items, gram=joined(self.items.gram)),
        )

    def ordered(self, tasks: Sequence[str]) -> "Grams":
        """Reorder the tasks: first those in ``tasks``, then the others as in the file; `LM` comes last."""
        rank = {task: place for place, task in enumerate(tasks)}
        places = sorted(
            range(len(self.tasks)), key=lambda t: (self.tasks[t] == LM, rank.get(self.tasks[t], len(rank)), t)
        )
        batches = self.n_items.shape[1]
        rows = (np.array(places)[:, None] * batches + np.arange(batches)).ravel()
        ahead = self.lookahead
        if ahead is not None:
            ahead = replace(ahead, change=ahead.change[:, places][:, :, places])
        grams = {name: getattr(self, name)[:, :, rows][..., rows] for name in ("gram", "gram_adam", "gram_abs")}
        names = tuple(self.tasks[t] for t in places)
        return replace(self, tasks=names, n_items=self.n_items[places], lookahead=ahead, **grams)


def load_grams(path: Path) -> Grams:
    """Read ``gradients/STEP.npz``; arrays become float64, and numbers that are not finite become NaN.

    Raises:
        UserError: naming the file and the array that is missing, of another shape than the others, or not symmetric.
        FileNotFoundError: if there is no such file.
    """
    arrays = _read(Path(path))
    file = _File(Path(path), arrays)
    groups, tasks = file.names("groups"), file.names("tasks")
    n_items = file.array("n_items", (len(tasks), None))
    if not np.issubdtype(n_items.dtype, np.integer):
        raise UserError(f"{path}: n_items has dtype {n_items.dtype}; it counts items and must be of integers")
    n_vectors = n_items.size
    gram = file.gram("gram", (None, len(groups), n_vectors, n_vectors))
    absent = np.full(gram.shape, np.nan)
    return Grams(
        groups=groups,
        tasks=tasks,
        n_items=n_items,
        gram=gram,
        gram_adam=file.gram("gram_adam", gram.shape) if "gram_adam" in arrays else absent,
        gram_abs=file.gram("gram_abs", gram.shape) if "gram_abs" in arrays else absent,
        items=file.items(len(gram), len(groups)) if "item_gram" in arrays else None,
        lookahead=file.ahead(len(gram), len(tasks)) if "lookahead" in arrays else None,
        **{name: str(file.array(name, ())) for name in ("suite", "kind") if name in arrays},
    )


_UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, NotImplementedError, RuntimeError, MemoryError),
    *(OverflowError, zipfile.BadZipFile, zlib.error, struct.error),
)
"""Errors that NumPy and the modules below it raise if a file is damaged."""


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        # If NumPy opens the file itself and cannot read it, it leaves the file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise UserError(f"{path}: not a file of gradient products ({error})") from error
    for name in _REQUIRED:
        if name not in arrays:
            raise UserError(f"{path}: has no array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}")
    return arrays


@dataclass(frozen=True)
class _File:
    path: Path
    arrays: dict[str, np.ndarray]

    def array(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """Return an array after checking its shape; None allows any size."""
        if name not in self.arrays:
            raise UserError(f"{self.path}: has no array {name!r}")
        array = self.arrays[name]
        fits = len(array.shape) == len(shape) and all(w in (None, h) for h, w in zip(array.shape, shape, strict=True))
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise UserError(f"{self.path}: {name} has shape {list(array.shape)}; expected [{wanted}]")
        return array

    def names(self, name: str, length: int | None = None, *, unique: bool = True) -> tuple[str, ...]:
        """Return the names that label an axis; raise an error if there is none."""
        array = self.array(name, (length,))
        if array.dtype.kind != "U":
            raise UserError(f"{self.path}: {name} has dtype {array.dtype}; it must hold names")
        names = tuple(map(str, array))
        if unique and len(set(names)) < len(names):
            raise UserError(f"{self.path}: {name} names something twice: {', '.join(names)}")
        if not names:
            raise UserError(f"{self.path}: {name} is empty")
        return names

    def floats(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        array: Any = self.array(name, shape).astype(np.float64)
        return np.where(np.isfinite(array), array, np.nan)

    def gram(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """Return an array of products; raise an error if it is not symmetric."""
        gram = self.floats(name, shape)
        apart = np.stack([_apart(one) for one in gram]) if len(gram) else np.zeros(gram.shape, bool)
        if apart.mean() > _DAMAGED:
            place = [int(index) for index in np.argwhere(apart)[0]]
            raise UserError(f"{self.path}: {name} is not symmetric, first at {place}; the file is damaged")
        return gram

    def items(self, n_members: int, n_groups: int) -> Items:
        task = self.names("item_task", unique=False)
        npi = self.names("item_npi", len(task), unique=False)
        name = self.names("item_name", len(task), unique=False)
        return Items(self.gram("item_gram", (n_members, n_groups, len(task), len(task))), task, npi, name)

    def ahead(self, n_members: int, n_tasks: int) -> Lookahead:
        change = self.floats("lookahead", (n_members, n_tasks, n_tasks))
        step = float(self.floats("lookahead_step", ()))
        known = "parameter_norm" in self.arrays
        norm = self.floats("parameter_norm", (n_members,)) if known else np.full(n_members, np.nan)
        return Lookahead(change, step, norm)


def _apart(gram: Float[np.ndarray, "*lead n n"]) -> Bool[np.ndarray, "*lead n n"]:
    """Return a mask of entries ij that differ from ji by more than rounding; False for NaN."""
    norms = np.sqrt(np.abs(np.diagonal(gram, axis1=-2, axis2=-1)))
    bound = _ASYMMETRY * norms[..., :, None] * norms[..., None, :]
    found: Bool[np.ndarray, "*lead n n"] = np.abs(gram - np.swapaxes(gram, -1, -2)) > bound
    return found
