"""Scoring models that are on disk: members of a run at its checkpoints, and Hugging Face directories."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.config.schema import Config
from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.corpus.text.hf_tokenizer import load_hf_tokenizer
from npi_jax.corpus.text.tokenizer import Tokenizer
from npi_jax.errors import UserError
from npi_jax.evaluation.digest import DIGEST, model_digests
from npi_jax.evaluation.origin import learned_ends
from npi_jax.models import CustomConfig, Model, load_hf, load_hf_stack, make_model
from npi_jax.models.hf import config_notes
from npi_jax.preparation.prepare import make_pipeline, texts
from npi_jax.results.directory import Run, open_run
from npi_jax.results.folder import TOKENIZER
from npi_jax.results.manifest import is_run
from npi_jax.results.score_rows import ScoreRows
from npi_jax.results.tables_training import HYPERPARAMETERS
from npi_jax.scoring import ABSENT, Scorer, ScoreSpec, make_scorer
from npi_jax.suites import ConditionSuite, Suite, SuiteError, evaluate_predictions, load_suite
from npi_jax.suites.encode import EncodedSuite
from npi_jax.suites.grammar import grammar_suite
from npi_jax.training.checkpoints.checkpoints import Checkpoints
from npi_jax.training.checkpoints.checksum import member_checksum
from npi_jax.training.devices.data_axis import DataAxis
from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, make_mesh, map_members, pad_members, padded_size, put
from npi_jax.training.member.step import init_member

BATCH_BYTES = 2 << 30
"""Most bytes of parameters in one call; more models are scored in several."""


class EvaluateError(UserError):
    """A model that cannot be scored as asked."""


@dataclass(frozen=True)
class ModelSet:
    """Models of one architecture with one tokenizer.

    Attributes:
        model: the architecture.
        tokenizer: theirs.
        batches: gives their parameters, stacked, with a row of names for each: run (or directory), and for the
            members of a run member, variant, seed and step.
        size: how many there are.
        config: of the run they come from, if they do.
        score_end: whether they learned where sentences end, as members of a run and what is exported from it do.
        notes: what their files say in vain, in sentences.
    """

    model: Model
    tokenizer: Tokenizer
    batches: Callable[[], Iterator[tuple[Any, list[dict[str, Any]]]]]
    size: int
    config: Config | None = None
    score_end: bool = False
    notes: tuple[str, ...] = ()


def open_models(
    paths: Sequence[str | Path],
    *,
    steps: str | Sequence[int] = "last",
    members: Sequence[int] | None = None,
    run_code: bool = False,
) -> ModelSet:
    """Open a run directory, or one or more Hugging Face directories of one architecture.

    Args:
        paths: a run directory, or checkpoints that `npi_jax.models.load_hf` reads.
        steps: of a run: ``"last"``, ``"all"`` that were kept, or their numbers.
        members: of a run: their numbers; None for all.
        run_code: of a run whose model is of somebody's own: run the file or module that its ``config.json`` names.

    Raises:
        UserError: if there is no such thing, or not what was asked for; or the run names code and may not run it.
    """
    if not paths:
        raise EvaluateError("no model is given; give a run directory, or Hugging Face directories")
    for path in paths:
        _check_directory(Path(path))
    runs = [path for path in paths if is_run(Path(path))]
    if runs and len(paths) > 1:
        raise EvaluateError(f"{runs[0]} is a run; runs are scored one at a time")
    if runs:
        return _open_run(Path(runs[0]), steps, members, run_code=run_code)
    if steps != "last" or members is not None:
        raise EvaluateError(f"{paths[0]}: a Hugging Face checkpoint, not a run; only runs have steps and members")
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise EvaluateError("a directory is given twice; models are told apart by their directories")
    return _open_hf([Path(path) for path in paths])


def _check_directory(path: Path) -> None:
    wanted = "give the directory of a run, or of a Hugging Face checkpoint; nothing is downloaded"
    if not path.is_dir():
        raise EvaluateError(f"{path}: {'a file' if path.exists() else 'there is no such directory'}; {wanted}")
    # What stands there and is no plain file, such as a pipe, is refused where it is read.
    if not is_run(path) and not (path / "config.json").exists():
        raise EvaluateError(f"{path}: no config.json is in the directory; {wanted}")


def _open_hf(paths: Sequence[Path]) -> ModelSet:
    first = load_hf(paths[0])
    tokenizer = load_hf_tokenizer(paths[0])
    if tokenizer is None:
        raise EvaluateError(f"{paths[0]}: no tokenizer is there (tokenizer.json, or vocab.json and merges.txt)")
    for path in paths[1:]:
        other = load_hf_tokenizer(path)
        # Checkpoints of one training are often published with one tokenizer beside the first.
        if other is not None and other.fingerprint != tokenizer.fingerprint:
            raise EvaluateError(f"{path}: its tokenizer differs from that of {paths[0]}; score them one at a time")
    at_once = max(1, BATCH_BYTES // sum(leaf.nbytes for leaf in jax.tree.leaves(first.params)))

    def batches() -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        for start in range(0, len(paths), at_once):
            chosen = paths[start : start + at_once]
            _, stack = load_hf_stack(chosen)
            yield stack, [{"model": str(path)} for path in chosen]

    ends, notes = all(map(learned_ends, paths)), (*config_notes(paths), *tokenizer.notes)
    return ModelSet(first.model, tokenizer, batches, len(paths), score_end=ends, notes=notes)


def _open_run(path: Path, steps: str | Sequence[int], members: Sequence[int] | None, *, run_code: bool) -> ModelSet:
    config = config_of(path)
    if isinstance(config.model, CustomConfig) and not run_code:
        raise EvaluateError(
            f"{path / 'config.json'}: the model is made by the code {config.model.factory!r}, which opening it would "
            "run. If you trust it: npi-jax score --run-code, or run_code=True in Python and in --model_args"
        )
    run = Run(path)
    for name in TOKENIZER:
        run.check_written(path / name)
    tokenizer = Tokenizer.load(path / "tokenizer")
    model = make_model(config.model, tokenizer.vocab_size)
    checkpoints = Checkpoints(path / "checkpoints", config.checkpoints, read_only=True)
    wanted = _chosen_steps(checkpoints, steps)
    chosen = list(range(len(config.members))) if members is None else list(members)
    if outside := [member for member in chosen if not 0 <= member < len(config.members)]:
        raise EvaluateError(f"{path}: no member {outside[0]}; there are 0 to {len(config.members) - 1}")
    for what, numbers in (("step", wanted), ("member", chosen)):
        if twice := [number for number in numbers if numbers.count(number) > 1]:
            raise EvaluateError(f"{path}: {what} {twice[0]} is given twice")

    def batches() -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        seeds = jax.ShapeDtypeStruct((len(config.members),), np.uint32)
        like = jax.eval_shape(jax.vmap(init_member(DataAxis(model), config.train)), seeds)
        for step in wanted:
            params = _verified(checkpoints, step, like).params
            names = [{"model": str(path), "member": m, **_names(config, m), "step": step} for m in chosen]
            yield jax.tree.map(lambda leaf: leaf[np.array(chosen)], params), names

    return ModelSet(model, tokenizer, batches, len(wanted) * len(chosen), config, score_end=True)


def _chosen_steps(checkpoints: Checkpoints, steps: str | Sequence[int]) -> list[int]:
    kept, faulty = checkpoints.steps(), checkpoints.faulty()
    there = sorted({*kept, *faulty})
    if not there:
        raise EvaluateError(f"{checkpoints.directory}: no checkpoint is there; train first (npi-jax run)")
    wanted = (there if steps == "all" else there[-1:]) if isinstance(steps, str) else list(steps)
    rest = f"there are {', '.join(map(str, kept))}" if kept else "there is no other"
    for step in wanted:
        if step in faulty:
            raise EvaluateError(f"{checkpoints.directory / str(step)} {faulty[step]}; {rest} (--steps)")
        if step not in kept:
            raise EvaluateError(f"{checkpoints.directory}: no checkpoint of step {step}; {rest}")
    return wanted


def config_of(path: Path) -> Config:
    """The configuration of a run.

    Raises:
        UserError: naming the file and the field, where there is none or it is damaged.
    """
    run = open_run(path)
    try:
        return make_config(run.config)
    except ConfigError as error:
        raise EvaluateError(f"{path / 'config.json'}: {error}") from error


def _verified(checkpoints: Checkpoints, step: int, like: Any) -> Any:
    """A checkpoint's members on the host, compared with what was written."""
    size = jax.tree.leaves(like)[0].shape[0]
    state = jax.tree.map(lambda leaf: leaf[:size], checkpoints.restore(step, like))
    checksum = jax.jit(member_checksum)
    # One after another: together they may be more than a device holds.
    found = [np.asarray(checksum(jax.tree.map(lambda leaf, n=n: leaf[n], state))) for n in range(size)]
    checkpoints.verify(step, np.stack(found))
    return state


