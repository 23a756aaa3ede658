"""The adapter against the harness's own model class, on the same weights."""

import json

import jax
import numpy as np
import pytest

from npi_jax.corpus.hf_tokenizer import hf_tokenizer_files
from npi_jax.corpus.tokenizer import BPETokenizer
from npi_jax.evaluate import EvaluateError
from npi_jax.models import TransformerConfig, make_model, save_hf

pytest.importorskip("torch")
pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = [
    "Nobody has ever seen the number here.",
    "Somebody has ever seen the number there, at all.",
    "The number was not seen by anybody yet; it hid.",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    tokenizer = BPETokenizer.train(TEXT * 4, size=300)
    model = make_model(TransformerConfig(width=32, layers=2, heads=4, mlp=48, max_positions=40), tokenizer.vocab_size)
    params = jax.tree.map(lambda leaf: leaf * 6, model.init(jax.random.key(0)))
    path = tmp_path_factory.mktemp("hf") / "model"
    save_hf(path, model, params, start=0, end=0, files=hf_tokenizer_files(tokenizer))
    return path


@pytest.fixture(scope="module")
def both(directory):
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    from npi_jax.lm_eval import NpiJaxLM  # noqa: PLC0415

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
    with pytest.raises(EvaluateError, match="asks for sampling"):
        ours.generate_until(instances("generate_until", ("a", {"do_sample": True})))


def test_the_harness_runs_a_task_with_it(directory):
    import lm_eval  # noqa: PLC0415

    import npi_jax.lm_eval  # noqa: F401, PLC0415

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


def test_what_is_missing_is_said():
    from npi_jax.lm_eval import NpiJaxLM  # noqa: PLC0415

    with pytest.raises(EvaluateError, match="either run=DIR or pretrained=DIR"):
        NpiJaxLM()
