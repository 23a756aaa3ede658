"""The adapter against the harness's own model class, on the same weights."""

import dataclasses
import json
import logging
import math

import jax
import numpy as np
import pytest
import tokenizers
from facts import facts, sentence_with
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files
from npi_jax.corpus.text.tokenizer import BPETokenizer
from npi_jax.evaluation.models import EvaluateError, open_models
from npi_jax.models import TransformerConfig, make_model, save_hf

pytest.importorskip("torch")
pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = [
    "Nobody has ever seen the number here.",
    "Somebody has ever seen the number there, at all.",
    "The number was not seen by anybody yet; it hid.",
]


def write(path, template=None):
    """A random model; with a template its tokenizer puts special tokens around texts."""
    tokenizer = BPETokenizer.train(TEXT * 4, size=300)
    model = make_model(TransformerConfig(width=32, layers=2, heads=4, mlp=48, max_positions=40), tokenizer.vocab_size)
    params = jax.tree.map(lambda leaf: leaf * 6, model.init(jax.random.key(0)))
    files = hf_tokenizer_files(tokenizer)
    if template:
        backend = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single=template, special_tokens=[("<eos>", 0)]
        )
        files["tokenizer.json"] = backend.to_str().encode()
    save_hf(path, model, params, start=0, end=0, files=files)


