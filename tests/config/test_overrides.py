"""Overrides on the command line: every field can be set, and an unknown field is named in the message."""

import functools
from typing import Any

import pytest
from facts import facts
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.config.overrides import all_fields, with_overrides
from npi_jax.config.schema import Config
from npi_jax.models import CustomConfig, LSTMConfig, TransformerConfig

TEXT = ("corpus.source=text", "corpus.paths=a.txt", "corpus.valid_paths=b.txt")
TRANSFORMER = ("model.kind=transformer",)
SWEEP = "[{'variant': 'full', 'seed': 4}]"

# Each field with a text, the value of that text, and other fields without which it is not valid.
FIELDS: list[tuple[str, str, Any, tuple[str, ...]]] = [
    ("name", "other", "other", ()),
    ("run_dir", "a,b/c", "a,b/c", ()),
    ("variants", "only(ever | any),full", ("only(ever | any)", "full"), ()),
    ("seeds", "3", (3,), ()),
    ("sweep", SWEEP, "full", ("variants=full", "seeds=4")),
    ("corpus.source", "text", "text", TEXT[1:]),
    ("corpus.paths", "a.txt,b.txt", ("a.txt", "b.txt"), (TEXT[0], TEXT[2])),
    ("corpus.valid_paths", "('a,b.txt',)", ("a,b.txt",), TEXT[:2]),
    ("corpus.unit", "sentence", "sentence", ()),
    ("corpus.field", "1", "1", ()),
    ("corpus.tfds_name", "lm1b", "lm1b", ()),
    ("corpus.tfds_split", "train[:10%]", "train[:10%]", ()),
    ("corpus.tfds_valid_split", "test", "test", ()),
    ("corpus.tfds_dir", "3", "3", ()),
    ("corpus.max_sentences", "9", 9, ()),
    ("corpus.max_valid_sentences", "None", None, ()),
    ("corpus.grammar.sentences", "10_000", 10_000, ()),
    ("corpus.grammar.seed", "5", 5, ()),
    ("corpus.grammar.environment_rate", "{'only': .25}", {"only": 0.25}, ()),
    ("corpus.grammar.npi_rate", "0.5", 0.5, ()),
    ("corpus.grammar.sharing", "0", 0.0, ()),
    ("corpus.grammar_valid_sentences", "70", 70, ()),
    ("corpus.removal", "delete", "delete", ()),
    ("corpus.seed", "6", 6, ()),
    ("corpus.phenomenon", "filler_gap_en", "filler_gap_en", TEXT),
    ("corpus.processes", "2", 2, ()),
    ("corpus.cache", "~/cache", "~/cache", ()),
    ("corpus.allow_repeats", "true", True, ()),
    ("corpus.allow_empty", "true", True, ()),
    ("corpus.planned_tokens", "5000", 5000, ()),
    ("tokenizer.kind", "bpe", "bpe", ("tokenizer.size=300",)),
    ("tokenizer.size", "300", 300, ()),
    ("tokenizer.min_count", "2", 2, ()),
    ("tokenizer.lowercase", "true", True, ()),
    ("tokenizer.file", "1.txt", "1.txt", ()),
    ("model.embedding", "16", 16, ()),
    ("model.hidden", "16", 16, ()),
    ("model.layers", "3", 3, ()),
    ("model.layers", "5", 5, TRANSFORMER),
    ("model.tie", "True", True, ()),
    ("model.tie", "True", True, TRANSFORMER),
    ("model.initialization", "scaled", "scaled", ()),
    ("model.compute_dtype", "bfloat16", "bfloat16", ()),
    ("model.compute_dtype", "bfloat16", "bfloat16", TRANSFORMER),
    ("model.width", "64", 64, TRANSFORMER),
    ("model.heads", "8", 8, TRANSFORMER),
    ("model.mlp", "32", 32, TRANSFORMER),
    ("model.kv_heads", "2", 2, TRANSFORMER),
    ("model.norm", "layer", "layer", TRANSFORMER),
    ("model.norm_epsilon", "1e-5", 1e-5, TRANSFORMER),
    ("model.positions", "learned", "learned", (*TRANSFORMER, "model.max_positions=64")),
    ("model.max_positions", "64", 64, TRANSFORMER),
    ("model.rotary_fraction", "0.5", 0.5, TRANSFORMER),
    ("model.rotary_base", "500", 500, TRANSFORMER),
    ("model.rotary_scaling", "8,1,4,8192", (8, 1, 4, 8192), TRANSFORMER),
    ("model.activation", "gelu", "gelu", TRANSFORMER),
    ("model.gated", "false", False, TRANSFORMER),
    ("model.attention_bias", "true", True, TRANSFORMER),
    ("model.mlp_bias", "true", True, TRANSFORMER),
    ("model.output_bias", "true", True, TRANSFORMER),
    ("model.parallel", "true", True, TRANSFORMER),
    ("model.factory", "bag.py:make", "bag.py:make", ()),
    ("model.options", "{'size': 3}", {"size": 3}, ("model.factory=bag.py:make",)),
    ("model.compute_dtype", "bfloat16", "bfloat16", ("model.factory=bag.py:make",)),
    ("train.steps", "77", 77, ()),
    ("train.batch_size", "4", 4, ()),
    ("train.row_length", "40", 40, ()),
    ("train.optimizer", "sgd", "sgd", ()),
    ("train.learning_rate", "0.1,0.2", (0.1, 0.2), ()),
    ("train.weight_decay", "0.1", (0.1,), ("train.optimizer=adamw",)),
    ("train.dropout", "(0.1, 0.3)", (0.1, 0.3), ()),
    ("train.schedule", "cosine", "cosine", ()),
    ("train.warmup", "5", 5, ()),
    ("train.clip", "0", 0.0, ()),
    ("train.accumulate", "2", 2, ()),
    ("train.steps_per_call", "4", 4, ()),
    ("train.loss_chunk", "16", 16, ()),
    ("train.remat", "blocks", "blocks", ()),
    ("score.suites", "{'zorro': {'path': 'z'}}", ["zorro"], ()),
    ("score.every", "2", 2, ()),
    ("score.ngram", "false", False, ()),
    ("gradients.enabled", "true", True, ()),
    ("gradients.suite", "grammar", "grammar", ()),
    ("gradients.kind", "npi", "npi", ()),
    ("gradients.limit", "9", 9, ()),
    ("gradients.micro_batches", "6", 6, ()),
    ("gradients.text_rows", "12", 12, ()),
    ("gradients.single_items", "0", 0, ()),
    ("gradients.lookahead", "false", False, ()),
    ("gradients.memory_mib", "64", 64, ()),
    ("gradients.method", "forward", "forward", ()),
    ("checkpoints.every", "8", 8, ()),
    ("checkpoints.keep", "3", 3, ()),
    ("checkpoints.keep_period", "8", 8, ()),
    ("mesh.ens", "1", 1, ()),
    ("mesh.data", "2", 2, ()),
    ("mesh.fsdp", "true", True, ("mesh.data=2",)),
    ("mesh.mapping", "vmap", "vmap", ()),
    ("mesh.rows", "device", "device", ()),
    ("monitor.sinks", "wandb,tensorboard", ("wandb", "tensorboard"), ()),
    ("monitor.project", "mine", "mine", ()),
    ("monitor.watchdog", "0", 0, ()),
]


