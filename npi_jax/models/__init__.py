"""Flax models behind one functional face: an LSTM and a transformer over packed rows."""

import importlib
from typing import TYPE_CHECKING, Any

from npi_jax.models.config import ComputeDtype, CustomConfig, LSTMConfig, ModelConfig, Remat, TransformerConfig

if TYPE_CHECKING:
    from npi_jax.models.custom import Model
    from npi_jax.models.hf import HFModel, load_hf, load_hf_stack
    from npi_jax.models.hf_fields import HFError
    from npi_jax.models.hf_save import save_hf
    from npi_jax.models.language_model import LanguageModel, Params, make_model

__all__ = [
    "ComputeDtype",
    "CustomConfig",
    "HFError",
    "HFModel",
    "LSTMConfig",
    "LanguageModel",
    "Model",
    "ModelConfig",
    "Params",
    "Remat",
    "TransformerConfig",
    "load_hf",
    "load_hf_stack",
    "make_model",
    "save_hf",
]

_MODULES = {
    **dict.fromkeys(("HFModel", "load_hf", "load_hf_stack"), "hf"),
    "HFError": "hf_fields",
    "save_hf": "hf_save",
    **dict.fromkeys(("LanguageModel", "Params", "make_model"), "language_model"),
    "Model": "custom",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: a config names models, and is checked before Flax and JAX are loaded.
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
