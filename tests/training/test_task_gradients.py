"""Gradients that a training run compares: what is written, that it resumes exactly, and what is refused."""

import io

import numpy as np
import polars as pl
import pytest
from declared import check_run
from facts import facts
from rich.console import Console
from tiny import tiny_values

from npi_jax.analysis.tables import write_tables
from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.errors import UserError
from npi_jax.experiment.claim import claim_run
from npi_jax.models import make_model
from npi_jax.preparation.prepare import prepare
from npi_jax.results.directory import open_run
from npi_jax.results.schema import TABLES
from npi_jax.training.monitor.display import Display
from npi_jax.training.monitor.stopping import Stopped, StopRequest
from npi_jax.training.setup import make_trainer
from npi_jax.training.task_gradients import make_task_gradients

CHANGES = {"gradients__enabled": True, "train__steps": 8, "checkpoints__every": 4}


class StopLater(StopRequest):
    """Asks to stop the n-th time it is asked."""

    left = 4

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.left -= 1
        return self.left <= 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


def train(path, prepared, stop=None, **changes):
    config = make_config(tiny_values(**{**CHANGES, **changes}))
    console = Console(file=io.StringIO(), width=120)
    with claim_run(path, config.to_dict()) as run, Display(console, 8, [m.variant for m in config.members]) as display:
        trainer = make_trainer(run, config, prepared, display, stop or StopRequest())
        trainer.train()
    return trainer


def make_gradients(config, prepared):
    model = make_model(config.model, prepared.tokenizer.vocab_size)
    return make_task_gradients(config, model, prepared.gradient_suite, prepared.valid, prepared.tokenizer.eos)


@pytest.fixture(scope="module")
def prepared():
    return prepare(make_config(tiny_values(**CHANGES)), lambda line: None)


@pytest.fixture(scope="module")
def path(tmp_path_factory, prepared):
    path = tmp_path_factory.mktemp("gradients")
    train(path, prepared)
    return path


def arrays(path, step):
    with np.load(path / f"gradients/{step}.npz") as file:
        return dict(file)


def test_every_checkpoint_has_the_products_of_all_members(path):
    assert open_run(path).steps("gradients") == [0, 1, 2, 4, 8]
    for step in (0, 1, 2, 4, 8):
        found = arrays(path, step)
        assert found["tasks"].tolist() == [*ENVIRONMENTS, "lm"]
        assert found["groups"].tolist() == ["embedding", "output", "recurrent_0"]
        assert found["n_items"].shape == (10, 4)
        assert (found["suite"].item(), found["kind"].item()) == ("grammar", "licensor")
        for name in ("gram", "gram_abs", "gram_adam"):
            assert found[name].shape == (4, 3, 40, 40)
        assert np.isfinite(found["gram"]).all()
        # Before the first update there is no second moment.
        assert np.isnan(found["gram_adam"]).all() == (step == 0)


def test_members_of_one_seed_begin_alike_and_part_with_their_data(path):
    first, last = arrays(path, 0)["gram"], arrays(path, 8)["gram"]
    # Members: full with seeds 0 and 1, no_npi with seeds 0 and 1.
    np.testing.assert_array_equal(first[0], first[2])
    assert (first[0] != first[1]).any()
    assert (last[0] != last[2]).any()


def test_the_last_checkpoint_has_single_items_and_steps_tried(path):
    found = arrays(path, 8)
    assert found["item_gram"].shape == (4, 3, 18, 18)
    assert found["item_task"].tolist() == [name for name in ENVIRONMENTS for _ in range(2)]
    words = {str(npi) for npi in found["item_npi"]}
    assert words <= {"any", "anything", "ever", "yet", "at all", "in years", "either"}
    assert found["lookahead"].shape == (4, 10, 10)
    assert "item_gram" not in arrays(path, 4)


def test_a_run_that_was_stopped_is_bitwise_one_that_was_not(path, prepared, tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, prepared, StopLater())
    assert not (tmp_path / "gradients/8.npz").exists()
    train(tmp_path, prepared)
    for step in (0, 1, 2, 4, 8):
        assert (tmp_path / f"gradients/{step}.npz").read_bytes() == (path / f"gradients/{step}.npz").read_bytes()


def test_tables_can_be_made_and_opened(path, prepared):
    run = open_run(path)
    # Preparation writes this table, not the trainer.
    prepared.table.write_parquet(path / "corpus.parquet")
    write_tables(run)
    assert check_run(path) >= {name for name, table in TABLES.items() if "gradients" in table.WHEN}
    assert run.alignment().filter(step=8)["group"].unique().sort().to_list() == [
        "all",
        "embedding",
        "output",
        "recurrent",
        "recurrent_0",
    ]
    assert set(run.transfer()["removed"]) == {"all"}
    assert run.link()["reason"].str.len_chars().min() > 0
    assert run.table("alignment_mean").filter(pl.col("statistic") == "environments").height > 0


def test_without_a_second_moment_nothing_is_preconditioned(tmp_path, prepared):
    config = make_config(tiny_values(**CHANGES, train__optimizer="sgd"))
    gradients = make_gradients(config, prepared)
    gradients.write(tmp_path / "8.npz", {"gram": np.ones((1, 3, 40, 40))}, step=8)
    with np.load(tmp_path / "8.npz") as file:
        assert np.isnan(file["gram_adam"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradients__micro_batches": 16}, ("gradients", "'grammar'", "'adverbs'", "8")),
        ({"gradients__kind": "npi"}, ("'npi'", "licensor, scope")),
        ({"gradients__text_rows": 1000, "gradients__micro_batches": 200}, "too few"),
    ],
)
def test_what_cannot_be_compared_is_said_before_training(prepared, changes, message):
    config = make_config(tiny_values(**CHANGES | {"gradients__text_rows": 0} | changes))
    with pytest.raises(UserError, match=facts(message)):
        make_gradients(config, prepared)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradients__suite": "blimp"}, ("gradients.suite='blimp'", "score.suites", "grammar")),
        ({"gradients__text_rows": 3}, ("text_rows=3", "4 micro-batches")),
        ({"gradients__micro_batches": 1}, "gradients.micro_batches"),
    ],
)
def test_the_configuration_is_checked(changes, message):
    with pytest.raises(ConfigError, match=facts(message)):
        make_config(tiny_values(**changes))
