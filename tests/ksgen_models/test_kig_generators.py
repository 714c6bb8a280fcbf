"""KIG on SDXL and Kolors, end to end on tiny checkpoints that are saved and loaded as the real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_kig
import torch
from huggingface_hub.utils import filter_repo_objects
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from ksgen_models.errors import Cancelled, InvalidFrame, InvalidInput, PresetError, WeightsMissing
from ksgen_models.hub.checkpoints import check_class
from ksgen_models.hub.images import IMAGE_MODELS
from ksgen_models.hub.kig.adapter import SkillAdapter
from ksgen_models.hub.kig.generator import SkillImageGenerator
from ksgen_models.hub.kig.loading import load_image_generator
from ksgen_models.hub.loading import load_pipeline
from ksgen_models.hub.published import pipeline_files
from ksgen_models.hub.settings import RunSettings

SMALL = {"area": 32 * 32, "solver_steps": 2, "strength": 1.0}
STEPS = ("Place the shelf board on the two brackets.", "Take the red block with the right hand")
SAVE: dict[str, Callable[[Path], Path]] = {"sdxl": tiny_kig.save_tiny_sdxl, "kolors": tiny_kig.save_tiny_kolors}


@pytest.fixture(scope="module", params=["sdxl", "kolors"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SAVE[request.param](tmp_path_factory.mktemp("checkpoints") / request.param)


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As trained: its values are no longer zero."""
    torch.manual_seed(2)
    generator = load(checkpoint)
    made = SkillAdapter.fresh(
        generator.pipeline, generator.family.pipeline, width=32, layers=1, heads=2, queries=3, patch=2, max_steps=4
    )
    for processor in made.injection.processors:
        torch.nn.init.normal_(processor.to_v_ip[0].weight, std=0.1)
    return made.save(tmp_path_factory.mktemp("adapters") / checkpoint.name)


@pytest.fixture(scope="module")
def frame() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:45, 0:61]
    return np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=-1).astype(np.uint8)


def load(checkpoint: Path, adapter: Path | None = None, **more: object) -> SkillImageGenerator:
    generator = load_image_generator(checkpoint, adapter, changes=SMALL, **more)  # type: ignore[arg-type]
    assert isinstance(generator, SkillImageGenerator)
    return generator


def test_a_plan_is_drawn_the_same_for_the_same_seed(checkpoint: Path, adapter: Path, frame: NDArray[np.uint8]) -> None:
    generator = load(checkpoint, adapter)
    pictures = generator.draw(frame, STEPS, seed=5)
    assert pictures.shape == (3, *frame.shape)
    assert pictures.dtype == np.uint8
    assert (pictures[0] == frame).all()
    assert (pictures[1] != pictures[2]).any()
    assert (load(checkpoint, adapter).draw(frame, STEPS, seed=5) == pictures).all()
    assert (generator.draw(frame, STEPS, seed=6)[1:] != pictures[1:]).any()


def test_with_scale_0_and_fresh_it_is_the_plain_pipeline(
    checkpoint: Path, adapter: Path, frame: NDArray[np.uint8], tmp_path: Path
) -> None:
    generator = load(checkpoint)
    plain = generator.draw(frame, STEPS, seed=5)
    assert (load(checkpoint, adapter, scale=0.0).draw(frame, STEPS, seed=5) == plain).all()
    assert (load(checkpoint, adapter).draw(frame, STEPS, seed=5) != plain).any()
    made = SkillAdapter.fresh(generator.pipeline, generator.family.pipeline, width=32, layers=1, heads=2)
    fresh = made.save(tmp_path)
    assert (load(checkpoint, fresh).draw(frame, STEPS, seed=5) == plain).all()


def test_a_picture_depends_on_the_other_steps(checkpoint: Path, adapter: Path, frame: NDArray[np.uint8]) -> None:
    generator = load(checkpoint, adapter)
    first, other = generator.draw(frame, STEPS, seed=5), generator.draw(frame, (STEPS[0], "a photo"), seed=5)
    assert (first[1] != other[1]).any()
    alone = load(checkpoint)  # without the Skill Transformer each step is drawn for itself
    assert (alone.draw(frame, STEPS, seed=5)[1] == alone.draw(frame, (STEPS[0], "a photo"), seed=5)[1]).all()


