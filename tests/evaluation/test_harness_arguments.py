"""Arguments of the lm-evaluation-harness; test_lm_eval.py tests the model, if the harness is installed."""

import pytest
from facts import facts

from npi_jax.evaluation.harness_arguments import integer, not_used
from npi_jax.evaluation.models import EvaluateError

KNOWN = ("run", "member", "pretrained", "max_length")


def test_arguments_that_the_harness_passes_are_accepted():
    # What its command line gives with --batch_size auto --trust_remote_code, and what its guide puts in --model_args.
    given = {"batch_size": "auto", "max_batch_size": None, "device": "cuda:0", "trust_remote_code": True}
    given |= {"dtype": "float16", "parallelize": True, "revision": "main", "peft": None}
    assert not_used(given, KNOWN) == [
        "batch_size=auto", "device=cuda:0", "trust_remote_code=True", "dtype=float16", "parallelize=True",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memeber": 3}, ("memeber=3", "did you mean member?")),
        ({"zzz": 1}, ("zzz=1", "run, member, pretrained, max_length")),
        ({"peft": "adapter"}, "peft='adapter'"),
        ({"revision": "step3000"}, "revision='step3000'"),
        ({"backend": "seq2seq"}, "backend='seq2seq'"),
    ],
)
def test_arguments_that_would_change_scores_are_refused(given, message):
    with pytest.raises(EvaluateError, match=facts("--model_args: ", message)):
        not_used(given, KNOWN)


@pytest.mark.parametrize("value", ["x", -1, 1.5, True, None, [1], "1e99", float("nan"), float("inf")])
def test_numbers_are_whole(value):
    with pytest.raises(EvaluateError, match=facts("--model_args: member=", "whole number from 0")):
        integer("member", value, 0)
    assert integer("member", "3", 0) == 3
