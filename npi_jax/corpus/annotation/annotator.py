"""Finds a phenomenon's items in tokenized text, and what licenses each, by its table and a shallow parse."""

from collections.abc import Iterator, Mapping, Sequence

from npi_jax.corpus.annotation import wordclasses as wc
from npi_jax.corpus.annotation.annotations import OTHER, Annotation, shifted
from npi_jax.corpus.annotation.clauses import Clause, ClauseReader, Mark
from npi_jax.corpus.annotation.items import Found, ItemFinder
from npi_jax.corpus.annotation.npi_en import NPI_EN, own_forms
from npi_jax.corpus.annotation.phenomenon import NO_ITEM, Licensor, Phenomenon, load_phenomenon, resolve
from npi_jax.corpus.text.words import split_words

_PARTS_CLAUSES = frozenset(("to", "and", "that", ";", ".", "!", "?"))
_SENTENCE_ENDS = frozenset((".", "!", "?", ";"))
LONGEST = 1000
"""Most words that are read as one sentence; the reading looks back and ahead, and would take the square of a length."""


class Annotator:
    """Annotates sentences for one phenomenon.

    Args:
        phenomenon: its table.
        own_forms: forms that only one environment licenses, see `ItemFinder`.
    """

    def __init__(
        self, phenomenon: Phenomenon, own_forms: Mapping[tuple[str, ...], tuple[str, str]] | None = None
    ) -> None:
        self.phenomenon = phenomenon
        self._items = ItemFinder(phenomenon, own_forms)
        self._rules: dict[str, list[_Rule]] = {}
        self._suffixes: list[_Rule] = []
        questions = [entry.name for entry in phenomenon.environments if entry.scope == "question"]
        self.question = questions[0] if questions else None
        for entry in phenomenon.environments:
            for group in entry.licensors:
                self._add(_Rule(entry.name, group.scope or entry.scope, group))
        for group in phenomenon.outside:
            assert group.scope is not None
            self._add(_Rule(OTHER, group.scope, group))
        for rules in self._rules.values():
            rules.sort(key=lambda rule: not rule.after)
        self._longest_suffix = max((len(rule.group.suffix) for rule in self._suffixes), default=0)

    def _add(self, rule: "_Rule") -> None:
        if rule.scope == "question":  # known by its place, not by its form
            return
        for form in rule.group.forms:
            self._rules.setdefault(form, []).append(rule)
        if rule.group.suffix:
            self._suffixes.append(rule)

    def annotate(self, words: Sequence[str], *, contexts: bool = False) -> tuple[Annotation, ...]:
        """Find the items of a sentence and the licensor of each.

        Args:
            words: one sentence as `split_words` splits it ("do n't", "can not"), in lower, upper or title case.
            contexts: also report licensors that have no item in their scope (``npi=None``).

        Returns:
            Annotations in the order of their items, then of the licensors without one. An item goes to the nearest
            licensor before it in its own clause, else to one in the clauses around that one; a sentence may so hold
            several environments. Without a licensor it is what its table says, `AMBIGUOUS` or `UNLICENSED`; with one
            that belongs to no environment, `OTHER`. Uses of the same words that are no items ("either ... or", "in
            any case", "for ever") are left out. What is longer than `LONGEST` is read in stretches, cut at the end of
            a sentence where there is one.
        """
        if len(words) <= LONGEST:
            return self._annotate(words, contexts)
        stretches = [
            shifted(row, start)
            for start, stop in _stretches(words)
            for row in self._annotate(words[start:stop], contexts)
        ]
        return tuple(sorted(stretches, key=lambda row: row.npi is None))

    def _annotate(self, words: Sequence[str], contexts: bool) -> tuple[Annotation, ...]:
        if not contexts and self._items.triggers.isdisjoint(words):
            return ()
        lower = [word.lower() for word in words]
        found = list(self._items.find(lower))
        if not found and not contexts:
            return ()
        return _Reading(self, self._items.shared_forms(lower), found).annotations(contexts)

    def find(self, words: Sequence[str]) -> Iterator[Found]:
        """The items of a sentence in lower case, whatever licenses them; see `ItemFinder.find`."""
        return self._items.find(words)

    def holds_form(self, text: str) -> bool:
        """Whether a sentence may hold an item: it has a word of one."""
        return not self._items.triggers.isdisjoint(split_words(text))

    def mark(self, words: Sequence[str], index: int) -> Mark | None:
        """What a word licenses, if anything."""
        word = words[index]
        rules = self._rules.get(word, ())
        for rule in rules:
            if rule.fits(words, index):
                return Mark(rule.environment, index, rule.scope, rule.direct)
        if rules or len(word) <= self._longest_suffix + 1:
            return None
        for rule in self._suffixes:
            if word.endswith(rule.group.suffix) and word not in rule.excepted and rule.fits(words, index):
                return Mark(rule.environment, index, rule.scope, rule.direct)
        return None


