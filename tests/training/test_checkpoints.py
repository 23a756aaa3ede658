import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from facts import facts

from npi_jax.config.schema import CheckpointConfig
from npi_jax.training.checkpoints.checkpoints import CheckpointError, Checkpoints, scheduled_steps, set_aside
from npi_jax.training.checkpoints.checksum import member_checksum
from npi_jax.training.checkpoints.late_reads import hush_late_reads


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


STATE = {"n": np.int32([5, 6, 7]), "w": np.arange(3 * 2000, dtype=np.float32).reshape(3, 2000)}


def checksums(state) -> np.ndarray:
    return np.asarray(jax.vmap(member_checksum)(state))


def saved(folder: Path, *steps: int, **policy) -> Checkpoints:
    checkpoints = Checkpoints(folder, CheckpointConfig(**policy))
    for step in steps:
        state = {**STATE, "w": STATE["w"] + step}
        checkpoints.save(step, state, checksums(state))
    checkpoints.close()
    return Checkpoints(folder, CheckpointConfig(**policy))


def test_states_come_back_and_old_ones_go(tmp_path):
    reopened = saved(tmp_path / "c", 10, 11, 12, 13, keep=2, keep_period=10)
    assert reopened.steps() == [10, 12, 13]
    restored = reopened.restore(13, STATE)
    np.testing.assert_array_equal(restored["w"], STATE["w"] + 13)
    np.testing.assert_array_equal(restored["n"], STATE["n"])
    reopened.verify(13, checksums(restored))
    reopened.close()


def test_one_that_is_no_longer_kept_goes_in_one_step_and_its_files_later(tmp_path):
    checkpoints = saved(tmp_path / "c", 1, 2, keep=2)
    checkpoints.save(3, STATE, checksums(STATE))
    checkpoints.wait()
    # By default Orbax deletes file by file in place; if killed then, it would leave part of a checkpoint.
    assert sorted(file.name for file in (tmp_path / "c" / "deleted").iterdir()) == ["1"]
    assert checkpoints.steps() == [2, 3]
    checkpoints.close()
    assert not (tmp_path / "c" / "deleted").exists()


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
    saved(tmp_path / "c", 1).close()
    half = tmp_path / "c" / "2.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "data").write_text("half")
    again = Checkpoints(tmp_path / "c", CheckpointConfig())
    assert again.steps() == [1]
    again.close()


def biggest(folder: Path) -> Path:
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def test_every_flipped_bit_of_the_arrays_is_found(tmp_path):
    checkpoints = saved(tmp_path / "c", 4)
    file = biggest(tmp_path / "c" / "4")
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    found = []
    for place in rng.integers(len(whole), size=12):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        try:
            checkpoints.verify(4, checksums(checkpoints.restore(4, STATE)))
        except CheckpointError as error:
            found.append(str(error))
        else:
            # Compressed files have a few bits that nothing depends on.
            np.testing.assert_array_equal(checkpoints.restore(4, STATE)["w"], STATE["w"] + 4)
    assert len(found) > 8
    assert all(str(tmp_path / "c" / "4") in message for message in found)
    checkpoints.close()


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_truncated_file_is_an_error_that_names_the_checkpoint(tmp_path, keep):
    checkpoints = saved(tmp_path / "c", 3, 4)
    file = biggest(tmp_path / "c" / "4")
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(CheckpointError, match=facts("c/4", "read")):
        checkpoints.restore(4, STATE)
    checkpoints.verify(3, checksums(checkpoints.restore(3, STATE)))
    checkpoints.close()


def test_reads_that_end_after_one_has_failed_say_nothing_and_all_else_is_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    hush_late_reads()
    hush_late_reads()
    late = SimpleNamespace(exc_value=RuntimeError("Event loop is closed"), object=None)
    other = SimpleNamespace(exc_value=RuntimeError("no room"), object=None)
    of_an_object = SimpleNamespace(exc_value=late.exc_value, object=print)
    for unraisable in (late, other, of_an_object):
        sys.unraisablehook(unraisable)
    assert shown == [other, of_an_object]


