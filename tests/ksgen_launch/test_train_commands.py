"""``ksgen-agent train rom|video|kig|planner-library`` as a user sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_pipelines import save_tiny
from training_parts import make_manifest

from ksgen_launch.commands.train_hub import OPTIONS
from ksgen_models.training.hub.config import TrainConfig

CONFIGS = sorted((Path(__file__).parents[2] / "launch" / "accelerate-configs").glob("*.yaml"))
FAST = (
    "--height", "32", "--width", "32", "--frames", "5", "--steps", "2", "--rank", "2", "--precision", "no", "--samples",
    "0", "--validation-clips", "1", "--validation-draws", "1", "--warmup", "0", "--beta", "0",
)  # fmt: skip


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ksgen_launch", "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_setting_has_an_option() -> None:
    assert list(OPTIONS) != []
    assert {field.name for field in fields(TrainConfig)} == set(OPTIONS)


def test_help_names_the_kinds_and_their_own_options() -> None:
    result = run("--help")
    assert result.returncode == 0
    for command in ("mini", "rom", "video", "kig", "planner-library"):
        assert command in result.stdout
    video = run("video", "--help").stdout
    assert "--alpha" in video
    assert "--beta" not in video


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rom", "--model", "a/b", "--out", "/tmp/never"), ("--data",)),
        (
            ("rom", "--data", "/nowhere", "--model", "a/b", "--out", "/tmp/never"),
            ("DatasetError", "ksgen-agent curate"),
        ),
        (
            ("kig", "--data", "/nowhere", "--model", "a", "--out", "/tmp/never", "--steps", "0"),
            ("InvalidInput", "steps"),
        ),
        (("video", "--data", "/nowhere", "--model", "a", "--out", "/tmp/never", "--metrics", "fyd"), ("fvd",)),
        (("planner-library", "/nowhere.json", "--source", "coin", "--out", "/tmp/never"), ("DatasetError", "COIN")),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    assert not Path("/tmp/never").exists()


def test_a_step_library_is_made(tmp_path: Path) -> None:
    from ksgen_models.planner import RetrievalPlanner
    from ksgen_models.text import MiniLM
    from ksgen_models.training.hub.planner_library import open_library

    steps = [{"id": "1", "segment": [0.0, 2.0], "label": "remove the battery"}]
    database = {"v": {"class": "ReplaceBattery", "annotation": steps}}
    (tmp_path / "COIN.json").write_text(json.dumps({"database": database}))
    made = run("planner-library", tmp_path / "COIN.json", "--source", "coin", "--out", tmp_path / "out")
    assert made.returncode == 0, made.stderr
    assert "1 procedures, 1 steps" in made.stdout
    library, encoder = open_library(tmp_path / "out", MiniLM())
    import numpy as np

    plan = RetrievalPlanner(library, encoder).plan(np.zeros((8, 8, 3), np.uint8), "replace the battery")
    assert plan.steps == ("Remove the battery",)


@pytest.mark.slow
def test_a_run_from_the_command_line_alone_and_in_parallel(tmp_path: Path) -> None:
    """The same run by itself, once more, and on two processes."""
    data, model = make_manifest(tmp_path / "data"), save_tiny("wan2.2-i2v", tmp_path / "model")
    given = ("--data", str(data), "--model", str(model), *FAST)
    alone = run("rom", *given, "--out", tmp_path / "alone", "--checkpoint-every", "1")
    assert alone.returncode == 0, alone.stderr
    assert f"model: {tmp_path / 'alone' / 'model'}" in alone.stdout
    again = run("rom", *given, "--out", tmp_path / "alone")
    assert again.returncode == 2
    assert "--resume" in again.stderr
    launched = launch("multi_gpu", *given, "--out", tmp_path / "both")
    assert launched.returncode == 0, launched.stderr
    assert json.loads((tmp_path / "both" / "run.json").read_text())["processes"] == 2
    assert (tmp_path / "both" / "model" / "pytorch_lora_weights.safetensors").is_file()
    assert len((tmp_path / "both" / "validation.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_sharded_training_stopped_and_resumed_gives_the_weights_of_whole_training(tmp_path: Path) -> None:
    """FSDP2 by the config that ships, on two processes of the CPU, against a copy of the model on each of two."""
    data, model = make_manifest(tmp_path / "data"), save_tiny("wan2.2-i2v", tmp_path / "model")
    given = (
        "--data", str(data), "--model", str(model), *FAST, "--rank", "0", "--averaging", "0", "--schedule", "constant",
        "--cache", str(tmp_path / "cache"),
    )  # fmt: skip
    runs = (("multi_gpu", "whole"), ("fsdp", "sharded", "--steps", "1"), ("fsdp", "sharded", "--resume"))
    for config, out, *more in runs:
        launched = launch(config, *given, "--out", tmp_path / out, *more)
        assert launched.returncode == 0, launched.stderr
    whole, sharded = (
        load_file(next((tmp_path / out / "model").rglob("*.safetensors"))) for out in ("whole", "sharded")
    )
    assert whole.keys() == sharded.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(sharded[name], weight, rtol=0, atol=1e-6)


def launch(config: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`train rom` on two processes of the CPU, as accelerate starts it with one of the configs that ship."""
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS[0].parent / f"{config}.yaml"),
        "--num_processes", "2", "-m", "ksgen_launch", "train", "rom", *map(str, arguments),
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_the_configs(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    kind = yaml.safe_load(path.read_text())["distributed_type"]
    assert config.distributed_type == kind
    assert config.num_processes >= 1
