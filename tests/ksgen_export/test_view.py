"""Looking at datasets and writing them from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import make_imagination

from ksgen_export.formats import open_source
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
    written = saved.read_bytes()
    assert written[:3] == b"RRF"
    for entity in (b"camera/frame/hands/right/bones", b"camera/frame/region", b"key_step/goal", b"scores/hand_rate"):
        assert entity in written, entity


def test_a_range_without_episodes_is_refused(imaginations: Path, tmp_path: Path) -> None:
    assert run("view", imaginations, "--episodes", "7:9", "--html", tmp_path / "sheet.html") == 2
