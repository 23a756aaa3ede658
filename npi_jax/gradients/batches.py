"""Micro-batches whose gradients are compared: margins of minimal pairs, and likelihood of ordinary text.

Every objective here is a weighted sum of log-probabilities. Of a task it is the mean margin of its items, log p(good)
- log p(bad) over the scored region; of text the mean log-probability of a token. Following a gradient makes the task
better.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from npi_jax.models.segments import text_segments
from npi_jax.results.names import LM
from npi_jax.scoring import ABSENT, EncodedSentences, ScoreSpec
from npi_jax.scoring.packing import Bucket, pack

RUN = 4
"""Single items of one word in a row: products of two items of a word take several in each task."""


class MicroBatches(NamedTuple):
    """M micro-batches of one static shape.

    Attributes:
        rows: int32 [M, 3, R, L]: tokens, segment ids and positions, as models read them.
        contexts: int32 [M, C]: flat positions (``row * L + column``) after which something is predicted.
        predictions: int32 [M, 2, Q]: which of the contexts, and the token that follows.
        weights: float32 [M, Q]: of each prediction's log-probability in the micro-batch's objective; 0 is padding.
    """

    rows: Int[np.ndarray, "batches 3 rows length"]
    contexts: Int[np.ndarray, "batches contexts"]
    predictions: Int[np.ndarray, "batches 2 predictions"]
    weights: Float[np.ndarray, "batches predictions"]


@dataclass(frozen=True)
class Batches:
    """The micro-batches of several tasks: batch k of task t is number ``t * K + k`` over all families.

    Attributes:
        families: micro-batches of unlike shapes, one after another.
        tasks: names of the T tasks.
        n_items: int [T, K]: items (of text: tokens) in each micro-batch.
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
    """Which items stand for which task, and in which micro-batch.

    Attributes:
        sentences: of a whole suite.
        spec: what is scored of them; of several regions the first.
        tasks: names of the tasks.
        items: for each task and micro-batch the numbers of its items.
    """

    sentences: EncodedSentences
    spec: ScoreSpec
    tasks: tuple[str, ...]
    items: tuple[tuple[tuple[int, ...], ...], ...]


def choose_items(
    sentences: EncodedSentences, spec: ScoreSpec, *, kind: str, n_batches: int, most: int | None = None
) -> TaskItems:
    """Deal the items of every task to micro-batches.

    Items that have a sentence in common, of whatever tasks, come into micro-batches of the same number, so that
    those of different numbers share no sentence: their products are free of common noise. Otherwise they are dealt in
    an order drawn with a fixed seed, each form of the scored words evenly: suites often go through their words in
    turn, and micro-batches of different words would not be samples of one task.

    Args:
        sentences: minimal pairs with the labels ``task`` and ``kind``.
        spec: what is scored; the critical region if it is among its regions, otherwise its first region.
        kind: of the items that are used.
        n_batches: micro-batches of each task.
        most: most items of a task; None for all.

    Raises:
        ValueError: if there is no item of that kind, a task has too few for so many micro-batches, or a task is
            named as ordinary text is.
    """
    if not sentences.is_pairs:
        raise ValueError("gradients of margins need minimal pairs; this suite has items of several conditions")
    kinds, labels = sentences.labels["kind"], sentences.labels["task"]
    tasks = tuple(dict.fromkeys(str(task) for task, its in zip(labels, kinds, strict=True) if its == kind))
    if not tasks:
        known = ", ".join(sorted({str(its) for its in kinds}))
        raise ValueError(f"no item is of kind {kind!r}; the suite has {known}")
    if LM in tasks:
        raise ValueError(f"a task is named {LM!r}, which stands for ordinary text; name it otherwise")
    region = "critical" if "critical" in spec.regions else spec.regions[0]
    spec = ScoreSpec.from_dict({**spec.to_dict(), "regions": (region,)})
    component, form = _components(sentences), _forms(sentences, region)
    place: dict[int, int] = {}
    dealt = []
    for number, task in enumerate(tasks):
        own = [index for index, its in enumerate(labels) if str(its) == task and kinds[index] == kind]
        own = [own[index] for index in np.random.default_rng((0, number)).permutation(len(own))][:most]
        own.sort(key=lambda index: form[index])
        batches: list[list[int]] = [[] for _ in range(n_batches)]
        for index in own:
            free = min(range(n_batches), key=lambda number: len(batches[number]))
            batches[place.setdefault(int(component[index]), free)].append(index)
        if not all(batches):
            raise ValueError(
                f"task {task!r} has {len(own)} items (kind {kind!r}), too few that share no sentence for {n_batches} "
                "micro-batches; set gradients.micro_batches lower or the suite's limit higher"
            )
        dealt.append(tuple(map(tuple, batches)))
    return TaskItems(sentences, spec, tasks, tuple(dealt))


