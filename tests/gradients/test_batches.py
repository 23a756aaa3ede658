"""Assignment of items to tasks and micro-batches, and the arrays of micro-batches."""

from collections import Counter

import numpy as np
import pytest
from facts import facts
from small import N_BATCHES, TOKENIZER, all_batches, chosen, encoded, text_rows

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.gradients import LM, choose_items, item_batches, task_batches, text_batches
from npi_jax.scoring import EncodedSentences, ScoreSpec, encode_pairs


def labelled(pairs, tasks, kind="licensor"):
    """Pairs of token ids with the labels that a suite has."""
    plain = encode_pairs(pairs, start=1, end=1)
    names = [f"item{index}" for index in range(len(pairs))]
    labels = {"task": tasks, "kind": [kind] * len(pairs), "item": names}
    return EncodedSentences(**{**vars(plain), "labels": labels})


SENTENCE = ScoreSpec(regions=("sentence",))


def test_items_are_dealt_evenly_and_once():
    found = chosen(items=8)
    assert found.tasks == ENVIRONMENTS
    assert found.spec.regions == ("critical",)
    for task in found.items:
        assert [len(batch) for batch in task] == [2] * N_BATCHES
    used = [index for task in found.items for batch in task for index in batch]
    assert len(set(used)) == len(used) == 8 * len(ENVIRONMENTS)
    kinds = [found.sentences.labels["kind"][index] for index in used]
    assert set(kinds) == {"licensor"}


def test_items_that_share_a_sentence_get_the_same_number_whatever_their_task():
    common = [5, 6, 7]
    pairs = [
        ([2, 3], [2, 4]),
        (common, [5, 6, 8]),
        ([9, 3], common),
        ([3, 3], [4, 4]),
        ([6, 6], [7, 7]),
        ([2, 9], [9, 2]),
    ]
    found = choose_items(labelled(pairs, ["a", "a", "b", "b", "a", "b"]), SENTENCE, kind="licensor", n_batches=2)
    place = {index: number for task in found.items for number, batch in enumerate(task) for index in batch}
    assert place[1] == place[2]
    assert sorted(place) == list(range(6))


def test_words_that_a_suite_goes_through_in_turn_are_in_every_micro_batch():
    """Assigned in the order of the suite, each of four micro-batches would get one of the four words."""
    words = [20, 21, 22, 23]
    pairs = [([index % 7 + 2, index + 30, words[index % 4]], [9, index + 30, words[index % 4]]) for index in range(48)]
    regions = np.array([[[2, 3], [2, 3]]] * 48)
    plain = encode_pairs(pairs, regions, start=1, end=1)
    labels = {"task": ["a"] * 24 + ["b"] * 24, "kind": ["licensor"] * 48, "item": [f"i{n}" for n in range(48)]}
    sentences = EncodedSentences(**{**vars(plain), "labels": labels})
    for most in (None, 16):
        found = choose_items(sentences, ScoreSpec(), kind="licensor", n_batches=4, most=most)
        for task in found.items:
            for batch in task:
                counts = np.bincount([index % 4 for index in batch], minlength=4)
                # Each word has 6 of 24 items, so 1 or 2 in each of four micro-batches.
                assert np.ptp(counts) <= (1 if most is None else 3)
                # No other alternating property of items decides either.
                assert len({index % 8 for index in batch}) > 2 or most


def test_a_limit_takes_so_many():
    spec = ScoreSpec()
    found = choose_items(encoded(8).sentences(spec), spec, kind="licensor", n_batches=2, most=4)
    assert [[len(batch) for batch in task] for task in found.items] == [[2, 2]] * len(ENVIRONMENTS)
    again = choose_items(encoded(8).sentences(spec), spec, kind="licensor", n_batches=2, most=4)
    assert found.items == again.items


def test_ordinary_texts_name_is_taken():
    with pytest.raises(ValueError, match=facts("'lm'")):
        choose_items(labelled([([2], [3]), ([4], [5])], ["lm", "a"]), SENTENCE, kind="licensor", n_batches=1)


@pytest.mark.parametrize(
    ("pairs", "tasks", "kind", "message"),
    [
        ([([2, 3], [2, 4])], ["a"], "scope", ("'scope'", "licensor")),
        ([([2, 3], [2, 4])], ["a"], "licensor", ("'a'", "1", "2 micro-batches")),
        ([([2, 3], [2, 4]), ([2, 3], [2, 5])], ["a", "a"], "licensor", ("'a'", "2", "sentence")),
    ],
)
def test_too_little_is_refused(pairs, tasks, kind, message):
    with pytest.raises(ValueError, match=facts(message)):
        choose_items(labelled(pairs, tasks), SENTENCE, kind=kind, n_batches=2)


