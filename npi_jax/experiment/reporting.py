"""Tables and report of a run, and the page that compares two runs."""

from pathlib import Path

from rich.console import Console

from npi_jax.analysis.tables import write_tables
from npi_jax.experiment.mending import mend_if_free
from npi_jax.report import print_report, write_comparison, write_report
from npi_jax.results.directory import Run
from npi_jax.results.folder import check_links
from npi_jax.training.monitor.display import Display


def write_and_print_report(run: Run, console: Console, display: Display) -> None:
    """Write the report of an analyzed run, and print its main results."""
    display.stage("drawing the report")
    page = write_report(run)
    print_report(run, console)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)


def report_run(run: Run, console: Console) -> None:
    """Rebuild a run's tables and report, and its damaged or lost files where possible.

    Raises:
        UserError: naming a damaged or lost file that cannot be rebuilt.
    """
    check_links(run.path)
    with Display(console) as display:
        mend_if_free(run, display.say)
        display.stage("analyzing")
        write_tables(run)
        write_and_print_report(run, console, display)


def compare_runs(one: Run, other: Run, path: Path | None, console: Console) -> None:
    """Write a page that shows two analyzed runs side by side.

    Args:
        one, other: the runs.
        path: the page to write; None for a file in the report folder of the first run.
        console: receives the path of the page.

    Raises:
        UserError: if the runs have no results that can be compared.
    """
    if path is None:
        check_links(one.path)
    other_name = other.path.resolve().name
    page = write_comparison(one, other, path or one.path / "report" / f"against_{other_name}.html")
    console.print(f"comparison: {page}", highlight=False, markup=False, soft_wrap=True)
