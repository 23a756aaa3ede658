import multiprocessing
import os

import polars as pl
import pytest
from declared import make_table
from facts import facts, sentence_with
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.errors import UserError
from npi_jax.experiment.claim import claim_run
from npi_jax.experiment.description import check_same_spec
from npi_jax.files.temporary import temporary_name
from npi_jax.files.writing import write_table
from npi_jax.results.directory import RunError, open_run
from npi_jax.results.tables_learning import Curves
from npi_jax.results.tables_training import Members, Metrics
from npi_jax.scoring import ScoreSpec

CONFIG = {"name": "x", "run_dir": "here", "train": {"steps": 3, "rates": (1, 2)}}


@pytest.mark.parametrize(("left", "stays"), [("corpus.parquet", False), ("metrics/0.parquet", True)])
def test_an_empty_folder_is_empty_again_where_a_run_is_refused_before_it_trained(tmp_path, left, stays):
    def refuse() -> None:
        (tmp_path / left).parent.mkdir(exist_ok=True)
        (tmp_path / left).touch()
        (tmp_path / "checkpoints").mkdir()
        raise RunError("refused")

    with pytest.raises(RunError), claim_run(tmp_path, CONFIG):
        refuse()
    assert [path.name for path in tmp_path.iterdir() if not stays] == []
    assert (tmp_path / left).exists() is stays


def test_a_claimed_run_can_be_opened_and_claimed_again(tmp_path):
    with claim_run(tmp_path / "run", CONFIG) as run:
        run.update_manifest(a=1)
        run.update_manifest(b=2)
    with claim_run(tmp_path / "run", CONFIG | {"run_dir": "elsewhere"}):
        pass
    opened = open_run(tmp_path / "run")
    assert opened.manifest == {"a": 1, "b": 2}
    assert opened.config["train"] == {"steps": 3, "rates": [1, 2]}


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    with claim_run(tmp_path, CONFIG):
        pass
    changed = CONFIG | {"train": {"steps": 4, "rates": (1, 2), "new": 0}}
    # A run that has only prepared data takes another configuration.
    for config in (changed, CONFIG):
        with claim_run(tmp_path, config) as run:
            assert run.config["train"]["steps"] == config["train"]["steps"]
    write_table(tmp_path / "ngram.parquet", pl.DataFrame({"x": [1]}))
    with claim_run(tmp_path, changed):
        assert not (tmp_path / "ngram.parquet").exists(), "what another configuration made is gone"
    with claim_run(tmp_path, CONFIG):
        pass
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "0.parquet").write_text("")
    with pytest.raises(RunError) as caught, claim_run(tmp_path, changed):
        pass
    assert sentence_with(str(caught.value), "train.steps: 3", "4")
    assert sentence_with(str(caught.value), "train.new: None", "0")
    assert "train.rates" not in str(caught.value)


def test_a_field_that_is_newer_than_the_run_counts_as_its_default(tmp_path):
    config = make_config(tiny_values()).to_dict()
    older = {**config, "corpus": {name: value for name, value in config["corpus"].items() if name != "removal"}}
    with claim_run(tmp_path, older):
        (tmp_path / "scores").mkdir()
        (tmp_path / "scores" / "0.parquet").write_text("")
    with claim_run(tmp_path, config):
        pass
    changed = {**config, "corpus": {**config["corpus"], "removal": "delete"}}
    with pytest.raises(RunError, match=facts("corpus.removal: 'replace'", "'delete'")), claim_run(tmp_path, changed):
        pass


def test_the_value_of_an_automatic_normalization_is_compared_once_it_is_known(tmp_path):
    spec = ScoreSpec(normalization="sum")
    config = make_config(tiny_values()).to_dict()
    older = {**config, "score": {**config["score"], "suites": {"grammar": {"limit": 3, "spec": spec.to_dict()}}}}
    with claim_run(tmp_path, make_config(older).to_dict()) as run:
        (tmp_path / "scores").mkdir()
        (tmp_path / "scores" / "0.parquet").write_text("")
        run.update_manifest(score_specs={"grammar": spec.to_dict()})
    with claim_run(tmp_path, config) as run:
        check_same_spec(run, "grammar", spec)
        with pytest.raises(RunError, match=facts("suites.grammar.spec: normalization: 'sum'", "'matched'")):
            check_same_spec(run, "grammar", ScoreSpec(normalization="matched"))


