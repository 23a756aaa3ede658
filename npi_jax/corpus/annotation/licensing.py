"""Licensing: assigns to each item of a sentence the nearest licensor whose scope includes the item."""

from npi_jax.corpus.annotation import wordclasses as wc
from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.clause_stack import Clause
from npi_jax.corpus.annotation.clauses import ClauseReader
from npi_jax.corpus.annotation.entries import NO_ITEM
from npi_jax.corpus.annotation.items import ItemMatch
from npi_jax.corpus.annotation.licensors import LicensorFinder, LicensorMatch

SENTENCE_ENDS = frozenset((".", "!", "?", ";"))

Licensing = tuple[LicensorMatch, Clause]
"""A licensor, and the clause in which it licenses."""


class LicensingReader:
    """Reads one sentence once, from left to right, and assigns each item its licensor.

    Args:
        finder: finds the licensors.
        words: the sentence in lower case.
        items: its items, in order.
    """

    def __init__(self, finder: LicensorFinder, words: list[str], items: list[ItemMatch]) -> None:
        self.finder = finder
        self.words = words
        self.items = items
        self.clauses = ClauseReader(words)
        self._sentence_end = -1  # end of the sentence that `_in_question` tested last
        # All licensors by position, to report those without an item.
        self._licensors: dict[int, Licensing] = {}

    def annotations(self, contexts: bool) -> tuple[Annotation, ...]:
        """Return the annotations of all items; with `contexts` also those of licensors without an item."""
        licensed = self._read(contexts)
        rows = [
            self._item_annotation(item, licensing)
            for item, licensing in licensed
            if licensing is not None or item.entry.unlicensed != NO_ITEM
        ]
        if contexts:
            used = {row.licensor for row in rows}
            rows += [
                self._context_annotation(*entry) for at, entry in sorted(self._licensors.items()) if at not in used
            ]
        return tuple(rows)

    def _read(self, contexts: bool) -> list[tuple[ItemMatch, Licensing | None]]:
        licensed: list[tuple[ItemMatch, Licensing | None]] = []
        waiting = iter(self.items)
        item = next(waiting, None)
        for index in range(len(self.words)):
            self.clauses.prepare_for_item(index)
            if item is not None and index == item.start:
                licensed.append((item, self._find_licensor(item)))
                item = next(waiting, None)
            self.clauses.read(index, self.finder.match(self.words, index))
            if contexts:
                self._note_licensors(index)
        self.clauses.close()
        return licensed

    def _note_licensors(self, index: int) -> None:
        clause = self.clauses.top
        if clause.licensors:  # a word adds at most one
            self._licensors.setdefault(clause.licensors[-1].position, (clause.licensors[-1], clause))
        question = self.finder.question
        if question and clause.inverted == index and self._in_question(index):
            self._licensors[index] = (LicensorMatch(question, index, "question"), clause)

    def _in_question(self, index: int) -> bool:
        """Return True if the sentence around a word ends in a question mark; `index` may not decrease between calls."""
        end = max(index, self._sentence_end)
        while end < len(self.words) and self.words[end] not in SENTENCE_ENDS:
            end += 1
        self._sentence_end = end
        return self.clauses.word(end) == "?"

    # -- choice of the licensor -----------------------------------------------------------------------

    def _find_licensor(self, item: ItemMatch) -> Licensing | None:
        """Return the nearest licensor whose scope includes the item; inner clauses come first."""
        if item.free:
            return None
        subject_hidden = False
        for clause in reversed(self.clauses.stack):
            candidates = self._candidates(clause, item, subject_hidden)
            if candidates:
                return max(candidates, key=lambda licensor: licensor.position), clause
            subject_hidden = clause.hides_subject
        if (question := self.finder.question) and item.environment in (None, question):
            licensing = self._question_licensor(question, item)
            if licensing:
                return licensing
        return self._licensor_ahead(item) if item.ahead else None

    def _candidates(self, clause: Clause, item: ItemMatch, subject_hidden: bool) -> list[LicensorMatch]:
        candidates = [one for one in clause.licensors if not (subject_hidden and one.scope == "predicate")]
        if clause.pending and item.entry.name in clause.pending.direct and not self._before_auxiliary(item):
            candidates.append(clause.pending)
        return [licensor for licensor in candidates if item.environment in (None, licensor.environment)]

    def _before_auxiliary(self, item: ItemMatch) -> bool:
        """Return True if a finite auxiliary follows the item: "better than the best man ever could"."""
        return self.clauses.word(item.stop) in wc.AUXILIARIES

    def _question_licensor(self, question: str, item: ItemMatch) -> Licensing | None:
        """Return the auxiliary, question word or question mark that licenses an item in a question."""
        in_question = self._in_question(item.start)
        for clause in reversed(self.clauses.stack):
            at = self._question_word(clause, item.start)
            # Some questions end in another mark: "How could anyone know!"
            if at >= 0 and (in_question or self.clauses.word(at - 1) in wc.WH_WORDS):
                return LicensorMatch(question, at, "question"), clause
        clause = self.clauses.top
        bare = clause.kind == "main" and (clause.predicate < 0 or self.words[clause.start] == "you")
        return self._elliptical_question(question, item) if in_question and bare and not item.environment else None

    def _elliptical_question(self, question: str, item: ItemMatch) -> Licensing | None:
        """Return the question mark in "any letters for me?"; None in a tag question ("..., have you?")."""
        end = next(at for at in range(item.stop, len(self.words)) if self.words[at] in SENTENCE_ENDS)
        if self.words[end - 1] in wc.PRONOUNS and "," in self.words[max(item.stop, end - 4) : end]:
            return None
        return LicensorMatch(question, end, "question"), self.clauses.top

    def _question_word(self, clause: Clause, before: int) -> int:
        """Return the position of a question's inverted auxiliary or initial wh-word; -1 if it has neither."""
        if clause.inverted >= 0 or clause.kind != "main":
            return clause.inverted
        start = clause.start
        while start < before and (self.words[start] in wc.CONJUNCTIONS or self.words[start] in wc.BREAKS):
            start += 1
        return start if start < before and self.words[start] in wc.WH_WORDS else -1

    def _licensor_ahead(self, item: ItemMatch) -> Licensing | None:
        """Return a licensor with the scope ``"clause"`` after the item, before the next punctuation mark."""
        first = item.stop + (self.clauses.word(item.stop) == ",")
        for at in range(first, len(self.words)):
            if self.words[at] in wc.ENDINGS or self.words[at] in wc.BREAKS:
                return None
            licensor = self.finder.match(self.words, at)
            if licensor and licensor.scope == "clause":
                return licensor, self.clauses.top
        return None

    # -- annotations, once the end of every clause is known -------------------------------------------

    def _item_annotation(self, item: ItemMatch, licensing: Licensing | None) -> Annotation:
        name, span = item.entry.name, (item.start, item.stop)
        if licensing is None:
            return Annotation(item.entry.unlicensed, -1, (-1, -1), name, span)
        licensor, clause = licensing
        first, last = self._scope(licensor, clause, item.stop)
        return Annotation(licensor.environment, licensor.position, (min(first, item.start), last), name, span)

    def _context_annotation(self, licensor: LicensorMatch, clause: Clause) -> Annotation:
        scope = self._scope(licensor, clause, licensor.position + 1)
        return Annotation(licensor.environment, licensor.position, scope)

    def _scope(self, licensor: LicensorMatch, clause: Clause, least: int) -> tuple[int, int]:
        """Return the span in which a licensor licenses; the span ends at `least` or later."""
        first = licensor.position + 1
        if licensor.scope == "relative":
            first = max(first, clause.start)
        elif licensor.scope == "predicate":
            first = max(first, clause.predicate)
        last = max(clause.end, least)
        while last > least and self.words[last - 1] in wc.ENDINGS:
            last -= 1
        return min(first, last), last