def _names(config: Config, member: int) -> dict[str, Any]:
    """What tells a member from others: its variant, its seed, and the hyper-parameters that members differ in."""
    spec = config.members[member]
    differing = [name for name in HYPERPARAMETERS if len(getattr(config.train, name)) > 1]
    return {"variant": spec.variant, "seed": spec.seed} | {name: getattr(spec, name) for name in differing}


def open_suite(name: str, path: str | None, models: ModelSet, *, limit: int | None = None) -> Suite | ConditionSuite:
    """A suite from files, or the built-in one (``"grammar"``), without the sentences that a run was trained on.

    Raises:
        SuiteError: naming the file, the line and the field at fault.
    """
    if limit is not None and limit < 1:
        raise SuiteError(f"suite {name!r}: limit is {limit}; it must be at least 1, or None for all items")
    if name == "grammar":
        config = models.config
        if config is None or config.corpus.source != "grammar":
            return grammar_suite(GrammarSpec(sentences=1), items=limit or 100)
        training, _ = texts(config.corpus, make_pipeline(config.corpus, lambda _: None))
        exclude = frozenset(training.sentences)
        return grammar_suite(config.corpus.grammar, items=limit or 100, exclude=exclude)
    if not path:
        raise SuiteError(f"suite {name!r} needs the path of its files (--path); only 'grammar' is built in")
    suite: Suite | ConditionSuite = load_suite(name, path, limit=limit)
    return suite


