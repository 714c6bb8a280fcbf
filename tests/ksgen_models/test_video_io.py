"""Video files: what goes in comes out, and what is no video gets the named error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ksgen_models.errors import InvalidClip
from ksgen_models.video_io import check_clip, read_video, write_video


def moving_square(frames: int = 8, height: int = 48, width: int = 64) -> np.ndarray:
    clip = np.full((frames, height, width, 3), 40, np.uint8)
    for at in range(frames):
        clip[at, 10:30, 4 * at : 4 * at + 20] = (220, 120, 40)
    return clip


def test_a_written_clip_reads_back(tmp_path: Path) -> None:
    clip = moving_square()
    write_video(tmp_path / "deep" / "clip.mp4", clip, 12.5)
    again, fps = read_video(tmp_path / "deep" / "clip.mp4")
    assert again.shape == clip.shape
    assert fps == pytest.approx(12.5)
    assert np.abs(again.astype(int) - clip).mean() < 6
    assert len(read_video(tmp_path / "deep" / "clip.mp4", max_frames=3)[0]) == 3
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["clip.mp4"]


def test_odd_sizes_lose_their_last_row_and_column(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", moving_square(height=49, width=65), 10)
    assert read_video(tmp_path / "odd.mp4")[0].shape[1:3] == (48, 64)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is text " * 100)
    for path in (tmp_path / "text.mp4", tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(InvalidClip, match=path.name):
            read_video(path)


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((4, 32, 32, 3), np.float32),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((4, 32, 32), np.uint8),
        np.zeros((4, 32, 32, 4), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
        np.zeros((4, 1, 1, 3), np.uint8),
        [[1, 2], [3, 4]],
        None,
    ],
    ids=["float", "one frame", "grey", "alpha", "empty", "1x1", "list", "none"],
)
def test_what_is_no_clip_is_named(clip: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidClip):
        check_clip(clip)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_frame_rates_are_named(fps: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidClip, match="positive"):
        write_video(tmp_path / "clip.mp4", moving_square(), fps)
