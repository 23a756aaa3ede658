"""Interventions: what a variant takes out of the training corpus, stated over annotations.

A corpus is a sequence of *slots*, each holding one sentence. A variant says which slots lose their sentence.
By default the slot is refilled with a donor, an NPI-free sentence of the same number of tokens, so that all
variants have the same tokens at the same places everywhere else. Which donor a slot would get does not depend
on the variant: two variants that empty the same slot fill it with the same sentence.
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer

from npi_jax.corpus.annotations import ENVIRONMENTS
from npi_jax.corpus.rows import generator

KINDS = ("full", "no_npi", "without", "only", "downsample", "random")
NpiCounts = Integer[np.ndarray, "sentences columns"]


@dataclass(frozen=True)
class Intervention:
    """One intervention on the corpus.

    Attributes:
        kind: ``full`` (nothing removed), ``no_npi`` (every sentence with an NPI form), ``without`` (sentences
            with an NPI licensed by `environment`), ``only`` (sentences with an NPI, unless one is licensed by
            `environment`), ``downsample`` (`without`, but a share of the sentences stays), ``random`` (the
            size- and length-matched control of `control_of`: as many NPI-free sentences of the same lengths).
        environment: one of the nine environments, where the kind needs one.
        share: share of the environment's NPI sentences that stays, in [0, 1].
        control_of: the intervention that a ``random`` one matches.
    """

    kind: str
    environment: str | None = None
    share: float | None = None
    control_of: "Intervention | None" = None

    def __str__(self) -> str:
        if self.kind == "random":
            return f"random({self.control_of})"
        if self.kind == "downsample":
            return f"downsample({self.environment}, {self.share:g})"
        return self.kind if self.environment is None else f"{self.kind}({self.environment})"


def parse_intervention(text: str) -> Intervention:
    """Read an intervention as configs write it: ``without(adverbs)``, ``downsample(only, 0.1)``, ``random(no_npi)``.

    Raises:
        ValueError: naming the text, what is wrong in it, and what would be valid.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text, flags=re.DOTALL)
    kind, inside = match.groups() if match else (None, None)
    if kind not in KINDS:
        raise ValueError(f"variant {text!r}: unknown intervention; valid are {', '.join(map(_usage, KINDS))}")
    if kind == "random":
        return _parse_control(text, inside)
    arguments = [part.strip() for part in inside.split(",")] if inside and inside.strip() else []
    expected = {"full": 0, "no_npi": 0, "without": 1, "only": 1, "downsample": 2}[kind]
    if len(arguments) != expected:
        raise ValueError(f"variant {text!r}: write it as {_usage(kind)}")
    if expected and arguments[0] not in ENVIRONMENTS:
        raise ValueError(f"variant {text!r}: no environment {arguments[0]!r}; valid are {', '.join(ENVIRONMENTS)}")
    share = _parse_share(text, arguments[1]) if kind == "downsample" else None
    return Intervention(kind, arguments[0] if expected else None, share)


def _usage(kind: str) -> str:
    inside = {"without": "(ENVIRONMENT)", "only": "(ENVIRONMENT)", "downsample": "(ENVIRONMENT, SHARE)"}
    return kind + inside.get(kind, "(VARIANT)" if kind == "random" else "")


def _parse_control(text: str, inside: str | None) -> Intervention:
    target = parse_intervention(inside) if inside else Intervention("full")
    if target.kind in ("full", "random"):
        raise ValueError(f"variant {text!r}: random(...) needs the removal it controls for, as in random(no_npi)")
    return Intervention("random", control_of=target)


def _parse_share(text: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"variant {text!r}: the share {value!r} that stays must be a number from 0 to 1")
    return share


def select(
    intervention: Intervention, npi_counts: NpiCounts, lengths: Integer[np.ndarray, " sentences"], *, seed: int
) -> tuple[Bool[np.ndarray, " sentences"], int]:
    """Which sentences the intervention removes.

    Args:
        intervention: what to remove.
        npi_counts: NPIs of each sentence by environment, in the order of `ENVIRONMENTS`; the last column counts
            NPI forms without a licensor.
        lengths: tokens of each sentence, for the matching of the random control.
        seed: of the random choices (``downsample`` and ``random``).

    Returns:
        A mask of the sentences removed, and how many sentences a random control should have removed but could
        not, for want of an NPI-free sentence of that length (0 otherwise).
    """
    has_npi = npi_counts.sum(axis=1) > 0
    if intervention.kind == "full":
        return np.zeros(len(lengths), bool), 0
    if intervention.kind == "no_npi":
        return has_npi, 0
    if intervention.control_of is not None:
        target, _ = select(intervention.control_of, npi_counts, lengths, seed=seed)
        return _length_matched(target, ~has_npi, lengths, generator(seed, str(intervention)))
    assert intervention.environment is not None
    in_environment = npi_counts[:, ENVIRONMENTS.index(intervention.environment)] > 0
    if intervention.kind == "without":
        return in_environment, 0
    if intervention.kind == "only":
        return has_npi & ~in_environment, 0
    assert intervention.share is not None
    members = np.flatnonzero(in_environment)
    kept = round(intervention.share * len(members))
    removed = np.zeros(len(lengths), bool)
    # The order is drawn once per environment: a smaller share keeps a subset of what a larger one keeps.
    order = generator(seed, f"downsample({intervention.environment})").permutation(members)
    removed[order[kept:]] = True
    return removed, 0


def _length_matched(
    target: np.ndarray, candidates: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    chosen = np.zeros(len(lengths), bool)
    missing = 0
    wanted_lengths, wanted_counts = np.unique(lengths[target], return_counts=True)
    for length, wanted in zip(wanted_lengths, wanted_counts, strict=True):
        pool = rng.permutation(np.flatnonzero(candidates & (lengths == length)))
        chosen[pool[:wanted]] = True
        missing += max(0, int(wanted) - len(pool))
    return chosen, missing
