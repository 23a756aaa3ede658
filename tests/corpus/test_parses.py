"""Parses made by hand, as spaCy's English models would: word/label/head, counted from 0."""

import pytest
from facts import facts

from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.parses import ParseAnnotator, Tree, load_parser, parsed, tree_of
from npi_jax.errors import UserError


def tree(text: str) -> Tree:
    rows = [word.rsplit("/", 2) for word in text.split()]
    return Tree([row[0] for row in rows], [int(row[2]) for row in rows], [row[1] for row in rows])


PARSES = {
    # adverbs
    "We/nsubj/2 hardly/advmod/2 see/ROOT/2 anyone/dobj/2 ./punct/2": ["adverbs"],
    "Scarcely/advmod/1 anyone/nsubj/2 knew/ROOT/2 it/dobj/2 ./punct/2": ["adverbs"],
    # conditional
    "Write/ROOT/0 if/mark/3 you/nsubj/3 find/advcl/0 any/det/5 errors/dobj/3 ./punct/0": ["conditional"],
    "Unless/mark/2 anybody/nsubj/2 objects/advcl/5 ,/punct/5 we/nsubj/5 begin/ROOT/5 ./punct/5": ["conditional"],
    # determiner negation, also on a noun phrase before the verb and after a preposition
    "No/det/1 guest/nsubj/4 has/aux/4 ever/advmod/4 complained/ROOT/4 ./punct/4": ["determiner_negation"],
    "Nothing/nsubj/3 will/aux/3 ever/advmod/3 change/ROOT/3 ./punct/3": ["determiner_negation"],
    "On/prep/5 no/det/2 account/pobj/0 should/aux/5 you/nsubj/5 say/ROOT/5 anything/dobj/5 ./punct/5": [
        "determiner_negation"
    ],
    # sentential negation, raised over complements, into a relative clause of its scope
    "She/nsubj/3 does/aux/3 n't/neg/3 believe/ROOT/3 he/nsubj/6 has/aux/6 seen/ccomp/3 any/dobj/6 ./punct/3": [
        "sentential_negation"
    ],
    "I/nsubj/3 have/aux/3 not/neg/3 met/ROOT/3 people/dobj/3 who/nsubj/6 read/relcl/4 any/det/8 Greek/dobj/6": [
        "sentential_negation"
    ],
    "It/nsubj/1 is/ROOT/1 not/neg/1 cold/acomp/1 at/advmod/3 all/pobj/4 ./punct/1": ["sentential_negation"],
    # only
    "Only/advmod/1 Kim/nsubj/4 has/aux/4 ever/advmod/4 won/ROOT/4 ./punct/4": ["only"],
    "The/det/2 only/amod/2 book/nsubj/6 she/nsubj/5 ever/advmod/5 wrote/relcl/2 sold/ROOT/6 ./punct/6": ["only"],
    # quantifier
    "Each/det/1 child/nsubj/6 that/nsubj/3 had/relcl/1 any/det/5 sense/dobj/3 left/ROOT/6 ./punct/6": ["quantifier"],
    "Everyone/nsubj/5 who/nsubj/3 ever/advmod/3 tried/relcl/0 it/dobj/3 failed/ROOT/5 ./punct/5": ["quantifier"],
    "Everybody/nsubj/4 with/prep/0 any/det/3 sense/pobj/1 left/ROOT/4 ./punct/4": ["quantifier"],
    # embedded question
    "They/nsubj/1 asked/ROOT/1 whether/mark/5 anyone/nsubj/5 had/aux/5 called/ccomp/1 ./punct/1": ["embedded_question"],
    "I/nsubj/1 wonder/ROOT/1 if/mark/4 he/nsubj/4 knows/ccomp/1 anything/dobj/4 ./punct/1": ["embedded_question"],
    # simple question
    "Has/aux/3 she/nsubj/3 ever/advmod/3 been/ROOT/3 here/advmod/3 ?/punct/3": ["simple_question"],
    "Is/ROOT/0 there/expl/0 any/det/3 bread/attr/0 ?/punct/0": ["simple_question"],
    # superlative
    "It/nsubj/1 was/ROOT/1 the/det/4 worst/amod/4 film/attr/1 we/nsubj/7 ever/advmod/7 saw/relcl/4 ./punct/1": [
        "superlative"
    ],
    "The/det/2 largest/amod/2 ship/nsubj/5 ever/advmod/4 built/acl/2 sank/ROOT/5 ./punct/5": ["superlative"],
    # two items, two environments
    "Nobody/nsubj/1 asked/ROOT/1 whether/mark/5 she/nsubj/5 had/aux/5 found/ccomp/1 anything/dobj/5 yet/advmod/1": [
        "embedded_question",
        "determiner_negation",
    ],
    # none of the nine
    "Any/det/1 fool/nsubj/3 can/aux/3 see/ROOT/3 that/dobj/3 ./punct/3": ["ambiguous"],
    "She/nsubj/1 left/ROOT/1 without/prep/1 any/det/4 money/pobj/2 ./punct/1": ["other"],
    "The/det/1 man/nsubj/6 no/det/3 critics/nsubj/4 liked/relcl/1 has/aux/6 won/ROOT/6 anything/dobj/6 ./punct/6": [
        "ambiguous"
    ],
    "The/det/1 boys/nsubj/7 who/nsubj/5 did/aux/5 not/neg/5 come/relcl/1 ever/advmod/7 laughed/ROOT/7 ./punct/7": [
        "unlicensed"
    ],
    "Every/det/1 guest/nsubj/5 who/nsubj/3 came/relcl/1 ever/advmod/5 laughed/ROOT/5 ./punct/5": ["unlicensed"],
    "If/mark/2 it/nsubj/2 rains/advcl/6 ,/punct/6 anyone/nsubj/6 may/aux/6 leave/ROOT/6 ./punct/6": ["ambiguous"],
    "Any/det/1 errors/nsubj/4 were/auxpass/4 not/neg/4 mended/ROOT/4 ./punct/4": ["ambiguous"],
}


