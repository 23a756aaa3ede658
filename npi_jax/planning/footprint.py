"""The memory that a compiled program takes, and its text."""

import re
from dataclasses import dataclass

import jax

from npi_jax.errors import UserError, first_line
from npi_jax.planning.progress import QUIET, Progress
from npi_jax.training.programs import Program

# The TPU compiler writes one of these two messages. The GPU compiler does not refuse programs that are too large.
_NEEDED = re.compile(r"(?:memory required for HLO temporaries \(|Used )([\d.]+)([KMGT]?)")


@dataclass(frozen=True)
class Footprint:
    """The memory that a program takes on each device, and its text.

    Attributes:
        scratch: bytes that the program takes while it runs, besides its arguments.
        text: the compiled program as text in XLA's language; None if the compiler refused it as too large for a device.
    """

    scratch: int
    text: str | None


def footprint(program: Program, progress: Progress = QUIET) -> Footprint:
    """Compile a program and read its footprint.

    Args:
        program: the program.
        progress: shows which programs are being compiled.

    Raises:
        UserError: if the compiler refuses the program as too large, and does not say how much memory it needs.
    """
    try:
        with progress.compiling(program.name):
            compiled = program.compiled().function
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Footprint(_needed(program.name, error), None)
    return Footprint(int(compiled.memory_analysis().temp_size_in_bytes), compiled.as_text())


def _needed(name: str, error: Exception) -> int:
    """Read the number of bytes that a program needs from the compiler's error."""
    match = _NEEDED.search(str(error))
    if match is None:
        raise UserError(f"the compiler did not have enough memory to compile {name}: {first_line(error)}")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))
