"""Flax models behind one functional face: an LSTM and a transformer over packed rows."""

from npi_jax.models.config import ComputeDtype, CustomConfig, LSTMConfig, ModelConfig, Remat, TransformerConfig
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
