"""What the lm-evaluation-harness passes to a model in ``--model_args``, checked."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from npi_jax.evaluation.scoring import EvaluateError

UNUSED = (
    *("batch_size", "max_batch_size", "device", "device_map", "parallelize", "gpus"),
    *("dtype", "softmax_dtype", "mixed_precision_dtype", "attn_implementation", "logits_cache"),
    *("max_memory_per_gpu", "max_cpu_memory", "offload_folder", "low_cpu_mem_usage", "cache_dir"),
    *("trust_remote_code", "use_fast_tokenizer", "truncation"),
)
"""Arguments of the harness's own models that say how they run or are loaded; nothing depends on them here."""

DONE_ANYWAY: Mapping[str, Sequence[Any]] = {
    "backend": ("default", "causal"),
    "revision": ("main",),
    "subfolder": ("",),
    "autogptq": (False,),
    "gptqmodel": (False,),
}
"""Arguments that change what is scored, with the values that ask for what is done here."""

FLOAT32 = ("auto", "float32", "torch.float32")


def not_used(arguments: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """The arguments, as ``name=value``, that are taken and have no effect.

    Args:
        arguments: those that the model does not know.
        known: names of those that it does, for advice.

    Raises:
        EvaluateError: naming an argument that there is not, or that asks for what is not done here.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, value in given.items():
        if name in UNUSED or value in DONE_ANYWAY.get(name, ()):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise EvaluateError(f"--model_args: {name}={value!r} is not supported by this model; {hint}")
    return [f"{name}={value}" for name, value in given.items() if name in UNUSED]


def whole_number(name: str, value: Any, lowest: int) -> int:
    """A number of ``--model_args``.

    Raises:
        EvaluateError: naming the argument, if it is none, or too low.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or number != float(value) or number < lowest:
        raise EvaluateError(f"--model_args: {name}={value!r}; it must be a whole number from {lowest}")
    return number
