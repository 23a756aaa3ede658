import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from facts import facts

from npi_jax.suites import SuiteError, evaluate_predictions, load_suite
from npi_jax.suites.predictions import METRICS


def make_file(path: Path, **changes) -> Path:
    def condition(name, *regions):
        contents = [{"region_number": i, "content": content} for i, content in enumerate(regions, 1)]
        return {"condition_name": name, "regions": contents}

    items = [
        {
            "item_number": n,
            "conditions": [condition("x", "No", "dog ", " has", ""), condition("y", "Some", "dog", "has", "ever")],
        }
        for n in (1, 2)
    ]
    record = {
        "meta": {"name": "tiny", "metric": "sum"},
        "predictions": [{"type": "formula", "formula": "(3;%x%) > (3;%y%)"}],
        "items": items,
    }
    path.write_text(json.dumps(record | changes))
    return path


def test_regions_are_joined_and_found_again(tmp_path):
    suite = load_suite("syntaxgym", make_file(tmp_path / "tiny.json"))
    condition = suite.items[0].conditions["x"]
    assert condition.text == "No dog has"
    assert {name: span and condition.text[slice(*span)] for name, span in condition.regions.items()} == {
        "1": "No",
        "2": "dog",
        "3": "has",
        "4": None,
        "*": "No dog has",
    }


@pytest.mark.parametrize("metric", METRICS)
def test_predictions_are_evaluated_in_bits(tmp_path, metric):
    bits = "(3;%x%) = 2"
    path = make_file(tmp_path / "t.json", meta={"name": "t", "metric": metric}, predictions=[{"formula": bits}])
    suite = load_suite("syntaxgym", path)
    sums = np.array([-2.0, -9.0, -3.0, -9.0]) * math.log(2)
    table = evaluate_predictions(
        suite, lambda region: sums, lambda index, region: np.array([sums[index]] if index else [])
    )
    expected = {"sum": [1, 0], "range": [None, 0]}.get(metric, [None, 0])
    assert table["result"].to_list() == expected
    assert table["item"].to_list() == ["t/1", "t/2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictions": [{"formula": "(9;%x%) > (3;%y%)"}]}, ("region 9", "condition 'x'", "'tiny/1'")),
        ({"predictions": [{"formula": "(3;%x%) >"}]}, "prediction 0, column 10"),
        ({"meta": {"name": "tiny", "metric": "mode"}}, ("metric", "'mode'", "sum, mean")),
        ({"meta": {}}, ("meta: ", "'name'")),
        ({"items": []}, "no items"),
        ({"items": [{"item_number": 1, "conditions": [{"condition_name": "x", "regions": []}]}]}, ("regions", "empty")),
        ({"items": [{"item_number": "one"}]}, ("'item_number'", "'one'", "integer")),
    ],
)
def test_faults_are_named(tmp_path, changes, message):
    with pytest.raises(SuiteError, match=facts(message)):
        load_suite("syntaxgym", make_file(tmp_path / "tiny.json", **changes))


DATA = Path(os.environ.get("NPI_JAX_DATA", "")) / "syntaxgym"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="NPI_JAX_DATA has no syntaxgym")


@needs_data
def test_all_published_suites_are_read():
    suite = load_suite("syntaxgym", DATA)
    assert len(suite.predictions) == 34
    n_sentences = sum(len(item.conditions) for item in suite)
    rng = np.random.default_rng(0)
    values = rng.normal(-5, 1, n_sentences)
    table = evaluate_predictions(suite, lambda region: values)
    assert table.height == sum(len(suite.predictions[item.paradigm]) for item in suite)
    assert set(table["result"].to_list()) == {0.0, 1.0}


@needs_data
def test_the_published_example_is_aggregated_alike(tmp_path):
    """syntaxgym-core's fixture: sentences, surprisals of a model's tokens, and what became of its regions."""
    fixtures = DATA / "fixtures_syntaxgym_core"
    record = json.loads((fixtures / "test_in.json").read_text())
    path = tmp_path / "suite.json"
    path.write_text(json.dumps(record | {"meta": {"name": "test", "metric": "sum"}, "predictions": []}))
    suite = load_suite("syntaxgym", path)
    sentences = (fixtures / "test_sentences.txt").read_text().splitlines()
    conditions = [condition for item in suite for condition in item.conditions.values()]
    assert [condition.text for condition in conditions] == [line for line in sentences if line]
    surprisals: dict[int, list[tuple[str, float]]] = {}
    for line in (fixtures / "test_surp_grnn.txt").read_text().splitlines()[1:]:
        sentence, _, token, value = line.split("\t")
        surprisals.setdefault(int(sentence), []).append((token, float(value)))
    expected = [
        c for item in json.loads((fixtures / "test_out_grnn.json").read_text())["items"] for c in item["conditions"]
    ]
    for number, (condition, published) in enumerate(zip(conditions, expected, strict=True), start=1):
        position, places = 0, []
        for token, value in surprisals[number]:
            if token == "<eos>":
                continue
            position = condition.text.index(token, position)
            places.append((position, value))
            position += len(token)
        for region in published["regions"]:
            start, end = condition.regions[str(region["region_number"])]
            values = np.array([value for place, value in places if start <= place < end])
            for metric, measure in METRICS.items():
                # Like syntaxgym-core's, the last region takes in what stands for the end.
                if region is not published["regions"][-1] or metric == "sum":
                    assert measure(values) == pytest.approx(region["metric_value"][metric])
