"""The synthetic runs that the report's tests share."""

from pathlib import Path

import pytest
from synthetic import FakeRun, make_run

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.report.data.tables import ReportTables, load_tables
from npi_jax.report.figures.picture import Picture
from npi_jax.report.pages import run_page as html


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def drawn(run: FakeRun) -> tuple[Path, list[Picture]]:
    """The run's page, and the pictures that were drawn for it."""
    found: list[Picture] = []

    def keep(tables: ReportTables) -> list[Picture]:
        found.extend(original(tables))
        return found

    original = html.pictures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "pictures", keep)
        return html.write_report(run), found


@pytest.fixture(scope="session")
def report(drawn: tuple[Path, list[Picture]]) -> Path:
    return drawn[0]


@pytest.fixture(scope="session")
def pictures_of(drawn: tuple[Path, list[Picture]]) -> dict[str, Picture]:
    return {picture.name: picture for picture in drawn[1]}


@pytest.fixture(scope="session")
def tables(run: FakeRun) -> ReportTables:
    return load_tables(run)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """A small run without gradients and interventions' tables, as older runs are."""
    folder = tmp_path_factory.mktemp("plain")
    return make_run(folder, seeds=2, environments=ENVIRONMENTS[:2], steps=(0, 1, 8), multitask=False)
