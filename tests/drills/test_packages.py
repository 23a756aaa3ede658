"""Wheel and sdist as others get them: what is in them, what the registry would refuse, the wheel in use."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from run_processes import ROOT

pytestmark = pytest.mark.drill

CONSUMER = '''"""A project that uses npi_jax, type-checked against what is installed."""

import jax
import polars as pl

import npi_jax
from npi_jax.scoring import Scorer, ScoreSpec, make_scorer
from npi_jax.suites import Item, Suite


def curves(path: str) -> pl.DataFrame:
    return npi_jax.open_run(path).curves()


def logits(params: jax.Array, tokens: jax.Array, segment_ids: jax.Array, positions: jax.Array) -> jax.Array:
    return params[tokens]


def scorer(suite: Suite, tokenizer: object) -> Scorer:
    first: Item = next(iter(suite))
    assert first.good
    return make_scorer(logits, suite.encode(tokenizer), ScoreSpec.preset("blimp_paper"))  # type: ignore[arg-type]
'''


def run(*words: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """Both, built as a release would be: the sdist from the files here, the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    succeeded(run("-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder))
    return folder


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    succeeded(run("-m", "pip", "--quiet", "install", "--no-deps", "--target", folder, wheel, folder=folder))
    return folder


def in_checkout(folder: str, pattern: str) -> set[str]:
    """Files of the checkout that match, by their path in it."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern) if path.is_file()}


def test_the_wheel_has_all_files_and_no_others(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        described = archive.read(metadata).decode()
    wanted = {name for name in in_checkout("npi_jax", "*") if "__pycache__" not in name}
    presets = {f"npi_jax/{name}" for name in in_checkout("configs", "*.py")}
    assert names == wanted | presets
    assert {"npi_jax/py.typed", "npi_jax/configs/quickstart.py"} <= names
    assert any(name.endswith("npi_en.toml") for name in names)
    assert {Path(name).suffix for name in names} >= {".js", ".css", ".html", ".toml", ".py"}
    assert "Typing :: Typed" in described
    assert "# npi_jax" in described


def test_the_sdist_has_what_the_wheel_and_the_tests_are_made_from(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "mkdocs.yml", "Makefile"} <= names
    for folder, pattern in (("tests", "*.py"), ("configs", "*.py"), ("docs", "*.md"), ("launch", "*.sh")):
        assert in_checkout(folder, pattern) <= names
    assert not [name for name in names if name.startswith(("runs/", "site/", "build/", "dist/", ".venv/"))]


def test_a_registry_would_take_them(dist):
    """Metadata and description are valid, without a warning."""
    succeeded(run("-m", "twine", "check", "--strict", *sorted(dist.iterdir()), folder=dist))


def test_the_wheel_carries_the_presets(installed, tmp_path):
    code = "import npi_jax, npi_jax.cli.main; print(npi_jax.__file__); npi_jax.cli.main.main(['presets'])"
    shown = succeeded(run("-c", code, folder=tmp_path, PYTHONPATH=str(installed)))
    assert str(installed) in shown
    for name in ("quickstart", "english", "weber2021"):
        assert name in shown


def test_types_of_the_wheel_are_seen(installed, tmp_path):
    """A consumer's project is type-checked, and a wrong type is found: the package says that it has types."""
    (tmp_path / "consumer.py").write_text(CONSUMER)
    flags = ("-m", "mypy", "--strict", "--no-incremental", "--python-executable", sys.executable)
    environment = {"MYPYPATH": "", "PYTHONPATH": str(installed)}
    succeeded(run(*flags, "consumer.py", folder=tmp_path, **environment))
    (tmp_path / "consumer.py").write_text(CONSUMER + "\n\nwrong: int = npi_jax.open_run('runs/x').curves()\n")
    found = run(*flags, "consumer.py", folder=tmp_path, **environment)
    assert found.returncode == 1
    assert "DataFrame" in found.stdout