def test_weights_are_the_mean_margin():
    found = chosen(items=8)
    (family,) = task_batches(found).families
    assert family.weights.shape[0] == len(ENVIRONMENTS) * N_BATCHES
    # Each item's good side has weight 1 / n in all, its bad side -1 / n, a weight for each token of the NPI.
    tokens = [np.diff(found.sentences.regions["critical"][2 * index])[0] for index in found.items[0][0]]
    weights = family.weights[0]
    assert np.isclose(weights[weights > 0].sum(), np.sum(tokens) / len(tokens))
    assert np.isclose(weights.sum(), 0, atol=1e-6)


def test_what_a_pair_shares_has_no_weight():
    pairs = [([2, 3, 4, 5], [2, 3, 4, 6]), ([3, 2], [3, 4])]
    found = choose_items(labelled(pairs, ["a", "a"]), SENTENCE, kind="licensor", n_batches=2)
    (family,) = task_batches(found).families
    targets = family.predictions[0, 1][family.weights[0] != 0]
    # The end token follows different contexts, so that it counts.
    assert sorted(targets.tolist()) == [1, 1, 5, 6]


def test_single_items_are_batches_of_one():
    batches, numbers, tasks = item_batches(chosen(items=8), 3)
    assert batches.n_items.shape == (27, 1)
    assert len(set(numbers)) == 27
    assert tasks == [name for name in ENVIRONMENTS for _ in range(3)]


def test_single_items_have_the_same_words_in_all_tasks():
    found = chosen(items=60)
    spans, ids = found.sentences.regions["critical"], found.sentences.ids

    def words(numbers):
        return Counter(tuple(ids[2 * n][slice(*spans[2 * n])].tolist()) for n in numbers)

    shared = set.intersection(*(set(words(i for batch in task for i in batch)) for task in found.items))
    assert len(shared) >= 3
    _, numbers, tasks = item_batches(found, 12)
    for task in ENVIRONMENTS:
        counts = words(number for number, its in zip(numbers, tasks, strict=True) if its == task)
        assert sum(counts.values()) == 12
        # As many of a word as comparing two items of it takes, and words that all tasks have.
        several = {word for word, count in counts.items() if count >= 4}
        assert len(several) >= 2
        assert several <= shared


def test_tasks_that_share_sentences_share_the_single_items():
    """Two tasks of the same bad sentences: the first would take them all if it were asked first."""
    pairs = [([2, 10 + index], [3, 40 + index]) for index in range(20)]
    pairs += [([4, 10 + index], [3, 40 + index]) for index in range(20)]
    found = choose_items(labelled(pairs, ["a"] * 20 + ["b"] * 20), SENTENCE, kind="licensor", n_batches=2)
    _, numbers, tasks = item_batches(found, 16)
    assert (tasks.count("a"), tasks.count("b")) == (10, 10)
    assert len({number % 20 for number in numbers}) == 20
    # One that is left without any is left out.
    alone = choose_items(labelled([*pairs[:2], *pairs[20:22]], list("aabb")), SENTENCE, kind="licensor", n_batches=2)
    assert set(item_batches(alone, 1)[2]) == {"a", "b"}


def test_text_is_read_as_in_training():
    tokens, used = text_rows(rows=9)
    batches = text_batches(tokens, used, TOKENIZER.eos, n_batches=4, rows=8)
    (family,) = batches.families
    assert batches.tasks == (LM,)
    assert family.rows.shape[:3] == (4, 3, 2)
    assert np.allclose(family.weights.sum(axis=1), 1)
    for batch in range(4):
        read, segments, positions = family.rows[batch]
        real = family.weights[batch] > 0
        assert real.sum() == batches.n_items[0, batch]
        context, target = family.predictions[batch][:, real]
        flat = family.contexts[batch][context]
        following = np.concatenate([read, np.full((2, 1), TOKENIZER.eos)], axis=1)[:, 1:].reshape(-1)
        inside = flat % read.shape[1] < read.shape[1] - 1
        assert (following[flat][inside] == target[inside]).all()
        assert (segments.reshape(-1)[flat] > 0).all()
        assert ((positions == 0) == (read == TOKENIZER.eos))[segments > 0].all()


def test_rows_of_different_batches_are_different():
    tokens, used = text_rows(rows=9)
    (family,) = text_batches(tokens, used, TOKENIZER.eos, n_batches=4, rows=8).families
    rows = family.rows[:, 0].reshape(8, -1)
    assert len(np.unique(rows, axis=0)) == 8


def test_too_little_text_is_refused():
    tokens, used = text_rows(rows=3)
    with pytest.raises(ValueError, match=facts("3 rows", "4 micro-batches")):
        text_batches(tokens, used, TOKENIZER.eos, n_batches=4, rows=8)


def test_families_are_joined():
    batches = all_batches()
    assert batches.tasks == (*ENVIRONMENTS, LM)
    assert batches.n_items.shape == (10, N_BATCHES)
    assert sum(family.weights.shape[0] for family in batches.families) == 40