def _stretches(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the parts of a very long sentence begin and end."""
    start = 0
    while len(words) - start > LONGEST:
        last, middle = start + LONGEST, start + LONGEST // 2
        stop = next((at for at in range(last, middle, -1) if words[at - 1] in _SENTENCE_ENDS), last)
        yield start, stop
        start = stop
    yield start, len(words)


class _Rule:
    """One group of licensors, its conditions resolved."""

    def __init__(self, environment: str, scope: str, group: Licensor) -> None:
        self.environment, self.scope, self.group = environment, scope, group
        self.before, self.after = resolve(group.before), resolve(group.after)
        self.not_before, self.not_after = resolve(group.not_before), resolve(group.not_after)
        self.direct, self.excepted, self.skip = frozenset(group.direct), resolve(group.except_), resolve(group.skip)

    def fits(self, words: Sequence[str], index: int) -> bool:
        """Whether the words beside a form are as the table wants them."""
        before = index - 1
        while before >= 0 and words[before] in self.skip:
            before -= 1
        left = words[before] if before >= 0 else ""
        right = words[index + 1] if index + 1 < len(words) else ""
        if left in self.not_after or right in self.not_before:
            return False
        if self.after and left not in self.after and not self._is_near(words, before):
            return False
        return not self.before or right in self.before

    def _is_near(self, words: Sequence[str], before: int) -> bool:
        """Whether one of the words that must come before is not far away."""
        for at in range(before - 1, max(before - self.group.within, -1), -1):
            if words[at] in _PARTS_CLAUSES:
                return False
            if words[at] in self.after:
                return True
        return False


class _Reading:
    """One sentence, read once."""

    def __init__(self, annotator: Annotator, words: list[str], found: list[Found]) -> None:
        self.annotator = annotator
        self.words = words
        self.found = found
        self.clauses = ClauseReader(words)
        self._sentence_end = -1  # the first at or after a place that was asked for
        # Every licensor with the clause it licenses in, for those that have no item.
        self.licensors: dict[int, tuple[Mark, Clause]] = {}

    def annotations(self, contexts: bool) -> tuple[Annotation, ...]:
        """Read the sentence; items with what licenses them, then licensors without an item if `contexts`."""
        licensed: list[tuple[Found, tuple[Mark, Clause] | None]] = []
        waiting = iter(self.found)
        item = next(waiting, None)
        for index in range(len(self.words)):
            self.clauses.expect(index)
            if item is not None and index == item.start:
                licensed.append((item, self._licensor(item)))
                item = next(waiting, None)
            self.clauses.read(index, self.annotator.mark(self.words, index))
            if contexts:
                self._note(index)
        self.clauses.close()
        rows = [
            self._annotation(found, where)
            for found, where in licensed
            if where is not None or found.item.unlicensed != NO_ITEM
        ]
        if contexts:
            used = {row.licensor for row in rows}
            rows += [self._context(*entry) for at, entry in sorted(self.licensors.items()) if at not in used]
        return tuple(rows)

    def _note(self, index: int) -> None:
        clause = self.clauses.stack[-1]
        if clause.marks:  # at most one is new
            self.licensors.setdefault(clause.marks[-1].position, (clause.marks[-1], clause))
        question = self.annotator.question
        if question and clause.inverted == index and self._asks(index):
            self.licensors[index] = (Mark(question, index, "question"), clause)

    def _asks(self, index: int) -> bool:
        """Whether the sentence that a word is in ends in a question mark; places are asked for in order."""
        end = max(index, self._sentence_end)
        while end < len(self.words) and self.words[end] not in _SENTENCE_ENDS:
            end += 1
        self._sentence_end = end
        return self.clauses.word(end) == "?"

    def _licensor(self, item: Found) -> tuple[Mark, Clause] | None:
        """The nearest licensor whose scope an item is in."""
        if item.free:
            return None
        hidden = False
        for clause in reversed(self.clauses.stack):
            fitting = [mark for mark in clause.marks if not (hidden and mark.scope == "predicate")]
            if clause.pending and item.item.name in clause.pending.direct and not self._before_auxiliary(item):
                fitting.append(clause.pending)
            fitting = [mark for mark in fitting if item.owner in (None, mark.environment)]
            if fitting:
                return max(fitting, key=lambda mark: mark.position), clause
            hidden = clause.hides_subject
        if (question := self.annotator.question) and item.owner in (None, question):
            found = self._asked(question, item)
            if found:
                return found
        return self._ahead(item) if item.ahead else None

    def _before_auxiliary(self, item: Found) -> bool:
        """Whether an item stands before a finite auxiliary: "better than the best man ever could"."""
        return self.clauses.word(item.stop) in wc.AUXILIARIES

    def _asked(self, question: str, item: Found) -> tuple[Mark, Clause] | None:
        """The question that an item stands in."""
        asks = self._asks(item.start)
        for clause in reversed(self.clauses.stack):
            at = self._asking_word(clause, item.start)
            # "How could anyone know!" asks without a question mark.
            if at >= 0 and (asks or self.clauses.word(at - 1) in wc.WH_WORDS):
                return Mark(question, at, "question"), clause
        clause = self.clauses.stack[-1]
        bare = clause.kind == "main" and (clause.predicate < 0 or self.words[clause.start] == "you")
        return self._elliptical(question, item) if asks and bare and not item.owner else None

    def _elliptical(self, question: str, item: Found) -> tuple[Mark, Clause] | None:
        """The question mark of "any letters for me?"; None where a tag asks ("..., have you?")."""
        end = next(at for at in range(item.stop, len(self.words)) if self.words[at] in _SENTENCE_ENDS)
        if self.words[end - 1] in wc.PRONOUNS and "," in self.words[max(item.stop, end - 4) : end]:
            return None
        return Mark(question, end, "question"), self.clauses.stack[-1]

    def _ahead(self, item: Found) -> tuple[Mark, Clause] | None:
        """A negation that follows in the same clause."""
        first = item.stop + (self.clauses.word(item.stop) == ",")
        for at in range(first, len(self.words)):
            if self.words[at] in wc.ENDINGS or self.words[at] in wc.BREAKS:
                return None
            mark = self.annotator.mark(self.words, at)
            if mark and mark.scope == "clause":
                return mark, self.clauses.stack[-1]
        return None

    def _asking_word(self, clause: Clause, before: int) -> int:
        """The inverted auxiliary of a question, or the "who" that it begins with; -1 if there is neither."""
        if clause.inverted >= 0 or clause.kind != "main":
            return clause.inverted
        start = clause.start
        while start < before and (self.words[start] in wc.CONJUNCTIONS or self.words[start] in wc.BREAKS):
            start += 1
        return start if start < before and self.words[start] in wc.WH_WORDS else -1

    def _annotation(self, found: Found, where: tuple[Mark, Clause] | None) -> Annotation:
        """The annotation of one item, once the end of every clause is known."""
        span = (found.start, found.stop)
        if where is None:
            return Annotation(found.item.unlicensed, -1, (-1, -1), found.item.name, span)
        mark, clause = where
        first, last = self._scope(mark, clause, found.stop)
        return Annotation(mark.environment, mark.position, (min(first, found.start), last), found.item.name, span)

    def _context(self, mark: Mark, clause: Clause) -> Annotation:
        return Annotation(mark.environment, mark.position, self._scope(mark, clause, mark.position + 1))

    def _scope(self, mark: Mark, clause: Clause, least: int) -> tuple[int, int]:
        first = mark.position + 1
        if mark.scope == "relative":
            first = max(first, clause.start)
        elif mark.scope == "predicate":
            first = max(first, clause.predicate)
        last = max(clause.end, least)
        while last > least and self.words[last - 1] in wc.ENDINGS:
            last -= 1
        return min(first, last), last


_ANNOTATORS: dict[str, Annotator] = {}


def annotator(name: str = "npi_en") -> Annotator:
    """The annotator of a phenomenon (see `load_phenomenon`); for `npi_en` one that knows the grammar's own forms."""
    phenomenon = load_phenomenon(name)
    # By what the table says, not by its name: the file may have been changed since.
    if phenomenon.digest not in _ANNOTATORS:
        own = own_forms() if phenomenon.digest == NPI_EN.digest else None
        _ANNOTATORS[phenomenon.digest] = Annotator(phenomenon, own)
    return _ANNOTATORS[phenomenon.digest]


_NPI_EN = annotator()


def annotate(words: Sequence[str], *, contexts: bool = False) -> tuple[Annotation, ...]:
    """`Annotator.annotate` for the NPIs of English."""
    return _NPI_EN.annotate(words, contexts=contexts)
