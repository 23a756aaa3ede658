"""Micro-batches whose gradients are compared: items of tasks, and rows of ordinary text.

The objective of a micro-batch is a weighted sum of log-probabilities. For items it is their mean margin: log p(good) -
log p(bad) over the scored region. For text it is the mean log-probability of a token. A step along the gradient
improves the objective.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from npi_jax.models.segments import text_segments
from npi_jax.results.names import LM
from npi_jax.scoring import ABSENT, EncodedSentences, ScoreSpec
from npi_jax.scoring.packing import Bucket, pack

RUN_LENGTH = 4
"""Number of consecutive single items with the same scored word; products within a word need several items."""


class MicroBatches(NamedTuple):
    """Micro-batches of one static shape: M micro-batches of R rows, C contexts and Q predictions.

    Attributes:
        rows: int32 [M, 3, R, L]: tokens, segment ids and positions, as models read them.
        contexts: int32 [M, C]: flat positions (``row * L + column``) after which tokens are predicted.
        predictions: int32 [M, 2, Q]: the index of each prediction's context, and the token that follows.
        weights: float32 [M, Q]: the weight of each prediction's log-probability in the objective; 0 for padding.
    """

    rows: Int[np.ndarray, "batches 3 rows length"]
    contexts: Int[np.ndarray, "batches contexts"]
    predictions: Int[np.ndarray, "batches 2 predictions"]
    weights: Float[np.ndarray, "batches predictions"]


@dataclass(frozen=True)
class Batches:
    """The micro-batches of T tasks, K for each task.

    Micro-batches are numbered over all families: batch k of task t has the number ``t * K + k``.

    Attributes:
        families: micro-batches; those of one family have the same shape.
        tasks: names of the tasks.
        n_items: int [T, K]: number of items in each micro-batch; for text, the number of tokens.
    """

    families: tuple[MicroBatches, ...]
    tasks: tuple[str, ...]
    n_items: Integer[np.ndarray, "tasks batches"]

    def __add__(self, other: "Batches") -> "Batches":
        return Batches(
            self.families + other.families, self.tasks + other.tasks, np.concatenate([self.n_items, other.n_items])
        )


@dataclass(frozen=True)
class TaskItems:
    """The items of each micro-batch of each task.

    Attributes:
        sentences: all sentences of the suite.
        spec: specification of their scores; its first region defines the margin.
        tasks: names of the tasks.
        items: numbers of the items in the suite, by task and micro-batch.
    """

    sentences: EncodedSentences
    spec: ScoreSpec
    tasks: tuple[str, ...]
    items: tuple[tuple[tuple[int, ...], ...], ...]


def choose_items(
    sentences: EncodedSentences, spec: ScoreSpec, *, kind: str, n_batches: int, most: int | None = None
) -> TaskItems:
    """Assign items of every task to micro-batches.

    Items that share a sentence are assigned to micro-batches of the same number, even if their tasks differ. Then
    micro-batches of different numbers share no sentence, and their products contain no common noise.

    Suites often list items word by word. Items are therefore drawn in random order with a fixed seed, and each form of
    the scored words is spread evenly over micro-batches. Each micro-batch is then a sample of its complete task.

    Args:
        sentences: minimal pairs with the labels ``task`` and ``kind``.
        spec: specification of their scores. The critical region is used if it is scored, otherwise the first region.
        kind: the kind of items to use.
        n_batches: number of micro-batches per task.
        most: maximum number of items per task; None for all items.

    Raises:
        ValueError: if no item is of that kind; if a task has too few items for the micro-batches; or if a task has the
            name that is reserved for ordinary text.
    """
    if not sentences.is_pairs:
        raise ValueError("gradients of margins need minimal pairs; this suite has items of several conditions")
    tasks = _tasks_of_kind(sentences, kind)
    region = "critical" if "critical" in spec.regions else spec.regions[0]
    spec = ScoreSpec.from_dict({**spec.to_dict(), "regions": (region,)})
    kinds, labels = sentences.labels["kind"], sentences.labels["task"]
    component, form = _components(sentences), _forms(sentences, region)
    batch_of_component: dict[int, int] = {}
    assigned = []
    for number, task in enumerate(tasks):
        items = [index for index, label in enumerate(labels) if str(label) == task and kinds[index] == kind]
        items = [items[index] for index in np.random.default_rng((0, number)).permutation(len(items))][:most]
        items.sort(key=lambda index: form[index])
        batches: list[list[int]] = [[] for _ in range(n_batches)]
        for index in items:
            smallest = min(range(n_batches), key=lambda number: len(batches[number]))
            batches[batch_of_component.setdefault(int(component[index]), smallest)].append(index)
        if not all(batches):
            raise ValueError(
                f"task {task!r} has {len(items)} items (kind {kind!r}), too few that share no sentence for {n_batches} "
                "micro-batches; set gradients.micro_batches lower or the suite's limit higher"
            )
        assigned.append(tuple(map(tuple, batches)))
    return TaskItems(sentences, spec, tasks, tuple(assigned))


def _tasks_of_kind(sentences: EncodedSentences, kind: str) -> tuple[str, ...]:
    """Return the tasks that have items of a kind."""
    kinds, labels = sentences.labels["kind"], sentences.labels["task"]
    tasks = tuple(dict.fromkeys(str(task) for task, its in zip(labels, kinds, strict=True) if its == kind))
    if not tasks:
        known = ", ".join(sorted({str(its) for its in kinds}))
        raise ValueError(f"no item is of kind {kind!r}; the suite has {known}")
    if LM in tasks:
        raise ValueError(f"a task is named {LM!r}, which stands for ordinary text; rename it")
    return tasks


def _forms(sentences: EncodedSentences, region: str) -> list[bytes]:
    """Return the tokens in a region of each item's good sentence; no tokens if the suite does not define the region."""
    spans = sentences.regions.get(region)
    n_items = len(sentences.ids) // 2
    if spans is None:
        return [b""] * n_items
    ids, spans = sentences.ids[::2], np.asarray(spans)[::2]
    return [np.asarray(row, np.int64)[slice(*span)].tobytes() for row, span in zip(ids, spans.tolist(), strict=True)]


