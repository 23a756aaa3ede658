"""The command line: ``npi-jax run | train | prepare | bench | plan | report | score | export | ...``."""

import argparse
import contextlib
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console

from npi_jax import __version__
from npi_jax.cli.arguments import FIELD_EXAMPLE, Parser, add_config, command_of, parse, positive, steps, whole
from npi_jax.cli.plan_flags import add_devices, add_power, check_plan
from npi_jax.cli.text_flags import add_annotate, add_audit
from npi_jax.experiment import environment as environ
from npi_jax.terminal.output import Output, complain, hold_standard_streams
from npi_jax.terminal.tables import output_width
from npi_jax.training.monitor.stopping import EXIT_CODE, LOST_OUTPUT, Interrupted, Stopped, StopRequest

EXAMPLES = """examples:
  npi-jax run quickstart                                train, score and report the built-in experiment
  npi-jax run quickstart --config.train.steps=2000 --config.run_dir=runs/longer
  npi-jax run my.py                                     your own experiment; the same command resumes it
  npi-jax prepare english                               only build the corpus and show what each variant changes
  npi-jax plan weber2021                                compile from shapes alone and print what it would take
  npi-jax bench quickstart                              find out how members are best run on these devices
  npi-jax plan weber2021 --topology v5e:4x4 --fit --price 1.2
  npi-jax plan --power --effect 0.5 --run runs/pilot    how many seeds it takes to find an effect (nats)
  npi-jax report runs/quickstart                        make tables and report anew
  npi-jax report runs/lstm runs/transformer             two runs side by side
  npi-jax score --suite blimp --path blimp/data --model runs/my --out scores.parquet
  npi-jax annotate notes.txt --examples 3               the NPIs in a text, and what licenses each
  npi-jax audit 'corpus/*.txt' --out audit              judge a sample by hand: precision and recall
  npi-jax export runs/my --member 0 --hf exported       write a member for Hugging Face transformers
"""

HERE = Path(__file__).parents[1]
"""Where the package is installed, whose files say more than the help does."""

GRACE = 2.0
"""Seconds after which a run that was asked to stop ends wherever it is, if there is no state to save."""

EXIT_STATUS = """exit status:
  0 done; 1 refused or failed; 2 bad usage; 130 interrupted
  42 run or train was asked to stop (SIGTERM, ctrl-C): nothing is lost, and the same command goes on with it
  43 the same, because the terminal or whoever read the output is gone; of other commands, that output was lost
"""

LAST_WORDS = 2.0
"""Seconds that a failing process stays for the others."""

SCORE_EXAMPLES = """examples:
  npi-jax score --suite grammar --model runs/quickstart --steps all --out scores.parquet
  npi-jax score --suite blimp --path blimp/data --model pythia-70m --spec lm_eval_v04 --out scores.parquet
  npi-jax score --suite blimp --path blimp/data --model seed1 seed2 seed3 --spec minicons --out scores.csv
  npi-jax score --suite syntaxgym --path syntaxgym/json --model gpt2 --out scores.parquet
  npi-jax score --suite table --path pairs.tsv --model runs/my --set regions=critical --set score_end=false --out s.csv

Hugging Face directories must be local and of GPT-2, GPT-NeoX, OPT or LLaMA form, with safetensors; several of one
architecture are scored in one program. --set takes any field of ScoreSpec (npi_jax/scoring/spec.py).
"""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    main = Parser(
        prog="npi-jax",
        description="Train many small language models at once and score minimal pairs while they learn.",
        epilog=f"{EXAMPLES}\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    main.add_argument("--version", action="version", version=f"npi-jax {__version__}")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "prepare, train (or go on training), analyze and report"),
        ("train", "the same without analysis and report"),
        ("prepare", "build the corpus and its variants, and show what each changes"),
        ("bench", "measure how members are best run on these devices, and keep the choice for run and train"),
        ("plan", "compile a run's programs from shapes and print memory, exchanges, hours and checkpoints"),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"Any field of the config can be overridden: {FIELD_EXAMPLE} --config.seeds=0,1,2. "
            + ("" if name == "plan" else "Writes to run_dir, by default runs/NAME. ")
            + f"Fields and their defaults are in {HERE / 'config' / 'schema.py'}, interventions (variants) in "
            f"{HERE / 'corpus' / 'variants' / 'interventions.py'}.",
            allow_abbrev=False,
        )
        add_config(command)
        if name in ("run", "train"):
            command.add_argument(
                "--profile",
                type=steps,
                default=range(0),
                metavar="START:STOP",
                help="write XLA's trace of these steps to the run directory's profile folder",
            )
        if name == "bench":
            command.add_argument("--seconds", type=positive, default=1.0, help="length of one timing (default: 1)")
        if name == "plan":
            add_devices(command)
            add_power(command)
    text = "make tables and report of a run directory anew, or compare two that have theirs"
    report = commands.add_parser("report", help=text, description=text, allow_abbrev=False)
    report.add_argument("run", help="the run directory")
    report.add_argument("other", nargs="?", help="another run directory, to be compared with it")
    report.add_argument("--out", help="of a comparison: the page (default: report/against_OTHER.html of the first run)")
    _add_score(commands)
    add_annotate(commands)
    add_audit(commands)
    commands.add_parser("presets", help="list the presets with what each is for")
    return main


