"""The project's own files agree with one another: version, citation, workflow, hooks, documentation."""

import os
import re
import tomllib

import yaml
from documents import DOCS, ROOT

import npi_jax

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_version_is_one():
    assert yaml.safe_load(read("CITATION.cff"))["version"] == npi_jax.__version__
    assert re.search(rf"^## {re.escape(npi_jax.__version__)}$", read("CHANGELOG.md"), re.MULTILINE)


def test_the_citation_has_what_the_format_requires():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert citation["license"] == PROJECT["license"]["text"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_workflow_runs_what_developers_run():
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    made = {word for line in read(".ci/run").splitlines() if not line.startswith("#") for word in line.split()}
    assert made >= {"make", "quickstart", "test", "lint", "docs", "parity", "drills"}


def test_hooks_run_the_tools_of_make_lint():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0].rpartition("/")[2] for hook in hooks}
    lint = read("Makefile").partition("\nlint:")[2].partition("\n\n")[0]
    assert tools == set(re.findall(r"\$\(BIN\)/(\w+)", lint))


def test_every_page_is_in_the_navigation():
    """Of those that are written by hand; `mkdocs build` only notes one that is not."""
    navigation = read("mkdocs.yml").partition("\nnav:")[2]
    missing = [page for page in DOCS.rglob("*.md") if f"{page.relative_to(DOCS).as_posix()}\n" not in navigation]
    assert not missing


def test_extras_have_ranges_and_versions():
    """What the documentation and the tests install is in constraints.txt too."""
    constraints = {line.partition("==")[0].lower() for line in read("constraints.txt").splitlines() if "==" in line}
    for extra in ("docs", "test"):
        for requirement in PROJECT["optional-dependencies"][extra]:
            name = re.match(r"[\w.-]+", requirement)[0].lower()
            assert name == "npi-jax" or name in constraints, requirement
            assert name == "npi-jax" or re.search(r"[<>]=?\d", requirement), requirement
