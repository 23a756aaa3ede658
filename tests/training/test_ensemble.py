import jax
import numpy as np
import pytest
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.schema import CheckpointConfig
from npi_jax.models import make_model
from npi_jax.preparation.prepare import Prepared, prepare
from npi_jax.scoring import ScoreSpec, encode_pairs, make_scorer
from npi_jax.training.checkpoints.checkpoints import Checkpoints
from npi_jax.training.devices.mesh import MEMBERS, make_mesh, put
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.programs import init_program, scoring_program
from npi_jax.training.runner import Runner, make_runner

STEPS = 5
TRANSFORMER = {"kind": "transformer", "width": 8, "layers": 1, "heads": 2, "mlp": 16}


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Four variants of a small corpus; ensembles below use some of them."""
    variants = ("full", "no_npi", "without(only)", "random(no_npi)")
    return prepare(make_config(tiny_values(variants=variants)), lambda line: None)


def make(prepared: Prepared, *, ens: int = 1, data: int = 1, members=None, streamed: bool = False, **changes) -> Runner:
    config = make_config(tiny_values(**{"train__dropout": (0.2,), "train__steps_per_call": STEPS} | changes))
    model = make_model(config.model, prepared.tokenizer.vocab_size)
    ensemble = Ensemble(config, model, make_mesh(ens, data, n_members=len(config.members)))
    if members is not None:
        # As many other members, so that the program is the same.
        ensemble.padded_members = [ensemble.padded_members[index] for index in members]
    rows = prepared.records() if streamed else prepared.pool
    # In three chunks, which two devices cannot share evenly.
    scorers = {name: make_scorer(model, suite, rows_per_chunk=5) for name, suite in prepared.suites.items()}
    assert {len(scorer.packed.buckets[0].tokens) for scorer in scorers.values()} == {3}
    parts = (rows, prepared.variants, prepared.orders, prepared.valid)
    return make_runner(ensemble, prepared.tokenizer.eos, *parts, scorers)


def test_devices_share_rows_of_several_lengths(prepared):
    """Scores of a suite with a long pair, of members that two devices share, are those of each member alone."""
    config = make_config(tiny_values(seeds=(0,)))
    model = make_model(config.model, prepared.tokenizer.vocab_size)
    mesh = make_mesh(1, 2, n_members=2)
    made = Ensemble(config, model, mesh)
    rng = np.random.default_rng(0)
    lengths = [(4, 5), (90, 80), *[(6, 7)] * 90]
    pairs = encode_pairs([tuple(rng.integers(1, 20, n) for n in pair) for pair in lengths], start=0, end=0)
    scorer = make_scorer(model, pairs, ScoreSpec(regions=("sentence",)), rows_per_chunk=5)
    assert [len(bucket.tokens) for bucket in scorer.packed.buckets] == [3, 1]
    program = scoring_program(made, "pairs", scorer)
    state = init_program(made).function(put(made.seeds, mesh, MEMBERS))
    found = made.fetch(program.function(state.params, *(constant.put() for constant in program.constants)))
    for member in range(2):
        params = jax.tree.map(lambda leaf, member=member: np.asarray(leaf)[member], state.params)
        alone = scorer(params).log_prob().reshape(-1)
        np.testing.assert_allclose(found["sentence"][member], alone, rtol=1e-5)


def trained(made: Runner, steps: int = STEPS):
    state, _ = made.train(made.init(), 0, steps, restart=True)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]


_trained: dict[str, list[np.ndarray]] = {}


def trained_once(prepared: Prepared, **options):
    """Parameters after training an ensemble of these options, which is done once for all tests; not to be changed."""
    key = repr(sorted(options.items()))
    if key not in _trained:
        _trained[key] = trained(make(prepared, **options))
    return _trained[key]


def assert_members_equal(first, second, mine, theirs) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[mine], b[theirs])


@pytest.mark.parametrize(
    ("mapping", "model"),
    [
        pytest.param("map", None, id="map-lstm"),
        pytest.param("vmap", TRANSFORMER, id="vmap-transformer", marks=pytest.mark.drill),
        pytest.param("vmap", None, id="vmap-lstm", marks=pytest.mark.drill),
        pytest.param("map", TRANSFORMER, id="map-transformer", marks=pytest.mark.drill),
    ],
)
def test_permuting_members_permutes_results_bitwise(prepared, mapping, model):
    changes = {"mesh__mapping": mapping} | ({"model": model} if model else {})
    order = [2, 0, 3, 1]
    plain = trained_once(prepared, **changes)
    permuted = trained(make(prepared, members=order, **changes))
    assert_members_equal(plain, permuted, order, slice(None))


@pytest.mark.parametrize("mapping", ["map", "vmap"])
def test_a_member_does_not_depend_on_its_neighbors_bitwise(prepared, mapping):
    plain = trained_once(prepared, mesh__mapping=mapping)
    others = trained(make(prepared, members=[0, 0, 3, 3], mesh__mapping=mapping))
    assert_members_equal(plain, others, [0, 3], [0, 3])


def test_a_solo_run_agrees_numerically(prepared):
    together = trained_once(prepared)
    alone = trained(make(prepared, variants=("no_npi",), seeds=(1,)))
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[3], b[0], atol=1e-5)


@pytest.mark.parametrize("mapping", ["map", "vmap"])
def test_a_member_of_nans_leaves_the_others_untouched_bitwise(prepared, mapping):
    made = make(prepared, mesh__mapping=mapping)
    plain = trained(made)
    state = made.init()
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(np.nan), state.params)
    after, progress = made.train(state._replace(params=broken), 0, STEPS, restart=True)
    after = [np.asarray(leaf) for leaf in jax.tree.leaves(after.params)]
    assert_members_equal(plain, after, [0, 2, 3], [0, 2, 3])
    assert np.asarray(progress.skipped_updates).tolist() == [0, STEPS, 0, 0]


@pytest.mark.parametrize(("ens", "data"), [(2, 1), (1, 2)])
def test_two_devices_equal_one_numerically(prepared, ens, data):
    one = trained_once(prepared)
    two = trained(make(prepared, ens=ens, data=data))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


FSDP = {"data": 2, "fsdp": True}
WIDE = {"kind": "lstm", "embedding": 32, "hidden": 32, "layers": 1}


@pytest.mark.drill
@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        pytest.param(WIDE, "adam", id="lstm"),
        pytest.param(WIDE, "sgd", id="lstm-sgd"),
        pytest.param({**TRANSFORMER, "width": 32}, "adam", id="transformer"),
    ],
)
def test_members_split_over_devices_train_as_whole_ones(prepared, model, optimizer):
    train = {"steps": 10, "batch_size": 8, "row_length": 32, "steps_per_call": STEPS, "dropout": 0.2}
    changes = {"train": train | {"optimizer": optimizer, "clip": 0.3}, "model": model}
    whole = make(prepared, **changes)
    changes["train"]["accumulate"] = 2
    split = make(prepared, data=2, mesh=FSDP, **changes)
    states = [made.train(made.init(), 0, STEPS, restart=True)[0] for made in (whole, split)]
    for a, b in zip(*(jax.tree.leaves(state) for state in states), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    np.testing.assert_allclose(whole.valid_loss(states[0]), split.valid_loss(states[1]), rtol=1e-5)
    # Each device holds half of what is large.
    kernel = max(jax.tree.leaves(states[1].params), key=lambda leaf: leaf.size)
    assert {shard.data.size for shard in kernel.addressable_shards} == {kernel.size // 2}


@pytest.mark.parametrize(
    ("fsdp", "dtype", "mapping", "tie"),
    [
        (True, "float32", "map", False),
        pytest.param(True, "bfloat16", "vmap", False, marks=pytest.mark.drill),
        pytest.param(False, "bfloat16", "map", True, marks=pytest.mark.drill),
    ],
)
def test_devices_that_share_a_member_share_its_validation_and_scores(prepared, fsdp, dtype, mapping, tie):
    changes = {"model": {**WIDE, "compute_dtype": dtype, "tie": tie}}
    whole = make(prepared, mesh={"mapping": mapping}, **changes)
    split = make(prepared, data=2, mesh={"data": 2, "fsdp": fsdp, "mapping": mapping}, **changes)
    states = whole.init(), split.init()
    np.testing.assert_allclose(whole.valid_loss(states[0]), split.valid_loss(states[1]), rtol=1e-6)
    mine, theirs = (
        made.ensemble.fetch(made.score(state))["grammar"] for made, state in zip((whole, split), states, strict=True)
    )
    assert mine["critical"].shape == (4, 2 * len(prepared.suites["grammar"].suite))
    # Each sentence is scored on one device, with the same numbers.
    np.testing.assert_array_equal(mine["critical"], theirs["critical"])


def test_a_split_member_of_nans_is_skipped_on_all_its_devices(prepared):
    made = make(prepared, data=2, mesh=FSDP, model=WIDE)
    state = made.init()
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(np.nan), state.params)
    after, progress = made.train(state._replace(params=broken), 0, STEPS, restart=True)
    assert np.asarray(progress.skipped_updates).tolist() == [0, STEPS, 0, 0]
    assert all(np.isfinite(leaf[np.array([0, 2, 3])]).all() for leaf in jax.tree.leaves(after.params))


@pytest.mark.drill
@pytest.mark.parametrize(
    ("model", "remat"),
    [
        pytest.param(TRANSFORMER, "blocks", id="transformer"),
        pytest.param(TRANSFORMER, "products", id="transformer-products"),
        pytest.param(WIDE, "blocks", id="lstm"),
        pytest.param(WIDE, "products", id="lstm-products"),
    ],
)
def test_what_is_computed_anew_changes_nothing_but_rounding(prepared, model, remat):
    plain = trained_once(prepared, model=model)
    again = trained(make(prepared, model=model, train__remat=remat))
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_gradients_are_summed_over_data_devices_in_one_exchange(prepared):
    made = make(prepared, data=2)
    text = made.programs.train.compiled().function.as_text()
    assert text.count(" all-reduce(") + text.count(" all-reduce-start(") == 1


def test_members_exchange_nothing(prepared):
    made = make(prepared, ens=2)
    text = made.programs.train.compiled().function.as_text()
    for collective in ("all-reduce", "all-gather", "collective-permute", "all-to-all", "reduce-scatter"):
        assert collective not in text


def test_a_state_can_go_to_other_devices(prepared, tmp_path):
    split = make(prepared, data=2, mesh=FSDP, variants=("full",), seeds=(0, 1, 2))
    two = make(prepared, ens=2, variants=("full",), seeds=(0, 1, 2))
    one = make(prepared, ens=1, variants=("full",), seeds=(0, 1, 2))
    state, _ = two.train(two.init(), 0, STEPS, restart=True)
    checkpoints = Checkpoints(tmp_path / "c", CheckpointConfig())
    checkpoints.save(STEPS, state, two.checksums(state))
    checkpoints.wait()
    for made, places in ((one, 3), (two, 4), (split, 3)):
        found = checkpoints.restore(STEPS, made.ensemble.state_shapes)
        assert {leaf.shape[0] for leaf in jax.tree.leaves(found)} == {places}
        checkpoints.verify(STEPS, made.checksums(found))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(a[:3], b[:3])
    checkpoints.close()


def test_an_uneven_ensemble_is_padded_and_the_padding_never_shows(prepared):
    three = make(prepared, ens=2, variants=("full",), seeds=(0, 1, 2))
    assert (three.ensemble.size, three.ensemble.padded_size) == (3, 4)
    state = three.init()
    assert three.ensemble.fetch(three.valid_loss(state)).shape == (3,)


def test_same_seed_members_see_the_same_rows_outside_changed_slots(prepared):
    made = make(prepared, variants=("full", "no_npi"), seeds=(0, 1))
    rows = np.asarray(made.data.feed.take((0, STEPS))[0])
    assert not (rows[0] == rows[1]).all()
    tokens = prepared.pool.tokens
    full, none = tokens[rows[0]], tokens[rows[2]]
    # The packing is the same: sentences end at the same positions, and each stays or is replaced completely.
    assert ((full == prepared.tokenizer.eos) == (none == prepared.tokenizer.eos)).all()
    changed = (full != none).any(axis=-1)
    assert 0 < changed.mean() < 1
    assert (rows[0] == rows[2])[~changed].all()


@pytest.mark.parametrize(
    ("devices", "mapping"),
    [({"ens": 2}, "map"), pytest.param({"data": 2}, "vmap", marks=pytest.mark.drill)],
    ids=str,
)
def test_rows_from_disk_train_as_rows_on_devices_bitwise(prepared, devices, mapping):
    options = {**devices, "mesh__mapping": mapping, "variants": ("full", "no_npi"), "seeds": (0, 1)}
    held, streamed = make(prepared, **options), make(prepared, streamed=True, **options)
    calls = [(0, STEPS), (STEPS, 2), (STEPS + 2, STEPS)]
    streamed.data.feed.expect(calls)
    results = []
    for made in (held, streamed):
        state = made.init()
        for first, steps in calls:
            state, progress = made.train(state, first, steps, restart=first == 0)
        results.append([np.asarray(leaf) for leaf in jax.tree.leaves((state, progress))])
    assert_members_equal(*results, slice(None), slice(None))


def test_a_call_gets_its_own_rows_whatever_was_expected(prepared):
    """For example after resuming at another step than the one read in advance."""
    held, streamed = make(prepared), make(prepared, streamed=True)
    streamed.data.feed.expect([(0, STEPS), (STEPS, STEPS)])
    for call in ((STEPS, STEPS), (0, STEPS), (3, 2)):
        numbers, pool = held.data.feed.take(call)
        wanted = np.asarray(pool.tokens)[np.asarray(numbers)][:, : call[1]]
        np.testing.assert_array_equal(np.asarray(streamed.data.feed.take(call)[1].tokens)[:, : call[1]], wanted)


def test_same_seed_members_start_alike_and_differ_from_other_seeds(prepared):
    start = jax.tree.leaves(make(prepared).init().params)
    assert_members_equal(start, start, 0, 2)
    assert any((np.asarray(leaf)[0] != np.asarray(leaf)[1]).any() for leaf in start)


def test_rerunning_repeats_every_bit(prepared):
    first, second = trained(make(prepared, ens=2)), trained(make(prepared, ens=2))
    assert_members_equal(first, second, slice(None), slice(None))
