"""The synthetic run that the report's tests share."""

from pathlib import Path

import pytest
from synthetic import FakeRun, make_run

from npi_jax.report.html import write_report


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def report(run: FakeRun) -> Path:
    return write_report(run)
