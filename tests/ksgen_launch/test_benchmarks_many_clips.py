"""``ksgen-agent evaluate clips`` on many clips: memory stays flat, and a killed run goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from ksgen_models.video_io import write_video

CLIPS, FRAMES, SIDE = 240, 8, 64
HELD = 2 * CLIPS * FRAMES * SIDE * SIDE * 3  # bytes of all clips of both folders: 47 MB
KILLED_AFTER = 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Generated and real clips of moving squares, and a small network in place of Inception."""
    import torch

    class Colours(torch.nn.Module):
        def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            return pictures.float().mean(dim=3).flatten(1)[:, ::12] if return_features else pictures.float()

    root = tmp_path_factory.mktemp("many")
    torch.jit.script(Colours()).save(str(root / "inception.pt"))
    for name, seed in (("generated", 0), ("real", 1)):
        rng = np.random.default_rng(seed)
        for number in range(CLIPS):
            picture = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            clip = np.stack([np.roll(picture, 2 * time_, axis=number % 2) for time_ in range(FRAMES)])
            write_video(root / name / f"task_{number % 3}" / f"{number:04d}.mp4", clip, 8.0)
    return root / "generated", root / "real", root / "inception.pt"


def start(folders: tuple[Path, Path, Path], out: Path) -> subprocess.Popen[str]:
    generated, real, network = folders
    words = ["evaluate", "clips", generated, real, "--metrics", "fid,motion_distance", "--no-baselines"]
    words += ["--network", f"inception={network}", "--set-bootstrap", "2", "--out", out]
    command = [sys.executable, "-m", "ksgen_launch", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def records(out: Path) -> dict[str, int]:
    """What was measured so far: file → when it was written."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in (out / "measured").rglob("*.npz")}


def watch(process: subprocess.Popen[str], look: Callable[[], bool]) -> None:
    """Call ``look`` until it returns True or the process has ended."""
    while process.poll() is None and not look():
        time.sleep(0.05)


@pytest.mark.slow
def test_memory_is_flat_and_a_killed_run_goes_on(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = start(folders, out)
    watch(killed, lambda: len(records(out)) >= 2 * KILLED_AFTER)
    killed.kill()
    killed.communicate()
    assert killed.returncode < 0, "it was done before it could be killed"
    before = records(out)
    assert 2 * KILLED_AFTER <= len(before) < 2 * CLIPS

    process = start(folders, out)
    memory: list[tuple[int, int]] = []

    def look() -> bool:
        try:
            memory.append((len(records(out)), psutil.Process(process.pid).memory_info().rss))
        except psutil.NoSuchProcess:
            return True
        return False

    watch(process, look)
    told, progress = process.communicate()
    assert process.returncode == 0, progress
    assert f"{CLIPS}/{CLIPS}" in progress
    assert "written:" in told
    after = records(out)
    assert len(after) == 2 * CLIPS
    assert {name: after[name] for name in before} == before, "a clip that was measured was measured again"
    row = json.loads((out / "figures.json").read_text())["rows"][0]
    assert (row["clips"], row["failed"]) == (CLIPS, {})
    assert row["splits"]["all"]["fid"]["clips"] == CLIPS

    # From the moment when the networks are loaded and clips are measured again, to the end of the measuring.
    working = [size for done, size in memory if len(before) + 20 <= done < 2 * CLIPS]
    assert len(working) > 3
    assert max(working) - working[0] < HELD / 3, f"grew by {(max(working) - working[0]) / 1e6:.0f} MB"
