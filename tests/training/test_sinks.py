import json
import sys
import types

import pytest
from facts import facts

from npi_jax.errors import UserError
from npi_jax.training.monitor.sinks import JsonLines, open_sinks


def test_lines_are_added_and_a_cut_one_is_ended(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    sink = JsonLines(path)
    sink.write(3, {"loss/full": 1.5, "loss/no_npi": float("nan")})
    first, cut, last = path.read_text().splitlines()
    assert json.loads(first) == {"step": 1}
    assert cut == '{"step": 2, "lo'
    written = json.loads(last)
    assert (written["step"], written["loss/full"], written["loss/no_npi"]) == (3, 1.5, None)


def test_tensorboard_files_hold_the_numbers_without_tensorflow(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415

    _, sink = open_sinks(tmp_path, ["tensorboard"], "p", {})
    sink.write(7, {"valid_loss/full": 2.5})
    sink.close()
    assert "tensorflow" not in sys.modules
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, found = file.read_bytes(), []
    while data:
        # Length, its checksum, the event, its checksum.
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        data = data[16 + size :]
    assert found == [(7, "valid_loss/full", 2.5)]


def test_weights_and_biases_goes_on_with_its_own_run(tmp_path, monkeypatch):
    began, logged = [], []

    class FakeRun:
        def log(self, values, step):
            logged.append((step, values))

        def finish(self):
            logged.append("finished")

    fake = types.ModuleType("wandb")
    fake.init = lambda **options: began.append(options) or FakeRun()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for _ in range(2):
        _, sink = open_sinks(tmp_path, ["wandb"], "npis", {"name": "x"})
        sink.write(1, {"a": 2.0})
        sink.close()
    assert began[0] == began[1]
    assert began[0]["project"] == "npis"
    assert (began[0]["resume"], began[0]["dir"], began[0]["config"]) == ("allow", str(tmp_path), {"name": "x"})
    assert logged[:2] == [(1, {"a": 2.0}), "finished"]


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=facts("wandb", "pip install 'npi-jax[wandb]'")):
        open_sinks(tmp_path, ["wandb"], "p", {})
