"""Digests of scored models, and the warning about equal ones."""

import hashlib
import struct

import numpy as np
import polars as pl
from facts import sentence_with

from npi_jax.evaluation.digest import DIGEST, model_digests, same_models


def stack(*models):
    """Models of one matrix [1, 2] and one bias [1], along axis 0."""
    return {
        "a": {"kernel": np.array([[m[:2]] for m in models], np.float32)},
        "b": np.array([m[2:] for m in models], np.float32),
    }


def test_a_digest_is_the_sha_256_of_names_shapes_and_values():
    by_hand = hashlib.sha256(
        b"['a']['kernel'] float32 (1, 2)\n" + struct.pack("<2f", 1, 2) + b"['b'] float32 (1,)\n" + struct.pack("<f", 3)
    ).hexdigest()
    assert model_digests(stack((1, 2, 3))) == [by_hand[:16]]


def test_equal_models_have_equal_digests_and_every_bit_counts():
    first, second, third = model_digests(stack((1, 2, 3), (1, 2, 3), (1, 2, np.nextafter(np.float32(3), 4))))
    assert first == second != third
    assert model_digests(stack((0, 2, 3))) != model_digests(stack((-0.0, 2, 3)))
    # A stack of one gives what the model gives among others.
    assert model_digests(stack((1, 2, 3))) == [first]


def table(rows, names):
    return pl.DataFrame([dict(zip((*names, DIGEST), row, strict=True)) | {"suite": "x"} for row in rows for _ in "ab"])


def test_two_directories_with_one_model_are_named():
    rows = [("step1", "aa"), ("step2", "bb"), ("step4", "aa"), ("step8", "aa")]
    assert same_models(table(rows, ["model"])) == [
        "the same model under 3 names (parameters_sha256 aa): step1, step4, step8"
    ]
    assert same_models(table(rows[:2], ["model"])) == []


def test_equal_members_are_reported_except_at_step_0():
    start = [("run", 0, 0, "aa"), ("run", 1, 0, "aa"), ("run", 0, 4, "bb"), ("run", 1, 4, "cc")]
    names = ["model", "member", "step"]
    assert same_models(table(start, names)) == []
    assert same_models(table([*start, ("run", 0, 8, "bb")], names)) == [
        "the same model under 2 names (parameters_sha256 bb): member 0 at step 4, member 0 at step 8"
    ]
    assert same_models(table([*start, ("run", 0, 8, "aa")], names))[0].endswith(
        "member 1 at step 0, member 0 at step 8"
    )


def test_many_names_are_counted():
    rows = [(f"step{number}", "aa") for number in range(154)]
    (line,) = same_models(table(rows, ["model"]))
    assert sentence_with(line, "same model", "154 names")
    assert line.endswith("step11, 142 more")