def default_spec(suite: Suite | ConditionSuite, models: ModelSet) -> ScoreSpec:
    """The conventions where none are asked for: ends count for models of runs, exported or not, and for no others.

    The regions of items of several conditions are those that their predictions name, or all there are.
    """
    spec = ScoreSpec(score_end=models.score_end)
    return with_regions(spec, suite) if isinstance(suite, ConditionSuite) else spec


def with_regions(spec: ScoreSpec, suite: ConditionSuite) -> ScoreSpec:
    """The spec with the regions that a suite of several conditions has."""
    named = {region for ps in suite.predictions.values() for p in ps for region, _ in p.formula.regions}
    known = dict.fromkeys(r for item in suite for c in item.conditions.values() for r in c.regions)
    regions = tuple(r for r in known if r in named) or (*known, "sentence")
    return ScoreSpec.from_dict({**spec.to_dict(), "regions": regions})


def score_models(
    models: ModelSet,
    suite: EncodedSuite,
    spec: ScoreSpec | None = None,
    *,
    unigram: np.ndarray | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[pl.DataFrame, Scorer]:
    """Score every model; the devices share them.

    Args:
        models: from `open_models`.
        suite: what to score, encoded with their tokenizer.
        spec: the conventions; `default_spec` if None.
        unigram: for normalizations that need it, see `make_scorer`.
        progress: called with the number of models that were scored since.

    Returns:
        the rows of `Scores.columns` with the models' names before them and the digest of their parameters after them,
        and the scorer.
    """
    spec = spec or default_spec(suite.suite, models)
    try:
        scorer = make_scorer(models.model, suite, spec, unigram=unigram)
    except ValueError as error:
        raise EvaluateError(f"suite {suite.suite.name!r} cannot be scored: {error}") from error
    frames = []
    for params, names in models.batches():
        size = len(names)
        mesh = make_mesh(0, 1, n_members=size)
        call = map_members(scorer.apply, mesh, [MEMBERS, REPLICATED])
        filled = pad_members(params, padded_size(size, mesh) - size)
        found = call(put(filled, mesh, MEMBERS), put(scorer.arrays, mesh, REPLICATED))
        log_probs = {region: np.asarray(values)[:size] for region, values in found.items()}
        named = [{**name, DIGEST: digest} for name, digest in zip(names, model_digests(params), strict=True)]
        table = ScoreRows(scorer, named).table(log_probs)
        frames.append(table.select(*names[0], pl.exclude(*names[0], DIGEST), DIGEST))
        progress(size)
    return pl.concat(frames), scorer


def unscored(scorer: Scorer) -> dict[str, int]:
    """By region how many sentences have it where nothing is scored; sentences of pairs that lack it count too.

    The conditions of an item need not have the same regions.
    """
    sentences, counts = scorer.sentences, {}
    for region, span in scorer.packed.spans.items():
        missing = span[:, 0] == ABSENT
        given = sentences.regions.get("critical" if region == "critical_last" else region)
        if not sentences.is_pairs and given is not None:
            missing &= given[:, 0] != ABSENT
        counts[region] = int(missing.sum())
    return {region: count for region, count in counts.items() if count}


def check_predictions(suite: ConditionSuite, spec: ScoreSpec) -> None:
    """Make sure that sums of surprisals, which is what scores are, can decide a suite's predictions.

    Raises:
        EvaluateError: if the scores are normalized, or a prediction is of another metric than the sum.
    """
    metrics = {p.metric for predictions in suite.predictions.values() for p in predictions}
    if metrics and spec.normalization not in ("auto", "sum"):
        raise EvaluateError(
            f"--spec: predictions are of sums, not of scores normalized by {spec.normalization}; "
            "add --set normalization=sum"
        )
    if other := sorted(metrics - {"sum"}):
        raise EvaluateError(
            f"suite {suite.name!r} has predictions of the metric {other[0]!r}, for which every token is needed; only "
            "sums are evaluated here. npi_jax.suites.evaluate_predictions takes tokens"
        )


def predictions_table(scores: pl.DataFrame, suite: ConditionSuite, spec: ScoreSpec) -> pl.DataFrame:
    """Which predictions hold of which items for every model of a table of scores.

    Raises:
        EvaluateError: as `check_predictions`.
    """
    check_predictions(suite, spec)
    names = scores.columns[: scores.columns.index("suite")]
    place = {
        (item.item, condition): index
        for index, (item, condition) in enumerate((item, c) for item in suite for c in item.conditions)
    }
    frames = []
    for values, frame in scores.group_by(names, maintain_order=True):
        by_region = {
            region: _in_place(part, place) for (region,), part in frame.group_by("region", maintain_order=True)
        }
        missing = np.full(len(place), np.nan)
        found = evaluate_predictions(suite, _getter(by_region, missing))
        frames.append(found.select(*(pl.lit(v).alias(n) for n, v in zip(names, values, strict=True)), pl.all()))
    return pl.concat(frames)


def _getter(by_region: dict[Any, np.ndarray], missing: np.ndarray) -> Callable[[str], np.ndarray]:
    return lambda region: by_region.get(region, missing)


def _in_place(frame: pl.DataFrame, place: dict[tuple[str, str], int]) -> np.ndarray:
    values = np.full(len(place), np.nan)
    index = [place[key] for key in frame.select("item", "condition").iter_rows()]
    values[index] = frame["score"].to_numpy()
    return values
