"""Data sets on disk: complete, resumable, and honest about what failed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ksgen_envs import TASKS, generate_demonstrations
from ksgen_envs.datasets import read_manifest
from ksgen_models.demonstration import FORMAT_VERSION, list_episodes, load_demonstration
from ksgen_models.errors import DatasetError, InvalidInput, UnknownTask

pytest.importorskip("mujoco")

LAMP, STACK = "KSGen/SwitchOnLamp-v0", "KSGen/StackBlocks-v0"


def test_a_data_set_is_written_resumed_and_read(tmp_path):
    first = generate_demonstrations(tmp_path, [LAMP], range(2), workers=2, image_size=64, progress=False)
    assert (first.written, first.skipped, first.failed) == (2, 0, ())
    path = tmp_path / "switch_on_lamp" / "0000001.npz"
    before = path.stat().st_mtime_ns
    (tmp_path / "switch_on_lamp" / "0000000.npz").unlink()
    second = generate_demonstrations(tmp_path, [LAMP], range(2), workers=1, image_size=64, progress=False)
    assert (second.written, second.skipped, second.failed) == (1, 1, ())
    assert path.stat().st_mtime_ns == before
    assert [episode.name for episode in list_episodes(tmp_path)] == ["0000000.npz", "0000001.npz"]
    demonstration = load_demonstration(path)
    assert (demonstration.env_id, demonstration.seed) == (LAMP, 1)
    assert demonstration.frame.shape == (64, 64, 3)
    assert np.isfinite(demonstration.poses).all()
    manifest = read_manifest(tmp_path)
    assert manifest["tasks"] == [LAMP]
    assert manifest["seeds"] == [{"start": 0, "stop": 2, "step": 1}]
    assert manifest["image_size"] == 64


def test_an_episode_that_fails_is_named_and_does_not_stop_the_rest(tmp_path):
    (tmp_path / "stack_blocks").write_text("a file where the folder should be")
    summary = generate_demonstrations(tmp_path, [STACK, LAMP], range(1), workers=1, image_size=64, progress=False)
    assert summary.written == 1
    assert [name for name, _ in summary.failed] == ["stack_blocks/0000000"]
    assert "Error" in summary.failed[0][1]
    assert (tmp_path / "switch_on_lamp" / "0000000.npz").exists()


def test_stills_share_a_folder_with_demonstrations_and_have_no_frames(tmp_path):
    generate_demonstrations(tmp_path, [STACK], range(1), workers=1, image_size=64, progress=False)
    summary = generate_demonstrations(
        tmp_path, [STACK], range(2), workers=1, image_size=64, stills=True, ways=2, progress=False
    )
    assert (summary.written, summary.failed) == (2, ())
    names = [episode.name for episode in list_episodes(tmp_path)]
    assert names == ["0000000-stills.npz", "0000000.npz", "0000001-stills.npz"]
    stills = load_demonstration(tmp_path / "stack_blocks" / "0000000-stills.npz")
    whole = load_demonstration(tmp_path / "stack_blocks" / "0000000.npz")
    assert np.array_equal(stills.frame, whole.frame), "the same scene"
    assert stills.images().shape == (len(stills.steps) + 1, 64, 64, 3)
    assert all(step.clip.shape == (0, 64, 64, 3) and step.keypoints.shape == (0, 2, 21, 3) for step in stills.steps)
    assert all(step.ways.shape == (2, 16, 2, 21, 3) and np.isfinite(step.ways).any() for step in stills.steps)
    assert all(step.ways is None for step in whole.steps)
    assert read_manifest(tmp_path)["seeds"][-1] == {"start": 0, "stop": 2, "step": 1, "stills": True, "ways": 2}


def test_a_folder_keeps_one_image_size(tmp_path):
    manifest = {"format": FORMAT_VERSION, "tasks": [LAMP], "seeds": [], "image_size": 128}
    (tmp_path / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="128"):
        generate_demonstrations(tmp_path, [LAMP], range(1), image_size=64, progress=False)


def test_evaluation_seeds_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="final evaluation"):
        generate_demonstrations(tmp_path, TASKS, range(1_999_999, 2_000_001), progress=False)
    assert not any(tmp_path.iterdir())


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(UnknownTask, match="SwitchOnLamp"):
        generate_demonstrations(tmp_path, ["KSGen/SwitchLamp-v0"], range(1))
    for arguments in ({"seeds": range(0)}, {"seeds": range(-3, 0)}, {"workers": 0}, {"image_size": 1}, {"tasks": []}):
        with pytest.raises(InvalidInput, match="give"):
            generate_demonstrations(tmp_path, **arguments)


def test_a_broken_manifest_is_named(tmp_path):
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(DatasetError, match="manifest"):
        read_manifest(tmp_path)
