"""``npi-jax score``: score minimal pairs with models on disk."""

from typing import Any

from npi_jax.cli.flags import add_command, integer
from npi_jax.cli.invocation import Invocation
from npi_jax.experiment.environment import import_jax, start_devices

EXAMPLES = """examples:
  npi-jax score --suite grammar --model runs/quickstart --steps all --out scores.parquet
  npi-jax score --suite blimp --path blimp/data --model pythia-70m --spec lm_eval_v04 --out scores.parquet
  npi-jax score --suite blimp --path blimp/data --model seed1 seed2 seed3 --spec minicons --out scores.csv
  npi-jax score --suite syntaxgym --path syntaxgym/json --model gpt2 --out scores.parquet
  npi-jax score --suite table --path pairs.tsv --model runs/my --set regions=critical --set score_end=false --out s.csv

Hugging Face directories must be local, hold safetensors, and be of the GPT-2, GPT-NeoX, OPT or LLaMA architecture.
Several directories must share one architecture. --set takes any field of ScoreSpec (npi_jax/scoring/spec.py).
"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    text = "score minimal pairs with members of a run or Hugging Face models, under a named convention"
    parser = add_command(commands, "score", run, text, epilog=EXAMPLES)
    parser.add_argument("--suite", required=True, help="grammar (built in), or a loader: blimp, syntaxgym, table, ...")
    parser.add_argument("--path", help="file or folder of the suite")
    parser.add_argument("--limit", type=integer(1), help="most items of a paradigm, evenly spaced")
    parser.add_argument("--model", required=True, nargs="+", help="a run directory, or Hugging Face directories")
    parser.add_argument("--steps", default="last", help="checkpoints of a run: last (default), all, or 100,200")
    parser.add_argument("--members", help="member numbers of a run, such as 0,3,7 (default: all)")
    text = "run the code of a custom model that the run's config.json names; only for runs that you trust"
    parser.add_argument("--run-code", action="store_true", help=text)
    presets = "blimp_paper, lm_eval_v03, lm_eval_v04, babylm2025, minicons, diagnnose"
    parser.add_argument("--spec", help=f"a preset of the convention: {presets}")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="set a field of the spec")
    parser.add_argument("--out", required=True, help="table to write, .parquet or .csv")


def run(call: Invocation) -> None:
    """Score the models, write the table, and print a summary."""
    import_jax()
    from npi_jax.cli.actions.score import score  # noqa: PLC0415
    from npi_jax.experiment import jax_setup  # noqa: PLC0415

    jax_setup.set_up_jax()
    start_devices()
    score(call.arguments, call.console)
