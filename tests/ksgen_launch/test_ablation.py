"""``ksgen-agent evaluate ablation``: which rows it measures, and one scene of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ksgen_envs.ablation import MASKS
from ksgen_envs.datasets import generate_demonstrations
from ksgen_launch.app import app
from ksgen_launch.commands.ablation import as_lines
from ksgen_models.errors import InvalidInput
from ksgen_models.mini.weights import weights_folder


def run(*words: str | Path):
    return CliRunner().invoke(app, ["evaluate", "ablation", *map(str, words)])


def test_unknown_masks_and_qualities_and_kept_seeds_are_refused(tmp_path: Path) -> None:
    for words in (("--masks", "pink"), ("--qualities", "quick"), ("--seeds", "2000000:2000001")):
        result = run("--data", tmp_path, "--out", tmp_path / "out", *words)
        assert result.exit_code != 0


def test_a_table_has_a_line_for_each_row() -> None:
    lines = as_lines({"true mask": {"steps": 3.0, "HS-Err, mean": 0.25}})
    assert lines[0] == "| row | steps | HS-Err, mean |"
    assert lines[-1] == "| true mask | 3 | 0.250 |"


@pytest.mark.slow
def test_one_scene_is_drawn_along_every_mask_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    generate_demonstrations(data, ["KSGen/SwitchOnLamp-v0"], range(1, 2), workers=1, progress=False)
    out = tmp_path / "out"
    scene = ("--tasks", "SwitchOnLamp", "--seeds", "1000000:1000001")
    words = ("--data", data, "--out", out, *scene, "--qualities", "fast", "--weights", f"shipped={weights_folder()}")
    result = run(*words)
    assert result.exit_code == 0, result.output
    table = json.loads((out / "table.json").read_text())
    assert list(table) == ["another way", *(f"{mask} mask, shipped" for mask in MASKS)]
    assert table["true mask, shipped"]["RoM mIoU of the mask"] > 0.9
    assert table["another way"]["hands, generated over true"] > 0.8
    assert list((out / "pictures").glob("SwitchOnLamp-1000000-*.png"))
    figures = (out / "figures.jsonl").read_bytes()
    assert run(*words).exit_code == 0
    assert (out / "figures.jsonl").read_bytes() == figures
    refused = run("--out", tmp_path / "other", *scene, "--qualities", "fast", "--masks", "prior")
    assert isinstance(refused.exception, InvalidInput)
    assert "--data" in str(refused.exception)
