"""Models as pure functions over packed rows: an LSTM, transformers, custom models, and Hugging Face checkpoints."""

import importlib
from typing import TYPE_CHECKING, Any

from npi_jax.models.config import ComputeDtype, CustomConfig, LSTMConfig, ModelConfig, Remat, TransformerConfig

if TYPE_CHECKING:
    from npi_jax.models.custom import Model
    from npi_jax.models.hf.fields import HFError
    from npi_jax.models.hf.load import HFModel, load_hf, load_hf_stack
    from npi_jax.models.hf.save import save_hf
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
    **dict.fromkeys(("HFModel", "load_hf", "load_hf_stack"), "hf.load"),
    "HFError": "hf.fields",
    "save_hf": "hf.save",
    **dict.fromkeys(("LanguageModel", "Params", "make_model"), "language_model"),
    "Model": "custom",
}


def __getattr__(name: str) -> Any:
    # Import on first use, because configurations are checked before Flax and JAX are loaded.
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
