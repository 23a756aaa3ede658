"""Checks of the arguments that the lm-evaluation-harness passes to a model in ``--model_args``."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from npi_jax.evaluation.models import EvaluateError

UNUSED = (
    *("batch_size", "max_batch_size", "device", "device_map", "parallelize", "gpus"),
    *("dtype", "softmax_dtype", "mixed_precision_dtype", "attn_implementation", "logits_cache"),
    *("max_memory_per_gpu", "max_cpu_memory", "offload_folder", "low_cpu_mem_usage", "cache_dir"),
    *("trust_remote_code", "use_fast_tokenizer", "truncation"),
)
"""Arguments that control how the harness's other models run or are loaded; this model accepts and ignores them."""

SUPPORTED: Mapping[str, Sequence[Any]] = {
    "backend": ("default", "causal"),
    "revision": ("main",),
    "subfolder": ("",),
    "autogptq": (False,),
    "gptqmodel": (False,),
}
"""Arguments that would change scores, with the values that agree with this model; other values are refused."""

FLOAT32 = ("auto", "float32", "torch.float32")


def not_used(arguments: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """Return the arguments without effect, as ``name=value``; refuse those that this model does not support.

    Args:
        arguments: arguments other than those of this model.
        known: names of this model's arguments, for the error message.

    Raises:
        EvaluateError: naming an argument or value that is not supported.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, value in given.items():
        if name in UNUSED or value in SUPPORTED.get(name, ()):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise EvaluateError(f"--model_args: {name}={value!r} is not supported by this model; {hint}")
    return [f"{name}={value}" for name, value in given.items() if name in UNUSED]


def integer(name: str, value: Any, lowest: int) -> int:
    """Return an argument of ``--model_args`` as an integer.

    Raises:
        EvaluateError: naming the argument, if it is not an integer or below `lowest`.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or number != float(value) or number < lowest:
        raise EvaluateError(f"--model_args: {name}={value!r}; it must be a whole number from {lowest}")
    return number
