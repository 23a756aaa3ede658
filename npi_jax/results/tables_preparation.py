"""Tables that the preparation of a corpus writes to the run directory."""

import polars as pl

from npi_jax.results import names
from npi_jax.results.columns import NATS, SHARE, TOKENS, Family, Table, integer, number, text
from npi_jax.results.shared import ITEM, KIND, PARADIGM, REGION, SUITE, TASK

_OLD = "runs from before it was kept"


class Corpus(Table, name="corpus", file="corpus.parquet", key="variant"):
    """Size of each corpus variant, its NPIs by environment, and how much of it was changed."""

    variant = text('Name of the variant; "full" is the corpus as it is.')
    control_of = text("Variant that this one is the random control of; null where it is none.", nullable=True)
    sentences = integer("Sentences to train on.")
    tokens = integer("Tokens to train on.", TOKENS)
    slots_changed = integer("Sentences that were removed or edited.")
    slots_unmatched = integer("Changes that could not be made exactly, as for want of a donor of equal length.")
    edited = integer("Sentences in which words were replaced.", optional=_OLD)
    injected = integer("Sentences put into batches, over all seeds.", optional=_OLD)
    npi = Family("", pl.Int64, "NPIs left that LABEL licenses (an environment, or other, ambiguous, unlicensed).")
    contexts = Family("", pl.Int64, "Licensors left of LABEL without an NPI in their scope.", optional=_OLD)


class Slots(Table, name="slots", file="slots.parquet", key="variant action slot start donor seed step"):
    """Changes of sentences of the corpus, one by one, in each variant."""

    variant = text("Corpus variant.")
    action = text("What was done to the sentence.", values=names.ACTIONS)
    slot = integer("Number of the sentence in the corpus, from 0.")
    donor = integer(
        "Number of the sentence that replaces it; null where it was edited, or where nothing does.", nullable=True
    )
    start = integer("First token that is taken from the donor; null where there is none.", nullable=True)
    tokens = integer("Tokens taken from the donor; null where there is none.", TOKENS, nullable=True)
    seed = integer("Seed of the batch that a sentence was put into; null unless injected.", nullable=True)
    step = integer("Step of the batch that a sentence was put into; null unless injected.", nullable=True)


class Examples(Table, name="examples", file="examples.parquet", key=""):
    """A random sample of the changed sentences as text (of the edited ones, all); rows have no key."""

    variant = text("Corpus variant.")
    action = text("What was done to the sentence.", values=names.ACTIONS)
    slot = integer("Number of the sentence in the corpus, from 0.")
    before = text("The sentence of the corpus.")
    after = text('What replaces it; "" where nothing does.')


class Environments(Table, name="environments", file="environments.parquet", key="task_i task_j"):
    """Surface similarity of each two environments in the full corpus."""

    task_i = text("First environment.")
    task_j = text("Second environment.")
    ngram_overlap = number(
        "Cosine of the counts of bigrams and trigrams from licensor to NPI; null where one has no NPI.",
        SHARE,
        nullable=True,
    )
    npi_overlap = number("Cosine of the counts of NPIs by form; null where one has no NPI.", SHARE, nullable=True)
    npis_i = integer("NPIs that the first environment licenses.")
    npis_j = integer("NPIs that the second environment licenses.")


class Ngram(Table, name="ngram", file="ngram.parquet", key="variant suite item region"):
    """Scores of an n-gram model (interpolated Kneser-Ney, order 5) of each variant's text on every minimal pair."""

    variant = text("Corpus variant that the n-grams were counted in.")
    suite = SUITE
    paradigm = PARADIGM
    task = TASK
    kind = KIND
    item = ITEM
    region = REGION
    delta = number("log p(good) - log p(bad) over the region, or as the ScoreSpec normalizes it.", NATS)
    correct = number("1 if delta is above 0, 0 if it is below; a tie counts as the ScoreSpec says.", SHARE)