@pytest.mark.parametrize("text", PARSES)
def test_the_licensor_is_found_in_the_tree(text):
    found = ParseAnnotator(annotator()).annotate(tree(text))
    assert [a.environment for a in found] == PARSES[text]
    for a in found:
        assert (a.licensor >= 0) == (a.environment not in ("ambiguous", "unlicensed"))
        if a.licensor >= 0:
            assert a.scope[0] <= a.span[0] < a.span[1] <= a.scope[1] <= len(tree(text).words)


def test_items_are_those_of_the_table():
    either_or = tree("He/nsubj/1 ate/ROOT/1 not/neg/3 either/preconj/4 meat/dobj/1 or/cc/4 fish/conj/4 ./punct/1")
    assert ParseAnnotator(annotator()).annotate(either_or) == ()


def test_a_cycle_of_heads_ends():
    assert ParseAnnotator(annotator()).annotate(Tree(["no", "one", "ever"], [1, 2, 1], ["det", "nsubj", "advmod"]))


def test_trees_have_a_head_and_a_label_for_each_word():
    with pytest.raises(ValueError, match=facts("2 words", "1 heads", "2 labels")):
        Tree(["a", "b"], [0], ["x", "y"])


def test_spacy_documents_are_read():
    spacy = pytest.importorskip("spacy", reason="the extra 'spacy' is not installed")
    words = ["Nobody", "ever", "came"]
    doc = spacy.tokens.Doc(spacy.blank("en").vocab, words=words, heads=[2, 2, 2], deps=["nsubj", "advmod", "ROOT"])
    (found,) = ParseAnnotator(annotator()).annotate(tree_of(doc))
    assert (found.environment, found.licensor) == ("determiner_negation", 0)
    with pytest.raises(UserError, match="not parsed"):
        list(parsed(spacy.blank("en"), ["Nobody came."]))


def test_a_missing_model_is_named(tmp_path):
    pytest.importorskip("spacy", reason="the extra 'spacy' is not installed")
    with pytest.raises(UserError, match=facts("'en_of_mine'", "python -m spacy download en_of_mine")):
        load_parser("en_of_mine")
    __import__("spacy").blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UserError, match=facts("parser")):
        load_parser(str(tmp_path / "blank"))
