"""Reference pages of the Python API: a page for each package, with every public name of its modules."""

from collections.abc import Iterator
from pathlib import Path

FOLDER = "reference/api"


def public_modules(package: Path) -> dict[str, list[str]]:
    """Packages below `package` (and itself) to their public modules, in alphabetical order.

    A module is public unless a part of its name begins with ``_``.
    """
    found = {}
    for folder in (package, *sorted(package.rglob("*"))):
        if (folder / "__init__.py").is_file() and not _private(folder.relative_to(package)):
            name = ".".join((package.name, *folder.relative_to(package).parts))
            found[name] = [f"{name}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem[0] != "_"]
    return found


def pages(package: Path) -> dict[str, str]:
    """The page of every package, and an index of them: path below `docs` to Markdown."""
    found = public_modules(package)
    index = ["# Python API", "", "Names that begin with `_` are private and not listed.", ""]
    index += [f"- [`{name}`]({_file(name)})" for name in found]
    return {
        f"{FOLDER}/index.md": "\n".join(index) + "\n",
        **{f"{FOLDER}/{_file(name)}": "\n".join(_page(name, modules)) for name, modules in found.items()},
    }


def titles(pages: dict[str, str]) -> dict[str, str]:
    """The pages of the API among `pages`, with their titles in the navigation."""
    mine = [path for path in pages if path.startswith(f"{FOLDER}/")]
    return {path: "Overview" if path.endswith("/index.md") else path.split("/")[-1][: -len(".md")] for path in mine}


def _page(name: str, modules: list[str]) -> Iterator[str]:
    yield f"# {name}\n"
    # Names that a package passes on from its modules are listed there.
    yield f"::: {name}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
    for module in modules:
        yield f"::: {module}\n    options:\n      show_root_heading: true\n      show_root_full_path: true\n"


def _file(name: str) -> str:
    """``npi_jax.corpus.text`` is on ``corpus.text.md``."""
    return f"{name.partition('.')[2] or name}.md"


def _private(path: Path) -> bool:
    return any(part.startswith("_") for part in path.parts)