def _forms(sentences: EncodedSentences, region: str) -> list[bytes]:
    """What is scored of each item's good sentence, where the suite says; otherwise all are alike."""
    spans = sentences.regions.get(region)
    n_items = len(sentences.ids) // 2
    if spans is None:
        return [b""] * n_items
    ids, spans = sentences.ids[::2], np.asarray(spans)[::2]
    return [np.asarray(its, np.int64)[slice(*span)].tobytes() for its, span in zip(ids, spans.tolist(), strict=True)]


def _in_turn(items: Sequence[int], form: Sequence[bytes], common: Mapping[bytes, int]) -> list[int]:
    """The items such that each form comes `RUN` times before any comes again, the most common first."""
    by_form: dict[bytes, list[int]] = {}
    for index in items:
        by_form.setdefault(form[index], []).append(index)
    forms = sorted(by_form, key=lambda word: (-common[word], word))
    runs = [_runs(by_form[word]) for word in forms]
    return [index for turn in zip_longest(*runs, fillvalue=()) for run in turn for index in run]


def _runs(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    left = iter(items)
    while run := tuple(islice(left, RUN)):
        yield run


def _components(sentences: EncodedSentences) -> Integer[np.ndarray, " items"]:
    """A number for each item: equal for items that are linked by common sentences."""
    n_items = len(sentences.ids) // 2
    known: dict[bytes, int] = {}
    nodes = [known.setdefault(np.asarray(ids, np.int64).tobytes(), len(known)) for ids in sentences.ids]
    items = np.repeat(np.arange(n_items), 2)
    links = coo_array((np.ones(len(nodes)), (items, n_items + np.array(nodes))), shape=(n_items + len(known),) * 2)
    _, component = connected_components(links, directed=False)
    return np.asarray(component[:n_items])


def task_batches(chosen: TaskItems) -> Batches:
    """The micro-batches of margins: each objective is the mean margin of a micro-batch's items, nats."""
    parts = [batch for task in chosen.items for batch in task]
    n_items = np.array([[len(batch) for batch in task] for task in chosen.items])
    return Batches((_family(chosen, parts),), chosen.tasks, n_items)


def item_batches(chosen: TaskItems, most: int) -> tuple[Batches, list[int], list[str]]:
    """A micro-batch for each single item, at most `most` of a task; no two of them have a sentence in common.

    Tasks take turns, so that those that share sentences get about as many items each; one whose items all share a
    sentence with others' may get none. Within a task the forms of the scored words take turns, `RUN` items each; forms
    that more tasks have come first, so that the same words are compared between tasks however few items there are.

    Returns:
        the batches (each item is its own "task"), the items' numbers in the suite, and their tasks.
    """
    component, form = _components(chosen.sentences), _forms(chosen.sentences, chosen.spec.regions[0])
    seen: set[int] = set()
    every = [[index for batch in task for index in batch] for task in chosen.items]
    common = Counter(word for items in every for word in {form[index] for index in items})
    left = [iter(_in_turn(items, form, common)) for items in every]
    kept: list[list[int]] = [[] for _ in chosen.tasks]
    for _ in range(most):
        for own, items in zip(kept, left, strict=True):
            fresh = next((index for index in items if int(component[index]) not in seen), None)
            if fresh is not None:
                own.append(fresh)
                seen.add(int(component[fresh]))
    found = [index for own in kept for index in sorted(own)]
    names = [task for task, own in zip(chosen.tasks, kept, strict=True) for _ in own]
    family = _family(chosen, [(index,) for index in found])
    return Batches((family,), tuple(map(str, found)), np.ones((len(found), 1), np.int64)), found, names


def text_batches(
    tokens: Integer[np.ndarray, "rows length_and_one"],
    used: Integer[np.ndarray, " rows"],
    eos: int,
    *,
    n_batches: int,
    rows: int,
) -> Batches:
    """Micro-batches of text: each objective is the mean log-probability of a token, nats.

    Args:
        tokens: packed rows, as `npi_jax.corpus.variants.builder.RowPool` holds them.
        used: how many of a row's tokens are predicted.
        eos: id of `<eos>`; every one that is read begins a new segment.
        n_batches: micro-batches.
        rows: rows in all of them; evenly spaced over the text.

    Raises:
        ValueError: if there are fewer rows than micro-batches.
    """
    per_batch = min(rows, len(tokens)) // n_batches
    if not per_batch:
        raise ValueError(f"{min(rows, len(tokens))} rows of text are too few for {n_batches} micro-batches")
    total = per_batch * n_batches
    # Neighbors go to different micro-batches.
    chosen = (np.arange(total) * len(tokens) // total).reshape(per_batch, n_batches).T
    read, count = tokens[chosen].astype(np.int32), used[chosen]
    inputs, length = read[..., :-1], tokens.shape[1] - 1
    segment_ids, positions = map(np.asarray, text_segments(inputs, eos))
    real = np.arange(length) < count[..., None]
    arrays = np.stack([inputs, segment_ids * real, positions], axis=1).astype(np.int32)
    flat = real.reshape(n_batches, -1)
    n_tokens = flat.sum(axis=1)
    contexts = np.zeros((n_batches, n_tokens.max()), np.int32)
    predictions = np.zeros((n_batches, 2, n_tokens.max()), np.int32)
    weights = np.zeros((n_batches, n_tokens.max()), np.float32)
    for batch in range(n_batches):
        here = np.flatnonzero(flat[batch])
        contexts[batch, : len(here)] = here
        predictions[batch, 0, : len(here)] = np.arange(len(here))
        predictions[batch, 1, : len(here)] = read[batch, :, 1:].reshape(-1)[here]
        weights[batch, : len(here)] = 1 / len(here)
    return Batches((MicroBatches(arrays, contexts, predictions, weights),), (LM,), n_tokens[None])


def _family(chosen: TaskItems, parts: Sequence[Sequence[int]]) -> MicroBatches:
    """Micro-batches of items, packed one by one and filled up to a common shape."""
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
    """The sentences of some items in one chunk, and the weight of each prediction in their mean margin."""
    packed = pack(_subset(chosen, items), chosen.spec, row_length=row_length, rows_per_chunk=2 * len(items))
    span = packed.spans[chosen.spec.regions[0]]
    if (span[:, 0] == ABSENT).any():
        item = items[int(np.flatnonzero(span[:, 0] == ABSENT)[0]) // 2]
        raise ValueError(f"{chosen.sentences.where(2 * item)}: its region {chosen.spec.regions[0]!r} is not scored")
    start, end = span.T[:, :, None]
    # Rows of one length make one bucket.
    (bucket,) = packed.buckets
    column = np.arange(bucket.table.shape[1])
    inside = (column >= start) & (column < end) & (bucket.table != ABSENT)
    sign = np.where(np.arange(2 * len(items)) % 2, -1.0, 1.0)[:, None] / len(items)
    weights = np.zeros(bucket.predictions.shape[2])
    # What both sentences of a pair share cancels here, before anything is computed.
    np.add.at(weights, bucket.table[inside], np.broadcast_to(sign, inside.shape)[inside])
    return bucket, weights.astype(np.float32)


def _longest(chosen: TaskItems) -> int:
    """Positions that the longest sentence takes up to the last token that is scored."""
    items = [index for task in chosen.items for batch in task for index in batch]
    buckets = pack(_subset(chosen, items), chosen.spec).buckets
    return max(int(b.positions.max()) + 1 if _alone(chosen) else b.tokens.shape[2] for b in buckets)


def _alone(chosen: TaskItems) -> bool:
    """Whether the sentences of a pair may lie in different rows: "difference" alone needs to see both."""
    return "difference" not in chosen.spec.regions


def _subset(chosen: TaskItems, items: Sequence[int]) -> EncodedSentences:
    """Some items' sentences, good and bad in turn."""
    given = chosen.sentences
    index = [2 * item + side for item in items for side in (0, 1)]
    regions: Mapping[str, np.ndarray] = {name: np.asarray(spans)[index] for name, spans in given.regions.items()}
    return EncodedSentences(
        ids=[given.ids[place] for place in index],
        groups=np.arange(len(index)) if _alone(chosen) else np.repeat(np.arange(len(items)), 2),
        regions=regions,
        start=given.start,
        end=given.end,
        prefix=given.prefix,
        context=given.context,
        leading_space=given.leading_space,
    )
