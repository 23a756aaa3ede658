import io

import numpy as np
import polars as pl
import pytest
from facts import facts, sentence_with
from rich.console import Console

from npi_jax.analysis.transfer.power import _components, pooled, power_table, print_power, variance_components

SPREAD = {"seed_sd": 0.3, "item_sd": 0.3, "residual_sd": 1.0}


def test_power_rises_with_seeds_and_with_the_effect():
    small, large = (power_table(effect, **SPREAD) for effect in (-0.2, -0.6))
    assert small["rejected"].is_sorted()
    assert (large["rejected"] > small["rejected"]).all()
    assert small["detectable"].is_sorted(descending=True)
    assert small["seeds"].to_list() == [3, 5, 10, 20]
    row = small.row(0, named=True)
    assert row["error"] == pytest.approx(np.sqrt(row["rejected"] * (1 - row["rejected"]) / 2000))


def test_without_an_effect_false_alarms_are_what_is_found():
    table = power_table(0.0, **SPREAD, simulations=8000)
    assert table["rejected"].to_list() == table["false_alarms"].to_list()
    assert table["rejected"].min() >= 0.03
    assert table["rejected"].max() <= 0.07


def test_the_detectable_effect_is_found_in_four_of_five():
    detectable = power_table(0.0, **SPREAD, simulations=8000)["detectable"]
    for number, effect in enumerate(detectable):
        again = power_table(effect, **SPREAD, simulations=8000, seed=1)
        assert again["rejected"][number] == pytest.approx(0.8, abs=0.03)


def test_a_smaller_level_takes_a_larger_effect():
    usual, strict = (power_table(0.3, **SPREAD, alpha=alpha)["detectable"] for alpha in (0.05, 0.05 / 27))
    assert (strict > usual).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"seeds": (1, 3)}, "seeds=(1, 3)"),
        ({"seeds": ()}, "seeds=()"),
        ({"items": 1}, "items=1"),
        ({"simulations": 10}, "simulations=10"),
        ({"alpha": 5.0}, "alpha=5.0"),
        ({"seed_sd": -1.0}, "negative"),
        ({"item_sd": np.nan}, "finite"),
    ],
)
def test_bad_arguments_are_refused(bad, message):
    with pytest.raises(ValueError, match=facts(message)):
        power_table(0.3, **{**SPREAD, **bad})


def test_no_variance_at_all_is_refused():
    with pytest.raises(ValueError, match="nor all 0"):
        power_table(0.3, seed_sd=0.0, item_sd=0.0, residual_sd=0.0)


def test_the_printed_table():
    out = io.StringIO()
    print_power(power_table(0.05, **SPREAD, outcome="accuracy", items=30), Console(file=out, width=100))
    text = out.getvalue()
    assert sentence_with(text, "power", "0.05", "accuracy", "30 items")
    assert sentence_with(text, "effect", "80%")
    assert len([line for line in text.splitlines() if "±" in line]) == 4


def test_components_of_a_run_are_recovered():
    random = np.random.default_rng(0)
    seeds, items = 60, 80
    spread = {"seed_sd": 0.5, "item_sd": 0.8, "residual_sd": 1.0}
    own = random.normal(size=(seeds, items))
    difference = (
        0.3
        + 0.5 * random.normal(size=(seeds, 1))
        + 0.8 * random.normal(size=(1, items))
        + random.normal(size=(seeds, items))
    )
    deltas = np.stack([own, own + difference])
    members = pl.DataFrame(
        {
            "member": range(2 * seeds),
            "variant": ["full"] * seeds + ["no_npi"] * seeds,
            "seed": [*range(seeds)] * 2,
            "learning_rate": 0.1,
            "weight_decay": 0.0,
            "dropout": 0.0,
            "status": "ok",
        }
    )
    frame = pl.DataFrame(
        {
            "member": np.repeat(np.arange(2 * seeds), items),
            "step": 8,
            "item": np.tile([str(i) for i in range(items)], 2 * seeds),
            "delta": deltas.ravel(),
            "correct": (deltas.ravel() > 0).astype(float),
        }
    )
    constant = {"suite": "grammar", "paradigm": "p", "task": "only", "kind": "licensor", "region": "critical"}
    scores = frame.with_columns(**{name: pl.lit(value) for name, value in constant.items()})
    table = variance_components(scores, members)
    assert set(table["outcome"]) == {"accuracy", "delta", "auc", "auc_delta"}
    row = table.filter(outcome="delta").row(0, named=True)
    assert row["effect"] == pytest.approx(difference.mean())
    for name, value in spread.items():
        assert row[name] == pytest.approx(value, rel=0.2)
    assert (row["n_seeds"], row["n_items"], row["intervention"]) == (seeds, items, "no_npi")
    # One seed says nothing of seeds.
    assert variance_components(scores, members.filter(pl.col("seed") == 0)).is_empty()


def test_few_seeds_do_not_make_a_pilot_look_precise():
    """Medians of standard deviations that are cut at 0 would be about half as large as the truth."""
    random = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        values = 0.3 * random.normal(size=(2, 1)) + 0.3 * random.normal(size=(1, 40)) + random.normal(size=(2, 40))
        rows.append(_components(values))
    table = pl.DataFrame(rows)
    still = table.with_columns(pl.col("^.*_(sd|variance)$") * 0.0)
    found = pooled(pl.concat([table, still]))
    assert found["seed_sd"] == pytest.approx(0.3, abs=0.04)
    assert found["item_sd"] == pytest.approx(0.3, abs=0.04)
    assert found["residual_sd"] == pytest.approx(1.0, abs=0.02)
    assert table["seed_sd"].median() < 0.25
    with pytest.raises(ValueError, match="nothing varies"):
        pooled(still)