def _add_score(commands: Any) -> None:
    text = "score minimal pairs with trained members or Hugging Face models, under a stated convention"
    score = commands.add_parser(
        "score",
        help=text,
        description=text,
        epilog=SCORE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    score.add_argument("--suite", required=True, help="grammar (built in), or a loader: blimp, syntaxgym, table, ...")
    score.add_argument("--path", help="the suite's file or folder")
    score.add_argument("--limit", type=whole(1), help="most items a paradigm, evenly spaced")
    score.add_argument("--model", required=True, nargs="+", help="a run directory, or Hugging Face directories")
    score.add_argument("--steps", default="last", help="of a run: last (default), all that were kept, or 100,200")
    score.add_argument("--members", help="of a run: their numbers, as 0,3,7 (default: all)")
    text = "run the code that a run's config.json names as its model; only for runs that you trust"
    score.add_argument("--run-code", action="store_true", help=text)
    score.add_argument(
        "--spec", help="a preset: blimp_paper, lm_eval_v03, lm_eval_v04, babylm2025, minicons, diagnnose"
    )
    score.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the spec")
    score.add_argument("--out", required=True, help="the table to write, .parquet or .csv")
    text = "write a member of a run as a directory that Hugging Face transformers opens"
    export = commands.add_parser("export", help=text, description=text, allow_abbrev=False)
    export.add_argument("run", help="the run directory")
    export.add_argument("--member", type=whole(0), default=0, help="its number in members.parquet (default: 0)")
    export.add_argument("--step", type=whole(0), help="a checkpoint that was kept (default: the last)")
    export.add_argument("--hf", required=True, metavar="DIR", help="the directory to write; must not be there")
    export.add_argument("--no-tokenizer", action="store_true", help="leave the tokenizer out (for words there is none)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, one of those in `EXIT_STATUS`.

    42: `run` or `train` was asked to stop (SIGTERM, ctrl-C); the state is saved, if there is one, and the same command
    goes on. 43: the same because the terminal or whoever read the output is gone (SIGHUP, a closed pipe, a log on a
    full disk); of other commands: all was done, but output was lost.
    """
    hold_standard_streams()
    _print_any_letter()
    stop = StopRequest(GRACE)
    output = Output(sys.stdout, lambda reason: stop.ask(reason, LOST_OUTPUT))
    try:
        with contextlib.redirect_stdout(output):
            status = _run(argv, output, stop)
    finally:
        output.flush()
    return LOST_OUTPUT if status == 0 and output.loss else status


def _run(argv: Sequence[str] | None, output: Output, stop: StopRequest) -> int:
    words = parser()
    arguments, overrides = parse(words, argv)
    _check_usage(arguments, command_of(words, arguments.command))
    environ.forget_odd_sizes()
    # Names and paths are printed as they are: square brackets and colons mean nothing.
    # A line of a log stays one line: a path in it can be searched for and copied.
    terminal = output.isatty()
    width = output_width(terminal=terminal)
    console = Console(file=cast(IO[str], output), width=width, markup=False, emoji=False, soft_wrap=not terminal)
    try:
        with stop if arguments.command in ("run", "train") else contextlib.nullcontext():
            return _dispatch(arguments, overrides, console, stop)
    except Interrupted as error:
        complain(f"npi-jax: stopped ({error}) before anything was done; the same command begins or continues the run")
        return _leave(stop.status)
    except KeyboardInterrupt:
        console.print("interrupted")
        return _leave(130)
    except Exception as error:
        return _leave(_explain(error, console))


def _print_any_letter() -> None:
    """Let terminals and logs that know few letters show the others as numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_usage(arguments: argparse.Namespace, command: argparse.ArgumentParser) -> None:
    """Refuse what does not go together; ends with exit status 2."""
    if arguments.command == "report" and arguments.other is None and arguments.out is not None:
        command.error("--out is for comparisons; a run's own report is RUN/report/index.html")
    if arguments.command == "plan" and not arguments.power:
        check_plan(arguments, command)
    elif getattr(arguments, "config", "") is None and arguments.command != "plan":
        command.error(f"{arguments.command} needs a config: a preset's name (npi-jax presets), or a file")


def _explain(error: Exception, console: Console) -> int:
    """Print what the user can fix in a line; anything else is a bug and is reported with its traceback."""
    from npi_jax.terminal.messages import bug_report, message_of  # noqa: PLC0415

    if isinstance(error, Stopped):
        # In one line, however narrow: scripts look for it.
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        if error.status == LOST_OUTPUT:
            complain(f"npi-jax: {error}")
        return error.status
    message = message_of(error)
    complain(bug_report(error) if message is None else f"npi-jax: {message}")
    return 1


def _leave(status: int) -> int:
    """The exit status; one of several processes that failed leaves at once.

    At its regular end it would wait for the others, which may be waiting for it.
    """
    if status not in (EXIT_CODE, LOST_OUTPUT) and _is_one_of_several():
        sys.stdout.flush()
        sys.stderr.flush()
        # The others are ended by JAX when the first is gone: they may have something to say before.
        time.sleep(LAST_WORDS)
        os._exit(status)
    return status


def _is_one_of_several() -> bool:
    """Whether other processes train together with this one; asks JAX only where it is in use already."""
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def _dispatch(arguments: argparse.Namespace, overrides: Sequence[str], console: Console, stop: StopRequest) -> int:
    # Imports wait until a command needs them: --help answers at once, and a fault of a config before JAX is loaded.
    environ.check_environ()
    if not hasattr(arguments, "config") or getattr(arguments, "power", False):
        _without_config(arguments, console)
        return 0
    from npi_jax.config import load as presets  # noqa: PLC0415

    config = presets.load_config(arguments.config, overrides)
    if arguments.command in ("run", "train"):
        return _train(arguments, config, console, stop)
    environ.import_jax()
    from npi_jax.experiment import jax_setup  # noqa: PLC0415

    jax_setup.set_up_jax()
    match arguments.command:
        case "prepare":
            from npi_jax.experiment import run as experiment  # noqa: PLC0415

            experiment.prepare_experiment(config, console)
        case "bench":
            from npi_jax.cli.bench import bench  # noqa: PLC0415

            environ.start_devices()
            bench(config, console, arguments.seconds)
        case "plan":
            from npi_jax.cli.plan import plan  # noqa: PLC0415

            if arguments.topology is None:
                environ.start_devices()
            plan(arguments, config, console)
    return 0


def _train(arguments: argparse.Namespace, config: Any, console: Console, stop: StopRequest) -> int:
    """Train in this process, or together with those that were started beside it."""
    environ.import_jax()
    from npi_jax.experiment import jax_setup  # noqa: PLC0415
    from npi_jax.experiment import run as experiment  # noqa: PLC0415
    from npi_jax.planning import capacity  # noqa: PLC0415
    from npi_jax.training.devices.processes import is_first_process  # noqa: PLC0415
    from npi_jax.training.devices.startup import detect_this_launch, join_processes  # noqa: PLC0415

    launch = detect_this_launch()
    jax_setup.set_up_jax(launch.on_this_host)
    join_processes(launch, complain)
    environ.start_devices()
    capacity.check_capacity(config)
    # What all would say the first one says.
    console.quiet = not is_first_process()
    analyze = arguments.command == "run"
    experiment.run_experiment(config, console, analyze=analyze, profile=arguments.profile, stop=stop)
    return 0


def _without_config(arguments: argparse.Namespace, console: Console) -> None:
    """The commands that are about no experiment of a config."""
    match arguments.command:
        case "presets":
            from npi_jax.config import load as presets  # noqa: PLC0415

            for name in presets.preset_names():
                console.print(f"{name:18} {presets.summary(name)}", highlight=False, markup=False)
        case "report":
            _report(arguments, console)
        case "plan":
            from npi_jax.cli import power as power_command  # noqa: PLC0415

            power_command.power(arguments, console)
        case "annotate":
            from npi_jax.cli import annotate as annotate_command  # noqa: PLC0415

            annotate_command.annotate_text(arguments, console)
        case "audit":
            from npi_jax.cli import audit as audit_command  # noqa: PLC0415

            audit_command.audit(arguments, console)
        case "score" | "export":
            environ.import_jax()
            from npi_jax.cli import score as score_command  # noqa: PLC0415
            from npi_jax.experiment import jax_setup  # noqa: PLC0415

            jax_setup.set_up_jax()
            environ.start_devices()
            (score_command.score if arguments.command == "score" else score_command.export)(arguments, console)


def _report(arguments: argparse.Namespace, console: Console) -> None:
    environ.import_jax()
    from npi_jax.experiment import reporting  # noqa: PLC0415
    from npi_jax.results.directory import open_run  # noqa: PLC0415

    if arguments.other is None:
        reporting.report_run(open_run(arguments.run), console)
    else:
        out = None if arguments.out is None else Path(arguments.out)
        reporting.compare_runs(open_run(arguments.run), open_run(arguments.other), out, console)
