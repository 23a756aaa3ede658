"""Finds what licenses each item by dependency parses: the same tables as the word patterns, scope read off a tree.

The table says which words may license (`Annotator.mark`), the tree where they do: a licensor reaches what is below
the word it depends on, not what is outside of its own relative clause. Labels are those of spaCy's English models
(ClearNLP): relcl, acl, dobj, nsubjpass, pobj, mark, neg, advmod. Parses come from spaCy, an extra, with a model of the
user's choice.
"""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.annotator import Annotator
from npi_jax.corpus.annotation.clauses import Mark
from npi_jax.corpus.annotation.items import Found
from npi_jax.corpus.annotation.phenomenon import NO_ITEM
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
        words: as `split_words` splits the sentence.
        heads: the word that each depends on; a root has itself.
        labels: of the dependencies.
    """

    words: Sequence[str]
    heads: Sequence[int]
    labels: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.words) == len(self.heads) == len(self.labels):
            raise ValueError(f"{len(self.words)} words, {len(self.heads)} heads, {len(self.labels)} labels")

    def path(self, index: int) -> list[int]:
        """A word and all that it depends on, from below; ends at a root or where a cycle would begin."""
        path = [index]
        while self.heads[path[-1]] not in path:
            path.append(self.heads[path[-1]])
        return path

    def below(self, index: int) -> list[int]:
        """The words that depend on a word directly, in order."""
        return [at for at, head in enumerate(self.heads) if head == index and at != index]

    def last(self, index: int) -> int:
        """The end of the words below a word, itself included."""
        return 1 + max(at for at in range(len(self.words)) if index in self.path(at))


class ParseAnnotator:
    """Annotates parsed sentences, with the items and licensors of a word-pattern annotator's table.

    Args:
        annotator: whose table.
    """

    def __init__(self, annotator: Annotator) -> None:
        self.annotator = annotator

    def annotate(self, tree: Tree) -> tuple[Annotation, ...]:
        """Find the items of a sentence and the licensor of each; as `Annotator.annotate`, without `contexts`."""
        lower = [word.lower() for word in tree.words]
        items = list(self.annotator.find(lower))
        if not items:
            return ()
        marks = [mark for at in range(len(lower)) if (mark := self.annotator.mark(lower, at))]
        reading = _Reading(tree, lower, marks, self.annotator.question)
        found = []
        for item in items:
            mark = None if item.free else reading.licensor(item)
            if mark is not None:
                scope = (min(mark.position + 1, item.start), max(tree.last(reading.anchor(mark)), item.stop))
                span = (item.start, item.stop)
                found.append(Annotation(mark.environment, mark.position, scope, item.item.name, span))
            elif item.item.unlicensed != NO_ITEM:
                span = (item.start, item.stop)
                found.append(Annotation(item.item.unlicensed, -1, (-1, -1), item.item.name, span))
        return tuple(found)


class _Reading:
    """One sentence."""

    def __init__(self, tree: Tree, words: list[str], marks: list[Mark], question: str | None) -> None:
        self.tree, self.words, self.marks, self.question = tree, words, marks, question

    def anchor(self, mark: Mark) -> int:
        """The word whose dependents a licensor reaches."""
        if mark.scope == "relative":
            return self._noun(mark.position)
        return self.tree.heads[mark.position]

    def licensor(self, item: Found) -> Mark | None:
        """The licensor that is attached nearest above an item; of several at one word the rightmost."""
        path = self.tree.path(item.start)
        candidates = [(place, mark) for mark in self.marks if (place := self._reach(mark, item, path)) is not None]
        if self.question and "?" in self.words[item.start :]:
            candidates += [(path.index(verb), mark) for verb, mark in self._questions(path)]
        candidates = [(place, mark) for place, mark in candidates if item.owner in (None, mark.environment)]
        if not candidates:
            return None
        return min(candidates, key=lambda pair: (pair[0], -pair[1].position))[1]

    def _reach(self, mark: Mark, item: Found, path: list[int]) -> int | None:
        """How far up the path of an item a licensor is attached; None if the item is not in its scope."""
        at = mark.position
        if at in range(item.start, item.stop) or at > item.start:
            return None
        if mark.scope in ("adverbial", "complement"):
            head = self.tree.heads[at]
            # A preposition ("without") is itself above the item, a conjunction ("if") depends on the clause's verb.
            return path.index(at) if at in path else path.index(head) if head in path else None
        if mark.scope == "relative":
            return self._restrictor(mark, item, path)
        attached = self._attached(at, path)
        if attached is None:
            return None
        if mark.scope == "predicate" and self._inside_focus(at, path):
            return None
        return attached

    def _attached(self, at: int, path: list[int]) -> int | None:
        """Where a clausal licensor meets the path: it, its noun phrase or the phrase's preposition depends on it."""
        if at in path:
            return path.index(at)
        place = self.tree.heads[at]
        for _ in range(3):
            if place in path:
                return path.index(place)
            if self.tree.labels[place] not in _NOMINALS | {"prep", "advmod"}:
                return None
            place = self.tree.heads[place]
        return None

    def _inside_focus(self, at: int, path: list[int]) -> bool:
        """Whether an item stands in the noun phrase that "only" is on."""
        focus = self.tree.heads[at]
        return focus in path and self.tree.labels[focus] in _NOMINALS

    def _noun(self, at: int) -> int:
        """The noun of a determiner or superlative, itself if it is one."""
        place = at
        while (
            self.tree.labels[place] in ("det", "predet", "amod", "advmod", "poss") and place != self.tree.heads[place]
        ):
            place = self.tree.heads[place]
        return place

    def _restrictor(self, mark: Mark, item: Found, path: list[int]) -> int | None:
        """Whether the item is in a clause on the licensor's noun, or beside it where it may be."""
        noun = self._noun(mark.position)
        if noun not in path:
            return None
        place = path.index(noun)
        if place and self.tree.labels[path[place - 1]] in _RESTRICTORS:
            return place
        return place if item.item.name in mark.direct else None

    def _questions(self, path: list[int]) -> Iterator[tuple[int, Mark]]:
        """Verbs above the item whose auxiliary stands before the subject, each as a licensor."""
        assert self.question is not None
        for verb in path:
            if self.tree.labels[verb] in ("relcl", "acl", "advcl"):
                return
            below = self.tree.below(verb)
            subjects = [at for at in below if self.tree.labels[at] in _SUBJECTS]
            finite = [at for at in below if self.tree.labels[at] in _AUXILIARIES] or [verb]
            if subjects and finite[0] < subjects[0]:
                yield verb, Mark(self.question, finite[0], "question")


def load_parser(model: str) -> Any:
    """Load a spaCy pipeline that parses.

    Raises:
        UserError: spaCy or the model is not there, or the model has no parser; the message says what to install.
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
    """Parse sentences with a spaCy pipeline, over the words of `split_words`, so that positions agree."""
    doc_class = importlib.import_module("spacy.tokens").Doc
    docs = (doc_class(pipeline.vocab, words=split_words(sentence)) for sentence in sentences)
    for doc in pipeline.pipe(docs):
        yield tree_of(doc)


def tree_of(doc: Any) -> Tree:
    """The parse of a spaCy document.

    Raises:
        UserError: if it was not parsed.
    """
    if len(doc) and not doc.has_annotation("DEP"):
        raise UserError("the document was not parsed: its pipeline has no parser")
    return Tree([token.text for token in doc], [token.head.i for token in doc], [token.dep_ for token in doc])
