"""Tensors of a Hugging Face checkpoint, from its safetensors files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from jaxtyping import Float

from npi_jax.files.plain import read_json_object
from npi_jax.models.hf.fields import HFError, shown

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


class Weights:
    """Tensors of a checkpoint's safetensors files, each read on request.

    Raises:
        HFError: if the files are missing or damaged, or larger than the machine's memory.
    """

    def __init__(self, path: Path):
        self.path = path
        self._open: dict[str, Any] = {}
        self.files = dict(self._list())
        self._check_size({self.path / file for file in self.files.values()})

    def __enter__(self) -> "Weights":
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._open.values():
            handle.__exit__(None, None, None)

    def _list(self) -> Iterator[tuple[str, str]]:
        if (self.path / WEIGHTS_FILE).is_file():
            self._check_size({self.path / WEIGHTS_FILE})
            with self._opened(WEIGHTS_FILE) as handle:
                yield from ((name, WEIGHTS_FILE) for name in handle.keys())  # noqa: SIM118
            return
        index = self.path / INDEX_FILE
        if not index.is_file():
            pickled = sorted(file.name for file in self.path.glob("*.bin"))
            advice = (
                f" ({pickled[0]} is a pickle, which can run code and is not read; write safetensors with "
                "transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(..., safe_serialization=True))"
                if pickled
                else ""
            )
            raise HFError(f"{self.path}: the directory has neither {WEIGHTS_FILE} nor {INDEX_FILE}{advice}")
        try:
            file_of = read_json_object(index)["weight_map"].items()
        except (OSError, KeyError, AttributeError) as error:
            raise HFError(f"{index}: not an index of safetensors: {error!r}") from error
        for name, file in file_of:
            # The index must not refer to files outside the directory.
            if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
                raise HFError(
                    f"{index}: {shown(name)} is in {shown(file)}, which is not a safetensors file of the directory"
                )
            yield name, file

    def _check_size(self, files: set[Path]) -> None:
        """Refuse files larger than the machine's memory, because all parameters must fit into memory."""
        size = sum(file.stat().st_size for file in files if file.is_file())
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if size > memory:
            raise HFError(f"{self.path}: {size:,} bytes of weights; this machine has {memory:,} bytes of memory")

    def _opened(self, file: str) -> Any:
        if not (self.path / file).is_file():
            raise HFError(f"{self.path / file}: no such file, or not a plain file")
        try:
            return safetensors.safe_open(str(self.path / file), framework="flax")
        except (safetensors.SafetensorError, OSError) as error:
            raise HFError(f"{self.path / file}: cannot be read: {error}") from error

    def tensor(self, name: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        """Read a tensor as float32.

        Raises:
            HFError: naming the tensor, if it is missing, has another shape, or is not floating-point.
        """
        if name not in self.files:
            raise HFError(f"{self.path}: the tensor {name!r} is missing")
        file = self.files[name]
        if file not in self._open:
            self._open[file] = self._opened(file)
        try:
            stored = self._open[file].get_slice(name)
            if tuple(stored.get_shape()) != shape:
                raise HFError(
                    f"{self.path / file}: {name!r} has shape {tuple(stored.get_shape())}; config.json implies {shape}"
                )
            array = np.asarray(self._open[file].get_tensor(name))
        except safetensors.SafetensorError as error:
            raise HFError(f"{self.path / file}: {name!r} cannot be read: {error}") from error
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise HFError(f"{self.path / file}: {name!r} is {array.dtype}, not floating-point")
        return array.astype(np.float32)
