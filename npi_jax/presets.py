"""The configurations that travel with the package, and config files of the user's own."""

import ast
import difflib
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from npi_jax.config import Config, ConfigError, make_config


def preset_directory() -> Path:
    """Where the presets are: in the installed package, or ``configs/`` of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "presets"
    return installed if installed.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    """The presets that can be named without a path."""
    return sorted(path.stem for path in preset_directory().glob("*.py") if not path.stem.startswith("_"))


def resolve_config(name: str) -> str:
    """The file behind ``--config``: a preset's name or a path, with ``:argument`` kept.

    Raises:
        ConfigError: if it is neither.
    """
    path, colon, argument = name.partition(":")
    if path in preset_names():
        path = str(preset_directory() / f"{path}.py")
    elif not Path(path).is_file():
        close = difflib.get_close_matches(path, preset_names(), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(
            f"--config {path}: no such file and no such preset{hint}; presets are {', '.join(preset_names())}"
        )
    return path + colon + argument


def load_config(name: str, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply overrides as `ml_collections` users write them: ``--config.train.steps=2000``.

    Config files are Python and are executed: use only those you trust.

    Raises:
        ConfigError: naming the flag or field at fault.
    """
    values = flags.FlagValues()
    line = ["npi-jax", f"--config={resolve_config(name)}", *overrides]
    config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values, sys_argv=line)
    try:
        rest = values(line)
    except (flags.Error, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(str(error)) from error
    if len(rest) > 1:
        raise ConfigError(f"cannot read {' '.join(rest[1:])}; overrides are written --config.FIELD=VALUE")
    return make_config(values.config.to_dict())


def summary(name: str) -> str:
    """The first line of a preset's docstring."""
    text = (preset_directory() / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
