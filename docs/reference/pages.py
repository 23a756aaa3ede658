"""Pages of the site that are written from the code when it is built, so that they cannot be out of date."""

import json
from pathlib import Path

import api_pages
import command_page
import config_page
import table_page

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "docs/tutorials/example.ipynb"


def generated() -> dict[str, str]:
    """All generated pages: path below `docs` to Markdown."""
    return {
        "reference/config.md": config_page.page(),
        "reference/commands.md": command_page.page(),
        "reference/tables.md": table_page.page(),
        **api_pages.pages(ROOT / "npi_jax"),
        "tutorials/notebook.md": notebook_page(_read(NOTEBOOK)),
        "how-to/pods.md": _read("launch/README.md").replace("```shell #golden", "```shell"),
        "contributing.md": _read("CONTRIBUTING.md").replace("](docs/", "]("),
        "changelog.md": _read("CHANGELOG.md"),
    }


def notebook_page(text: str) -> str:
    """A notebook as Markdown, without its outputs; the notebook itself is beside the page."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    parts.insert(1, "[Download this notebook](example.ipynb).")
    return "\n\n".join(parts) + "\n"


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")
