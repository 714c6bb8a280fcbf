"""``ksgen-agent evaluate clips`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ksgen_launch.clip_evaluation import named_folders
from ksgen_models.errors import InvalidInput
from ksgen_models.video_io import write_video


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ksgen_launch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_clips(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(3):
        frames = np.repeat(rng.integers(0, 256, (4, 8, 8, 3), np.uint8), 4, axis=1).repeat(4, axis=2)
        write_video(folder / f"{number}.mp4", frames, 8.0)
    return folder


def test_two_folders_make_a_table(tmp_path: Path) -> None:
    generated, real = write_clips(tmp_path / "mine", 0), write_clips(tmp_path / "real", 1)
    words = ("evaluate", "clips", generated, real, "--metrics", "motion_distance,fvd", "--no-baselines")
    result = run(*words, "--also", f"again={real}", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "FVD is not measured" in result.stderr
    assert "--network i3d=FILE" in result.stderr
    record = json.loads((tmp_path / "out/figures.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["mine", "again"]
    assert record["rows"][1]["splits"]["all"]["motion_distance_farneback"]["value"] == 0
    assert "motion_distance" not in record["metrics"]
    assert "fvd" not in record["metrics"]
    assert (tmp_path / "out/report.html").is_file()


def test_a_metric_that_there_is_not_is_one_line(tmp_path: Path) -> None:
    result = run("evaluate", "clips", tmp_path, tmp_path, "--metrics", "fidd")
    assert result.returncode == 2
    assert '"fid"' in result.stderr.strip().splitlines()[-1]


def test_scenes_kept_for_the_last_measurement_are_refused(tmp_path: Path) -> None:
    result = run("evaluate", "preset", "mini", "--seeds", "2000000:2000001", "--out", tmp_path / "out")
    assert result.returncode == 2
    assert "reserved for the final evaluation" in result.stderr


def test_names_and_paths() -> None:
    assert named_folders(["a=/x", "b=/y=z"], "--also") == {"a": Path("/x"), "b": Path("/y=z")}
    for wrong in (["a"], ["=x"], ["a=x", "a=y"]):
        with pytest.raises(InvalidInput, match="--also"):
            named_folders(wrong, "--also")