def set_fields(*fields: str, **changes: Any) -> Config:
    """Return the tiny config with changes in the file and with overrides on the command line."""
    return make_config(with_overrides(tiny_values(**changes), [f"--config.{field}" for field in fields]))


def test_every_field_is_in_the_table():
    assert {path for path, *_ in FIELDS} == {path for path, _ in all_fields(Config)}


@pytest.mark.parametrize(("path", "text", "value", "others"), FIELDS)
def test_every_field_can_be_set(path, text, value, others):
    config = set_fields(f"{path}={text}", *others)
    found = functools.reduce(getattr, path.split("."), config)
    if path == "sweep":
        found = found[0].variant
    assert (list(found) if path == "score.suites" else found) == value


def test_fields_of_suites_options_and_shares_can_be_set_one_by_one():
    config = set_fields(
        "score.suites.blimp.path=blimp/data",
        "score.suites.blimp.spec=lm_eval_v04",
        "score.suites.blimp.spec.ties=half",
        "score.suites.grammar.limit=7",
        "corpus.grammar.environment_rate.only=0.5",
        "model.factory=bag.py:make",
        "model.options.size=3",
        "model.options.label=x y",
        corpus__grammar__environment_rate={"adverbs": 0.25},
    )
    blimp, grammar = config.score.suites["blimp"], config.score.suites["grammar"]
    assert (blimp.path, blimp.spec.leading_space, blimp.spec.ties, grammar.limit) == ("blimp/data", True, "half", 7)
    assert config.corpus.grammar.environment_rate == {"adverbs": 0.25, "only": 0.5}
    assert config.model == CustomConfig("bag.py:make", {"size": 3, "label": "x y"})


