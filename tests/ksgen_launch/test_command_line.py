"""What a user sees of ``ksgen-agent``: help, one-line errors, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    "demo",
    "imagine",
    "assets",
    "generate-demos",
    "train",
    "evaluate",
    "bench",
    "doctor",
    "serve",
    "top",
    "keys",
    "learn",
    "export",
    "view",
    "curate",
)


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "ksgen_launch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def assert_one_line_error(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("ksgen-agent: ")
    for word in words:
        assert word in line


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert result.stderr == ""
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "train mini"])
def test_every_command_explains_itself(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.returncode == 0
    assert "Usage: ksgen-agent" in result.stdout


def test_a_missing_option_is_wrong_usage() -> None:
    result = run("imagine", "--task", "assemble shelf")
    assert result.returncode == 2
    assert "--frame" in result.stderr


def test_a_text_file_is_no_photo(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_text("this is no picture")
    result = run("imagine", "--frame", photo, "--task", "assemble shelf", "--out", tmp_path / "out")
    assert_one_line_error(result, "InvalidFrame", str(photo))
    assert not (tmp_path / "out").exists()


def test_a_photo_that_is_not_there(tmp_path: Path) -> None:
    result = run("imagine", "--frame", tmp_path / "none.png", "--task", "assemble shelf", "--out", tmp_path / "out")
    assert_one_line_error(result, "InvalidFrame", "none.png")


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    arguments = ("imagine", "--frame", tmp_path / "none.png", "--task", "t", "--out", tmp_path / "out")
    for result in (run("--debug", *arguments), run(*arguments, "--debug")):
        assert result.returncode == 1
        assert "Traceback" in result.stderr
        assert "InvalidFrame" in result.stderr


def test_an_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    from PIL import Image

    photo = tmp_path / "grey.png"
    Image.new("RGB", (128, 128), "grey").save(photo)
    arguments = ("imagine", "--frame", photo, "--task", "assemble shelf", "--out", tmp_path / "out")
    assert_one_line_error(run(*arguments, "--preset", "mimi"), "PresetError", '"mini"')


def test_bad_seeds_say_what_was_wrong(tmp_path: Path) -> None:
    assert_one_line_error(run("generate-demos", "--out", tmp_path, "--seeds", "9:3"), "InvalidInput", "9:3")


def test_an_unknown_task_names_the_nearest(tmp_path: Path) -> None:
    result = run("generate-demos", "--out", tmp_path, "--seeds", "0:1", "--tasks", "AssembleShelves")
    assert_one_line_error(result, "UnknownTask", "AssembleShelf")


def test_training_from_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    result = run("train", "mini", "--data", tmp_path, "--out", tmp_path / "out", "--small")
    assert_one_line_error(result, "DatasetError", "generate-demos")


def test_a_demo_takes_development_scenes_only(tmp_path: Path) -> None:
    assert_one_line_error(run("demo", "--out", tmp_path, "--scene", "17"), "InvalidInput", "1000000")


def test_an_unknown_asset_names_those_there_are() -> None:
    assert_one_line_error(run("assets", "none-such"), "AssetError", "hand-landmarker")


def test_the_list_of_assets_fetches_nothing(tmp_path: Path) -> None:
    result = run("assets", "--list", KSGEN_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 0
    assert "Apache-2.0" in result.stdout
    assert "not here" in result.stdout
    assert not (tmp_path / "cache").exists()


def test_doctor_fails_without_the_assets(tmp_path: Path) -> None:
    result = run("doctor", KSGEN_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 1
    assert "ksgen-agent assets" in result.stdout
    assert "default preset" in result.stderr
