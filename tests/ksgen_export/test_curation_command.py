"""``ksgen-agent curate`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from curation_parts import write_panned

from ksgen_launch.main import main
from ksgen_models.assets import HAND_LANDMARKER, is_present


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stopped:
        main(["curate", *arguments])
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cuts", "guess"], "--cuts"),
        (["--source", "youcook"], "coin"),
        (["--source", "coin"], "COIN.json"),
        (["--annotations", "COIN.json"], "--source"),
        (["--threshold", "sharpness=1"], "blur"),
        (["--threshold", "blur=much"], "NAME=NUMBER"),
        (["--threshold", "blur=-1"], "blur"),
        ([], "folder of videos"),
    ],
)
def test_wrong_usage_is_one_line_that_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    code, out, err = run(["--videos", str(tmp_path / "none"), "--out", str(tmp_path / "out"), *options], capsys)
    assert code == 2
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.skipif(not is_present(HAND_LANDMARKER), reason="the hand networks are not here; run: ksgen-agent assets")
def test_what_was_kept_and_dropped_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_panned(tmp_path / "videos", "abc", 1, 2.5)
    step = {"id": "1", "segment": [0.0, 2.0], "label": "turn the page"}
    document = {
        "database": {"abc": {"class": "ReadBook", "annotation": [step]}, "gone": {"class": "X", "annotation": [step]}}
    }
    (tmp_path / "COIN.json").write_text(json.dumps(document))
    arguments = ["--videos", str(tmp_path / "videos"), "--out", str(tmp_path / "out"), "--workers", "1"]
    code, out, _ = run([*arguments, "--source", "coin", "--annotations", str(tmp_path / "COIN.json")], capsys)
    assert code == 1
    assert "0 subclips kept" in out
    assert "no hand: 1" in out
    assert "1 segments failed" in out
    assert str(tmp_path / "out" / "report.html") in out