def test_fields_absent_from_the_file_get_their_defaults():
    values = {"name": "small"}
    config = make_config(with_overrides(values, ["--config.corpus.grammar.npi_rate=.5"]))
    # The default grammar has 60,000 sentences; below, the default suite stays.
    assert (config.corpus.grammar.npi_rate, config.corpus.grammar.sentences) == (0.5, 60_000)
    config = make_config(with_overrides(values, ["--config.score.suites.zorro.path=z"]))
    assert list(config.score.suites) == ["grammar", "zorro"]
    assert values == {"name": "small"}


def test_another_kind_of_model_begins_with_its_defaults():
    assert set_fields("model.kind=transformer", "model.width=64").model == TransformerConfig(width=64)
    assert set_fields("model.width=64", "model.kind=transformer").model == TransformerConfig(width=64)
    # The same kind keeps the fields of the file.
    assert set_fields("model.kind=lstm").model == LSTMConfig(embedding=8, hidden=8, layers=1)


def test_a_field_that_is_true_or_false_may_stand_alone():
    assert set_fields("gradients.enabled").gradients.enabled
    with pytest.raises(ConfigError, match=facts("--config.train.steps: ", "--config.train.steps=VALUE")):
        set_fields("train.steps")


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("train.stepz=2", "--config.train.stepz=2: there is no such field (did you mean steps?); valid are steps"),
        ("steps=2", "--config.steps=2: there is no such field (did you mean train.steps?)"),
        ("tran.steps=2", "(did you mean train?)"),
        ("trian=2", "(did you mean train?)"),
        ("model.width=2", "--config.model.kind=transformer"),
        ("model.kind=transfomer", "valid are lstm, transformer, custom (did you mean transformer?)"),
        ("train.steps.x=2", "steps = 10 has no field x"),
        ("train.clip.x=2", "train.clip has no fields"),
        ("score.suites.grammar.limt=2", "(did you mean limit?); valid are loader, path, limit, spec"),
        ("score.suites.grammar.spec=lm_eval_v4", "there is no preset 'lm_eval_v4' (did you mean lm_eval_v04?)"),
        ("train.steps=", "train.steps = ''"),
        ("=3", "there is no such field"),
        ("train.=3", "there is no such field"),
        ("train=3", "train = 3: fields are expected"),
        ("seeds=0,x", "seeds.1 = 'x'"),
    ],
)
def test_an_unknown_field_or_invalid_value_is_named(field, words):
    with pytest.raises(ConfigError) as caught:
        set_fields(field)
    assert words in str(caught.value)
    assert "'" not in str(caught.value).partition("(did you mean")[2].partition(")")[0]


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        ("remove(only & npi)", ("remove(only & npi)",)),
        (
            "full, remove(only & npi), downsample(only | adverbs, 0.1)",
            ("full", "remove(only & npi)", "downsample(only | adverbs, 0.1)"),
        ),
        ("full,remove(npi & !(only | 'at all'))", ("full", "remove(npi & !(only | 'at all'))")),
        ("full,remove('at all')+inject(only & npi, 4, 1)", ("full", "remove('at all')+inject(only & npi, 4, 1)")),
        ("scarce(only, 0.1),alone(only, 0.1)", ("scarce(only, 0.1)", "alone(only, 0.1)")),
        ("random(pair(only, 0.1, adverbs))", ("random(pair(only, 0.1, adverbs))",)),
        ("('full', 'scarce(only, 0.1)')", ("full", "scarce(only, 0.1)")),
        ("['full', 'scarce(only, 0.1)']", ("full", "scarce(only, 0.1)")),
        ("[full, scarce(only, 0.1)]", ("full", "scarce(only, 0.1)")),
        ("[full]", ("full",)),
        ("(full, scarce(only, 0.1))", ("full", "scarce(only, 0.1)")),
        ("'remove(only & npi)'", ("remove(only & npi)",)),
        ("'full,no_npi'", ("full", "no_npi")),
        ("'full', remove(\"at all\" | ever)", ("full", 'remove("at all" | ever)')),
    ],
)
def test_variants_can_be_listed_as_anyone_would(text, variants):
    config = make_config(with_overrides(tiny_values(), [f"--config.variants={text}"]))
    assert config.variants == variants


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("(copy)", ("(copy)",)),
        ("'a,b.txt'", ("a,b.txt",)),
        ("(a),(b)", ("(a)", "(b)")),
        ("1,2", ("1", "2")),
        ("(a), b", ("(a)", "b")),
    ],
)
def test_brackets_in_names_of_files_stay(text, paths):
    assert with_overrides({}, [f"--config.corpus.paths={text}"])["corpus"]["paths"] == paths
