from pathlib import Path

import pytest
from facts import facts

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS, RESIDUALS
from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.phenomenon import PHENOMENA, PhenomenonError, load_phenomenon
from npi_jax.corpus.text.words import split_words

TABLE = """
name = "mine"
item = "clitic"
[[items]]
name = "one"
before = ["two"]
[[environments]]
name = "hats"
scope = "clause"
[[environments.licensors]]
forms = ["hat"]
after = ["@determiners"]
"""


def test_the_tables_of_the_package_load():
    assert PHENOMENA == ("filler_gap_en", "npi_en")
    npi = load_phenomenon("npi_en")
    assert npi.environment_names == ENVIRONMENTS
    assert npi.labels == (*ENVIRONMENTS, *RESIDUALS)
    assert {entry.name for entry in npi.items if entry.strength == "strong"} >= {"in years", "either"}


def test_a_table_of_the_user(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TABLE)
    mine = annotator(str(path))
    found = mine.annotate(
        ["the", "hat", "saw", "one", "two", "and", "one", "three", ",", "a", "big", "hat", "one", "two"]
    )
    assert [(a.environment, a.npi, a.licensor, a.span) for a in found] == [
        ("hats", "one", 1, (3, 4)),
        ("hats", "one", 1, (12, 13)),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', "name = mine", "not TOML"),
        ('name = "mine"', 'name = "My table"', ("name: ", "pattern")),
        ('before = ["two"]', 'befor = ["two"]', "items.1.befor: Unexpected keyword"),
        ('before = ["two"]', 'before = ["@tow"]', ("items.1.before: ", "'@tow'", "@abbreviated")),
        ('scope = "clause"', 'scope = "word"', ("environments.1.scope: ", "'clause', 'predicate'")),
        ('forms = ["hat"]', 'forms = ["a hat"]', ("environments.1.licensors.1: ", "forms", "'a hat'")),
        ('forms = ["hat"]', "forms = []", ("licensor", "forms", "suffix")),
        ('name = "hats"', 'name = "other"', ("environments: ", "'other'")),
        ('name = "one"', 'name = "npi"', ("items: ", "'npi'")),
        ('before = ["two"]', 'before = ["Two"]', ("conditions", "'Two'")),
        ('before = ["two"]', 'forms = ["One"]', ("forms", "'One'")),
        ('forms = ["hat"]', 'forms = ["hat"]\ndirect = ["two"]', ("direct", "'two'")),
        ('forms = ["hat"]', 'forms = ["hat"]\nexcept = ["that"]', ("except", "suffix")),
        ('name = "hats"', 'name = "one"', ("environments: ", "'one'")),
        ('name = "one"', 'name = "one"\nunlicensed = "maybe"', ("items.1.unlicensed: ", "'no_item'")),
        ("[[items]]", '[[items]]\nname = "one"\n[[items]]', ("items: ", "one", "more than once")),
    ],
)
def test_faults_name_file_and_field(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(PhenomenonError, match=facts(message)) as caught:
        load_phenomenon(path)
    assert str(path) in str(caught.value)


def test_a_changed_table_is_read_again(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TABLE)
    before = load_phenomenon(path)
    path.write_text(TABLE.replace('"hat"', '"cap"'))
    assert load_phenomenon(path).digest != before.digest


def test_no_such_table():
    with pytest.raises(PhenomenonError, match=facts("'npi_de'", "filler_gap_en, npi_en")):
        load_phenomenon("npi_de")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("What are you looking at?", [("at", "wh_question", "What")]),
        ("Whose brother is she talking to?", [("to", "wh_question", "Whose")]),
        ("He asked what they were waiting for.", [("for", "embedded_question", "what")]),
        ("The chair which she sat beside and dreamed of.", [("of", "relative_clause", "which")]),
        ("It was looked at.", [("at", "unlicensed", None)]),
        ("She looked at him.", []),
        ("I want to.", []),
    ],
)
def test_stranded_prepositions(sentence, expected):
    words = split_words(sentence)
    found = annotator("filler_gap_en").annotate(words)
    assert [(a.npi, a.environment, words[a.licensor] if a.licensor >= 0 else None) for a in found] == expected


def test_an_annotator_follows_its_table(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TABLE)
    words = ["the", "hat", "one", "two"]
    assert len(annotator(str(path)).annotate(words)) == 1
    path.write_text(TABLE.replace('before = ["two"]', 'before = ["three"]'))
    assert annotator(str(path)).annotate(words) == ()


def test_the_example_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "annotator.md").read_text(encoding="utf-8")
    path = tmp_path / "reflexive.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0])
    found = annotator(str(path)).annotate(split_words("Kim has hurt himself. Lee hurt herself by himself."))
    assert [(a.npi, a.environment) for a in found] == [("himself", "name"), ("himself", "unlicensed")]
