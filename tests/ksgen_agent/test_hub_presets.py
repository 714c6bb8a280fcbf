"""The contract of every hub preset: built tiny, saved, found, loaded and run by `Agent` as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_pipelines import save_tiny, save_tiny_images, tiny_options

from ksgen_agent import Agent
from ksgen_agent.presets import PRESETS, find_preset, load_parts, settings_of
from ksgen_models.errors import PresetError, WeightsMissing
from ksgen_models.hub.families import FAMILIES
from ksgen_models.hub.guidance import free_region
from ksgen_models.hub.images import IMAGE_MODELS
from ksgen_models.interfaces import RegionPrediction, StepRequest
from ksgen_models.scores import trust
from ksgen_models.types import Plan

HUB = [name for name, preset in PRESETS.items() if preset.from_hub]
QUICK = "ltx+sdxl"


class Dictated:
    """A planner of the caller's own: two steps, so that the second starts where the first ends."""

    source = "dictation"

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        return Plan(task, ("Pick up the red block.", "Put it into the bin."), 1.0, self.source)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny checkpoints, each below the name of its repository."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(autouse=True)
def weights_folder(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSGEN_WEIGHTS", str(weights))


def put(weights: Path, video: str, images: str) -> None:
    """The tiny checkpoints of a preset, each made once."""
    for folder, save, name in (
        (weights / FAMILIES[video].repository, save_tiny, video),
        (weights / IMAGE_MODELS[images].repository, save_tiny_images, images),
    ):
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            save(name, folder)


def options(video: str) -> dict[str, dict[str, Any]]:
    return {"video": tiny_options(video), "images": {"solver_steps": 2, "area": 64 * 64}}


def frame() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:48, :64]
    return np.stack([4 * columns, 5 * rows, 2 * (rows + columns)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("name", [QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in HUB)])
def test_a_preset_imagines_from_end_to_end(weights: Path, name: str) -> None:
    video, images = (find_preset(name).arguments[part] for part in ("video", "images"))
    put(weights, video, images)
    with Agent.from_preset(name, planner=Dictated(), device="cpu", options=options(video)) as agent:
        imagination = agent.imagine(frame(), "put the red block into the bin", seed=1)
        fps = agent.spec.fps
    assert len(imagination.steps) == 2
    for step in imagination.steps:
        assert step.clip.shape == (16, 48, 64, 3)
        assert (step.clip[0] == step.image).all()
        assert step.fps == fps > 0
        assert step.region_of_motion.change.min() == 1.0  # nobody has trained a region model: all may move
        models = step.provenance["models"]
        assert models[f"video/{video}"]["folder"] == str(weights / FAMILIES[video].repository)
        assert len(models[f"images/{images}"]["fingerprint"]) == 64
    assert (imagination.steps[0].goal == imagination.steps[1].image).all()
    assert (imagination.steps[0].image == frame()).all()


def test_of_several_clips_the_most_trusted_is_kept_with_its_scores(weights: Path) -> None:
    put(weights, "ltx", "sdxl")
    parts = load_parts(find_preset(QUICK), "cpu", options=options("ltx"))
    with Agent(QUICK, parts=parts, planner=Dictated()) as agent:
        step = next(agent.imagine_stream(frame(), "put the red block into the bin", seed=1, candidates=3))
    region = RegionPrediction(step.region_of_motion.predicted, step.region_of_motion.change)
    drawn = [
        parts.video_generator.generate(StepRequest(0, step.description, step.image, step.goal, 1, candidate), region)
        for candidate in range(3)
    ]
    assert [bool((clip == step.clip).all()) for clip in drawn].count(True) == 1
    assert (drawn[step.provenance["candidate"]] == step.clip).all()
    assert 0.0 <= trust(step.scores) <= 1.0


@pytest.mark.slow
def test_models_of_the_users_own_training_take_their_places(weights: Path, tmp_path: Path) -> None:
    from training_parts import config_of, make_manifest

    from ksgen_models.training.hub.runs import train_rom, train_video

    put(weights, "wan2.2-i2v", "sdxl")
    make_manifest(tmp_path / "curated", videos=4)
    model = weights / FAMILIES["wan2.2-i2v"].repository
    rom = train_rom(config_of(tmp_path / "curated", model, tmp_path / "rom", steps=1))
    video = train_video(config_of(tmp_path / "curated", model, tmp_path / "video", steps=1))
    chosen = {"region": rom, "video": video}
    images = {"images": options("ltx")["images"]}
    with Agent.from_preset(QUICK, planner=Dictated(), device="cpu", weights=chosen, options=images) as agent:
        step = next(agent.imagine_stream(frame(), "put the red block into the bin"))
    assert step.clip.shape == (5, 48, 64, 3)
    assert step.region_of_motion.change.min() == 0.0
    assert step.provenance["models"]["region"] == str(rom)

    drawn = {**chosen, "video": model}
    video_options = options("wan2.2-i2v")
    with Agent.from_preset(
        "wan2.2-i2v+sdxl", planner=Dictated(), device="cpu", weights=drawn, options=video_options
    ) as agent:
        step = next(agent.imagine_stream(frame(), "put the red block into the bin"))
    predicted = RegionPrediction(step.region_of_motion.predicted, step.region_of_motion.change)
    far = ~free_region(predicted, threshold=0.3, dilation=0.03)
    assert (step.clip[:, far] == step.image[far]).all()


def test_the_step_library_plans_where_nobody_else_does(weights: Path) -> None:
    put(weights, "ltx", "sdxl")
    with Agent.from_preset(QUICK, device="cpu", options=options("ltx")) as agent:
        steps = agent.imagine_stream(frame(), "stack the blocks")
        assert next(steps).provenance["steps"] > 1
        steps.close()


def test_a_checkpoint_may_lie_anywhere(weights: Path, tmp_path: Path) -> None:
    put(weights, "ltx", "sdxl")
    save_tiny("ltx", tmp_path / "mine")
    parts = load_parts(find_preset(QUICK), "cpu", weights={"video": tmp_path / "mine"}, options=options("ltx"))
    parts.tracker.close()
    assert parts.provenance["models"]["video/ltx"]["folder"] == str(tmp_path / "mine")
    assert parts.video_generator.fps == pytest.approx(FAMILIES["ltx"].fps * 15 / 8)


def test_settings_of_the_environment_reach_the_pipelines(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(weights, "ltx", "sdxl")
    monkeypatch.setenv("KSGEN_SETTINGS", "dtype=bfloat16, vae_tiling=true")
    parts = load_parts(find_preset(QUICK), "cpu", options=options("ltx"))
    parts.tracker.close()
    assert parts.provenance["settings"]["dtype"] == "bfloat16"
    assert parts.provenance["settings"]["vae_tiling"] is True


def test_what_is_missing_is_said_with_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KSGEN_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"run: hf download stabilityai/stable-diffusion-xl-base-1.0"):
        Agent.from_preset(QUICK, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_hub_preset_wants_a_gpu_unless_told_otherwise() -> None:
    with pytest.raises(PresetError, match="torch sees no GPU"):
        Agent.from_preset("wan2.2-i2v")


def test_what_a_preset_does_not_take_is_refused() -> None:
    with pytest.raises(PresetError, match="weights may name video, companion"):
        Agent.from_preset(QUICK, device="cpu", weights={"vidio": "/data"})
    with pytest.raises(PresetError, match="there is no setting ofload"):
        Agent.from_preset(QUICK, device="cpu", settings={"ofload": "model"})
    with pytest.raises(PresetError, match='preset "mini" takes no weights'):
        Agent.from_preset("mini", weights={"video": "/data"})
    with pytest.raises(PresetError, match="NAME=VALUE"):
        settings_of("offload")


@pytest.mark.parametrize("name", ["open-sora", "wan2.2-t2v", "cogvideox", "mochi+sdxl"])
def test_text_to_video_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(PresetError, match=r"not shown the camera's frame.*appendix B"):
        find_preset(name)


def test_dynamicrafter_is_refused_with_the_reason_and_a_slip_with_the_nearest_name() -> None:
    with pytest.raises(PresetError, match=r"diffusers has no pipeline for it"):
        find_preset("dynamicrafter")
    with pytest.raises(PresetError, match=r'did you mean "wan2.2-i2v"'):
        find_preset("wan22-i2v")


def test_any_family_goes_with_any_image_model() -> None:
    for video in FAMILIES:
        for images in IMAGE_MODELS:
            assert find_preset(f"{video}+{images}").arguments == {"video": video, "images": images}
