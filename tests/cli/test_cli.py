import shutil
import subprocess
import sys

import pytest
from declared import check_run
from facts import sentence_with
from tiny import tiny_values

from npi_jax.cli.main import main
from npi_jax.results.directory import open_run
from npi_jax.results.schema import TABLES

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({values!r})
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG.format(values=tiny_values(train__steps=2, run_dir=str(tmp_path / "run"))))
    return str(path)


def test_run_goes_from_config_to_report(config_file, tmp_path, capsys):
    assert main(["run", "--config", config_file, "--config.score.every=2"]) == 0
    shown = capsys.readouterr().out
    assert "4 members" in shown
    assert "what each variant changes" in shown
    assert str(tmp_path / "run" / "report" / "index.html") in shown.replace("\n", "")
    run = open_run(tmp_path / "run")
    assert run.curves().height > 0
    assert run.manifest["model"]["parameters"] > 0
    assert run.manifest["seconds"].keys() >= {"prepare", "compile", "train", "score", "save", "total"}
    assert (tmp_path / "run" / "tokenizer").is_dir()
    every_run_has = {name for name, table in TABLES.items() if table.FILE and not table.WHEN}
    assert check_run(tmp_path / "run") == every_run_has
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "4 LSTM language models" in page
    assert sentence_with(page, "2 steps", "2 CPU devices")
    # Other text behind the same configuration is refused.
    data = run.manifest["data"]
    run.update_manifest(data=data | {"corpus_sha256": "0" * 64})
    assert main(["run", "--config", config_file, "--config.score.every=2"]) == 1
    assert sentence_with(capsys.readouterr().err, "corpus_sha256", "000000000000")
    run.update_manifest(data=data)
    # Once more: nothing is left to train; the report is rebuilt.
    assert main(["run", "--config", config_file, "--config.score.every=2"]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    # Two runs side by side.
    shutil.copytree(tmp_path / "run", tmp_path / "twin")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run"), str(tmp_path / "twin"), "--out", str(tmp_path / "both.html")]) == 0
    assert str(tmp_path / "both.html") in capsys.readouterr().out.replace("\n", "")
    assert "twin" in (tmp_path / "both.html").read_text()
    # How many seeds it takes, from how much these two differ.
    power = ["plan", "--power", "--effect", "0.1", "--outcome", "delta", "--run", str(tmp_path / "run")]
    assert main(power) == 0
    shown = capsys.readouterr().out
    assert sentence_with(shown, "power", "0.1", "delta", "3 items")
    assert [line.split()[0] for line in shown.splitlines() if "±" in line] == ["3", "5", "10", "20"]


def test_prepare_shows_and_keeps_the_variants(config_file, tmp_path, capsys):
    assert main(["prepare", "--config", config_file]) == 0
    assert "no_npi" in capsys.readouterr().out
    assert open_run(tmp_path / "run").corpus()["variant"].to_list() == ["full", "no_npi"]


def test_presets_are_listed(capsys):
    assert main(["presets"]) == 0
    assert "quickstart" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--config", "quikstart"], "did you mean quickstart?"),
        (["run", "--config", "quickstart", "--config.train.steps=0"], "train.steps = 0"),
        (["report", "no/such/run"], "no/such/run does not exist"),
        (["plan", "--power"], "--power needs --effect"),
        (["plan", "--power", "--effect", "nan"], "--effect nan: the effect must be a finite number"),
        (["plan", "--power", "--effect", "5", "--outcome", "accuracy"], "accuracies differ by at most 1"),
        (["plan", "--power", "--effect", "1", "--items", "0"], "--items 0: at least 2"),
        (["plan", "--power", "--effect", "1", "--config", "quickstart"], "--power reads no config"),
        (["plan", "--power", "--effect", "0.1", "--seed-sd", "0.1"], "needs --item-sd, --residual-sd, or --run RUN"),
    ],
)
def test_user_errors_are_one_line(arguments, words, capsys):
    assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["plan", "--config", "quickstart", "--effect", "1"],
        ["report", "a", "--out", "b.html"],
        [],
        ["fly"],
        ["run"],
        ["run", "--config", "quickstart", "--steps=3"],
        ["presets", "x"],
    ],
)
def test_bad_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_has_examples_and_loads_nothing_heavy():
    code = "import sys; from npi_jax.cli.main import parser; print(parser().format_help()); print('jax' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "npi-jax run quickstart" in shown
    assert shown.strip().endswith("False")


@pytest.mark.parametrize("words", [["quickstart", "--config.train.stepz=2"], ["typo.py"]])
def test_a_typo_is_reported_before_jax_and_flax_are_loaded(words, tmp_path):
    (tmp_path / "typo.py").write_text(CONFIG.format(values=tiny_values(train__stepz=2)))
    heavy = {"jax", "flax", "polars", "matplotlib", "orbax", "scipy"}
    code = f"import sys; from npi_jax.cli.main import main; print(main(sys.argv[1:]), {heavy} & {{*sys.modules}})"
    command = [sys.executable, "-c", code, "run", *words]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.stdout == "1 set()\n"
    assert "(did you mean steps?)" in ended.stderr
