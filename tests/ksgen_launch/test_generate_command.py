"""``ksgen-agent generate`` as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "ksgen_export"))

from generation_parts import write_photos  # noqa: E402

from ksgen_export.formats import open_source  # noqa: E402
from ksgen_launch.main import main  # noqa: E402


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["generate", *map(str, words)])
    return int(ended.value.code or 0)


@pytest.fixture
def photos(tmp_path: Path) -> list[object]:
    write_photos(tmp_path / "photos", 2)
    (tmp_path / "tasks.txt").write_text("push the square\n")
    drawn = "ksgen_export.generation.drawn:DrawnImaginer"
    return ["--photos", tmp_path / "photos", "--task-list", tmp_path / "tasks.txt", "--imaginer", drawn, "--workers", 1]


def test_photos_and_a_task_list_become_a_dataset(
    photos: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--out", out, "--format", "robomimic", "--seeds", "0:2", *photos) == 0
    told = capsys.readouterr()
    assert "4 items: 4 written, 0 rejected, 0 failed" in told.out
    assert str(out / "dataset") in told.out
    assert "4/4" in told.err
    assert len(open_source(out / "dataset")) == 4
    assert len((out / "items.jsonl").read_text().splitlines()) == 4


def test_a_dry_run_tells_time_and_disk_and_writes_nothing(
    photos: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", tmp_path / "out", "--seeds", "0:1000", "--min-score", "trust=1", "--dry-run", *photos) == 0
    told = capsys.readouterr().out
    assert "measured on 3 of 2000 items" in told
    assert "0 of 3 would pass" in told
    assert "time: about" in told
    assert "GB are free" in told
    assert not (tmp_path / "out").exists()


def test_rejections_are_counted_and_the_exit_code_says_that_nothing_was_written(
    photos: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", tmp_path / "out", "--min-score", "hand_rate=1", *photos) == 1
    assert "rejected for hand_rate: 2" in capsys.readouterr().out
    lines = (tmp_path / "out" / "items.jsonl").read_text().splitlines()
    assert all("hand_rate" in json.loads(line)["reasons"][0] for line in lines)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], "give --scenes A:B"),
        (["--scenes", "0:2", "--photos", "photos"], "give --scenes A:B"),
        (["--photos", "photos"], "--task-list go together"),
        (["--scenes", "0:2", "--tasks", "StackBlock"], "StackBlocks"),
        (["--scenes", "1999999:2000001"], "kept for the final evaluation"),
        (["--scenes", "0:2", "--min-score", "trust"], "NAME=NUMBER"),
        (["--scenes", "0:2", "--min-score", "truts=0.5"], "did you mean trust"),
        (["--scenes", "0:2", "--photo-size", "big"], "WIDTHxHEIGHT"),
        (["--scenes", "0:2", "--preset", "minii"], "mini"),
        (["--scenes", "0:2", "--engine", "rai"], "did you mean ray"),
        (["--scenes", "0:2", "--imaginer", "a:b", "--server", "tcp://127.0.0.1:7447"], "give one"),
        (["--scenes", "0:2", "--key", "file"], "--key is for --server"),
        (["--scenes", "0:2", "--episodes", "policy"], "both or neither"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_no_folder(
    words: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", tmp_path / "out", *words) == 2
    told = capsys.readouterr().err
    assert match in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
