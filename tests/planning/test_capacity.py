import jax
import pytest
from facts import facts, sentence_with
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.planning import capacity
from npi_jax.planning.capacity import check_capacity


def test_members_that_no_device_holds_are_refused_before_text_is_read():
    values = tiny_values(model={"kind": "lstm", "embedding": 8, "hidden": 10**6, "layers": 1}, tokenizer__size=100)
    # Per member: embeddings, four gates of recurrent, input and bias weights, output layer; Adam keeps three of each.
    parameters = 100 * 8 + 4 * 10**6 * (10**6 + 8 + 1) + (10**6 + 1) * 100
    with pytest.raises(ConfigError) as caught:
        check_capacity(make_config(values))
    assert sentence_with(str(caught.value), "4 members", "lstm", f"{parameters:,} parameters")
    assert f"{4 * 3 * 4 * parameters / 2**30:,.0f} GiB" in str(caught.value)


def test_what_fits_is_left_to_the_plan(monkeypatch):
    config = make_config(tiny_values(tokenizer__size=100))
    parameters = 100 * 8 + 4 * 8 * (8 + 8 + 1) + 9 * 100
    monkeypatch.setattr(capacity, "_memory", lambda: 4 * 3 * 4 * parameters)
    check_capacity(config)
    monkeypatch.setattr(capacity, "_memory", lambda: 4 * 3 * 4 * parameters - 1)
    with pytest.raises(ConfigError, match=facts(f"{parameters:,} parameters")):
        check_capacity(config)
    monkeypatch.setattr(capacity, "_memory", lambda: None)
    check_capacity(config)


def test_the_memory_of_the_machine_is_known():
    assert jax.devices()[0].platform == "cpu"
    assert 1 << 28 < (capacity._memory() or 0) < 1 << 50
