"""Reference page of the tables of a run, from the schema of results."""

from collections.abc import Iterator

from npi_jax.results.schema import Reference, reference

INTRODUCTION = """# Tables

Tables are Parquet files in the [run directory](run-directory.md). `npi_jax.open_run("runs/my")` opens a run:
`.members()`, `.corpus()`, `.metrics()`, `.scores()`, `.curves()`, `.alignment()`, `.transfer()` and `.link()` return
the tables of these names as [polars](https://pola.rs) data frames, and `.table("final")` any other of the analysis.
`print(run.describe("transfer"))` shows what is on this page. Numbers may be NaN where the column `reason` says why.
"""


def page() -> str:
    """The page, as Markdown."""
    return "\n".join([INTRODUCTION, *(line for table in reference() for line in _section(table))]) + "\n"


def _section(table: Reference) -> Iterator[str]:
    yield f"## {table.name}\n"
    yield f"{table.about}\n"
    place = f"`{table.file}`" if table.file else "Returned by a function, not written by a run"
    yield f"{place}{f'; only of {table.when}' if table.when else ''}.\n"
    if table.key:
        yield f"One row for each {', '.join(f'`{name}`' for name in table.key)}.\n"
    yield "| column | type | unit | meaning |\n|---|---|---|---|"
    for column, kind, unit, meaning in table.rows:
        yield f"| `{column}` | {kind} | {unit} | {_cell(meaning)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;")
