"""Suites of minimal pairs and of items with several conditions, and loaders of published suites.

Treatment of unusual items:

| case | treatment |
|---|---|
| a line that cannot be read; a field that is missing or of the wrong type | `SuiteError` with file, line and field |
| a suite or a file without items; two items of one name | `SuiteError` |
| a pair of identical sentences (BLiMP has seven) | kept; its scores tie; counted in `Suite.notes` |
| a pair that repeats a pair of its paradigm | kept; it counts again; counted in `Suite.notes` |
| items excluded by ``limit`` | counted in `Suite.notes` |
| a word outside the vocabulary | scored as ``<unk>``; counted by `EncodedSuite` |
| a region that no token overlaps | `EncodingError` with the item |
| half of a surrogate pair in a sentence or name | `SuiteError` in a file, otherwise `EncodingError` with the item |
| a region that begins or ends inside a token | all of the token is scored; counted by `EncodedSuite` |
| critical regions with different numbers of tokens | compared by means by default; counted by the scorer |
| a task with a name that result tables reserve (``mean over tasks``, ``lm``) | `SuiteError` with the item |
| a region that an item lacks, or that begins with an unscored first token | NaN for the item; counted by the scorer |
| a sentence longer than the model's context | rejected by the scorer with the item |
"""

from npi_jax.suites.loaders import LOADERS, load_suite
from npi_jax.suites.predictions import evaluate_predictions
from npi_jax.suites.schema import Condition, ConditionItem, ConditionSuite, Item, Suite, SuiteError, SuiteNotes
from npi_jax.suites.sentences import Span

__all__ = [
    "LOADERS",
    "Condition",
    "ConditionItem",
    "ConditionSuite",
    "Item",
    "Span",
    "Suite",
    "SuiteError",
    "SuiteNotes",
    "evaluate_predictions",
    "load_suite",
]
