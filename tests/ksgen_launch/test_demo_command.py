"""The demo from its command line to the report, with the shipped models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "ksgen_launch", "demo", "--out", str(out)]
    return out, subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_demo_ends_well_and_says_where_the_report_is(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, result = finished
    assert result.returncode == 0, result.stderr
    assert f"report: {out / 'report.html'}" in result.stdout
    assert "Plan (" in result.stderr


def test_the_report_needs_no_other_file(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    page = (finished[0] / "report.html").read_text("utf-8")
    assert "data:image/" in page
    for reference in ('src="http', "src='http", 'href="http', "@import", 'src="/', 'src="file'):
        assert reference not in page


def test_a_robot_tries_what_was_imagined_and_the_report_shows_how_it_went(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, result = finished
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("robot: "))
    said = line.removeprefix("robot: ")
    assert " of 4 key steps done" in said
    page = (out / "report.html").read_text("utf-8")
    assert "A robot does what was imagined" in page
    assert said in page


def test_the_overview_has_a_row_for_every_step(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    from PIL import Image

    with Image.open(finished[0] / "overview.png") as picture:
        assert picture.width > 6 * 192
        assert picture.height == 4 * (192 + 30)


def test_the_saved_imagination_is_the_one_in_the_table(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    from ksgen_agent import Imagination, read_frame

    out, result = finished
    imagination = Imagination.load(out / "imagination")
    assert len(imagination.steps) == 4
    np.testing.assert_array_equal(imagination.frame, read_frame(out / "frame.png"))
    for step in imagination.steps:
        assert step.clip.shape == (16, *imagination.frame.shape)
        assert f"{step.scores['hand_rate']:.2f}" in result.stdout


def test_watching_does_not_change_what_is_imagined(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    from ksgen_agent import Agent, Imagination, read_frame

    out, _ = finished
    watched = Imagination.load(out / "imagination")
    with Agent() as agent:
        seed = watched.steps[0].provenance["seed"]
        step = next(agent.imagine_stream(read_frame(out / "frame.png"), "assemble shelf", seed=seed))
    np.testing.assert_array_equal(step.clip, watched.steps[0].clip)


def test_a_photo_of_another_kind_is_refused_with_its_score(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    photo = tmp_path / "noise.png"
    Image.fromarray(rng.integers(0, 256, (240, 320, 3), np.uint8)).save(photo)
    command = [sys.executable, "-m", "ksgen_launch", "imagine", "--frame", str(photo), "--task", "assemble shelf"]
    result = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "LowConfidence" in result.stderr.splitlines()[-1]
    assert "score" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_task_is_refused_with_the_nearest(tmp_path: Path, finished: tuple[Path, object]) -> None:
    command = [sys.executable, "-m", "ksgen_launch", "imagine", "--frame", str(finished[0] / "frame.png")]
    arguments = ["--task", "file my taxes", "--out", str(tmp_path / "out")]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "UnknownTask" in result.stderr.splitlines()[-1]
    assert "nearest" in result.stderr
