import itertools

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.corpus.annotation.npi_en import NPIS, TABLE, environment_forms, npi_words


def test_the_table_has_the_nine_environments_in_order():
    assert tuple(TABLE) == ENVIRONMENTS


def test_every_environment_but_the_question_has_non_licensors():
    assert [name for name in ENVIRONMENTS if not TABLE[name].non_licensors] == ["simple_question"]


def test_no_word_both_licenses_and_does_not():
    licensors = {word for entry in TABLE.values() for group in entry.licensors for word in group.forms}
    non_licensors = {word for entry in TABLE.values() for word in entry.non_licensors}
    assert not licensors & non_licensors


def test_a_counterpart_of_an_npi_is_no_non_licensor_before_the_verb():
    # "really" and "often" among the counterparts of "ever" would make their frequency depend on licensing.
    verbal = {*TABLE["adverbs"].non_licensors, *TABLE["sentential_negation"].non_licensors}
    assert not verbal & set(NPIS["ever"].counterparts)


def test_npis_and_counterparts_have_no_form_in_common():
    assert not set(NPIS) & {text for npi in NPIS.values() for text in npi.counterparts}


def test_environment_forms_mark_every_word_and_are_disjoint():
    assert npi_words("at all") == ("at", "all")
    assert npi_words("at all", "only") == ("at_only", "all_only")
    words = {name: {word for npi in NPIS for word in npi_words(npi, name)} for name in (None, *ENVIRONMENTS)}
    assert all(not a & b for a, b in itertools.combinations(words.values(), 2))


def test_environment_forms_lead_back_to_name_and_environment():
    forms = environment_forms()
    assert forms["in_only", "years_only"] == ("in years", "only")
    assert forms["ever_superlative",] == ("ever", "superlative")
    assert len(forms) == len(NPIS) * len(ENVIRONMENTS)
