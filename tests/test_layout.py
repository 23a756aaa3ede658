"""The layout of the package: imports run in one direction, and the scorer can be imported alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "npi_jax"

# A folder imports from itself and from those above it in this list.
FLOORS = [
    ["errors", "scoring"],
    ["files"],
    ["models", "results"],
    ["corpus"],
    ["config", "gradients", "suites"],
    ["preparation", "terminal"],
    ["analysis", "training"],
    ["evaluation", "planning", "report"],
    ["experiment", "lm_eval"],
    ["cli"],
    ["__main__"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(module: str) -> Iterator[str]:
    """The project's modules that a module imports: at the top, in functions and for types alike."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for name in node.names:
                longer = f"{node.module}.{name.name}"
                yield longer if longer in MODULES else node.module


GRAPH = {module: set(imports_of(module)) for module in MODULES}


def test_no_module_imports_itself_through_others():
    try:
        tuple(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_between_folders_run_one_way():
    folders = {module: module.split(".")[1] for module in MODULES if "." in module}
    upward = [
        f"{module} -> {imported}"
        for module, folder in folders.items()
        for imported in GRAPH[module]
        if imported in folders and folders[imported] != folder and FLOOR[folders[imported]] >= FLOOR[folder]
    ]
    assert upward == []
    assert set(folders.values()) == set(FLOOR)


@pytest.mark.parametrize("package", ["analysis", "corpus", "report", "training"])
def test_imports_between_the_folders_of_a_package_run_one_way(package):
    inside: dict[str, set[str]] = {}
    for module, imported in GRAPH.items():
        parts = module.split(".")
        if parts[1:2] == [package] and len(parts) > 2:
            others = {name.split(".")[2] for name in imported if name.startswith(f"npi_jax.{package}.")}
            inside.setdefault(parts[2], set()).update(others - {parts[2]})
    try:
        tuple(TopologicalSorter(inside).static_order())
    except CycleError as error:
        pytest.fail(f"in npi_jax.{package}: " + " -> ".join(error.args[1]))


SCORING_ALONE = """
import sys
import npi_jax.scoring
allowed = {"npi_jax", "jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy", "typing_extensions"}
loaded = {name.split(".")[0] for name in sys.modules if not name.startswith("_")}
ours = {name for name in sys.modules if name.startswith("npi_jax.") and not name.startswith("npi_jax.scoring")}
print(sorted(loaded - allowed - set(sys.stdlib_module_names)), sorted(ours))
"""


def test_scoring_imports_jax_and_numpy_alone():
    words = [sys.executable, "-c", SCORING_ALONE]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[] []"
