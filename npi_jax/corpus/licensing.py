"""The table of licensors and NPIs that the grammar, the annotator and the grammar's suite all read.

Licensors, non-licensors and NPIs are those of Warstadt et al. (2019), "Investigating BERT's knowledge of
language: five analysis methods with NPIs". Where this table departs from theirs, a comment says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from npi_jax.corpus.annotations import ENVIRONMENTS


@dataclass(frozen=True, slots=True)
class Environment:
    """One licensing environment.

    Attributes:
        name: one of `ENVIRONMENTS`.
        contrasts: each licensor with the expressions of the same shape that do not license.
        scope: where a licensor licenses: ``"clause"``, from the licensor to the end of its clause;
            ``"predicate"``, the verb phrase of its clause, not the noun phrase it stands on;
            ``"subordinate"``, the clause it introduces; ``"relative"``, the relative clause on its noun;
            ``"question"``, the whole question. Complement clauses inside count as inside; no scope reaches
            out of a relative clause.
        variants: licensors that the annotator counts here and the grammar does not write.
    """

    name: str
    contrasts: Mapping[str, tuple[str, ...]]
    scope: str
    variants: tuple[str, ...] = ()

    @property
    def licensors(self) -> tuple[str, ...]:
        """The licensors that the grammar writes."""
        return tuple(self.contrasts)

    @property
    def non_licensors(self) -> tuple[str, ...]:
        """Every expression that contrasts with a licensor, in order of first mention."""
        return tuple(dict.fromkeys(word for words in self.contrasts.values() for word in words))


@dataclass(frozen=True, slots=True)
class Npi:
    """One negative polarity item.

    Attributes:
        name: its words, a space between them.
        position: ``"determiner"``, ``"person"`` or ``"thing"`` (object pronouns), ``"adverb"`` (before the
            verb) or ``"final"`` (at the end of the verb phrase).
        counterparts: what stands in the same position and needs no licensor.
        perfect: whether the grammar writes it only in the perfect ("has not left yet").
        barred: environments in which the grammar does not write it.
        variants: other forms that the annotator reports under this name.
    """

    name: str
    position: str
    counterparts: tuple[str, ...]
    perfect: bool = False
    barred: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()


SUPERLATIVES: Mapping[str, str] = {
    "best": "good",
    "greatest": "great",
    "oldest": "old",
    "finest": "fine",
    "strangest": "strange",
    "newest": "new",
    "oddest": "odd",
    "nicest": "nice",
    "quietest": "quiet",
    "worst": "bad",
    "loveliest": "lovely",
    "dullest": "dull",
}
"""Superlatives with the plain adjective, most frequent first."""

AUXILIARIES: tuple[str, ...] = ("has", "have", "did", "will", "could", "would", "should")
"""The auxiliaries that open the grammar's questions."""

_FREQUENCY = ("sometimes", "always", "often")

TABLE: Mapping[str, Environment] = {
    entry.name: entry
    for entry in (
        Environment(
            "adverbs",
            dict.fromkeys(("rarely", "hardly", "seldom", "barely", "scarcely"), _FREQUENCY),
            "clause",
        ),
        Environment("conditional", {"if": ("while",)}, "subordinate", variants=("unless",)),
        # The negative pronouns and "nor" go with the negative determiner: what they share is the negated
        # noun phrase. "Without", "few", "before" and comparatives fit none of the nine and are left out:
        # what only they license is reported as unlicensed.
        Environment(
            "determiner_negation",
            {"no": ("some",)},
            "clause",
            variants=("nobody", "nothing", "none", "neither", "nor", "nowhere"),
        ),
        # "Never" is the negation of a sentence, unlike the weakly negative adverbs of frequency.
        Environment("sentential_negation", {"not": ("really",)}, "clause", variants=("n't", "never", "cannot")),
        Environment("only", {"only": ("even",)}, "predicate"),
        Environment(
            "quantifier",
            {"every": ("some",), "all": ("many", "some", "more than three"), "each": ("some",)},
            "relative",
            variants=("everyone", "everybody", "everything"),
        ),
        # The annotator also takes "if" after a verb of asking or knowing for "whether".
        Environment("embedded_question", {"whether": ("that",)}, "subordinate"),
        # The licensor is the auxiliary before its subject; what contrasts is the order of a statement.
        Environment("simple_question", dict.fromkeys(AUXILIARIES, ()), "question"),
        Environment(
            "superlative",
            {superlative: (plain,) for superlative, plain in SUPERLATIVES.items()},
            "relative",
            variants=("most", "least", "first", "last"),
        ),
    )
}
"""The nine environments by name, in the order of `ENVIRONMENTS`."""

# Counterparts of "ever" are those of Warstadt et al. without "often" and "really": these two are
# non-licensors here, and would make "really" likelier after "not" than after "really".
_EVER = ("also", "certainly", "clearly", "obviously", "probably")

NPIS: Mapping[str, Npi] = {
    entry.name: entry
    for entry in (
        # "That" and "those" are left out, so that in the grammar "that" always opens a clause.
        Npi("any", "determiner", ("the", "some", "this", "these")),
        Npi("anyone", "person", ("someone",), variants=("anybody",)),
        Npi("anything", "thing", ("something",)),
        Npi("ever", "adverb", _EVER),
        Npi("yet", "final", ("again", "regularly"), perfect=True, barred=("adverbs",)),
        Npi("at all", "final", ("at night", "on weekends")),
        Npi(
            "in years",
            "final",
            ("in spring", "for a while"),
            perfect=True,
            variants=("in ages", "in weeks", "in months", "in decades"),
        ),
        Npi("either", "final", ("as well", "too")),
    )
}
"""The NPIs by name."""


def npi_words(name: str, environment: str | None = None) -> tuple[str, ...]:
    """The words of an NPI: the form all environments share, or the one of an environment's own.

    Args:
        name: one of `NPIS`.
        environment: None for the shared form; otherwise every word is marked as that environment's own
            (``"ever_only"``, ``("at_only", "all_only")``), so that two environments have no form in common.
    """
    words = tuple(name.split())
    return words if environment is None else tuple(f"{word}_{environment}" for word in words)


def npi_forms() -> dict[tuple[str, ...], tuple[str, str | None]]:
    """Every NPI form, variants included: its words -> (NPI name, environment that owns the form or None)."""
    forms: dict[tuple[str, ...], tuple[str, str | None]] = {}
    for npi in NPIS.values():
        for form in (npi.name, *npi.variants):
            forms[npi_words(form)] = (npi.name, None)
        for environment in ENVIRONMENTS:
            forms[npi_words(npi.name, environment)] = (npi.name, environment)
    return forms
