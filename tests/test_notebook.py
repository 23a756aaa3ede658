"""The example notebook runs from top to bottom, and is stored without what a run of it leaves behind."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[1] / "docs" / "tutorials" / "example.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def test_it_is_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 10
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.kernelspec) == {"display_name", "language", "name"}
    assert not any(cell.metadata for cell in notebook.cells)


@pytest.mark.drill
def test_it_runs(notebook, tmp_path, monkeypatch):
    # What kernel and training would keep in the home directory goes here.
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("NPI_JAX_RUN", raising=False)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 5
    assert kinds.count("text/html") >= 7  # tables
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    shown = str(outputs)
    machine = (str(tmp_path), str(Path.home()), str(Path(sys.prefix)), str(PATH.parent), os.getcwd())
    assert not [path for path in machine if len(path) > 1 and path in shown]
