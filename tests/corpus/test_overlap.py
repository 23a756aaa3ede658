import math
import time

import pytest
from facts import facts

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS, UNLICENSED, Annotation
from npi_jax.corpus.annotation.npi_en import NPI_EN
from npi_jax.corpus.annotation.overlap import environment_table
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.grammar.generate import GrammarSpec, generate


def licensed(environment, licensor, start, stop, npi="ever"):
    return Annotation(environment, licensor, (licensor + 1, stop), npi, (start, stop))


def table_of(sentences, annotations):
    text = [one if isinstance(one, str) else " ".join(one) for one in sentences]
    return environment_table(text, AnnotationTable.from_sentences(annotations, NPI_EN), NPI_EN)


def row(table, first, second):
    return table.filter(task_i=first, task_j=second).row(0, named=True)


def test_overlaps_by_hand():
    sentences = ["Only Kim has ever sung .", "If Kim has ever sung , we cried .", "we say only Kim saw anything at all"]
    annotations = [
        (licensed("only", 0, 3, 4),),
        (licensed("conditional", 0, 3, 4),),
        (licensed("only", 2, 5, 6, "anything"), licensed("only", 2, 6, 8, "at all")),
    ]
    found = row(table_of(sentences, annotations), "only", "conditional")
    # only: "only kim" 3; "kim has", "has ever", "only kim has", "kim has ever" 1; "kim saw", "saw anything",
    # "only kim saw", "kim saw anything" 2; "anything at", "at all", "saw anything at", "anything at all" 1.
    norm = math.sqrt(9 + 4 * 1 + 4 * 4 + 4 * 1)
    # conditional: "if kim", "kim has", "has ever", "if kim has", "kim has ever", of which three are shared.
    assert found["ngram_overlap"] == pytest.approx(3 / (norm * math.sqrt(5)))
    assert found["npi_overlap"] == pytest.approx(1 / math.sqrt(3))
    assert (found["npis_i"], found["npis_j"]) == (3, 1)


def test_words_outside_of_the_context_do_not_count():
    annotations = [(licensed("only", 1, 2, 3),), (licensed("superlative", 1, 2, 3),)]
    same = table_of([["a", "x", "ever", "b"], ["c", "x", "ever", "d"]], annotations)
    assert row(same, "only", "superlative")["ngram_overlap"] == pytest.approx(1)
    other = table_of([["a", "x", "ever", "b"], ["a", "y", "ever", "b"]], annotations)
    assert row(other, "only", "superlative")["ngram_overlap"] == 0


def test_ngrams_do_not_run_from_one_sentence_into_the_next():
    sentences = [["x", "ever"], ["y", "ever"], ["ever", "y"]]
    annotations = [(licensed("only", 0, 1, 2),), (licensed("only", 0, 1, 2),), (licensed("adverbs", 1, 0, 1),)]
    assert row(table_of(sentences, annotations), "only", "adverbs")["ngram_overlap"] == 0


def test_every_ordered_pair_once_and_symmetric():
    text = generate(GrammarSpec(500))
    table = table_of(text.sentences, text.annotations)
    pairs = list(table.select("task_i", "task_j").iter_rows())
    assert pairs == [(i, j) for i in ENVIRONMENTS for j in ENVIRONMENTS if i != j]
    for name in ("ngram_overlap", "npi_overlap"):
        values = {(r["task_i"], r["task_j"]): r[name] for r in table.iter_rows(named=True)}
        assert all(values[i, j] == pytest.approx(values[j, i]) for i, j in values)
        assert table[name].is_between(0, 1 + 1e-9).all()


def test_null_where_an_environment_has_no_npi():
    annotations = [
        (licensed("only", 0, 1, 2),),
        (licensed("quantifier", 0, 1, 2),),
        (Annotation("conditional", 0, (1, 2)),),
        (Annotation(UNLICENSED, -1, (-1, -1), "ever", (0, 1)),),
    ]
    table = table_of(["only ever", "all ever", "if so", "ever"], annotations)
    assert row(table, "only", "quantifier")["npi_overlap"] == pytest.approx(1)
    absent = row(table, "only", "conditional")
    assert (absent["ngram_overlap"], absent["npi_overlap"], absent["npis_j"]) == (None, None, 0)
    assert table["npi_overlap"].null_count() == 72 - 2
    assert table_of([], [])["ngram_overlap"].null_count() == 72


def test_overlap_follows_the_sharing_of_the_grammar():
    shared, own = (
        table_of(text.sentences, text.annotations)
        for text in (generate(GrammarSpec(3000, sharing=sharing)) for sharing in (1.0, 0.0))
    )
    assert shared["npi_overlap"].min() > 0.8
    assert (own["npi_overlap"] == 0).all()
    assert (own["ngram_overlap"] < shared["ngram_overlap"]).all()


def test_text_counts_as_its_words():
    text = generate(GrammarSpec(300, sharing=0.5))
    joined = [" ".join(words).capitalize() for words in text.sentences]
    from_text = table_of(joined, text.annotations)
    assert from_text.equals(table_of(text.sentences, text.annotations))


def test_annotations_have_to_fit():
    with pytest.raises(ValueError, match=facts("sentence 1")):
        table_of(["only ever"], [(licensed("only", 0, 2, 3),)])


def test_a_corpus_takes_seconds():
    text = generate(GrammarSpec(6000))
    started = time.process_time()
    table_of(text.sentences * 10, text.annotations * 10)
    assert time.process_time() - started < 10
