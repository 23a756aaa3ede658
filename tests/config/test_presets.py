import pytest
from facts import facts

from npi_jax.config.load import load_config, preset_directory, preset_names, resolve_config, summary
from npi_jax.config.schema import ConfigError


@pytest.mark.parametrize("name", ["quickstart", "weber2021"])
def test_presets_are_valid_and_say_what_they_are(name):
    config = load_config(name)
    assert config.name == name
    assert len(summary(name)) > 40


def test_the_english_preset_reads_the_manifest(data_folder, monkeypatch):
    monkeypatch.setenv("NPI_JAX_DATA", str(data_folder))
    config = load_config("english")
    assert len(config.corpus.paths) == 300
    assert len(config.corpus.valid_paths) == 14
    assert len(config.members) == 9


def test_the_english_preset_says_what_it_needs(monkeypatch):
    monkeypatch.delenv("NPI_JAX_DATA", raising=False)
    with pytest.raises(ValueError, match=facts("NPI_JAX_DATA=''")):
        load_config("english")


def test_every_field_can_be_overridden():
    config = load_config(
        "quickstart",
        [
            "--config.train.steps=7",
            "--config.train.learning_rate=0.1,0.2",
            "--config.corpus.grammar.npi_rate=0.5",  # the preset does not name it
            "--config.corpus.max_sentences=9",  # None by default
            "--config.variants=full,no_npi",
            "--config.seeds=4",
        ],
    )
    assert config.train.steps == 7
    assert config.train.learning_rate == (0.1, 0.2)
    assert config.corpus.grammar.npi_rate == 0.5
    assert config.corpus.max_sentences == 9
    assert config.variants == ("full", "no_npi")
    assert config.seeds == (4,)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("--config.train.stps=1", "--config.train.stps=1: there is no such field (did you mean steps?)"),
        ("--config.train.steps=x", "train.steps = 'x'"),
        ("--config.train.steps=-1", "train.steps = -1"),
        ("--config.corpus.max_sentences=x", "corpus.max_sentences = 'x'"),
    ],
)
def test_bad_overrides_are_explained(override, words):
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [override])
    assert words in str(caught.value)


def test_a_file_with_an_argument(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(size='1'):\n"
        "    return ConfigDict({'name': 'mine', 'train': {'steps': int(size)}})\n"
    )
    assert load_config(str(path)).train.steps == 1
    assert load_config(f"{path}:5").train.steps == 5


def test_files_that_are_no_configs(tmp_path):
    with pytest.raises(ConfigError, match="did you mean quickstart"):
        resolve_config("quikstart")
    empty = tmp_path / "empty.py"
    empty.write_text("")
    with pytest.raises(ConfigError, match=facts("get_config")):
        load_config(str(empty))
    plain = tmp_path / "plain.py"
    plain.write_text("def get_config():\n    return {}\n")
    with pytest.raises(ConfigError, match=facts("dict")):
        load_config(str(plain))


def test_presets_are_where_they_are_looked_for():
    assert {"quickstart", "english", "weber2021"} <= set(preset_names())
    assert (preset_directory() / "quickstart.py").is_file()
