"""Dot products of gradients against a reference that takes one item at a time and multiplies in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from facts import facts
from small import N_BATCHES, TOKENIZER, all_batches, chosen, text_rows

from npi_jax.gradients import make_lookahead, make_products, task_batches
from npi_jax.models import LanguageModel, LSTMConfig, TransformerConfig, make_model
from npi_jax.training.devices.backend import compiler_options

MODELS = {
    "lstm": LSTMConfig(10, 12, 2),
    "tied": LSTMConfig(10, 10, 1, tie=True),
    "transformer": TransformerConfig(layers=1, width=16, heads=2, mlp=24),
    "transformer tied, learned": TransformerConfig(
        layers=1, width=8, heads=2, mlp=16, tie=True, positions="learned", max_positions=64, output_bias=True
    ),
}


def trained(config):
    """A model away from its beginning, where gradients are all but equal."""
    model = make_model(config, TOKENIZER.vocab_size)
    return model, jax.tree.map(lambda leaf: 3 * leaf, jax.jit(model.init)(jax.random.key(1)))


LONGEST = 40


def item_gradients(model, params, found):
    """By item number, the gradient of its margin: leaf by leaf as float64. Every sentence stands alone in a row."""
    sentences = found.sentences

    def log_prob(params, ids, span):
        """Log-probabilities of the tokens of a span; later tokens do not influence them."""
        tokens = jnp.concatenate([jnp.asarray([TOKENIZER.start]), ids])[None]
        positions = jnp.arange(tokens.shape[1])[None]
        log_probs = jax.nn.log_softmax(model.logits(params, tokens, jnp.ones_like(tokens), positions))[0, :-1]
        place = jnp.arange(len(ids))
        return jnp.where((place >= span[0]) & (place < span[1]), log_probs[place, ids], 0.0).sum()

    @jax.jit
    @jax.grad
    def margin(params, ids, spans):
        return log_prob(params, ids[0], spans[0]) - log_prob(params, ids[1], spans[1])

    gradients = {}
    with jax.default_matmul_precision("highest"):
        for index in (index for task in found.items for batch in task for index in batch):
            pair = slice(2 * index, 2 * index + 2)
            ids = [np.pad(its, (0, LONGEST - len(its)), mode="edge") for its in sentences.ids[pair]]
            gradient = margin(params, jnp.asarray(np.stack(ids)), jnp.asarray(sentences.regions["critical"][pair]))
            gradients[index] = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradient)]
    return gradients


def reference(model, params, found, weights=None, transform=lambda leaf: leaf):
    """Grams by parameter group, from a loop over items and numpy's products."""
    gradients = item_gradients(model, params, found)
    batches = [batch for task in found.items for batch in task]
    means = [
        [np.mean(leaves, axis=0) for leaves in zip(*(gradients[i] for i in batch), strict=True)] for batch in batches
    ]
    groups = jax.tree.leaves(model.groups(params))
    weights = weights or [np.ones_like(leaf) for leaf in means[0]]
    total = {name: np.zeros((len(batches),) * 2) for name in groups}
    for place, (name, weight) in enumerate(zip(groups, weights, strict=True)):
        stack = np.stack([(transform(leaves[place]) * np.sqrt(weight)).ravel() for leaves in means])
        total[name] += stack @ stack.T
    return total


def close(found, expected, tolerance):
    """Largest difference, relative to the largest product."""
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_products_agree_with_the_naive_reference():
    model, params = trained(MODELS["lstm"])
    items = chosen(items=4)
    moments = jax.tree.map(lambda leaf: jnp.square(leaf) + 0.01, params)
    # A parameter without updates does not count.
    moments["recurrent_0"]["bias"] = jnp.zeros_like(params["recurrent_0"]["bias"])
    products = make_products(model, params, task_batches(items))
    found = jax.jit(products.apply)(params, moments, products.arrays)
    expected = reference(model, params, items)
    absolute = reference(model, params, items, transform=np.abs)
    weights = [
        np.where(np.asarray(leaf) > 0, 1 / (np.sqrt(np.asarray(leaf, np.float64)) + 1e-8), 0)
        for leaf in jax.tree.leaves(moments)
    ]
    preconditioned = reference(model, params, items, weights)
    assert products.groups == ("embedding", "output", "recurrent_0", "recurrent_1")
    for place, name in enumerate(products.groups):
        close(found["gram"][place], expected[name], 1e-5)
        close(found["gram_abs"][place], absolute[name], 1e-5)
        close(found["gram_adam"][place], preconditioned[name], 1e-5)


@pytest.mark.parametrize(
    "name", ["tied", pytest.param("transformer", marks=pytest.mark.drill), "transformer tied, learned"]
)
def test_all_kinds_of_models_agree_with_plain_differentiation(name):
    model, params = trained(MODELS[name])
    items = chosen(items=4)
    products = make_products(model, params, task_batches(items))
    found = jax.jit(products.apply)(params, None, products.arrays)
    assert set(found) == {"gram", "gram_abs"}
    expected = reference(model, params, items)
    for place, group in enumerate(products.groups):
        close(found["gram"][place], expected[group], 2e-5)


