"""``npi-jax export``: write a member of a run as a Hugging Face directory."""

from typing import Any

from npi_jax.cli.flags import add_command, integer
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import import_jax, start_devices


def add(commands: Any) -> None:
    """Add the command's parser."""
    text = "write a member of a run as a directory that Hugging Face transformers opens"
    parser = add_command(commands, "export", run, text)
    parser.add_argument("run", help="the run directory")
    parser.add_argument("--member", type=integer(0), default=0, help="number in members.parquet (default: 0)")
    parser.add_argument("--step", type=integer(0), help="step of a checkpoint (default: the last)")
    parser.add_argument("--hf", required=True, metavar="DIR", help="directory to write; it must not exist")
    text = "leave out the tokenizer (transformers has none for words)"
    parser.add_argument("--no-tokenizer", action="store_true", help=text)


def run(call: Invocation) -> None:
    """Write the directory."""
    import_jax()
    from npi_jax.cli.actions.export import export  # noqa: PLC0415
    from npi_jax.experiment import jax_setup  # noqa: PLC0415

    jax_setup.set_up_jax()
    start_devices()
    export(call.arguments, call.console)
