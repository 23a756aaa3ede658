import pytest
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.config.load import load_config
from npi_jax.config.sweep import chain, param, prod, zipped
from npi_jax.errors import UserError


def test_sweeps_combine():
    seeds = param("seed", range(2))
    assert prod(param("variant", "ab"), seeds) == (
        {"variant": "a", "seed": 0},
        {"variant": "a", "seed": 1},
        {"variant": "b", "seed": 0},
        {"variant": "b", "seed": 1},
    )
    assert zipped(param("variant", "ab"), seeds) == ({"variant": "a", "seed": 0}, {"variant": "b", "seed": 1})
    assert chain(seeds, param("seed", [7])) == ({"seed": 0}, {"seed": 1}, {"seed": 7})
    with pytest.raises(ValueError, match="seed is set by two"):
        prod(seeds, seeds)
    with pytest.raises(ValueError, match="argument 2 is longer"):
        zipped(seeds, param("x", "abc"))


def swept(sweep, **changes):
    values = tiny_values(**changes)
    del values["variants"], values["seeds"]
    return make_config({**values, "sweep": sweep})


SWEEP = chain(
    prod(param("variant", ["full"]), param("seed", range(3))),
    prod(param("variant", ["no_npi"]), param("seed", [1]), param("learning_rate", [0.5])),
)


def test_a_sweep_gives_the_members():
    config = swept(SWEEP)
    assert [(m.variant, m.seed, m.learning_rate) for m in config.members] == [
        ("full", 0, 0.002),
        ("full", 1, 0.002),
        ("full", 2, 0.002),
        ("no_npi", 1, 0.5),
    ]
    assert config.variants == ("full", "no_npi")
    assert config.seeds == (0, 1, 2)
    assert make_config(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep": [{"variant": "full"}]}, "sweep: member 1 has no seed"),
        ({"sweep": [{"variant": "full", "seed": 0, "sed": 1}]}, "sweep.0.sed"),
        ({"sweep": [{"variant": "fool", "seed": 0}]}, "variant 'fool': unknown intervention"),
        ({"sweep": SWEEP, "seeds": (0, 1)}, "this config lists its members in `sweep`"),
        ({"sweep": SWEEP, "train": {"dropout": (0.0, 0.1)}}, "train.dropout: with a sweep give one value"),
    ],
)
def test_faults_are_named(changes, message):
    values = tiny_values()
    del values["variants"], values["seeds"]
    with pytest.raises(ConfigError) as caught:
        make_config({**values, **changes})
    assert message in str(caught.value)


def test_published_experiments_have_their_members():
    jumelet = load_config("jumelet2021:tiny")
    assert len(jumelet.members) == 37
    assert sum(member.variant in ("full", "no_npi") for member in jumelet.members) == 10
    assert len(load_config("jumelet2021").members) == 37
    assert len(load_config("fict_npi").members) == 35
    assert load_config("fict_npi:transformer").model.layers == 8
    assert len(load_config("data_amplification").members) == 60
    only = load_config("data_amplification:tiny,only")
    assert {"scarce(only, 0.03)", "alone(only, 0.03)", "alone(only, 1)"} < set(only.variants)
    doses = [intervention.dose for intervention in only.interventions]
    assert sorted(dose.share for dose in doses if dose and dose.others_removed) == [0.01, 0.03, 0.1, 0.3, 1.0]
    assert sorted(dose.share for dose in doses if dose and not dose.others_removed) == [0.0, 0.01, 0.03, 0.1, 0.3]
    for wrong in ("jumelet2021:small", "fict_npi:lstm", "data_amplification:tiny,onyl"):
        with pytest.raises(UserError, match=": write "):
            load_config(wrong)


def test_a_sweep_cannot_be_overridden_in_part():
    with pytest.raises(ConfigError, match="change the sweep instead"):
        load_config("jumelet2021:tiny", ["--config.seeds=0,1"])