@pytest.mark.drill
@pytest.mark.parametrize("name", ["lstm", "transformer", "tied"])
def test_both_ways_and_all_sizes_of_stacks_agree(name):
    model, params = trained(MODELS[name])
    moments = jax.tree.map(jnp.square, params)
    batches = all_batches(items=4)
    found = {}
    # Slices: a few rows of one parameter at a time, and parts of the vocabulary that do not divide it.
    ways = {"whole": {}, "forward": {"method": "forward"}}
    if name != "transformer":
        ways["slices"] = {"budget": 40 * 4 * 700, "method": "reverse"}
    for key, options in ways.items():
        products = make_products(model, params, batches, **options)
        assert products.method == ("forward" if key == "forward" else "reverse")
        found[key] = jax.jit(products.apply)(params, moments, products.arrays)
    for key, grams in found.items():
        for kind, gram in grams.items():
            close(gram, found["whole"][kind], 1e-4 if key == "forward" else 1e-5)
    assert "gram_abs" not in found["forward"]


def test_a_small_budget_chooses_the_forward_way():
    model, params = trained(MODELS["lstm"])
    assert make_products(model, params, all_batches(items=4), budget=40 * 4 * 10).method == "forward"
    assert make_products(model, params, all_batches(items=4)).method == "reverse"


class Bigram:
    """A custom model: the features of each token, and nothing else."""

    config = LSTMConfig()

    def init(self, key):
        return {
            "table": jax.random.normal(key, (TOKENIZER.vocab_size, 6)),
            "out": [jnp.ones((6, TOKENIZER.vocab_size))],
        }

    def hidden(self, params, tokens, segment_ids, positions, *, dropout_key=None, dropout_rate=None):
        return jnp.tanh(params["table"][tokens])

    def output(self, params):
        return params["out"][0] * jnp.arange(6.0)[:, None], jnp.zeros(TOKENIZER.vocab_size)


def test_a_model_of_ones_own_has_its_top_level_names_as_groups():
    model = Bigram()
    params = jax.jit(model.init)(jax.random.key(0))
    batches = task_batches(chosen(items=4))
    reverse, forward = (make_products(model, params, batches, method=way) for way in ("reverse", "forward"))
    assert reverse.groups == ("out", "table")
    found = jax.jit(reverse.apply)(params, None, reverse.arrays)["gram"]
    close(jax.jit(forward.apply)(params, None, forward.arrays)["gram"], found, 1e-5)
    # The NPI is the same on both sides and stands after another word: both groups have something to learn.
    assert (np.einsum("gvv->gv", np.asarray(found)) >= 0).all()
    assert np.asarray(found).any(axis=(1, 2)).all()


def test_the_sums_name_is_taken():
    class Odd(Bigram):
        def init(self, key):
            return {"all": super().init(key)["table"]}

    model = Odd()
    with pytest.raises(ValueError, match=facts("'all'")):
        make_products(model, jax.jit(model.init)(jax.random.key(0)), task_batches(chosen(items=4)))


def test_bfloat16_models_are_compared_in_float32():
    model, params = trained(MODELS["lstm"])
    rounded = make_model(LSTMConfig(10, 12, 2, compute_dtype="bfloat16"), TOKENIZER.vocab_size)
    batches = task_batches(chosen(items=4))
    grams = []
    for its in (model, rounded):
        products = make_products(its, params, batches)
        grams.append(np.asarray(jax.jit(products.apply)(params, None, products.arrays)["gram"]))
    np.testing.assert_array_equal(*grams)


def test_memory_does_not_grow_with_the_vocabulary_and_the_number_of_batches():
    batches = task_batches(chosen(items=4))
    model = make_model(LSTMConfig(64, 64, 1), 100_000)
    params = jax.eval_shape(model.init, jax.random.key(0))
    size = sum(leaf.size * 4 for leaf in jax.tree.leaves(params))
    products = make_products(model, params, batches)
    compiled = jax.jit(products.apply).lower(params, None, products.arrays).compile(compiler_options("cpu"))
    # All gradients at once would take 36 times the parameters.
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * size
    assert isinstance(model, LanguageModel)


@pytest.mark.drill
def test_a_step_along_a_gradient_does_what_the_products_say():
    model, params = trained(MODELS["lstm"])
    batches = all_batches(items=4)
    families = tuple(jax.tree.map(jnp.asarray, family) for family in batches.families)
    change, size = jax.jit(make_lookahead(model, batches))(params, families)
    products = make_products(model, params, batches)
    gram = np.asarray(jax.jit(products.apply)(params, None, products.arrays)["gram"], np.float64).sum(axis=0)
    gram = gram.reshape(10, N_BATCHES, 10, N_BATCHES)
    norm = np.sqrt(sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(params)))
    assert np.isclose(size, norm, rtol=1e-5)
    half = N_BATCHES // 2
    first_order = np.zeros((10, 10))
    for one, other in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        own = np.einsum("ikil->i", gram[:, one][:, :, :, one]) / half**2
        cross = gram[:, one][:, :, :, other].mean(axis=(1, 3))
        first_order += 1e-3 * norm * cross / np.sqrt(own)[:, None] / 2
    # Differences of float32 log-probabilities, a second-order term: a few percent of the largest change.
    assert np.abs(np.asarray(change) - first_order).max() < 0.05 * np.abs(first_order).max()


def test_text_rows_have_sentences():
    tokens, used = text_rows()
    assert tokens.shape[1] == 31
    assert used.min() > 10
