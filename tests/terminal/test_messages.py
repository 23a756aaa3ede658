"""Error messages: one line that names the user's value, or a report of a bug."""

import errno
import io
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from calls import assert_refused, call
from facts import facts, sentence_with
from tiny import tiny_values

import npi_jax
from npi_jax.cli.main import main
from npi_jax.config import load as presets
from npi_jax.errors import UserError, did_you_mean
from npi_jax.files import user_code
from npi_jax.files.user_code import blamed, load_python
from npi_jax.models import CustomConfig, make_model
from npi_jax.terminal.messages import bug_report, message_of

CONFIG = "from ml_collections import ConfigDict\n\n\ndef get_config():\n"


@pytest.fixture
def config_file(tmp_path, monkeypatch):
    """A function that writes a config file and calls ``npi-jax prepare`` with it; returns the message."""
    monkeypatch.chdir(tmp_path)

    def refused(content: str | bytes, name: str = "my.py", argument: str = "") -> str:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        outcome = call("prepare", name + argument)
        message = assert_refused(outcome)
        assert message in outcome.error.splitlines()
        # Nothing but the file is there: no cache of its code, no run.
        assert os.listdir() == [name]
        Path(name).unlink()
        return message

    return refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = (\n", ["my.py: '(' was never closed (my.py, line 1: x = ()"]),
        ("\n\nimport no_such_module\n", ["No module named 'no_such_module'", "my.py, line 3: import no_such_module"]),
        (CONFIG + "    return {}['x']\n", ["KeyError: 'x'", "my.py, line 5: return {}['x']"]),
        (CONFIG + "    raise ValueError('set DATA first')\n", ["my.py: set DATA first (my.py, line 5"]),
        (CONFIG + "    raise ValueError\n", ["my.py: ValueError (my.py, line 5"]),
        (
            CONFIG + "    return 1 / f()\n\ndef f():\n    return 0\n",
            ["ZeroDivisionError", "my.py, line 5: return 1 / f()"],
        ),
        (
            CONFIG + "    return f()\n\ndef f():\n    return f()\n",
            ["RecursionError", "my.py, line 8: return f(); called from my.py, line 8"],
        ),
        ("import sys\nsys.exit(3)\n", ["exit status 3", "my.py, line 2"]),
        ("def get_config(\n    return 1\n", ["my.py, line 1"]),
        ("x = '\xff'\n".encode("latin-1"), ["my.py", "utf-8"]),
        (b"x = 0\0\n", ["my.py"]),
        ("", ["my.py: ", "get_config()"]),
        ("get_config = 3\n", ["my.py: ", "get_config()"]),
        (CONFIG + "    return None\n", ["my.py: get_config()", "NoneType", "ml_collections.ConfigDict"]),
        (
            "from npi_jax.config.sweep import param, prod\nx = prod(param('seed', [1]), param('seed', [2]))\n",
            ["seed is set by two", "my.py, line 2"],
        ),
    ],
)
def test_a_config_that_fails_is_named_with_the_users_own_lines(config_file, content, words):
    message = config_file(content)
    assert all(word in message for word in words), message
    assert "npi_jax/" not in message


def test_a_config_is_python_in_a_file(config_file, tmp_path):
    Path("my.txt").write_text("x = 1\n")
    assert ".py" in assert_refused(call("prepare", "my.txt"))
    Path("my.txt").unlink()
    message = config_file(CONFIG + "    return ConfigDict()\n", argument=":large")
    assert sentence_with(message, "npi-jax: my.py:large: get_config()", "argument", "colon")
    assert "is a folder" in assert_refused(call("prepare", str(tmp_path)))
    assert "no such file" in assert_refused(call("prepare", "a" * 5000))
    assert "(did you mean quickstart?)" in assert_refused(call("prepare", "quikstart"))


def test_data_classes_with_written_out_types_can_be_in_a_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
    )
    assert load_python(str(path), "own").A(3).x == 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    return 1 / 0\n", "ZeroDivisionError: division by zero ("),
        ("    raise ValueError('size is odd')\n", "size is odd ("),
        ("    import no_such_module\n", "No module named 'no_such_module'"),
        ("    raise SystemExit(2)\n", "exit status 2"),
    ],
)
def test_a_factory_that_fails_is_named(tmp_path, body, words):
    (tmp_path / "own.py").write_text(f"def make(config, vocab_size):\n{body}")
    with pytest.raises(UserError) as caught:
        make_model(CustomConfig(f"{tmp_path / 'own.py'}:make"), 7)
    message = str(caught.value)
    assert f"model.factory = '{tmp_path / 'own.py'}:make': " in message
    assert words in message
    assert f"own.py, line 2: {body.strip()}" in message


def test_a_factory_is_called_with_the_options_that_it_takes(tmp_path):
    (tmp_path / "own.py").write_text("def make(config, vocab_size):\n    return 1\n")
    with pytest.raises(UserError, match=facts("TypeError", "make()", "'size'")):
        make_model(CustomConfig(f"{tmp_path / 'own.py'}:make", {"size": 3}), 7)
    with pytest.raises(UserError, match=facts("mak", "did you mean make?")):
        make_model(CustomConfig(f"{tmp_path / 'own.py'}:mak"), 7)