def test_a_damaged_checkpoint_is_written_anew(tmp_path):
    checkpoints = saved(tmp_path / "c", 4)
    with pytest.raises(CheckpointError, match=facts("member 1")):
        checkpoints.verify(4, checksums(STATE | {"w": STATE["w"] + [[4], [5], [4]]}))
    checkpoints.save(4, STATE, checksums(STATE))
    checkpoints.wait()
    np.testing.assert_array_equal(checkpoints.restore(4, STATE)["w"], STATE["w"])
    checkpoints.close()


def test_what_is_not_there_or_differs_is_an_error(tmp_path):
    checkpoints = saved(tmp_path / "c", 4)
    with pytest.raises(CheckpointError, match=facts("float32(2000,)", "float32(1000,)")):
        checkpoints.restore(4, STATE | {"w": STATE["w"][:, :1000]})
    with pytest.raises(CheckpointError, match=facts("c/4", "3 members", "2")):
        checkpoints.verify(4, checksums(STATE)[:2])
    checkpoints.close()


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = {
    "empty": (_empty, "holds no checkpoint"),
    "arrays gone": (lambda folder: shutil.rmtree(folder / "default"), "holds no checkpoint"),
    "description of another form": (
        lambda folder: (folder / "_CHECKPOINT_METADATA").write_text("[]"),
        "has a damaged description",
    ),
    "description gone": (lambda folder: (folder / "_CHECKPOINT_METADATA").unlink(), "has lost its description"),
    "a file": (lambda folder: (shutil.rmtree(folder), folder.write_text("x")), "is not a folder"),
    "another name": (lambda folder: folder.rename(folder.with_name("09")), "is not named by a step"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_step_is_judged_alone_and_damaged_ones_are_set_aside(tmp_path, damage):
    """An empty newest folder once made Orbax take all others for checkpoints of another form."""
    folder = tmp_path / "c"
    saved(folder, 3, 4).close()
    make, message = DAMAGES[damage]
    make(folder / "4")
    alone = Checkpoints(folder, CheckpointConfig(), read_only=True)
    assert alone.steps() == [3]
    assert [message in fault for fault in alone.faulty().values()] == [True]
    np.testing.assert_array_equal(alone.restore(3, STATE)["w"], STATE["w"] + 3)
    alone.verify(3, checksums(STATE | {"w": STATE["w"] + 3}))
    before = sum(1 for _ in folder.rglob("*"))
    (moved,) = set_aside(folder)
    assert message in moved
    assert set_aside(folder) == []
    # Nothing is deleted: there is one folder more.
    assert sum(1 for _ in folder.rglob("*")) == before + 1
    again = Checkpoints(folder, CheckpointConfig())
    assert again.steps() == [3]
    assert len(again.damaged_folders()) == 1
    again.save(4, STATE, checksums(STATE))
    again.wait()
    np.testing.assert_array_equal(again.restore(4, STATE)["w"], STATE["w"])
    again.close()


def test_arrays_are_never_those_of_a_folder_whose_name_the_pattern_fits(tmp_path):
    """Orbax expands patterns in the path of its folder."""
    for name, value in (("lr1", 1), ("lr[1]", 2), ("lr?", 3), ("*", 4), ("a\\b", 5), ("gs:", 6)):
        checkpoints = Checkpoints(tmp_path / name / "c", CheckpointConfig())
        state = {**STATE, "w": STATE["w"] + value}
        checkpoints.save(4, state, checksums(state))
        checkpoints.close()
    for name, value in (("lr1", 1), ("lr[1]", 2), ("lr?", 3), ("*", 4), ("a\\b", 5), ("gs:", 6)):
        checkpoints = Checkpoints(tmp_path / name / "c", CheckpointConfig(), read_only=True)
        np.testing.assert_array_equal(checkpoints.restore(4, STATE)["w"], STATE["w"] + value)
        checkpoints.close()
