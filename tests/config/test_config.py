import dataclasses

import pytest
from facts import facts
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.config.members import HYPERPARAMETERS, SweepMember
from npi_jax.config.schema import TrainConfig, may_change
from npi_jax.corpus.grammar.generate import GrammarSpec
from npi_jax.models import CustomConfig, LSTMConfig, TransformerConfig
from npi_jax.scoring.spec import ScoreSpec


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


def test_the_kind_selects_the_class_of_the_model():
    values = tiny_values(model={"kind": "transformer", "width": 8, "heads": 2})
    assert make_config(values).model == TransformerConfig(width=8, heads=2)


def test_variants_may_be_written_in_one_string():
    values = tiny_values(variants=("full,downsample(only,0.1)",))
    assert [str(text) for text in make_config(values).interventions] == ["full", "downsample(only, 0.1)"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__steps": 0}, "train.steps = 0: Input should be greater than or equal to 1"),
        ({"train__stepz": 5}, "train.stepz = 5: there is no such field (did you mean steps?); valid are steps"),
        ({"model__hiden": 5}, "model.hiden = 5: there is no such field (did you mean hidden?); valid are embedding"),
        ({"corpus__grammar__sentencez": 5}, "corpus.grammar.sentencez = 5: there is no such field"),
        ({"nam": "x"}, "nam = 'x': there is no such field (did you mean name?); valid are name, run_dir"),
        ({"model__hidden": 0}, "LSTMConfig.hidden is 0"),
        ({"model__kind": "gru"}, "model.kind = 'gru': valid are lstm, transformer, custom"),
        ({"variants": ("full", "without(")}, "variant 'without(': brackets"),
        ({"variants": ("full", "inject(npi, 2, 3, 10)")}, "step 10 is not before train.steps=10"),
        ({"variants": ("full", "full")}, "variants: full occurs more than once"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (-1,)}, "seeds.0 = -1"),
        ({"corpus__source": "text"}, "source 'text' needs paths and valid_paths"),
        ({"corpus__source": "book"}, "corpus.source = 'book'"),
        ({"corpus__grammar__npi_rate": 2.0}, "GrammarSpec.npi_rate is 2.0"),
        ({"mesh__data": 3}, "mesh.data=3 does not divide the 8 rows"),
        ({"checkpoints__every": 3}, "checkpoints.every=3 is not a multiple of score.every=4"),
        ({"score__suites": {}}, "suites is empty"),
        ({"tokenizer": {"kind": "bpe", "size": 9, "lowercase": True}}, "are for kind 'word'"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"name": ".."}, "name = '..': it begins with a letter or digit"),
        ({"name": "."}, "name = '.'"),
        ({"name": ".hidden"}, "name = '.hidden'"),
        ({"name": "a\n"}, "name = 'a\\n'"),
        ({"name": "a" * 101}, "name = 'aaaa"),
        ({"name": "a\0"}, "name = 'a\\x00': "),
        ({"run_dir": "runs/\ud800"}, "run_dir = 'runs/\\ud800': "),
        ({"corpus__grammar__environment_rate": {"only\0": 0.1}}, "corpus.grammar.environment_rate = 'only"),
        ({"corpus__grammar__environment_rate": {"onl": 0.1}}, "names 'onl' (did you mean only?)"),
        ({"corpus__paths": ("",)}, "corpus.paths.0 = ''"),
        ({1: 2}, "a config has 1 for the name of a field"),
        ({"train__learning_rate": ()}, "train.learning_rate = ()"),
        ({"train__weight_decay": ()}, "train.weight_decay = ()"),
        ({"train__dropout": []}, "train.dropout = []"),
        ({"model__hidden": 10**7}, "LSTMConfig.hidden is 10,000,000; at most 1,048,576"),
        ({"model__layers": 10**6}, "LSTMConfig.layers is 1,000,000; at most 1,000"),
        (
            {"model": {"kind": "transformer", "positions": "learned", "max_positions": 10**12}},
            "max_positions is 1,000,000,000,000; learned positions go up to 1,048,576",
        ),
        ({"train__row_length": 10**12}, "train.row_length = 1000000000000"),
        ({"train__row_length": 10**6, "train__batch_size": 10**4}, "is 10,000,000,000 tokens, more than 1,073,741,824"),
        ({"train__steps": 10**10}, "train.steps = 10000000000"),
        ({"train__steps": 2 * 10**9}, "score.every=4 are 500,000,000 checkpoints; at most 100,000"),
        ({"corpus__seed": 10**20}, "corpus.seed = 100000000000000000000"),
        ({"corpus__seed": 10**5000}, "corpus.seed = a number of 16,610 bits"),
        ({"corpus__grammar__seed": 10**20}, "GrammarSpec.seed is 100000000000000000000"),
        ({"corpus__grammar__sentences": 10**12}, "GrammarSpec.sentences is 1000000000000"),
        ({"seeds": range(10**30)}, "seeds: more than 100,000"),
        ({"seeds": range(60_000)}, "120,000 members (variants, seeds and hyper-parameters); at most 100,000"),
        ({"variants": ("remove(" + "!" * 10_000 + "only)",)}, "more than 100 brackets and negations"),
        ({"variants": ("witout(only)",)}, "unknown intervention (did you mean without?)"),
        ({"train__learning_rate": float("nan")}, "train.learning_rate.0"),
        ({"tokenizer": {"kind": "bpe"}}, "kind 'bpe' needs size"),
        ({"score__suites": {"blimp": {"limt": 3}}}, "score.suites.blimp.limt = 3: there is no such field"),
    ],
)
def test_faults_are_named(changes, words):
    with pytest.raises(ConfigError) as caught:
        make_config(tiny_values() | changes if 1 in changes else tiny_values(**changes))
    assert words in str(caught.value)


def test_a_config_cannot_be_changed():
    config = make_config(tiny_values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]


def test_words_of_variants_are_those_of_the_phenomenon():
    config = make_config(tiny_values(variants=("full", "without(x)")))
    with pytest.raises(ConfigError, match=facts("'x'", "npi_en", "adverbs")):
        config.check_phenomenon()
    other = {"source": "text", "paths": ("a",), "valid_paths": ("b",), "phenomenon": "filler_gap_en"}
    make_config(tiny_values(variants=("without(wh_question)",), corpus=other)).check_phenomenon()


def test_a_field_says_itself_whether_a_run_can_be_resumed_with_another_value():
    assert may_change("corpus.cache")
    assert may_change("mesh.data")
    assert may_change("train.remat")
    assert may_change("monitor")
    assert may_change("monitor.sinks")
    assert not may_change("corpus")
    assert not may_change("corpus.removal")
    assert not may_change("train.steps")
    assert not may_change("score.suites.grammar.limit")
    assert not may_change("a field of another version")


def test_hyper_parameters_can_be_set_for_all_members_and_for_one_of_a_sweep():
    assert HYPERPARAMETERS == ("learning_rate", "weight_decay", "dropout")
    for section in (TrainConfig, SweepMember):
        assert set(HYPERPARAMETERS) <= {field.name for field in dataclasses.fields(section)}


@pytest.mark.parametrize("cls", [GrammarSpec, LSTMConfig, TransformerConfig, CustomConfig, ScoreSpec])
def test_classes_of_other_packages_are_as_their_packages_define_them(cls):
    assert not [name for name in vars(cls) if "pydantic" in name]
