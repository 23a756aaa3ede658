import jax.numpy as jnp
import numpy as np
import pytest

from npi_jax.config import CheckpointConfig
from npi_jax.training.checkpoints import Checkpoints, scheduled_steps


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        (10, 4, [0, 1, 2, 4, 8, 10]),
        (600, 150, [0, 1, 2, 4, 8, 16, 32, 64, 128, 150, 300, 450, 600]),
        (3, 100, [0, 1, 2, 3]),
        (1, 1, [0, 1]),
        (4, 1, [0, 1, 2, 3, 4]),
    ],
)
def test_checkpoints_are_dense_early(steps, every, expected):
    assert scheduled_steps(steps, every) == expected


def test_states_come_back_and_old_ones_go(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", CheckpointConfig(keep=2, keep_period=10))
    states = {step: {"w": jnp.full(3, float(step)), "n": jnp.int32(step)} for step in (10, 11, 12, 13)}
    for step, state in states.items():
        checkpoints.save(step, state)
    checkpoints.close()
    reopened = Checkpoints(tmp_path / "c", CheckpointConfig(keep=2, keep_period=10))
    assert reopened.steps() == [10, 12, 13]
    restored = reopened.restore(13, states[10])
    np.testing.assert_array_equal(restored["w"], states[13]["w"])
    assert int(restored["n"]) == 13
    reopened.close()


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", CheckpointConfig())
    checkpoints.save(1, {"w": jnp.ones(3)})
    checkpoints.close()
    half = tmp_path / "c" / "2.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "data").write_text("half")
    again = Checkpoints(tmp_path / "c", CheckpointConfig())
    assert again.steps() == [1]
    again.close()