@pytest.fixture(scope="module", params=[None, "<eos> $A <eos>"], ids=["bare", "among special tokens"])
def directory(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("hf") / "model"
    write(path, request.param)
    return path


@pytest.fixture(scope="module")
def both(directory):
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    from npi_jax.evaluation.lm_eval import NpiJaxLM  # noqa: PLC0415

    return NpiJaxLM(pretrained=str(directory)), HFLM(
        pretrained=str(directory), device="cpu", batch_size=2, dtype="float32"
    )


def instances(kind: str, *arguments):
    from lm_eval.api.instance import Instance  # noqa: PLC0415

    return [Instance(request_type=kind, doc={}, arguments=given, idx=i) for i, given in enumerate(arguments)]


def test_log_likelihoods_agree(both):
    ours, theirs = both
    pairs = [("", text) for text in TEXT] + [("", " " + text) for text in TEXT]
    pairs += [("Nobody has", " ever seen"), ("Nobody has ", "ever"), ("A " * 60, "number")]
    requests = instances("loglikelihood", *pairs)
    expected, got = theirs.loglikelihood(requests, disable_tqdm=True), ours.loglikelihood(requests, disable_tqdm=True)
    np.testing.assert_allclose([value for value, _ in got], [value for value, _ in expected], atol=1e-3)
    assert [best for _, best in got] == [best for _, best in expected]
    # A greedy continuation is seen to be one.
    context, new = ours.tok_encode("Nobody has"), []
    for _ in range(3):
        new.append(ours._next(context + new))
    other = [*new[:2], (new[2] + 1) % 200]
    found = ours._loglikelihood_tokens([(("", ""), context, new), (("", ""), context, other)])
    assert [best for _, best in found] == [True, False]


def test_rolling_log_likelihoods_agree(both):
    ours, theirs = both
    requests = instances("loglikelihood_rolling", *[(text,) for text in [*TEXT, " ".join(TEXT * 3)]])
    np.testing.assert_allclose(
        ours.loglikelihood_rolling(requests), theirs.loglikelihood_rolling(requests, disable_tqdm=True), rtol=1e-4
    )


def test_greedy_generations_agree(both):
    ours, theirs = both
    requests = instances(
        "generate_until",
        *[(text, {"until": [stop], "max_gen_toks": 12, "do_sample": False}) for text in TEXT for stop in (".", "h")],
    )
    assert ours.generate_until(requests) == theirs.generate_until(requests, disable_tqdm=True)
    with pytest.raises(EvaluateError, match=facts("sampling")):
        ours.generate_until(instances("generate_until", ("a", {"do_sample": True})))


def test_the_harness_runs_a_task_with_it(directory):
    import lm_eval  # noqa: PLC0415

    import npi_jax.evaluation.lm_eval  # noqa: F401, PLC0415

    task = {
        "task": "pairs",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": str(directory.parent / "pairs.jsonl")}},
        "output_type": "multiple_choice",
        "validation_split": "train",
        "doc_to_text": "",
        "doc_to_target": 0,
        "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
        "metric_list": [{"metric": "acc"}],
    }
    lines = [json.dumps({"sentence_good": TEXT[0], "sentence_bad": TEXT[1]})] * 3
    (directory.parent / "pairs.jsonl").write_text("\n".join(lines))
    results = lm_eval.simple_evaluate(
        model="npi_jax", model_args={"pretrained": str(directory)}, tasks=[task], bootstrap_iters=0
    )
    assert results["results"]["pairs"]["acc,none"] in (0.0, 1.0)


def test_a_continuation_whose_token_began_in_the_context_counts_with_all_of_it(both, caplog):
    ours, theirs = both
    # The context ends inside the word "number", which is one token.
    context, continuation = "Nobody has ever seen the num", "ber"
    whole = ours.tokenizer.encode(context + continuation).ids.tolist()
    assert len(ours.tokenizer.encode(context).ids) > len(whole)
    before = [*ours.tokenizer.prefix, *whole[:-1]]
    with caplog.at_level(logging.WARNING):
        (got,) = ours.loglikelihood(instances("loglikelihood", (context, continuation)))
    ((expected, _),) = theirs._loglikelihood_tokens([(("", ""), before, whole[-1:])], disable_tqdm=True)
    assert got[0] == pytest.approx(expected, abs=1e-3)
    assert sentence_with(caplog.text, "first token", "'ber'", "context")
    # The harness's own model stops there.
    if not ours.tokenizer.suffix:
        with pytest.raises(AssertionError):
            theirs.loglikelihood(instances("loglikelihood", (context, continuation)), disable_tqdm=True)


def test_truncation_is_logged(both, caplog):
    ours, _ = both
    with caplog.at_level(logging.WARNING):
        ours.loglikelihood(instances("loglikelihood", ("A", " number"), ("A " * 60, "number"), ("A " * 70, "number")))
    lost = len(ours.tok_encode("A " * 70 + "number")) - 41
    told = f"2 of 3 requests exceed the model's maximum length (40): up to {lost} tokens were truncated from the left."
    assert [record.getMessage() for record in caplog.records] == [told]
    with pytest.raises(EvaluateError, match=r"' number.*' .*\d+ tokens.*max_length .*\b40\b"):
        ours.loglikelihood(instances("loglikelihood", ("A", " number" * 60)))
    with pytest.raises(EvaluateError, match=facts("continuation", "empty")):
        ours.loglikelihood(instances("loglikelihood", ("A", "")))


def test_special_tokens_are_left_out_on_request(directory):
    from npi_jax.evaluation.lm_eval import NpiJaxLM  # noqa: PLC0415

    bare = NpiJaxLM(pretrained=str(directory), add_bos_token=False)
    assert bare.tok_encode("Nobody has") == bare.tokenizer.encode("Nobody has").ids.tolist()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "model"
    write(path)
    return str(path)


def test_arguments_that_the_harness_passes_are_accepted(plain, caplog):
    from npi_jax.evaluation.lm_eval import NpiJaxLM  # noqa: PLC0415

    with caplog.at_level(logging.WARNING):
        string = f"pretrained={plain},dtype=bfloat16,trust_remote_code=True,parallelize=False"
        found = NpiJaxLM.create_from_arg_string(string, {"batch_size": "auto", "device": "cpu", "max_batch_size": None})
    assert sentence_with(caplog.text, "dtype=bfloat16", "float32")
    assert math.isfinite(found.loglikelihood(instances("loglikelihood", ("A", " number")))[0][0])


def test_missing_and_invalid_arguments_are_named(plain, monkeypatch, capsys):
    from npi_jax.evaluation import lm_eval  # noqa: PLC0415

    for arguments, message in (
        ({}, ("run=DIR", "pretrained=DIR")),
        ({"run": f"{plain}x"}, (f"{plain}x: ", "no such directory")),
        ({"pretrained": "gpt2"}, ("gpt2: ", "no such directory", "downloaded")),
        ({"run": plain}, ("Hugging Face checkpoint", "run", "steps", "members")),
        ({"pretrained": plain, "member": 3}, ("member=3", "pretrained=DIR")),
        ({"pretrained": plain, "max_length": "x"}, ("max_length='x'", "whole number from 1")),
        ({"pretrained": plain, "max_length": 0}, ("max_length=0", "whole number from 1")),
        ({"pretrained": plain, "max_length": 41}, ("max_length=41", "40 positions")),
        ({"run": "x", "run_code": "yes"}, ("run_code='yes'", "True", "False")),
        ({"pretrained": plain, "seteps": 1}, ("seteps=1", "did you mean step")),
    ):
        with pytest.raises(EvaluateError, match=facts(message)):
            lm_eval.NpiJaxLM(**arguments)
    models = dataclasses.replace(open_models([plain]), config=make_config(tiny_values()))
    monkeypatch.setattr(lm_eval, "open_models", lambda paths: models)
    with pytest.raises(EvaluateError, match=facts("run directory", "run=")):
        lm_eval.NpiJaxLM(pretrained=plain)
    # On the command line it is one line.
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lm_eval.NpiJaxLM)
    monkeypatch.setattr(lm_eval, "verify_compile_cache", lambda say: None)
    with pytest.raises(SystemExit, match="1"):
        lm_eval.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence_with(line, "npi-jax: ", "run=DIR", "pretrained=DIR", "--model_args")


def test_the_command_line_verifies_compiled_programs_before_it_evaluates(monkeypatch):
    from npi_jax.evaluation import lm_eval  # noqa: PLC0415

    called = []
    monkeypatch.setattr(lm_eval, "verify_compile_cache", lambda say: called.append("checked"))
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: called.append("evaluated"))
    lm_eval.main()
    assert called == ["checked", "evaluated"]
