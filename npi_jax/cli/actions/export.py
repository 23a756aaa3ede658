"""Export of one member of a run for ``npi-jax export``."""

import argparse
from pathlib import Path

import jax
from rich.console import Console

from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files
from npi_jax.evaluation.models import EvaluateError, config_of, open_models
from npi_jax.evaluation.origin import origin_file
from npi_jax.files.writing import check_output
from npi_jax.models import save_hf
from npi_jax.models.hf.save import exportable


def export(arguments: argparse.Namespace, console: Console) -> None:
    """Write one member of a run as a Hugging Face directory.

    Raises:
        UserError: if the target exists, if there is no such member or step, or if transformers has no class for the
            model.
    """
    target = Path(arguments.hf)
    check_output(target, folder=True)
    if target.is_symlink() or (target.is_dir() and any(target.iterdir())):
        raise EvaluateError(f"{target} exists already; choose another name")
    steps: str | list[int] = "last" if arguments.step is None else [arguments.step]
    exportable(config_of(Path(arguments.run)).model)
    models = open_models([arguments.run], steps=steps, members=[arguments.member])
    files = {} if arguments.no_tokenizer else hf_tokenizer_files(models.tokenizer)
    (stack, names), *_ = models.batches()
    # Exports contain the run's name instead of its path, because they are often published.
    files |= origin_file({**names[0], "model": Path(arguments.run).resolve().name})
    params = jax.tree.map(lambda leaf: leaf[0], stack)
    tokenizer = models.tokenizer
    kind = save_hf(arguments.hf, models.model, params, start=tokenizer.start, end=tokenizer.end, files=files)
    name = ", ".join(f"{key} {value}" for key, value in names[0].items() if key != "model")
    console.print(f"{name} -> {arguments.hf} ({kind})", highlight=False, markup=False, soft_wrap=True)
