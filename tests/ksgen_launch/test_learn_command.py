"""``ksgen-agent learn`` as a user sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ksgen_launch", "learn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_names_what_can_be_learned() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert result.stderr == ""
    for command in ("bc", "her", "evaluate", "compare"):
        assert command in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "/nowhere"), ("DatasetError", "ksgen-agent learn")),
        (("evaluate", "/nowhere", "--seeds", "2000000:2000010"), ("InvalidInput", "final evaluation")),
        (("bc", "--env", "KSGen/StackBloks-v0", "--out", "/tmp/never"), ("UnknownTask", "StackBlocks")),
        (("bc", "--env", "StackBlocks", "--out", "/tmp/never", "--condition", "fish"), ("InvalidInput", "fish")),
        (("her", "--env", "all", "--out", "/tmp/never"), ("InvalidInput", "one environment")),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr.strip().splitlines()[-1]
    assert not Path("/tmp/never").exists()


@pytest.mark.slow
def test_from_the_expert_to_a_film(tmp_path: Path) -> None:
    """Two episodes, a few updates, one evaluation: a policy that knows nothing, by the way that a good one goes."""
    out = tmp_path / "run"
    small = ("--env", "KSGen/SwitchOnLamp-v0", "--episodes", "2", "--batch", "8", "--evaluate-every", "0")
    made = run("bc", *small, "--updates", "4", "--out", out)
    assert made.returncode == 0, made.stderr
    more = run("bc", *small, "--updates", "6", "--out", out, "--resume")
    assert more.returncode == 0, more.stderr
    assert "update 6" in more.stderr
    measured = run("evaluate", out, "--seeds", "1000000:1000001", "--manner", "horizon")
    assert measured.returncode == 0, measured.stderr
    assert "KSGen/SwitchOnLamp-v0: " in measured.stdout
    assert "[" in measured.stdout
    (film,) = (out / "films").glob("*.mp4")

    from ksgen_models.video_io import read_video

    clip, fps = read_video(film)
    assert fps == 25
    assert clip.std(axis=0).max() > 5  # something moves