def killed_temporary_name(name: str) -> str:
    """Return a temporary name of a process that has ended: no system has a process of that number."""
    return temporary_name(name).replace(f"-{os.getpid()}-", "-4194305-")


def _try_to_claim(path, answers):
    try:
        with claim_run(path, CONFIG):
            answers.put("claimed")
    except RunError as error:
        answers.put(str(error))


def test_a_second_process_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with claim_run(tmp_path, CONFIG):
        second = context.Process(target=_try_to_claim, args=(tmp_path, answers))
        second.start()
        assert "in use" in answers.get(timeout=60)
        second.join()
    third = context.Process(target=_try_to_claim, args=(tmp_path, answers))
    third.start()
    assert answers.get(timeout=60) == "claimed"
    third.join()


def test_foreign_folders_and_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with (
        pytest.raises(RunError, match=facts("run directory", "thesis.tex")),
        claim_run(tmp_path, CONFIG),
    ):
        pass
    with pytest.raises(RunError, match="is a file"), claim_run(tmp_path / "thesis.tex", CONFIG):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_half_written_files_of_a_killed_run_are_removed(tmp_path):
    half = tmp_path / killed_temporary_name("config.json")
    half.write_text("half")
    with claim_run(tmp_path, CONFIG):
        assert not half.exists()
    (tmp_path / "metrics").mkdir()
    half = tmp_path / "metrics" / killed_temporary_name("4.parquet")
    half.write_text("half")
    with claim_run(tmp_path, CONFIG):
        assert not half.exists()


def test_opening_what_is_not_a_run(tmp_path):
    with pytest.raises(RunError, match=facts("run directory")):
        open_run(tmp_path)


def test_tables_are_joined_with_members(tmp_path):
    with claim_run(tmp_path, {}):
        pass
    members = make_table(Members, {"member": [0, 1], "variant": ["full", "no_npi"]})
    write_table(tmp_path / "members.parquet", members)
    for step in (10, 2):
        metrics = make_table(Metrics, {"member": [0, 1], "step": [step] * 2})
        write_table(tmp_path / f"metrics/{step}.parquet", metrics)
    run = open_run(tmp_path)
    assert run.steps("metrics") == [2, 10]
    assert run.metrics()["step"].to_list() == [2, 2, 10, 10]
    assert run.metrics()["variant"].to_list() == ["full", "no_npi"] * 2
    with pytest.raises(RunError, match=facts("scores", "no tables")):
        run.scores()
    with pytest.raises(RunError, match=facts("tables has no tables", "npi-jax report")):
        run.curves()
    assert pl.DataFrame.equals(run.metrics(10), run.metrics().tail(2))
    curves = make_table(Curves, {"member": [0, 1]})
    write_table(tmp_path / "tables" / "curves.parquet", curves)
    assert run.curves().equals(curves)
    write_table(tmp_path / "tables" / "curves.parquet", curves.drop("delta"))
    with pytest.raises(UserError, match=facts("curves.parquet", "'delta'")):
        run.curves()
    with pytest.raises(RunError, match=facts("gradients")):
        run.alignment()
    # A run that an earlier version analyzed lacks tables that were added since.
    (tmp_path / "gradients").mkdir()
    (tmp_path / "gradients" / "2.npz").write_bytes(b"")
    with pytest.raises(RunError, match=facts("effective_tasks", "earlier version", "npi-jax report")):
        run.table("effective_tasks")
    with pytest.raises(RunError, match=facts("table", "curves")):
        run.table("finale")
    (tmp_path / "tables" / "curves.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(UserError, match=facts("curves.parquet", "Parquet")):
        run.curves()
    with pytest.raises(RunError, match=facts("tables", "run directory", "did you mean")):
        open_run(tmp_path / "tables")
    with pytest.raises(RunError, match=facts("nowhere", "exist")):
        open_run(tmp_path / "nowhere")
