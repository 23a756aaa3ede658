"""The reference pages are complete: fields, commands, tables, modules, and in the built site every public name."""

import argparse
import ast
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from documents import DOCS, ROOT

from npi_jax.analysis.alignment import contrasts, effective
from npi_jax.analysis.alignment.estimators import REASONS
from npi_jax.cli.main import parser
from npi_jax.config.schema import MODELS, Config, SuiteConfig, SweepMember
from npi_jax.results.schema import TABLES

GENERATORS = DOCS / "reference"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(GENERATORS), *sys.path])
        written: dict[str, str] = importlib.import_module("pages").generated()
    return written


def flat(values: Mapping, path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_every_field_is_there_with_its_meaning(pages):
    rows = [line.split(" | ") for line in pages["reference/config.md"].splitlines() if line.startswith("| <a")]
    shown = {row[0].split("`")[1]: row for row in rows}
    wanted = {name.replace("suites.grammar", "suites.NAME") for name in flat(Config(name="x").to_dict())}
    for prefix, cls in (
        *(("model.", cls) for cls in MODELS.values()),
        ("sweep.*.", SweepMember),
        ("score.suites.NAME.", SuiteConfig),
    ):
        wanted |= {prefix + field.name for field in dataclasses.fields(cls)}
    assert wanted <= shown.keys()
    for name, (_, kind, default, meaning) in shown.items():
        assert kind, name
        assert meaning.strip(" |"), name
        assert default or kind.startswith("fields below") or name == "model.kind", name


def test_fields_that_may_change_say_so(pages):
    rows = [line for line in pages["reference/config.md"].splitlines() if line.startswith("| <a")]
    marked = {row.split("`")[1] for row in rows if "*May change*" in row}
    assert {"train.remat", "mesh.ens", "monitor", "monitor.watchdog"} <= marked
    assert not marked & {"train.steps", "seeds", "model.hidden", "score.suites.NAME.limit"}


def test_defaults_are_those_that_are_used(pages):
    page = pages["reference/config.md"]
    assert f"`train.steps` | integer, at least 1, below 2,147,483,648 | `{Config(name='x').train.steps}` |" in page
    assert "`name` | string | required |" in page
    assert f"`corpus.grammar.sentences` | integer | `{Config(name='x').corpus.grammar.sentences}` |" in page


def test_every_command_is_there_with_its_flags(pages):
    page = pages["reference/commands.md"]
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert all(flag in section for action in command._actions for flag in action.option_strings), name
    assert str(ROOT) not in page


def test_every_table_is_there_with_its_columns(pages):
    page = pages["reference/tables.md"]
    for name, table in TABLES.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section.count("\n| `") == len(table.COLUMNS), name
        assert all(f"| `{column}" in section and column.meaning in section for column in table.COLUMNS), name


def test_reasons_are_explained():
    text = (DOCS / "concepts" / "alignment.md").read_text(encoding="utf-8")
    reasons = [*REASONS.values(), *effective.REASONS.values(), contrasts.NO_PAIR, contrasts.ONE_SEED]
    reasons += [contrasts.NO_VARIANCE, effective.DIVERGED]
    assert {reason for reason in reasons if f"\n| {reason} |" not in text} == {""}


def modules() -> dict[str, Path]:
    """All public modules and packages by name, as files have them."""
    files = {path.relative_to(ROOT).with_suffix(""): path for path in (ROOT / "npi_jax").rglob("*.py")}
    named = {".".join(path.parts).removesuffix(".__init__"): file for path, file in files.items()}
    return {name: file for name, file in named.items() if not any(part[0] == "_" for part in name.split("."))}


def test_every_public_module_is_there_once(pages):
    api = "\n".join(text for path, text in pages.items() if path.startswith("reference/api/"))
    listed = [line.removeprefix("::: ") for line in api.splitlines() if line.startswith("::: ")]
    assert sorted(listed) == sorted(modules())


def public_names(module: str, file: Path) -> Iterator[str]:
    """What a module defines without an underscore: functions, classes with their methods, constants and types."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        for name in defined(node):
            yield f"{module}.{name}"
        if isinstance(node, ast.ClassDef) and node.name[0] != "_":
            yield from (f"{module}.{node.name}.{name}" for part in node.body for name in defined(part))


def defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
            names = [node.name]
        case ast.Assign():
            targets = [part for target in node.targets for part in getattr(target, "elts", [target])]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name()):
            names = [node.target.id]
        case _:
            names = []
    return [name for name in names if name[0] != "_"]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly; TEST_SITE names one that `make docs` has built."""
    if folder := os.environ.get("TEST_SITE"):
        return Path(folder)
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (make docs installs it)")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.drill
def test_every_public_name_is_in_the_site(site):
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    there = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    wanted = {name for module, file in modules().items() for name in public_names(module, file)}
    assert len(wanted) > 1000
    assert not wanted - there


@pytest.mark.drill
def test_the_site_needs_no_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\" >]+)", text)
        loaded += re.findall(r"<link[^>]* rel=\"?(?:stylesheet|preconnect|icon)[^>]* href=\"?([^\" >]+)", text)
        assert loaded, page
        assert not [address for address in loaded if address.startswith(("http", "//"))], page
    assert (site / "search" / "search_index.js").stat().st_size > 100_000
