"""Text of the built-in grammar: an English fragment with all nine environments and gold annotations."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS, AnnotatedText
from npi_jax.corpus.grammar.derivation import Derivation
from npi_jax.errors import did_you_mean

CONTRAST_SHARE = 0.5
"""Share of the sentences without a licensor that have a non-licensor in its place."""
MOST_SENTENCES = 100_000_000
"""Maximum number of sentences."""


@dataclass(frozen=True)
class GrammarSpec:
    """Settings of the grammar; equal settings give equal text.

    Attributes:
        sentences: number of sentences.
        seed: seed of all choices.
        environment_rate: share of sentences with a licensor, split evenly over the nine environments. A mapping gives
            the share of each environment by name; unnamed environments get none. Half of the other sentences have a
            non-licensor in the same frames, equally often for each environment; the rest have neither.
        npi_rate: probability that a position for an NPI in a licensor's scope holds an NPI. A clause has two or three
            positions (before the verb, the object, the end). Positions out of scope never hold one.
        sharing: probability that an NPI has the form that all environments share, such as "ever". Otherwise it has a
            form of its environment only, such as "ever_only". At 0 no two environments have a form in common. At 1
            all have the same forms, except that the environment adverbs lacks "yet".
    """

    sentences: int
    seed: int = 0
    environment_rate: float | Mapping[str, float] = 0.4
    npi_rate: float = 0.3
    sharing: float = 1.0

    def __post_init__(self) -> None:
        _check_count("sentences", self.sentences, 1, MOST_SENTENCES)
        _check_count("seed", self.seed, 0, 2**32 - 1)
        _check_share("npi_rate", self.npi_rate)
        _check_share("sharing", self.sharing)
        if not isinstance(self.environment_rate, Mapping):
            _check_share("environment_rate", self.environment_rate)
            return
        for name, share in self.environment_rate.items():
            if name not in ENVIRONMENTS:
                hint = did_you_mean(name, ENVIRONMENTS)
                raise ValueError(
                    f"GrammarSpec.environment_rate names {name!r}{hint}; environments are {', '.join(ENVIRONMENTS)}"
                )
            _check_share(f"environment_rate[{name!r}]", share)
        if (total := sum(self.environment_rate.values())) > 1 + 1e-9:
            raise ValueError(f"GrammarSpec.environment_rate sums to {total:g}; the shares must sum to at most 1")

    def shares(self) -> dict[str, float]:
        """Return the share of sentences of each of the nine environments."""
        if isinstance(self.environment_rate, Mapping):
            return {name: float(self.environment_rate.get(name, 0.0)) for name in ENVIRONMENTS}
        return dict.fromkeys(ENVIRONMENTS, self.environment_rate / len(ENVIRONMENTS))


def _check_count(field: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"GrammarSpec.{field} is {value!r}; it must be a whole number from {least} to {most}")


def _check_share(field: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"GrammarSpec.{field} is {value!r}; it must be a number from 0 to 1")


def generate(spec: GrammarSpec) -> AnnotatedText:
    """Write the sentences of a spec, with gold annotations.

    Sentences are in lower case and end with the word "." or "?". A sentence has at most one licensor. It has one
    annotation for each NPI in the licensor's scope, or one with ``npi=None`` if the scope has no NPI.
    """
    text, plan = np.random.default_rng([spec.seed, 0]).spawn(2)
    writer = Derivation(text, npi_rate=spec.npi_rate, sharing=spec.sharing)
    sentences, annotations = [], []
    for environment, licensed in _plan(spec, plan):
        writer.sentence(environment, licensed=licensed)
        sentences.append(tuple(writer.words))
        annotations.append(writer.annotations())
    return AnnotatedText(sentences, annotations)


def _plan(spec: GrammarSpec, rng: np.random.Generator) -> list[tuple[str | None, bool]]:
    """Draw the environment of each sentence, and True for its licensor or False for a non-licensor."""
    shares = np.array(list(spec.shares().values()))
    rest = max(0.0, 1.0 - shares.sum())
    n = len(ENVIRONMENTS)
    weights = np.concatenate([shares, np.full(n, rest * CONTRAST_SHARE / n), [rest * (1 - CONTRAST_SHARE)]])
    kinds: list[tuple[str | None, bool]] = [(name, True) for name in ENVIRONMENTS]
    kinds += [(name, False) for name in ENVIRONMENTS]
    kinds.append((None, False))
    return [kinds[i] for i in rng.choice(len(kinds), size=spec.sentences, p=weights / weights.sum()).tolist()]
