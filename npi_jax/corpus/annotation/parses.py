"""Licensing by dependency parses, with the same tables as the shallow parse.

The table determines which words can license (`LicensorFinder`). The tree determines their scope: the words below the
head of the licensor. A scope never extends out of a relative clause. Dependency labels are those
of spaCy's English models (ClearNLP): relcl, acl, dobj, nsubjpass, pobj, mark, neg, advmod. Parsing needs spaCy, an
optional dependency, and a model of the user's choice.
"""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.annotator import Annotator
from npi_jax.corpus.annotation.entries import NO_ITEM
from npi_jax.corpus.annotation.items import ItemMatch
from npi_jax.corpus.annotation.licensors import LicensorMatch
from npi_jax.corpus.text.words import split_words
from npi_jax.errors import UserError

_SUBJECTS = frozenset(("nsubj", "nsubjpass", "expl", "csubj", "csubjpass"))
_NOMINALS = _SUBJECTS | {"dobj", "dative", "attr", "npadvmod", "pobj", "oprd"}
_AUXILIARIES = frozenset(("aux", "auxpass"))
_RESTRICTORS = frozenset(("relcl", "acl", "prep"))


@dataclass(frozen=True)
class Tree:
    """A dependency parse.

    Attributes:
        words: words of the sentence, as `split_words` splits it.
        heads: position of each word's head; a root is its own head.
        labels: label of each word's dependency.
    """

    words: Sequence[str]
    heads: Sequence[int]
    labels: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.words) == len(self.heads) == len(self.labels):
            raise ValueError(f"{len(self.words)} words, {len(self.heads)} heads, {len(self.labels)} labels")

    def path(self, index: int) -> list[int]:
        """Return a word and its ancestors, from the word to the root; stops before a cycle."""
        path = [index]
        while self.heads[path[-1]] not in path:
            path.append(self.heads[path[-1]])
        return path

    def dependents(self, index: int) -> list[int]:
        """Return the direct dependents of a word, in order."""
        return [at for at, head in enumerate(self.heads) if head == index and at != index]

    def subtree_end(self, index: int) -> int:
        """Return the end of the subtree of a word."""
        return 1 + max(at for at in range(len(self.words)) if index in self.path(at))


class ParseAnnotator:
    """Annotates parsed sentences, with the items and licensors of an annotator's table.

    Args:
        annotator: an annotator of the phenomenon.
    """

    def __init__(self, annotator: Annotator) -> None:
        self.annotator = annotator

    def annotate(self, tree: Tree) -> tuple[Annotation, ...]:
        """Find the items of a sentence and the licensor of each, as `Annotator.annotate` does without `contexts`."""
        lower = [word.lower() for word in tree.words]
        items = list(self.annotator.items.find(lower))
        if not items:
            return ()
        finder = self.annotator.licensors
        licensors = [licensor for at in range(len(lower)) if (licensor := finder.match(lower, at))]
        reading = _Reading(tree, lower, licensors, finder.question)
        return tuple(annotation for item in items if (annotation := reading.annotation(item)))