def _interleaved(items: Sequence[int], form: Sequence[bytes], common: Mapping[bytes, int]) -> list[int]:
    """Order items in rounds of `RUN_LENGTH` items of each form; the form that most tasks have comes first."""
    by_form: dict[bytes, list[int]] = {}
    for index in items:
        by_form.setdefault(form[index], []).append(index)
    forms = sorted(by_form, key=lambda word: (-common[word], word))
    runs = [_runs(by_form[word]) for word in forms]
    return [index for in_round in zip_longest(*runs, fillvalue=()) for run in in_round for index in run]


def _runs(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    left = iter(items)
    while run := tuple(islice(left, RUN_LENGTH)):
        yield run


def _components(sentences: EncodedSentences) -> Integer[np.ndarray, " items"]:
    """Return the connected component of each item: items that share a sentence are connected."""
    n_items = len(sentences.ids) // 2
    known: dict[bytes, int] = {}
    nodes = [known.setdefault(np.asarray(ids, np.int64).tobytes(), len(known)) for ids in sentences.ids]
    items = np.repeat(np.arange(n_items), 2)
    links = coo_array((np.ones(len(nodes)), (items, n_items + np.array(nodes))), shape=(n_items + len(known),) * 2)
    _, component = connected_components(links, directed=False)
    return np.asarray(component[:n_items])


def task_batches(chosen: TaskItems) -> Batches:
    """Make micro-batches whose objective is the mean margin of their items, nats."""
    parts = [batch for task in chosen.items for batch in task]
    n_items = np.array([[len(batch) for batch in task] for task in chosen.items])
    return Batches((_family(chosen, parts),), chosen.tasks, n_items)


def item_batches(chosen: TaskItems, most: int) -> tuple[Batches, list[int], list[str]]:
    """Make a micro-batch for each single item; no two of the items have a sentence in common.

    Tasks choose one item at a time, in rotation. Tasks that share sentences therefore get about equally many items. A
    task whose items all share sentences with other tasks may get none.

    Within a task the forms of the scored words alternate after `RUN_LENGTH` items. Forms that occur in more tasks come
    first. The same words can then be compared between tasks even if there are few items.

    Args:
        chosen: the items of the tasks.
        most: maximum number of items per task.

    Returns:
        the micro-batches (each item counts as a separate task), the numbers of the items in the suite, and their tasks.
    """
    component, form = _components(chosen.sentences), _forms(chosen.sentences, chosen.spec.regions[0])
    seen: set[int] = set()
    by_task = [[index for batch in task for index in batch] for task in chosen.items]
    common = Counter(word for items in by_task for word in {form[index] for index in items})
    left = [iter(_interleaved(items, form, common)) for items in by_task]
    kept: list[list[int]] = [[] for _ in chosen.tasks]
    for _ in range(most):
        for of_task, items in zip(kept, left, strict=True):
            fresh = next((index for index in items if int(component[index]) not in seen), None)
            if fresh is not None:
                of_task.append(fresh)
                seen.add(int(component[fresh]))
    numbers = [index for of_task in kept for index in sorted(of_task)]
    names = [task for task, of_task in zip(chosen.tasks, kept, strict=True) for _ in of_task]
    family = _family(chosen, [(index,) for index in numbers])
    return Batches((family,), tuple(map(str, numbers)), np.ones((len(numbers), 1), np.int64)), numbers, names


def text_batches(
    tokens: Integer[np.ndarray, "rows length_and_one"],
    used: Integer[np.ndarray, " rows"],
    eos: int,
    *,
    n_batches: int,
    rows: int,
) -> Batches:
    """Make micro-batches of text, whose objective is the mean log-probability of a token, nats.

    Args:
        tokens: packed rows, as in `npi_jax.corpus.variants.variant.RowPool`.
        used: number of tokens that are predicted in each row.
        eos: id of `<eos>`; every `<eos>` begins a new segment.
        n_batches: number of micro-batches.
        rows: maximum number of rows in all micro-batches; they are evenly spaced over the text.

    Raises:
        ValueError: if there are fewer rows than micro-batches.
    """
    per_batch = min(rows, len(tokens)) // n_batches
    if not per_batch:
        raise ValueError(f"{min(rows, len(tokens))} rows of text are too few for {n_batches} micro-batches")
    total = per_batch * n_batches
    # Neighboring rows go to different micro-batches.
    chosen = (np.arange(total) * len(tokens) // total).reshape(per_batch, n_batches).T
    read, count = tokens[chosen].astype(np.int32), used[chosen]
    inputs, length = read[..., :-1], tokens.shape[1] - 1
    segment_ids, positions = map(np.asarray, text_segments(inputs, eos))
    real = np.arange(length) < count[..., None]
    arrays = np.stack([inputs, segment_ids * real, positions], axis=1).astype(np.int32)
    real = real.reshape(n_batches, -1)
    family = MicroBatches(arrays, *_text_predictions(real, read[:, :, 1:].reshape(n_batches, -1)))
    return Batches((family,), (LM,), real.sum(axis=1)[None])


def _text_predictions(
    real: Bool[np.ndarray, "batches positions"], targets: Int[np.ndarray, "batches positions"]
) -> tuple[
    Int[np.ndarray, "batches contexts"],
    Int[np.ndarray, "batches 2 contexts"],
    Float[np.ndarray, "batches contexts"],
]:
    """Return contexts, predictions and weights (`MicroBatches`) that predict the target after each real position."""
    n_batches, most = len(real), real.sum(axis=1).max()
    contexts = np.zeros((n_batches, most), np.int32)
    predictions = np.zeros((n_batches, 2, most), np.int32)
    weights = np.zeros((n_batches, most), np.float32)
    for batch in range(n_batches):
        here = np.flatnonzero(real[batch])
        contexts[batch, : len(here)] = here
        predictions[batch, 0, : len(here)] = np.arange(len(here))
        predictions[batch, 1, : len(here)] = targets[batch, here]
        weights[batch, : len(here)] = 1 / len(here)
    return contexts, predictions, weights


def _family(chosen: TaskItems, parts: Sequence[Sequence[int]]) -> MicroBatches:
    """Pack the items of each micro-batch, and pad all micro-batches to one shape."""
    longest = _longest(chosen)
    packs = [_pack(chosen, items, longest) for items in parts]
    rows = np.zeros((len(parts), 3, max(p.tokens.shape[1] for p, _ in packs), longest), np.int32)
    contexts = np.zeros((len(parts), max(p.contexts.shape[1] for p, _ in packs)), np.int32)
    predictions = np.zeros((len(parts), 2, max(p.predictions.shape[2] for p, _ in packs)), np.int32)
    weights = np.zeros((len(parts), predictions.shape[2]), np.float32)
    for index, (packed, weight) in enumerate(packs):
        n_rows, n_contexts, n_predictions = (
            packed.tokens.shape[1],
            packed.contexts.shape[1],
            packed.predictions.shape[2],
        )
        rows[index, :, :n_rows] = np.concatenate([packed.tokens, packed.segment_ids, packed.positions])
        contexts[index, :n_contexts] = packed.contexts[0]
        predictions[index, :, :n_predictions] = packed.predictions[0]
        weights[index, :n_predictions] = weight
    return MicroBatches(rows, contexts, predictions, weights)


def _pack(chosen: TaskItems, items: Sequence[int], row_length: int) -> tuple[Bucket, np.ndarray]:
    """Pack the sentences of some items, and return the weight of each prediction in their mean margin."""
    packed = pack(_subset(chosen, items), chosen.spec, row_length=row_length, rows_per_chunk=2 * len(items))
    span = packed.spans[chosen.spec.regions[0]]
    if (span[:, 0] == ABSENT).any():
        item = items[int(np.flatnonzero(span[:, 0] == ABSENT)[0]) // 2]
        raise ValueError(f"{chosen.sentences.where(2 * item)}: its region {chosen.spec.regions[0]!r} is not scored")
    start, end = span.T[:, :, None]
    # All rows have one length, so there is one bucket.
    (bucket,) = packed.buckets
    column = np.arange(bucket.table.shape[1])
    inside = (column >= start) & (column < end) & (bucket.table != ABSENT)
    sign = np.where(np.arange(2 * len(items)) % 2, -1.0, 1.0)[:, None] / len(items)
    weights = np.zeros(bucket.predictions.shape[2])
    # If both sentences of a pair share a prediction, its two weights cancel.
    np.add.at(weights, bucket.table[inside], np.broadcast_to(sign, inside.shape)[inside])
    return bucket, weights.astype(np.float32)


def _longest(chosen: TaskItems) -> int:
    """Return the number of positions that the longest sentence takes, up to its last scored token."""
    items = [index for task in chosen.items for batch in task for index in batch]
    buckets = pack(_subset(chosen, items), chosen.spec).buckets
    return max(int(b.positions.max()) + 1 if _alone(chosen) else b.tokens.shape[2] for b in buckets)


def _alone(chosen: TaskItems) -> bool:
    """Return whether the sentences of a pair may be in different rows: only the region "difference" needs one row."""
    return "difference" not in chosen.spec.regions


def _subset(chosen: TaskItems, items: Sequence[int]) -> EncodedSentences:
    """Return the sentences of some items in the order good, bad, good, bad, ..."""
    given = chosen.sentences
    index = [2 * item + side for item in items for side in (0, 1)]
    regions: Mapping[str, np.ndarray] = {name: np.asarray(spans)[index] for name, spans in given.regions.items()}
    return EncodedSentences(
        ids=[given.ids[number] for number in index],
        groups=np.arange(len(index)) if _alone(chosen) else np.repeat(np.arange(len(items)), 2),
        regions=regions,
        start=given.start,
        end=given.end,
        prefix=given.prefix,
        context=given.context,
        leading_space=given.leading_space,
    )
