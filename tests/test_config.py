import dataclasses

import pytest
from tiny import tiny_values

from npi_jax.config import ConfigError, make_config
from npi_jax.models import TransformerConfig


def test_members_are_the_product_with_seeds_inside_variants():
    config = make_config(tiny_values(train__learning_rate=(0.1, 0.2)))
    members = [(member.variant, member.seed, member.learning_rate) for member in config.members]
    assert members == [
        (variant, seed, rate) for variant in ("full", "no_npi") for seed in (0, 1) for rate in (0.1, 0.2)
    ]


def test_plain_values_come_back():
    config = make_config(tiny_values())
    assert make_config(config.to_dict()) == config
    assert config.to_dict()["model"]["kind"] == "lstm"


def test_a_single_number_is_a_sweep_of_one():
    assert make_config(tiny_values(train__learning_rate=0.1)).train.learning_rate == (0.1,)


def test_models_are_told_by_kind():
    values = tiny_values(model={"kind": "transformer", "width": 8, "heads": 2})
    assert make_config(values).model == TransformerConfig(width=8, heads=2)


def test_variants_may_be_written_in_one_string():
    values = tiny_values(variants=("full,downsample(only,0.1)",))
    assert [str(text) for text in make_config(values).interventions] == ["full", "downsample(only, 0.1)"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__steps": 0}, "train.steps = 0: Input should be greater than or equal to 1"),
        ({"train__stepz": 5}, "train.stepz = 5: there is no such field; valid are steps, batch_size"),
        ({"nam": "x"}, "nam = 'x': there is no such field; valid are name, run_dir"),
        ({"model__hidden": 0}, "LSTMConfig.hidden is 0"),
        ({"model__kind": "gru"}, "model.kind = 'gru': valid are lstm, transformer, custom"),
        ({"variants": ("full", "without(")}, "variant 'without(': its brackets do not close"),
        ({"variants": ("full", "inject(npi, 2, 3, 10)")}, "step 10 is not before train.steps=10"),
        ({"variants": ("full", "full")}, "full is there more than once"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (-1,)}, "seeds.0 = -1"),
        ({"corpus__source": "text"}, "source 'text' needs paths and valid_paths"),
        ({"corpus__source": "book"}, "corpus.source = 'book'"),
        ({"corpus__grammar__npi_rate": 2.0}, "GrammarSpec.npi_rate is 2.0"),
        ({"mesh__data": 3}, "mesh.data=3 does not divide the 8 rows"),
        ({"checkpoints__every": 3}, "checkpoints.every=3 is no multiple of score.every=4"),
        ({"score__suites": {}}, "suites is empty"),
        ({"tokenizer": {"kind": "bpe", "size": 9, "lowercase": True}}, "are for kind 'word'"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"train__learning_rate": float("nan")}, "train.learning_rate.0"),
        ({"tokenizer": {"kind": "bpe"}}, "kind 'bpe' needs size"),
        ({"score__suites": {"blimp": {"limt": 3}}}, "score.suites.blimp.limt = 3: there is no such field"),
    ],
)
def test_faults_are_named(changes, words):
    with pytest.raises(ConfigError) as caught:
        make_config(tiny_values(**changes))
    assert words in str(caught.value)


def test_a_config_cannot_be_changed():
    config = make_config(tiny_values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]


def test_words_of_variants_are_those_of_the_phenomenon():
    config = make_config(tiny_values(variants=("full", "without(x)")))
    with pytest.raises(ConfigError, match="'x' is no word of selections in npi_en; there are adverbs"):
        config.check_phenomenon()
    other = {"source": "text", "paths": ("a",), "valid_paths": ("b",), "phenomenon": "filler_gap_en"}
    make_config(tiny_values(variants=("without(wh_question)",), corpus=other)).check_phenomenon()
