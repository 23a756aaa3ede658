"""Hooks of MkDocs: add the generated pages to the site, and those of the Python API to its navigation."""

from typing import Any

import api_pages
import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

WRITTEN = pages.generated()
"""Generated once; `mkdocs serve` has to be restarted to see changes of the code."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages of the API under "Reference"."""
    reference: list[Any] = next(section["Reference"] for section in config.nav or [] if "Reference" in section)
    listed = [{title: path} for path, title in api_pages.titles(WRITTEN).items()]
    reference.append({"Python API": listed})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to what is built."""
    for path, text in WRITTEN.items():
        files.append(File.generated(config, path, content=text))
    return files
