from __future__ import annotations

import numpy as np
import pytest
from small_episodes import make_demonstration

from ksgen_models.demonstration import Camera, list_episodes, load_demonstration, save_demonstration
from ksgen_models.errors import DatasetError


def test_an_episode_comes_back_as_it_was_written(tmp_path):
    written = make_demonstration(3, steps=3)
    save_demonstration(written, tmp_path / "stack" / "0000003.npz")
    read = load_demonstration(tmp_path / "stack" / "0000003.npz")
    assert np.array_equal(read.images(), written.images())
    assert np.array_equal(read.frame, written.frame)
    assert (read.task, read.seed, read.objects, read.look) == (written.task, 3, written.objects, written.look)
    for mine, theirs in zip(read.steps, written.steps, strict=True):
        assert mine.description == theirs.description
        assert np.array_equal(mine.keypoints, theirs.keypoints, equal_nan=True)
        assert np.array_equal(mine.region_of_motion, theirs.region_of_motion)
        assert np.array_equal(mine.visible, theirs.visible)
        # Clip frames are JPEG of quality 95: close, not equal.
        assert np.abs(mine.clip.astype(int) - theirs.clip).mean() < 2


def test_a_half_written_episode_is_never_listed_and_never_loaded(tmp_path):
    save_demonstration(make_demonstration(0), tmp_path / "stack" / "0000000.npz")
    whole = (tmp_path / "stack" / "0000000.npz").read_bytes()
    (tmp_path / "stack" / ".0000001.npz.7.part").write_bytes(whole[:100])
    assert [path.name for path in list_episodes(tmp_path)] == ["0000000.npz"]
    (tmp_path / "stack" / "0000002.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="generate it anew"):
        load_demonstration(tmp_path / "stack" / "0000002.npz")


def test_an_empty_folder_says_what_to_run(tmp_path):
    with pytest.raises(DatasetError, match="generate-demos"):
        list_episodes(tmp_path)


def test_the_camera_projects_as_opencv_does():
    import cv2

    random = np.random.default_rng(0)
    rotation = cv2.Rodrigues(random.normal(size=3))[0]
    translation = np.array([0.1, -0.2, 2.0])
    intrinsics = np.array([[300.0, 0, 128], [0, 310.0, 120], [0, 0, 1]])
    points = random.uniform(-0.3, 0.3, (10, 3))
    expected = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], translation, intrinsics, None)[0][:, 0]
    projected = Camera(intrinsics, np.hstack([rotation, translation[:, None]])).project(points)
    assert projected[:, :2] == pytest.approx(expected, abs=1e-6)
    assert projected[:, 2] == pytest.approx((points @ rotation.T + translation)[:, 2])