def test_errors_of_a_models_own_code_are_the_users_wherever_they_are_raised(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("import jax.numpy as jnp\n\ndef hidden(x):\n    return x @ jnp.ones((3, 2))\n")
    hidden = load_python(str(path), "own").hidden
    with pytest.raises(TypeError) as caught:
        jax.jit(hidden)(jax.numpy.ones((4, 5)))
    message = message_of(caught.value)
    assert message is not None
    assert message.startswith(f"{path}: TypeError: dot_general requires")
    assert f"({path}, line 4: return x @ jnp.ones((3, 2))" in message


def test_our_own_errors_stay_ours_where_this_package_is_installed_among_libraries(monkeypatch):
    monkeypatch.setattr(user_code, "_PACKAGE", Path("/venv/site-packages/npi_jax"))
    assert not user_code._is_library("/venv/site-packages/npi_jax/results/directory.py")
    assert user_code._is_library("/venv/site-packages/jax/core.py")
    assert not user_code._is_users("/venv/site-packages/npi_jax/results/directory.py")


def test_an_unexpected_exception_is_reported_as_a_bug(monkeypatch):
    def fails() -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(presets, "preset_names", fails)
    outcome = call("presets")
    assert outcome.status == 1
    *trace, last = outcome.error.splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ZeroDivisionError: of ours"
    assert last.startswith("npi-jax: ")
    assert sentence_with(last, "bug in npi-jax", "report")
    versions = f"npi-jax {npi_jax.__version__}, jax {jax.__version__}, Python {platform.python_version()}"
    assert versions in last


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n 4096"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "'a/b': "),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "'a/b': Permission denied"),
        (MemoryError("Unable to allocate 4. TiB"), "Unable to allocate 4. TiB"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "memory"),
    ],
)
def test_errors_of_the_machine_are_one_line(error, words):
    message = message_of(error)
    assert message is not None
    assert words in message
    assert "\n" not in message


def test_other_errors_are_bugs():
    for error in (RuntimeError("x"), OSError("x"), ValueError("x"), jax.errors.JaxRuntimeError("INTERNAL: x")):
        assert message_of(error) is None
        assert blamed(error) is None
        assert "please report" in bug_report(error)


def test_the_closest_valid_word_is_suggested():
    assert did_you_mean("BLiMPP", ["zorro", "blimp"]) == " (did you mean blimp?)"
    assert did_you_mean("x", ["zorro", "blimp"]) == ""


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["rnu", "quickstart"], ("did you mean run?", "run, train")),
        (["run", "quickstart", "--profle=1:2"], ("--profle=1:2", "did you mean --profile?")),
        (["run", "quickstart", "--train.steps=2"], ("--train.steps=2", "field of the config")),
        (["run", "quickstart", "--confg.train.steps=2"], "(did you mean --config?)"),
        (["run", "quickstart", "--config.variants=without(adverb)"], ("npi_en", "did you mean adverbs?")),
        (["run", "quickstart", "--config.variants=witout(only)"], "(did you mean without?)"),
        (["run", "quickstart", "--config.corpus.phenomenon=npi_em", "--config.corpus.source=tfds",
          "--config.corpus.tfds_name=x"], "(did you mean npi_en?)"),
        (["run", "quickstart", "quickstart"], "quickstart"),
        (["run", "quickstart", "--config.train.steps", "20"], "--config.train.steps=VALUE"),
        (["report", "x", "--config.train.steps=20"], "--config.train.steps=20"),
        (["export", "x", "--hf", "y", "--member", "-1"], ("--member", "'-1'", "whole number from 0")),
        (["export", "x", "--hf", "y", "--member", "one"], ("--member", "'one'", "whole number from 0")),
        (["annotate", "x", "--examples", "9" * 5000], "whole number from 0"),
        (["annotate", "x", "--unit", "sentences"], "(did you mean sentence?)"),
        (["bench"], ("bench", "config", "npi-jax presets")),
    ],
)  # fmt: skip
def test_unknown_words_are_named_with_the_closest_valid_one(words, meant):
    assert re.search(facts(meant), assert_refused(call(*words)))


def test_the_config_stands_before_or_after_flags_and_with_or_without_its_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field = "--config.train.steps=0"
    for words in (
        ["my.py", field],
        [field, "my.py"],
        ["--profile", "1:2", "my.py", field],
        ["--config", "my.py", field],
    ):
        Path("my.py").write_text(CONFIG + f"    return ConfigDict({tiny_values()!r})\n")
        assert "train.steps = 0" in assert_refused(call("run", *words))


def test_characters_that_the_terminal_lacks_are_escaped(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("Nobody has ever seen the café.\n", encoding="utf-8")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["annotate", str(tmp_path / "text.txt"), "--examples", "1"]) == 0
    sys.stdout.flush()
    assert b"caf\\xe9" in written.getvalue()


def test_versions_are_printed_and_agree():
    assert call("--version").out == f"npi-jax {npi_jax.__version__}\n"
    shown = subprocess.run([sys.executable, "-m", "npi_jax", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"npi-jax {npi_jax.__version__}\n"
