"""Reading of config files: presets, which are installed with the package, and files of the user."""

import ast
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.config.overrides import with_overrides
from npi_jax.config.schema import Config
from npi_jax.errors import did_you_mean
from npi_jax.files.user_code import load_python, users_code


def preset_directory() -> Path:
    """Return the folder of the presets: in the installed package, or ``configs/`` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    """Return the names of the presets; a preset can be given by its name alone."""
    return sorted(path.stem for path in preset_directory().glob("*.py") if not path.stem.startswith("_"))


def resolve_config(name: str) -> str:
    """Return the path of a config file, given by the name of a preset or a path; a ``:argument`` stays at the end.

    Raises:
        ConfigError: if there is no such preset or Python file.
    """
    path, colon, argument = name.partition(":")
    if path in preset_names():
        path = str(preset_directory() / f"{path}.py")
    elif not _is_file(path):
        kind = "is a folder" if _is_folder(path) else "no such file and no such preset"
        hint = did_you_mean(path, preset_names())
        raise ConfigError(f"--config {path}: {kind}{hint}; presets are {', '.join(preset_names())}")
    elif not path.endswith(".py"):
        raise ConfigError(f"--config {path}: a config file is Python, and its name ends in .py")
    return path + colon + argument


def load_config(name: str, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply overrides such as ``--config.train.steps=2000``.

    A config file is Python code, which is executed. Use only files that you trust.

    Raises:
        ConfigError: naming the flag or field that is not valid.
    """
    config = make_config(with_overrides(_read(resolve_config(name)), overrides))
    config.check_phenomenon()
    return config


def _read(location: str) -> dict[str, Any]:
    """Call ``get_config`` of a config file with the argument after the colon, if any, and return its plain values."""
    path, colon, argument = location.partition(":")
    module = load_python(path, path)
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise ConfigError(f"{path}: a config file defines get_config(), which returns an ml_collections.ConfigDict")
    if colon and not _takes_an_argument(get_config):
        raise ConfigError(f"{location}: get_config() in {path} takes no argument, so nothing can follow the colon")
    with users_code(path):
        values = get_config(argument) if colon else get_config()
    # Without an import of ml_collections, a file cannot return a ConfigDict.
    config_dict = sys.modules.get("ml_collections")
    if config_dict is None or not isinstance(values, config_dict.ConfigDict):
        raise ConfigError(f"{path}: get_config() returned a {type(values).__name__}, not an ml_collections.ConfigDict")
    with users_code(path):
        plain: dict[str, Any] = values.to_dict()
    return plain


def _takes_an_argument(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind("argument")
    except (TypeError, ValueError):
        return False
    return True


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        # No file can have this name, such as one with a zero byte.
        return False


def _is_folder(path: str) -> bool:
    return bool(path) and os.path.isdir(path)


def summary(name: str) -> str:
    """Return the first line of a preset's docstring."""
    text = (preset_directory() / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
