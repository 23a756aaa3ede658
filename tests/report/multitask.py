"""Synthetic tables of alignment, transfer and what ties them, with the columns that the analysis writes."""

import itertools

import numpy as np
import polars as pl
from declared import make_table
from numpy.random import Generator

from npi_jax.results.names import SEEDS_AND_MICRO_BATCHES
from npi_jax.results.schema import find
from npi_jax.results.table_files import write_declared
from npi_jax.results.tables_learning import FinalResults

LM = "lm"
GROUPS = ("embedding", "recurrent_0", "recurrent_1", "output", "recurrent", "all")
HYPER = {"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.1}
OVER = "seeds and items"
UNRELIABLE = "norm is not told from 0"


def write_multitask(run, environments: tuple[str, ...], steps: tuple[int, ...], *, seed: int = 1) -> None:
    """Write every new table of a synthetic run; at step 1 `embedding` of the first task is unreliable."""
    random = np.random.default_rng(seed)
    alignment = alignment_table(random, run.members(), environments, steps)
    tables = {
        "alignment": alignment,
        "alignment_mean": alignment_mean(alignment),
        "effective_tasks": effective_tasks(alignment, len(environments)),
        "alignment_contrasts": alignment_contrasts(alignment),
        "gradients": gradients_table(alignment),
        "alignment_npi": strata(random, alignment),
        "overlap": overlap(random, alignment),
        "lookahead": lookahead(random, alignment),
        **transfer_tables(random, environments),
        **link_tables(random, environments),
    }
    for name, table in tables.items():
        declared = find(name)
        setting = (pl.lit(value).alias(column) for column, value in HYPER.items() if declared.column(column))
        write_declared(run.path / declared.FILE, make_table(declared, table.with_columns(setting)), declared)
    path = run.path / FinalResults.FILE
    final = pl.read_parquet(path).with_columns(ngram=pl.when(pl.col("kind") == "licensor").then(0.7125))
    write_declared(path, final, FinalResults)


def alignment_table(random: Generator, members: pl.DataFrame, environments, steps) -> pl.DataFrame:
    tasks = [*environments, LM]
    pairs = pl.DataFrame(
        [
            {"task_i": one, "task_j": other, "place": i + j, "same": i == j, "lm": other == LM}
            for i, one in enumerate(tasks)
            for j, other in enumerate(tasks)
            if i <= j
        ]
    )
    frame = members.select("member", "variant", "seed", diverged=pl.col("status") != "ok")
    for other in (pl.DataFrame({"step": steps}), pl.DataFrame({"group": GROUPS}), pairs):
        frame = frame.join(other, how="cross")
    noise = pl.Series(random.normal(scale=0.05, size=len(frame)))
    base = pl.when(pl.col("variant") == members["variant"][0]).then(0.45).otherwise(0.05)
    grown = base * pl.col("step") / (pl.col("step") + 60) * (1 - pl.col("place") / 60)
    value = pl.when("same").then(1.0).when("lm").then(0.1).otherwise(grown) + noise
    bad = (pl.col("step") == 1) & (pl.col("group") == "embedding") & (pl.col("task_i") == tasks[0])
    reason = pl.when("diverged").then(pl.lit("diverged")).when(bad).then(pl.lit(UNRELIABLE)).otherwise(pl.lit(""))
    frame = frame.with_columns(reason=reason).with_columns(reliable=pl.col("reason") == "")
    corrected = pl.when("reliable").then(value).otherwise(float("nan"))
    return frame.select(
        *("member", "variant", "seed", "step", "group", "task_i", "task_j"),
        corrected=corrected,
        naive=value * 0.6,
        reliable="reliable",
        reason="reason",
        se=pl.lit(0.04),
        adam=corrected * 0.9,
        sign_conflict=0.5 - value / 4,
    )


def alignment_mean(alignment: pl.DataFrame) -> pl.DataFrame:
    same, lm = pl.col("task_i") == pl.col("task_j"), pl.col("task_j") == LM
    statistic = pl.when(same).then(pl.lit("same task")).when(lm).then(pl.lit("lm")).otherwise(pl.lit("environments"))
    by = ["variant", "step", "group", "statistic"]
    finite = pl.col("corrected").filter("reliable")
    table = (
        alignment.with_columns(statistic=statistic)
        .filter(~(same & lm))
        .group_by(by)
        .agg(
            finite.mean().fill_null(float("nan")).alias("corrected"),
            pl.col("adam").filter("reliable").mean().fill_null(float("nan")),
            pl.col("naive").mean(),
            pl.col("sign_conflict").mean(),
            pl.col("seed").n_unique().cast(pl.Int64).alias("n_seeds"),
            pl.struct("task_i", "task_j").n_unique().cast(pl.Int64).alias("n_pairs"),
            (~pl.col("reliable")).sum().cast(pl.Int64).alias("n_unreliable"),
        )
        .with_columns(
            **{name: pl.lit(value) for name, value in HYPER.items()}, interval_over=pl.lit(SEEDS_AND_MICRO_BATCHES)
        )
        .with_columns(low=pl.col("corrected") - 0.06, high=pl.col("corrected") + 0.07)
        .sort(by)
    )
    head = ["variant", *HYPER, "step", "group", "statistic", "corrected", "low", "high", "adam", "naive"]
    return table.select(*head, "sign_conflict", "n_seeds", "n_pairs", "n_unreliable", "interval_over")


def _mean_cosines(alignment: pl.DataFrame) -> pl.DataFrame:
    """Mean over pairs of environments and members, by variant, step, group and metric."""
    different = (pl.col("task_i") != pl.col("task_j")) & (pl.col("task_j") != LM) & pl.col("reliable")
    by = ["variant", "step", "group"]
    means = alignment.filter(different).group_by(by).agg(pl.col("corrected").mean(), pl.col("adam").mean())
    long = means.rename({"corrected": "plain"}).unpivot(["plain", "adam"], index=by, variable_name="metric")
    return long.sort(*by, "metric")


def effective_tasks(alignment: pl.DataFrame, n_tasks: int) -> pl.DataFrame:
    value = n_tasks / (1 + (n_tasks - 1) * pl.col("value") ** 2)
    more = {"n_tasks": n_tasks, "n_seeds": 3, "n_pairs": n_tasks * (n_tasks - 1) // 2, "n_unreliable": 0}
    table = _mean_cosines(alignment).select("variant", "step", "group", "metric", effective=value)
    return table.with_columns(
        low=pl.col("effective") * 0.8,
        high=pl.col("effective") * 1.2,
        interval_over=pl.lit(SEEDS_AND_MICRO_BATCHES),
        reason=pl.lit(""),
        **{name: pl.lit(number) for name, number in more.items()},
    )


def alignment_contrasts(alignment: pl.DataFrame) -> pl.DataFrame:
    means, baseline = _mean_cosines(alignment), alignment["variant"][0]
    on = ["step", "group", "metric"]
    table = means.filter(pl.col("variant") != baseline).join(
        means.filter(variant=baseline).select(*on, baseline_mean="value"), on=on
    )
    difference = pl.col("variant_mean") - pl.col("baseline_mean")
    return table.rename({"value": "variant_mean"}).with_columns(
        statistic=pl.lit("mean cosine"),
        baseline=pl.lit(baseline),
        difference=difference,
        low=difference - 0.1,
        high=difference + 0.1,
        p=pl.when(difference.abs() > 0.1).then(0.01).otherwise(0.5),
        n_seeds=pl.lit(3),
        n_left_out=pl.lit(0),
        reason=pl.lit(""),
    )


def gradients_table(alignment: pl.DataFrame) -> pl.DataFrame:
    same = alignment.filter(pl.col("task_i") == pl.col("task_j"))
    head = same.select("member", "variant", "seed", "step", "group", pl.col("task_i").alias("task"), "reason")
    return head.with_columns(norm=0.3, noise_scale=50.0, reliability=0.8, reliable=pl.col("reason") == "")


def strata(random: Generator, alignment: pl.DataFrame) -> pl.DataFrame:
    last = _last_pairs(alignment)
    found = []
    for npis, shift in (("all", 0.0), ("same", 0.1), ("different", -0.1)):
        noise = pl.Series(random.normal(scale=0.03, size=len(last)))
        found.append(last.with_columns(npis=pl.lit(npis), corrected=pl.col("corrected") + shift + noise))
    # One NPI form alone is too rare to be told.
    found.append(
        last.with_columns(npis=pl.lit("at all"), corrected=float("nan"), reliable=False, reason=pl.lit("rare"))
    )
    columns = ["member", "variant", "seed", "step", "group", "task_i", "task_j", "npis", "corrected"]
    return pl.concat(found).with_columns(n_products=400).select(*columns, "n_products", "reliable", "reason")


def overlap(random: Generator, alignment: pl.DataFrame) -> pl.DataFrame:
    last = _last_pairs(alignment).drop("corrected", "naive", "reliable", "se", "adam", "sign_conflict", "reason")
    noise = pl.Series(random.uniform(0, 0.1, size=len(last)))
    return last.with_columns(k=4, overlap=0.3 + noise, ceiling=0.5 + noise, reason=pl.lit(""))


def lookahead(random: Generator, alignment: pl.DataFrame) -> pl.DataFrame:
    last = alignment.filter((pl.col("step") == pl.col("step").max()) & (pl.col("group") == "all"))
    noise = pl.Series(random.normal(scale=0.002, size=len(last)))
    first = last["corrected"] * 0.02
    table = last.select("member", "variant", "seed", "step", "task_i", "task_j")
    return table.with_columns(change=first + noise, first_order=first)


def transfer_tables(random: Generator, environments) -> dict[str, pl.DataFrame]:
    rows = []
    for removed in (*environments, "all"):
        for task in environments:
            own = removed in (task, "all")
            for control in ("",) if removed == "all" else ("", f"random_no_{removed}"):
                for outcome, scale in (("accuracy", 0.1), ("delta", 1.0), ("auc", 0.1)):
                    rows.append(_effect(random, removed, task, control, outcome, scale, own=own))
    # One effect on delta that cannot be told.
    rows[-2] |= dict.fromkeys(("effect", "low", "high", "p", "p_adjusted"), float("nan")) | {"reason": "one seed"}
    cell = {"suite": "grammar", "kind": "licensor", "region": "critical"}
    asymmetry = [
        {**cell, "removed_i": one, "removed_j": other, "outcome": "delta", "effect_ij": -0.4, "effect_ji": -0.1}
        | {"difference": -0.3, "low": -0.5, "high": -0.1, "p": 0.01, "n_seeds": 3}
        for one, other in itertools.pairwise(environments)
    ]
    shares = [
        {"environment": environment, "others": others, "share": share, "npis": int(500 * share), "suite": "grammar"}
        | {"kind": "licensor", "region": "critical", "accuracy": 0.5 + 0.4 * share, "low": 0.45 + 0.4 * share}
        | {
            "thinned": "items",
            "donor": "",
            "high": 0.55 + 0.4 * share,
            "delta": share,
            "delta_low": share - 0.2,
            "delta_high": share + 0.2,
            "n_seeds": 3,
        }
        for environment in environments[:3]
        for others in ("kept", "removed")
        for share in (0.0, 0.1, 0.5, 1.0)
    ]
    others = {"thinned": "items", "donor": "", "suite": "grammar", "kind": "licensor", "region": "critical"}
    gains = [
        {"environment": name, "share": share, "outcome": outcome, "gain": gain, "low": 0.7 * gain, "high": 1.3 * gain}
        | {"p": 0.004, "p_adjusted": 0.008, "n_seeds": 3, "n_environments": n, "n_censored": 0, "level_with": 0.95}
        | {"level_without": 0.95 - gain, "variant_with": "", "variant_without": "", "reason": "", **others}
        for share in (0.0, 0.1, 0.5)
        for outcome, gain in (("accuracy", 0.4), ("delta", 2.0))
        for name, n in ({environments[0]: 1, environments[-1]: 1} | {"mean over environments": 2}).items()
    ]
    listening = [
        {**cell, "task": task, "without": "no_all_but", "steps_full": 128.0, "steps_without": 256.0, "lag_log2": 1.0}
        | {"low": 0.4, "high": 1.6, "p": 0.02, "p_adjusted": 0.06, "n_seeds": 3, "n_censored": 1, "control": ""}
        for task in environments[:3]
    ]
    frames = {
        "transfer": rows,
        "asymmetry": asymmetry,
        "amplification": shares,
        "gains": gains,
        "eavesdropping": listening,
    }
    return {name: pl.DataFrame(found, infer_schema_length=None) for name, found in frames.items() if found}


def _effect(random, removed, task, control, outcome, scale, *, own) -> dict[str, object]:
    effect = scale * (-1.5 if own else -0.3) + scale * 0.2 * random.normal()
    return {
        "intervention": "no_npi" if removed == "all" else f"no_{removed}",
        "removed": removed,
        "control": control,
        "suite": "grammar",
        "kind": "licensor",
        "region": "critical",
        "task": task,
        "outcome": outcome,
        "effect": effect,
        "low": effect - 0.3 * scale,
        "high": effect + 0.3 * scale,
        "p": 0.004 if own else 0.03,
        "p_adjusted": 0.02 if own or effect < -0.4 * scale else 0.4,
        "n_seeds": 3,
        "n_items": 20,
        "n_censored": 0,
        "interval_over": OVER,
        "reason": "",
    }


def link_tables(random: Generator, environments) -> dict[str, pl.DataFrame]:
    pairs = [
        {"removed": removed, "task": task, "group": "recurrent", "alignment": value, "naive": 0.6 * value}
        | {"effect": effect, "low": effect - 0.3, "high": effect + 0.3, "outcome": "delta", "n_cells": 3, "step": 64}
        for removed in environments
        for task in environments
        if removed != task
        for value in (float(random.normal(0.4, 0.1)),)
        for effect in (-0.8 * value + float(random.normal(0, 0.1)),)
    ]
    names = ("corrected", "naive", "adam", "ngram_overlap", "npi_overlap", "frequency")
    link = [
        {"primary": place == 0, "predictor": name, "group": "recurrent", "outcome": "delta", "centered": "both"}
        | {"step": 64 if place < 3 else -1, "seeds": "disjoint" if place < 3 else ""}
        | {"statistic": -0.43 + 0.1 * place, "p": 0.012 + 0.05 * place, "p_adjusted": 0.05 + 0.1 * place}
        | {"n_pairs": len(pairs), "n_tasks": len(environments), "n_permutations": 2000, "reason": ""}
        for place, name in enumerate(names)
    ]
    prediction = [
        {"model": model, "outcome": "delta", "group": "recurrent", "correlation": value, "r2": value**2}
        | {"n_pairs": len(pairs), "reason": ""}
        for model, value in (("baselines", 0.2), ("baselines + alignment", 0.5), ("alignment", 0.45))
    ]
    frames = {"link": link, "link_pairs": pairs, "prediction": prediction}
    return {name: pl.DataFrame(found, infer_schema_length=None) for name, found in frames.items() if found}


def _last_pairs(alignment: pl.DataFrame) -> pl.DataFrame:
    different = (pl.col("task_i") != pl.col("task_j")) & (pl.col("task_j") != LM)
    return alignment.filter((pl.col("step") == pl.col("step").max()) & different)
