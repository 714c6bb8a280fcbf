"""Looking at datasets and writing them from the command line."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from generation_parts import tree
from small_datasets import make_imagination

from ksgen_export.formats import FORMATS, open_source, open_writer
from ksgen_launch.main import main


@pytest.fixture
def imaginations(tmp_path: Path) -> Path:
    for seed in range(2):
        make_imagination(seed).save(tmp_path / "source" / f"{seed}")
    return tmp_path / "source"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_imaginations_are_exported_and_a_damaged_one_is_named(imaginations: Path, tmp_path: Path, capsys) -> None:
    assert run("export", imaginations, "--format", "robomimic", "--out", tmp_path / "good") == 0
    (imaginations / "0/frame.png").write_bytes(b"broken")
    assert run("export", imaginations, "--format", "robomimic", "--out", tmp_path / "partly") == 1
    assert "episode 0: DatasetError" in capsys.readouterr().err
    assert (len(open_source(tmp_path / "good")), len(open_source(tmp_path / "partly"))) == (2, 1)
    assert run("export", imaginations, "--format", "zarr", "--out", tmp_path / "none") == 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_stopped_export_goes_on_without_doubles(name: str, imaginations: Path, tmp_path: Path) -> None:
    stopped = open_writer(name, tmp_path / "stopped")
    stopped.add(open_source(imaginations)[0])  # and was never closed
    for folder in ("stopped", "whole"):
        assert run("export", imaginations, "--format", name, "--out", tmp_path / folder, "--resume") == 0
    assert tree(tmp_path / "stopped") == tree(tmp_path / "whole")


def test_a_contact_sheet_shows_every_key_step(imaginations: Path, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    assert run("view", imaginations, "--html", page) == 0
    text = page.read_text("utf-8")
    assert text.count('<div class="step">') == 4
    assert text.count("Put block 1 in place") == 2
    assert "<script" not in text
    assert "http" not in text


def test_a_rerun_file_holds_frames_hands_and_key_steps(imaginations: Path, tmp_path: Path) -> None:
    saved = tmp_path / "view.rrd"
    assert run("view", imaginations, "--save", saved) == 0
    rows, frames = logged(saved), sum(len(episode) for episode in open_source(imaginations))
    assert rows["/camera/frame"] == rows["/robot/action"] == frames
    assert rows["/camera/frame/region"] == frames + 1  # and once what its colours mean
    steps = sum(len(episode.key_steps) for episode in open_source(imaginations))
    assert rows["/key_step/text"] == rows["/key_step/goal"] == rows["/scores/hand_rate"] == rows["/events"] == steps
    # A hand is drawn or cleared in every frame.
    right = rows["/camera/frame/hands/right/bones"]
    assert 0 < right < frames
    assert right + rows["/camera/frame/hands/right"] == frames


def logged(path: Path) -> Counter[str]:
    """Rows of each entity, as Rerun's own reader finds them."""
    from rerun.chunk import RrdReader

    rows: Counter[str] = Counter()
    for chunk in RrdReader(path).stream():
        rows[chunk.entity_path] += chunk.num_rows
    return rows


def test_a_range_without_episodes_is_refused(imaginations: Path, tmp_path: Path) -> None:
    assert run("view", imaginations, "--episodes", "7:9", "--html", tmp_path / "sheet.html") == 2


@pytest.mark.slow
def test_verify_lets_a_format_s_own_library_read_an_export(imaginations: Path, capsys) -> None:
    assert run("verify", imaginations, "--library", "minari", "--python", f"minari={sys.executable}") == 0
    told = capsys.readouterr().out
    assert "minari 0." in told
    assert "equal: 2 episodes" in told


def test_verify_names_what_it_cannot_use(imaginations: Path, capsys) -> None:
    assert run("verify", imaginations, "--library", "minary") == 2
    assert "did you mean minari" in capsys.readouterr().err
    assert run("verify", imaginations, "--library", "minari", "--python", "minari=/nowhere/python") == 2
    assert "LIBRARY=PATH" in capsys.readouterr().err