class _Reading:
    """One sentence, its tree and its licensors."""

    def __init__(self, tree: Tree, words: list[str], licensors: list[LicensorMatch], question: str | None) -> None:
        self.tree, self.words, self.licensors, self.question = tree, words, licensors, question

    def annotation(self, item: ItemMatch) -> Annotation | None:
        """Return the annotation of an item; None for words that are no item without a licensor."""
        name, span = item.entry.name, (item.start, item.stop)
        licensor = None if item.free else self._licensor(item)
        if licensor is not None:
            end = max(self.tree.subtree_end(self._anchor(licensor)), item.stop)
            scope = (min(licensor.position + 1, item.start), end)
            return Annotation(licensor.environment, licensor.position, scope, name, span)
        return None if item.entry.unlicensed == NO_ITEM else Annotation(item.entry.unlicensed, -1, (-1, -1), name, span)

    def _anchor(self, licensor: LicensorMatch) -> int:
        """Return the word whose subtree is the scope of a licensor."""
        if licensor.scope == "relative":
            return self._noun(licensor.position)
        return self.tree.heads[licensor.position]

    def _licensor(self, item: ItemMatch) -> LicensorMatch | None:
        """Return the licensor that is attached nearest above an item; the rightmost of several at one word."""
        path = self.tree.path(item.start)
        candidates = [
            (height, licensor)
            for licensor in self.licensors
            if (height := self._attachment(licensor, item, path)) is not None
        ]
        if self.question and "?" in self.words[item.start :]:
            candidates += [(path.index(verb), licensor) for verb, licensor in self._questions(path)]
        candidates = [pair for pair in candidates if item.environment in (None, pair[1].environment)]
        if not candidates:
            return None
        return min(candidates, key=lambda pair: (pair[0], -pair[1].position))[1]

    def _attachment(self, licensor: LicensorMatch, item: ItemMatch, path: list[int]) -> int | None:
        """Return the index on the item's path at which a licensor is attached; None if the item is out of its scope."""
        at = licensor.position
        if at in range(item.start, item.stop) or at > item.start:
            return None
        if licensor.scope in ("adverbial", "complement"):
            head = self.tree.heads[at]
            # A preposition ("without") is an ancestor of the item; a conjunction ("if") depends on the verb.
            return path.index(at) if at in path else path.index(head) if head in path else None
        if licensor.scope == "relative":
            return self._restricted_noun(licensor, item, path)
        if licensor.scope == "predicate" and self._inside_focus(at, path):
            return None
        return self._clausal_attachment(at, path)

    def _clausal_attachment(self, at: int, path: list[int]) -> int | None:
        """Return the index of the first word of the path above a licensor; None if another clause is between."""
        if at in path:
            return path.index(at)
        head = self.tree.heads[at]
        for _ in range(3):
            if head in path:
                return path.index(head)
            if self.tree.labels[head] not in _NOMINALS | {"prep", "advmod"}:
                return None
            head = self.tree.heads[head]
        return None

    def _inside_focus(self, at: int, path: list[int]) -> bool:
        """Return True if an item is part of the noun phrase that "only" modifies."""
        focus = self.tree.heads[at]
        return focus in path and self.tree.labels[focus] in _NOMINALS

    def _noun(self, at: int) -> int:
        """Return the noun that a determiner or superlative modifies; any other word is returned unchanged."""
        noun = at
        while self.tree.labels[noun] in ("det", "predet", "amod", "advmod", "poss") and noun != self.tree.heads[noun]:
            noun = self.tree.heads[noun]
        return noun

    def _restricted_noun(self, licensor: LicensorMatch, item: ItemMatch, path: list[int]) -> int | None:
        """Return the index on the path of the licensor's noun if the item is in a clause that restricts the noun.

        Items in `LicensorMatch.direct` can also be in the noun phrase itself.
        """
        noun = self._noun(licensor.position)
        if noun not in path:
            return None
        index = path.index(noun)
        if index and self.tree.labels[path[index - 1]] in _RESTRICTORS:
            return index
        return index if item.entry.name in licensor.direct else None

    def _questions(self, path: list[int]) -> Iterator[tuple[int, LicensorMatch]]:
        """Yield the verbs on the path whose auxiliary precedes the subject, and the auxiliary as a licensor."""
        assert self.question is not None
        for verb in path:
            if self.tree.labels[verb] in ("relcl", "acl", "advcl"):
                return
            dependents = self.tree.dependents(verb)
            subjects = [at for at in dependents if self.tree.labels[at] in _SUBJECTS]
            finite = [at for at in dependents if self.tree.labels[at] in _AUXILIARIES] or [verb]
            if subjects and finite[0] < subjects[0]:
                yield verb, LicensorMatch(self.question, finite[0], "question")


def load_parser(model: str) -> Any:
    """Load a spaCy pipeline with a parser.

    Raises:
        UserError: if spaCy or the model is not installed, or the model has no parser.
    """
    try:
        spacy = importlib.import_module("spacy")
    except ImportError as error:
        raise UserError(f"parsing needs spaCy ({error}): pip install 'npi-jax[spacy]'") from error
    try:
        pipeline = spacy.load(model)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no spaCy model {model!r}: python -m spacy download {model}, or give a folder that nlp.to_disk() wrote"
        ) from error
    if not pipeline.has_pipe("parser"):
        raise UserError(
            f"the spaCy model {model!r} has no parser; it has {', '.join(pipeline.pipe_names) or 'nothing'}"
        )
    return pipeline


def parsed(pipeline: Any, sentences: Iterable[str]) -> Iterator[Tree]:
    """Parse sentences with a spaCy pipeline, split by `split_words`, so that positions agree."""
    doc_class = importlib.import_module("spacy.tokens").Doc
    docs = (doc_class(pipeline.vocab, words=split_words(sentence)) for sentence in sentences)
    for doc in pipeline.pipe(docs):
        yield tree_of(doc)


def tree_of(doc: Any) -> Tree:
    """Convert the parse of a spaCy document.

    Raises:
        UserError: if the document has no parse.
    """
    if len(doc) and not doc.has_annotation("DEP"):
        raise UserError("the document was not parsed: its pipeline has no parser")
    return Tree([token.text for token in doc], [token.head.i for token in doc], [token.dep_ for token in doc])
