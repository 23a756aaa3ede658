import jax
import jax.numpy as jnp
import numpy as np
import pytest
from facts import facts, sentence_with

from npi_jax.models import CustomConfig, make_model
from npi_jax.models.custom import dropped_by_row

BAG = '''
import jax, jax.numpy as jnp
from dataclasses import dataclass

@dataclass
class Bag:
    """Predicts from the last word alone."""
    config: object
    vocab_size: int
    width: int

    def init(self, key):
        shape = (self.vocab_size, self.width)
        return {"words": jax.random.normal(key, shape) * 0.1, "bias": jnp.zeros(self.vocab_size)}

    def hidden(self, params, tokens, segment_ids, positions, *, dropout_key=None, dropout_rate=None):
        return params["words"][tokens]

    def output(self, params):
        return params["words"].T, params["bias"]

class Dropped(Bag):
    def hidden(self, params, tokens, segment_ids, positions, *, dropout_key=None, dropout_rate=None):
        words = params["words"][tokens]
        if dropout_key is None:
            return words
        return words * jax.random.bernoulli(dropout_key, 1 - dropout_rate, words.shape)

class Half(Bag):
    def init(self, key):
        return {"words": jnp.zeros((self.vocab_size, self.width), jnp.bfloat16), "bias": jnp.zeros(self.vocab_size)}

class Leaky(Bag):
    """Averages over whatever stands before in the row; at the start nothing shows, for all weights are 0."""

    def init(self, key):
        return jax.tree.map(jnp.zeros_like, super().init(key))

    def hidden(self, params, tokens, segment_ids, positions, *, dropout_key=None, dropout_rate=None):
        words = params["words"][tokens]
        return jnp.cumsum(words, axis=1) / (1 + jnp.arange(tokens.shape[1])[:, None])

half = "not a function"

def no_model(config, vocab_size):
    return object()
'''


@pytest.fixture
def factory(tmp_path):
    (tmp_path / "bag.py").write_text(BAG)
    return lambda name: f"{tmp_path / 'bag.py'}:{name}"


def test_a_model_from_a_file(factory):
    model = make_model(CustomConfig(factory("Bag"), {"width": 4}), 7)
    params = jax.jit(model.init)(jax.random.key(0))
    tokens = jnp.zeros((2, 3), jnp.int32)
    assert model.hidden(params, tokens, tokens, tokens).shape == (2, 3, 4)


def test_a_model_from_a_file_trains(factory, tmp_path):
    from tiny import tiny_values  # noqa: PLC0415

    from npi_jax.config.build import make_config  # noqa: PLC0415
    from npi_jax.preparation.prepare import prepare  # noqa: PLC0415
    from npi_jax.training.devices.mesh import make_mesh  # noqa: PLC0415
    from npi_jax.training.ensemble import Ensemble  # noqa: PLC0415
    from npi_jax.training.runner import make_runner  # noqa: PLC0415

    model = {"kind": "custom", "factory": factory("Bag"), "options": {"width": 4}}
    config = make_config(tiny_values(model=model, train__steps_per_call=10))
    prepared = prepare(config, lambda line: None)
    made = make_model(config.model, prepared.tokenizer.vocab_size)
    ensemble = Ensemble(config, made, make_mesh(1, 1, n_members=4))
    data = (prepared.pool, prepared.variants, prepared.orders, prepared.valid)
    runner = make_runner(ensemble, prepared.tokenizer.eos, *data, scorers={})
    state = runner.init()
    before = ensemble.fetch(runner.valid_loss(state))
    state, _ = runner.train(state, 0, 10, restart=True)
    assert (ensemble.fetch(runner.valid_loss(state)) < before).all()


def test_dropout_of_a_model_from_a_file_depends_on_the_rows_key_alone(factory):
    model = make_model(CustomConfig(factory("Dropped"), {"width": 40}), 7)
    params, keys = jax.jit(model.init)(jax.random.key(0)), jax.random.split(jax.random.key(1), 4)
    tokens = jnp.arange(12).reshape(4, 3) % 7
    whole = dropped_by_row(model, params, (tokens, tokens, tokens), keys, 0.5)
    assert whole.shape == (4, 3, 40)
    assert 0.3 < (whole == 0).mean() < 0.7
    for row in range(4):
        alone = model.hidden(params, *[tokens[row : row + 1]] * 3, dropout_key=keys[row], dropout_rate=0.5)
        np.testing.assert_array_equal(whole[row], alone[0])


def test_parameters_of_another_precision_are_refused(factory):
    from tiny import tiny_values  # noqa: PLC0415

    from npi_jax.config.build import make_config  # noqa: PLC0415
    from npi_jax.training.devices.mesh import make_mesh  # noqa: PLC0415
    from npi_jax.training.ensemble import Ensemble  # noqa: PLC0415

    model = {"kind": "custom", "factory": factory("Half"), "options": {"width": 4}}
    config = make_config(tiny_values(model=model))
    with pytest.raises(ValueError, match=facts("['words']", "bfloat16", "float32")):
        Ensemble(config, make_model(config.model, 7), make_mesh(1, 1, n_members=4))


@pytest.mark.parametrize(
    ("name", "words"),
    [("Bagg", "function Bagg"), ("half", "function"), ("no_model", "without config, init")],
)
def test_factories_that_return_no_model_are_refused(factory, name, words):
    with pytest.raises(ValueError, match=facts(words)):
        make_model(CustomConfig(factory(name)), 7)


@pytest.mark.parametrize(
    ("factory", "words"),
    [("no/such.py:f", "'no/such.py'"), ("no_such_module:f", "No module named 'no_such_module'")],
)
def test_missing_modules_are_named(factory, words):
    with pytest.raises(ValueError, match=facts(words)):
        make_model(CustomConfig(factory), 7)


def test_a_factory_needs_a_source_and_a_name():
    with pytest.raises(ValueError, match=r"write FILE.py:FUNCTION"):
        CustomConfig("bag.py")


def test_a_model_that_mixes_sentences_is_refused_before_training(factory, tmp_path):
    from calls import assert_refused, call  # noqa: PLC0415
    from tiny import tiny_values  # noqa: PLC0415

    model = {"kind": "custom", "factory": factory("Leaky"), "options": {"width": 4}}
    values = tiny_values(model=model, run_dir=str(tmp_path / "run"), score__ngram=False)
    config = tmp_path / "leaky.py"
    config.write_text(
        f"from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({values})\n"
    )
    said = assert_refused(call("run", "--config", str(config), seconds=120))
    assert sentence_with(said, f"model.factory = {factory('Leaky')!r}", "sentences", "row")
    assert not (tmp_path / "run" / "metrics").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()