def test_a_step_gets_its_own_tokens(checkpoint: Path, adapter: Path, frame: NDArray[np.uint8]) -> None:
    generator = load(checkpoint, adapter)
    swapped = SkillImageGenerator(generator.pipeline, generator.family, Swapped(generator.adapter), generator.settings)  # type: ignore[arg-type]
    same = ("a photo", "a photo")  # told apart by their tokens alone
    straight, crossed = generator.draw(frame, same, seed=5), swapped.draw(frame, same, seed=5)
    assert (straight[1] != straight[2]).any()
    assert (straight[1:] == crossed[:0:-1]).all()


class Swapped:
    """An adapter that gives the tokens of a plan's steps in reverse order."""

    def __init__(self, adapter: SkillAdapter | None) -> None:
        assert adapter is not None
        self.adapter = adapter

    def tokens(self, *told: torch.Tensor) -> torch.Tensor:
        return self.adapter.tokens(*told).flip(0)


def test_less_noise_keeps_more_of_the_frame(checkpoint: Path, frame: NDArray[np.uint8]) -> None:
    def distance(strength: float) -> float:
        changes = {**SMALL, "strength": strength, "solver_steps": 10, "guidance": 1.0}
        generator = load_image_generator(checkpoint, changes=changes)
        assert isinstance(generator, SkillImageGenerator)
        pipeline = generator.pipeline
        through_vae = pipeline.vae(pipeline.image_processor.preprocess(through(frame))).sample
        drawn = pipeline.image_processor.preprocess(through(generator.draw(frame, STEPS[:1], seed=5)[1]))
        return float((drawn - through_vae.clamp(-1, 1)).abs().mean())

    def through(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        return picture[None, :44, :60].astype(np.float32) / 255

    with torch.no_grad():
        assert distance(0.1) < distance(1.0)


def test_it_stops_between_solver_steps(checkpoint: Path, adapter: Path, frame: NDArray[np.uint8]) -> None:
    asked = 0

    def stop_at_the_fourth_question() -> None:
        nonlocal asked
        asked += 1
        if asked == 4:
            raise Cancelled("enough")

    generator = load(checkpoint, adapter)
    expected = generator.draw(frame, STEPS, seed=5)
    with pytest.raises(Cancelled):
        generator.draw(frame, STEPS, seed=5, check_cancelled=stop_at_the_fourth_question)
    assert asked == 4
    assert (generator.draw(frame, STEPS, seed=5) == expected).all()  # nothing of it is left behind


def test_an_empty_plan_is_the_frame(checkpoint: Path, frame: NDArray[np.uint8]) -> None:
    assert (load(checkpoint).draw(frame, (), seed=1) == frame[None]).all()


def test_bad_input_is_named(checkpoint: Path, adapter: Path, frame: NDArray[np.uint8]) -> None:
    generator = load(checkpoint, adapter)
    with pytest.raises(InvalidFrame, match="float64"):
        generator.draw(frame / 255, STEPS, seed=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="single string"):
        generator.draw(frame, STEPS[0], seed=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="up to 4"):
        generator.draw(frame, STEPS * 3, seed=1)


def test_wrong_changes_are_named(checkpoint: Path) -> None:
    with pytest.raises(PresetError, match="solver_steps"):
        load_image_generator(checkpoint, changes={"solver_step": 3})
    with pytest.raises(PresetError, match="strength"):
        load_image_generator(checkpoint, changes={"strength": 0.0})
    with pytest.raises(PresetError, match="leaves none"):
        load_image_generator(checkpoint, changes={"solver_steps": 4, "strength": 0.2})
    with pytest.raises(PresetError, match=r"\{step\}"):
        load_image_generator(checkpoint, changes={"prompt": "a nice picture"})


def test_a_half_downloaded_adapter_or_checkpoint_is_named(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(adapter, tmp_path / "adapter")
    weights = broken / "skill_injection" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(WeightsMissing, match="skill_injection"):
        load(checkpoint, broken)
    shutil.rmtree(broken / "skill_transformer")
    with pytest.raises(WeightsMissing, match=r"skill_transformer/config\.json"):
        load(checkpoint, broken)
    halved = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    next((halved / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(WeightsMissing, match="unet"):
        load(halved)
    with pytest.raises(WeightsMissing, match="nowhere"):
        load(tmp_path / "nowhere")


def test_nan_is_no_picture(checkpoint: Path, frame: NDArray[np.uint8]) -> None:
    generator = load(checkpoint)
    with torch.no_grad():
        generator.pipeline.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(PresetError, match="NaN"):
        generator.draw(frame, STEPS, seed=1)


def test_an_adapter_belongs_to_its_family(tmp_path: Path) -> None:
    sdxl, kolors = (load(save(tmp_path / name)) for name, save in SAVE.items())
    sizes = {"width": 32, "layers": 1, "heads": 2}
    of_sdxl = SkillAdapter.fresh(sdxl.pipeline, sdxl.family.pipeline, **sizes)
    with pytest.raises(PresetError, match="StableDiffusionXLPipeline"):
        of_sdxl.install(kolors.pipeline, kolors.family.pipeline)
    of_kolors = SkillAdapter.fresh(kolors.pipeline, "", **sizes)
    with pytest.raises(PresetError, match="text states of 32"):
        of_kolors.install(sdxl.pipeline, sdxl.family.pipeline)


def test_a_half_precision_edition_in_shards_is_loaded(checkpoint: Path, tmp_path: Path) -> None:
    """As the hub has Kolors: names with fp16, no others, and the text encoder in several files."""
    plain = load_pipeline(checkpoint, RunSettings(device="cpu"), pipeline=check_class(checkpoint))
    plain.to(torch.float16).save_pretrained(tmp_path, variant="fp16", max_shard_size="40KB")
    encoder = tmp_path / "text_encoder"
    if (encoder / "model.fp16.safetensors").is_file():
        weights = load_file(encoder / "model.fp16.safetensors")
        (encoder / "model.fp16.safetensors").unlink()
        names = {name: f"model.fp16-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(weights)}
        for file in set(names.values()):
            part = {name: weight for name, weight in weights.items() if names[name] == file}
            save_file(part, encoder / file, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": names}
        (encoder / "model.safetensors.index.fp16.json").write_text(json.dumps(index))
    wanted = set(filter_repo_objects((str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.safetensors")),
                                     allow_patterns=list(pipeline_files("fp16"))))  # fmt: skip
    assert len(wanted) == len(list(tmp_path.rglob("*.safetensors"))) > 4
    halved = load_image_generator(tmp_path, settings=RunSettings(device="cpu"), changes=SMALL)
    assert halved.draw(np.zeros((32, 32, 3), np.uint8), STEPS, seed=0).shape == (3, 32, 32, 3)
    whole = load_pipeline(checkpoint, RunSettings(device="cpu"), pipeline=check_class(checkpoint)).text_encoder
    for one, other in zip(whole.parameters(), halved.pipeline.text_encoder.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-2, atol=1e-3)


def test_only_one_edition_of_the_weights_is_fetched() -> None:
    files = ["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
             "text_encoder/model.fp16-00001-of-00003.safetensors", "unet/config.json", "sd_xl_base_1.0.safetensors",
             "unet/diffusion_pytorch_model.fp16.bin", "tokenizer/merges.txt"]  # fmt: skip
    assert list(filter_repo_objects(files, allow_patterns=list(IMAGE_MODELS["sdxl"].files))) == [
        *files[1:4], files[6],
    ]  # fmt: skip
    assert list(filter_repo_objects(files, allow_patterns=list(IMAGE_MODELS["flux-kontext"].files))) == [
        *files[:4], files[6],
    ]  # fmt: skip
