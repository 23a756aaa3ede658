import io

import pytest
from rich.console import Console
from tiny import tiny_values

from npi_jax.config import ConfigError, make_config
from npi_jax.plan import make_plan, print_plan

PLANNED = {"tokenizer__size": 100, "corpus__planned_tokens": 3200}


def test_the_plan_counts_what_there_will_be():
    plan = make_plan(make_config(tiny_values(**PLANNED)))
    parameters = 100 * 8 + 8 * 32 + 8 * 32 + 32 + 8 * 100 + 100
    assert plan.parameters == parameters
    assert plan.members == 4
    assert plan.bytes_per_device["parameters"] == 2 * 4 * parameters
    # Adam keeps two moments of each parameter.
    assert 2 < plan.bytes_per_device["optimizer state"] / plan.bytes_per_device["parameters"] < 2.1
    assert plan.bytes_per_device["corpus rows"] == 150 * (33 * 2 + 4)
    assert plan.tokens_per_step == (8 * 32, 4 * 8 * 32)
    assert plan.tokens == 10 * 8 * 32
    assert plan.checkpoints == 6


def test_the_plan_is_printed():
    stream = io.StringIO()
    print_plan(make_config(tiny_values(**PLANNED)), Console(file=stream, width=120))
    assert "bytes per device: parameters" in stream.getvalue()
    assert "tokens per step, all members" in stream.getvalue()


def test_what_is_not_known_is_asked_for():
    files = {"corpus": {"source": "text", "paths": ("a",), "valid_paths": ("b",)}}
    with pytest.raises(ConfigError, match=r"set tokenizer.size"):
        make_plan(make_config(tiny_values(**files)))
    with pytest.raises(ConfigError, match=r"set corpus.planned_tokens"):
        make_plan(make_config(tiny_values(tokenizer__size=100, **files)))


def test_the_grammar_need_not_be_described():
    plan = make_plan(make_config(tiny_values()))
    assert plan.parameters > 300 * 16
