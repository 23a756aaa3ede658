"""Setup of training: makes a `Trainer` from a prepared experiment."""

import jax
from jax.sharding import Mesh

from npi_jax.config.schema import Config
from npi_jax.corpus.variants.row_files import RowRecords
from npi_jax.corpus.variants.variant import RowPool
from npi_jax.models import make_model
from npi_jax.models.flops import train_flops
from npi_jax.preparation.prepare import Prepared
from npi_jax.results.directory import Run
from npi_jax.training.checkpoints.checkpoints import scheduled_steps
from npi_jax.training.devices.chips import peak_flops
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.devices.processes import broadcast_from_first, fail_together
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.feed import is_streamed
from npi_jax.training.loop import Trainer
from npi_jax.training.monitor.display import Display
from npi_jax.training.monitor.pace import Pace
from npi_jax.training.monitor.stopping import StopRequest
from npi_jax.training.recording import Recorder
from npi_jax.training.runner import make_runner
from npi_jax.training.scorers import check_custom_model, make_scorers
from npi_jax.training.task_gradients import make_task_gradients


def open_rows(config: Config, prepared: Prepared) -> RowPool | RowRecords:
    """Open the training rows, either in memory or as records on disk (`mesh.rows`).

    Raises:
        UserError: if the rows cannot be written to disk or read.
    """
    pool = prepared.pool
    # The memory of a device can differ by process, so process 0 decides.
    if not broadcast_from_first(is_streamed(config, _mesh(config), pool.tokens.nbytes + pool.used.nbytes)):
        return pool
    with fail_together("open the training rows"):
        return prepared.records()


def make_trainer(
    run: Run,
    config: Config,
    prepared: Prepared,
    display: Display,
    stop: StopRequest,
    *,
    profile: range = range(0),
    rows: RowPool | RowRecords | None = None,
) -> Trainer:
    """Make the trainer of an experiment, and copy the data to the devices.

    Args:
        run: the claimed run directory.
        config: the experiment.
        prepared: prepared data of the experiment.
        display: display of the progress.
        stop: requests to stop.
        profile: steps to trace with XLA.
        rows: the result of `open_rows`; None to open the rows here.

    Raises:
        UserError: if a suite, the model or the devices do not fit the configuration.
    """
    model = make_model(config.model, prepared.tokenizer.vocab_size, remat=config.train.remat)
    scorers = make_scorers(config, model, prepared.suites)
    check_custom_model(config, model, scorers)
    mesh = _mesh(config)
    rows = open_rows(config, prepared) if rows is None else rows
    ensemble = Ensemble(config, model, mesh)
    eos = prepared.tokenizer.eos
    gradients = make_task_gradients(config, model, prepared.gradient_suite, prepared.valid, eos)
    runner = make_runner(ensemble, eos, rows, prepared.variants, prepared.orders, prepared.valid, scorers, gradients)
    schedule = scheduled_steps(config.train.steps, config.score.every)
    return Trainer(
        run=run,
        config=config,
        runner=runner,
        scorers=scorers,
        task_gradients=gradients,
        recorder=Recorder(run, ensemble.members, scorers, gradients, schedule, prepared.tokenizer.vocab_size),
        schedule=schedule,
        pace=_pace(ensemble, prepared),
        display=display,
        stop=stop,
        profile=profile,
        streamed=isinstance(rows, RowRecords),
    )


def _mesh(config: Config) -> Mesh:
    return make_mesh(config.mesh.ens, config.mesh.data, n_members=len(config.members))


def _pace(ensemble: Ensemble, prepared: Prepared) -> Pace:
    config = ensemble.config
    parameters = sum(leaf.size for leaf in jax.tree.leaves(ensemble.member_shapes.params))
    flops = train_flops(config.model, prepared.tokenizer.vocab_size, config.train.row_length, parameters=parameters)
    mean_row = float(prepared.pool.used.mean())
    return Pace(
        tokens_per_step=round(config.train.batch_size * mean_row * ensemble.size),
        token_flops=flops,
        peak=peak_flops(ensemble.mesh),
    )
