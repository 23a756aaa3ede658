import io

import numpy as np
import polars as pl
import pytest
from facts import facts, sentence_with
from rich.console import Console
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.experiment.claim import claim_run
from npi_jax.files.writing import write_table
from npi_jax.preparation.prepare import Prepared, prepare
from npi_jax.training.checkpoints.checkpoints import Checkpoints
from npi_jax.training.monitor.display import Display
from npi_jax.training.monitor.stopping import Stopped, StopRequest
from npi_jax.training.recording import AllDivergedError
from npi_jax.training.resuming import latest_complete_step
from npi_jax.training.setup import make_trainer


class StopAfter(StopRequest):
    """Asks to stop the n-th time it is asked."""

    def __init__(self, times: int):
        super().__init__()
        self._times = times

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self._times -= 1
        return self._times <= 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(make_config(tiny_values()), lambda line: None)


def train(path, prepared: Prepared, stop: StopRequest | None = None, profile=range(0), **changes) -> str:
    config = make_config(tiny_values(**changes))
    console = Console(file=io.StringIO(), width=120)
    with claim_run(path, config.to_dict()) as run:
        display = Display(console, config.train.steps, [member.variant for member in config.members])
        with display:
            make_trainer(run, config, prepared, display, stop or StopRequest(), profile=profile).train()
    return console.file.getvalue()  # type: ignore[attr-defined]


def tables(path) -> dict[str, pl.DataFrame]:
    return {str(file.relative_to(path)): pl.read_parquet(file) for file in sorted(path.rglob("*.parquet"))}


def test_a_run_leaves_its_tables(tmp_path, prepared):
    text = train(tmp_path, prepared)
    found = tables(tmp_path)
    assert {name for name in found if name.startswith("scores")} == {
        f"scores/{step}.parquet" for step in (0, 1, 2, 4, 8, 10)
    }
    metrics = found["metrics/10.parquet"]
    assert metrics.columns == ["member", "step", "train_loss", "valid_loss", "skipped_updates"]
    assert (metrics["valid_loss"] < found["metrics/0.parquet"]["valid_loss"]).all()
    assert found["metrics/0.parquet"]["train_loss"].is_null().all()
    scores = found["scores/10.parquet"]
    assert scores.height == 4 * 51 * 2
    np.testing.assert_array_equal(scores["delta"], scores["good"] - scores["bad"])
    assert found["members.parquet"]["status"].to_list() == ["ok"] * 4
    assert "step 10/10" in text
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 6


def test_stopping_anywhere_and_resuming_repeats_every_bit_wherever_rows_are(tmp_path, prepared):
    train(tmp_path / "whole", prepared)
    # Before step 1 there is nothing to save.
    for times, before, after in ((1, "device", "device"), (2, "device", "stream"), (5, "stream", "device")):
        path = tmp_path / f"stopped{times}"
        with pytest.raises(Stopped, match=facts("same command", "saved" if times > 1 else "no state")):
            train(path, prepared, StopAfter(times), mesh__rows=before)
        assert not (path / "metrics/10.parquet").exists()
        text = train(path, prepared, mesh__rows=after)
        assert ("resuming at step" in text) == (times > 1)
        whole, resumed = tables(tmp_path / "whole"), tables(path)
        assert whole.keys() == resumed.keys()
        for name in whole:
            assert whole[name].equals(resumed[name]), name


def test_a_checkpoint_of_step_0_is_one_to_resume_from(tmp_path, prepared):
    config = make_config(tiny_values())
    with claim_run(tmp_path, config.to_dict()) as run:
        checkpoints = Checkpoints(tmp_path / "checkpoints", config.checkpoints)
        where = run, checkpoints, [0, 1, 2, 4, 8, 10], ("metrics", "scores")
        assert latest_complete_step(*where) is None
        checkpoints.save(0, {"w": np.zeros((4, 2), np.float32)}, np.zeros((4, 2), np.uint32))
        checkpoints.wait()
        for folder in ("metrics", "scores"):
            write_table(tmp_path / folder / "0.parquet", pl.DataFrame({"step": [0]}))
            run.note_written(tmp_path / folder / "0.parquet")
        assert latest_complete_step(*where) == 0
        assert latest_complete_step(*where, before=0) is None
        checkpoints.close()


def test_the_steps_asked_for_are_traced(tmp_path, prepared):
    train(tmp_path, prepared, profile=range(3, 6))
    assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1
    assert sentence_with(train(tmp_path, prepared, profile=range(3, 6)), "before 10")


def test_a_finished_run_is_not_trained_again(tmp_path, prepared):
    train(tmp_path, prepared)
    before = (tmp_path / "log.jsonl").read_text()
    train(tmp_path, prepared)
    assert (tmp_path / "log.jsonl").read_text() == before


def test_a_checkpoint_without_its_tables_is_not_resumed_from(tmp_path, prepared):
    train(tmp_path, prepared)
    whole = tables(tmp_path)
    (tmp_path / "scores/10.parquet").unlink()
    assert "resuming at step 8" in train(tmp_path, prepared)
    assert tables(tmp_path)["scores/10.parquet"].equals(whole["scores/10.parquet"])


def test_a_member_that_diverges_is_marked_and_harms_nobody(tmp_path, prepared):
    changes = {"train__learning_rate": (0.002, 3e38), "train__clip": 0.0, "seeds": (0,)}
    train(tmp_path / "with", prepared, **changes)
    found = tables(tmp_path / "with")
    assert found["members.parquet"]["status"].to_list() == ["ok", "diverged", "ok", "diverged"]
    assert found["metrics/10.parquet"].filter(member=0)["valid_loss"].is_finite().all()
    assert found["scores/10.parquet"].filter(member=2)["delta"].is_finite().all()


def test_a_run_fails_when_all_members_diverge(tmp_path, prepared):
    with pytest.raises(AllDivergedError, match=facts("2 members", "diverged", "0 and 1", "train.learning_rate")):
        train(tmp_path, prepared, train__learning_rate=(3e38,), train__clip=0.0, seeds=(0,))
