"""``ksgen-agent doctor --preset``: what a preset needs, before anything is downloaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_pipelines import save_tiny, save_tiny_images

from ksgen_agent.presets import PRESETS
from ksgen_launch.main import main
from ksgen_launch.preset_report import preset_report
from ksgen_models.hub.families import FAMILIES
from ksgen_models.hub.images import IMAGE_MODELS


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("KSGEN_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.from_hub])
def test_every_preset_names_its_weights_their_size_and_the_memory(name: str) -> None:
    rows, can_run = preset_report(name)
    text = "\n".join(value for _, value in rows)
    arguments = PRESETS[name].arguments
    for repository in (FAMILIES[arguments["video"]].repository, IMAGE_MODELS[arguments["images"]].repository):
        assert f"{repository} at main" in text
        assert f"hf download {repository}" in text
    sizes = [float(value.split()[0]) for label, value in rows if label == "GPU memory"]
    assert len(sizes) == 6
    assert sizes == sorted(sizes, reverse=True)
    assert all(re.search(r"\d+\.\d GB: \w+ ", value) for label, value in rows if label.strip() == "weights")
    assert not can_run


def test_what_is_here_is_told_from_what_is_cut_short(no_weights: Path, tmp_path: Path) -> None:
    save_tiny("ltx", tmp_path / "mine")
    save_tiny_images("sdxl", no_weights / IMAGE_MODELS["sdxl"].repository)
    rows, _ = preset_report("ltx+sdxl", {"video": str(tmp_path / "mine")})
    here = [value for label, value in rows if label.strip() == "here"]
    assert here[0].startswith(f"{tmp_path / 'mine'}, 0.00 GB")
    assert "not here" not in " ".join(here)
    assert "not whole" not in " ".join(here)

    weights = tmp_path / "mine/transformer/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    rows, can_run = preset_report("ltx+sdxl", {"video": str(tmp_path / "mine")})
    here = [value for label, value in rows if label.strip() == "here"]
    assert re.search(r"transformer/diffusion_pytorch_model.safetensors has \d+ of \d+ bytes", here[0])
    assert not can_run


def test_the_command_prints_it_and_says_by_its_exit_code_that_it_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--preset", "pia+sdxl"])
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "openmmlab/PIA-condition-adapter" in shown
    assert "*.fp16*.safetensors of unet/" in " ".join(shown.split())  # SDXL's other edition is not fetched
    assert "GPU memory" in shown


def test_a_name_that_is_no_preset_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--preset", "open-sora"], ["--preset", "svd", "--weights", "video"]):
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *arguments])
        assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "appendix B" in shown
    assert "ROLE=FOLDER" in shown
