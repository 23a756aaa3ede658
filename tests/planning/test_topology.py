"""Programs for TPU slices, compiled without one. UPDATE_GOLDEN=1 rewrites the plans."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from npi_jax.training.devices.chips import topology_devices

GOLDENS = Path(__file__).parent / "goldens"

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"),
]

COMMANDS = {
    "v5e-16_gradients": ["--config", "quickstart", "--topology", "v5e:4x4", "--price", "1.2"],
    # The others are without the gradients, which take minutes to compile.
    "v5e-16_data": [
        *("--config", "quickstart", "--topology", "v5e:4x4"),
        *("--config.mesh.data=2", "--config.gradients.enabled=False"),
    ],
    "v5e-256": ["--config", "jumelet2021:tiny", "--topology", "v5e:16x16", "--config.mesh.data=4"],
    "v5e-256_fsdp": [
        *("--config", "jumelet2021:tiny", "--topology", "v5e:16x16"),
        *("--config.mesh.data=4", "--config.mesh.fsdp=True"),
    ],
    "v5e-16_fit": [
        *("--config", "quickstart", "--topology", "v5e:4x4"),
        *("--fit", "--config.gradients.enabled=False"),
    ],
}


def plan(arguments: list[str], status: int = 0) -> str:
    command = [sys.executable, "-m", "npi_jax.cli", "plan", *arguments]
    # Plans are as wide as without a terminal, whatever width workers of the tests are given.
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout if status == 0 else result.stderr


def of_kind(lines: dict[str, str], *kinds: str) -> str:
    return next(value for name, value in lines.items() if name.startswith(kinds))


def _bytes(value: str) -> int:
    return int(value.split(maxsplit=1)[0].replace(",", ""))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * name.endswith("_gradients")) for name in COMMANDS]
)
def test_plans_for_slices_are_as_they_were(name):
    shown = plan(COMMANDS[name])
    rows = (re.split(r" {2,}", line.strip(), maxsplit=1) for line in shown.splitlines())
    lines = dict(row for row in rows if len(row) == 2)
    assert lines["exchanges along ens"] == "none"
    if name.endswith("_data"):
        assert lines["exchanges along data"].startswith("in training 1 x all-reduce")
    state = sum(_bytes(lines[f"bytes per device: {kind}"]) for kind in ("parameters", "optimizer state"))
    placed, most = (
        int(re.sub(r"\D", "", value.split("(")[0]))
        for value in (of_kind(lines, "members each", "members a device"), of_kind(lines, "members that fit"))
    )
    assert most * state / placed <= _bytes(lines["bytes a device has"])
    golden = GOLDENS / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(shown, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == shown


def test_a_chip_of_two_cores_is_one_device():
    assert len(topology_devices("v4:2x2x4")) == 16


def test_a_topology_that_is_none_is_refused():
    assert "--topology v5e:3x5x7: " in plan(["--config", "quickstart", "--topology", "v5e:3x5x7"], status=1)
    assert "v5e:4x4" in plan(["--config", "quickstart", "--topology", "v9:2x2"], status=1)
