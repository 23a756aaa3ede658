"""Scoring of models on disk: a table of scores, and a table of a suite's predictions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.evaluation.digest import DIGEST, model_digests
from npi_jax.evaluation.models import EvaluateError, ModelSet
from npi_jax.preparation.prepare import make_pipeline, texts
from npi_jax.results.score_rows import ScoreRows
from npi_jax.scoring import ABSENT, Scorer, ScoreSpec, make_scorer
from npi_jax.suites import ConditionSuite, Suite, SuiteError, evaluate_predictions, load_suite
from npi_jax.suites.encode import EncodedSuite
from npi_jax.suites.grammar import grammar_suite
from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, make_mesh, map_members, pad_members, padded_size, put


def open_suite(name: str, path: str | None, models: ModelSet, *, limit: int | None = None) -> Suite | ConditionSuite:
    """Read a suite from files, or generate the built-in one.

    For a run trained on the built-in grammar, the built-in suite excludes the sentences of its training text.

    Args:
        name: ``"grammar"`` for the built-in suite, otherwise the name of a loader.
        path: the suite's file or folder; None for the built-in suite.
        models: the models to be scored.
        limit: largest number of items of a paradigm; None for all (100 in the built-in suite).

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
    """Return the conventions that apply if none are given.

    The end token counts only for models of runs and their exports. For items of several conditions, the regions come
    from the predictions; without predictions, all regions are scored.
    """
    spec = ScoreSpec(score_end=models.score_end)
    return with_regions(spec, suite) if isinstance(suite, ConditionSuite) else spec


def with_regions(spec: ScoreSpec, suite: ConditionSuite) -> ScoreSpec:
    """Return the spec with the regions that the suite's predictions name, or with all if there are no predictions."""
    named = {region for ps in suite.predictions.values() for p in ps for region, _ in p.formula.regions}
    known = dict.fromkeys(r for item in suite for c in item.conditions.values() for r in c.regions)
    regions = tuple(r for r in known if r in named) or (*known, "sentence")
    return ScoreSpec.from_dict({**spec.to_dict(), "regions": regions})


def score_models(
    models: ModelSet,
    suite: EncodedSuite,
    spec: ScoreSpec | None = None,
    *,
    unigram: Float[np.ndarray, " vocabulary"] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[pl.DataFrame, Scorer]:
    """Score every model; the devices share the models of each batch.

    Args:
        models: from `open_models`.
        suite: the suite, encoded with the models' tokenizer.
        spec: the conventions; `default_spec` if None.
        unigram: log-probabilities for normalizations that need them, see `make_scorer`.
        progress: called after each batch with the number of models in it.

    Returns:
        the table and the scorer. The table has the models' names, the columns of `Scores.columns`, and the digest of
        the parameters.

    Raises:
        EvaluateError: if the suite cannot be scored under the spec.
    """
    spec = spec or default_spec(suite.suite, models)
    try:
        scorer = make_scorer(models.model, suite, spec, unigram=unigram)
    except ValueError as error:
        raise EvaluateError(f"suite {suite.suite.name!r} cannot be scored: {error}") from error
    tables: list[pl.DataFrame] = []
    for params, names in models.batches():
        size = len(names)
        mesh = make_mesh(0, 1, n_members=size)
        call = map_members(scorer.apply, mesh, [MEMBERS, REPLICATED])
        padded = pad_members(params, padded_size(size, mesh) - size)
        sums = call(put(padded, mesh, MEMBERS), put(scorer.arrays, mesh, REPLICATED))
        log_probs = {region: np.asarray(values)[:size] for region, values in sums.items()}
        named = [{**name, DIGEST: digest} for name, digest in zip(names, model_digests(params), strict=True)]
        table = ScoreRows(scorer, named).table(log_probs)
        tables.append(table.select(*names[0], pl.exclude(*names[0], DIGEST), DIGEST))
        progress(size)
    return pl.concat(tables), scorer


def unscored(scorer: Scorer) -> dict[str, int]:
    """Return for each region the number of sentences in which no token of the region can be scored.

    In pairs, sentences without the region count. In items of several conditions they do not, because the conditions
    need not have the same regions.
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
    """Verify that a suite's predictions can be evaluated from summed surprisals.

    Raises:
        EvaluateError: if the scores are normalized, or a prediction uses another metric than the sum.
    """
    metrics = {p.metric for predictions in suite.predictions.values() for p in predictions}
    if metrics and spec.normalization not in ("auto", "sum"):
        raise EvaluateError(
            f"--spec: predictions are evaluated on sums, not on scores with normalization={spec.normalization}; "
            "add --set normalization=sum"
        )
    if other := sorted(metrics - {"sum"}):
        raise EvaluateError(
            f"suite {suite.name!r} has predictions of the metric {other[0]!r}, which needs every token's surprisal; "
            "only the metric 'sum' is supported here. npi_jax.suites.evaluate_predictions takes surprisals of tokens"
        )


def predictions_table(scores: pl.DataFrame, suite: ConditionSuite, spec: ScoreSpec) -> pl.DataFrame:
    """Evaluate a suite's predictions for every model: one row for each model, item and prediction.

    Raises:
        EvaluateError: as in `check_predictions`.
    """
    check_predictions(suite, spec)
    names = scores.columns[: scores.columns.index("suite")]
    row_of = {
        (item.item, condition): index
        for index, (item, condition) in enumerate((item, c) for item in suite for c in item.conditions)
    }
    frames = []
    for values, frame in scores.group_by(names, maintain_order=True):
        by_region = {
            region: _in_suite_order(part, row_of) for (region,), part in frame.group_by("region", maintain_order=True)
        }
        missing = np.full(len(row_of), np.nan)
        results = evaluate_predictions(suite, _getter(by_region, missing))
        frames.append(results.select(*(pl.lit(v).alias(n) for n, v in zip(names, values, strict=True)), pl.all()))
    return pl.concat(frames)


def _getter(by_region: dict[Any, np.ndarray], missing: np.ndarray) -> Callable[[str], np.ndarray]:
    return lambda region: by_region.get(region, missing)


def _in_suite_order(frame: pl.DataFrame, row_of: dict[tuple[str, str], int]) -> np.ndarray:
    values = np.full(len(row_of), np.nan)
    index = [row_of[key] for key in frame.select("item", "condition").iter_rows()]
    values[index] = frame["score"].to_numpy()
    return values
