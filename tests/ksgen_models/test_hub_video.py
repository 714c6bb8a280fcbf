"""Every video family, built tiny, saved as the real ones are and loaded by the very code that loads them."""

from __future__ import annotations

import ast
import inspect
import io
import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_pipelines import BUILDERS, SIZES, save_tiny, tiny_motion_adapter, tiny_options, tiny_stable_diffusion

from ksgen_models.errors import Cancelled, PresetError
from ksgen_models.hub import calls, families, mends
from ksgen_models.hub.families import FAMILIES
from ksgen_models.hub.fit import Fit
from ksgen_models.hub.guidance import _scaled, still_latents
from ksgen_models.hub.settings import RunSettings
from ksgen_models.hub.video import HubVideoGenerator, prompt_of
from ksgen_models.hub.video_loading import load_video_generator
from ksgen_models.hub.video_settings import VideoSettings
from ksgen_models.interfaces import RegionPrediction, StepRequest
from ksgen_models.library import default_library

CPU = RunSettings(device="cpu")
SLOW = ("svd", "i2vgen-xl", "pia", "hunyuan-i2v")  # their networks cannot be made as small as the others
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FAMILIES]
HELD = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FAMILIES if name != "wan-vace"]
HEIGHT, WIDTH = 48, 64


class Checkpoints:
    """Tiny checkpoints, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        folder = self._folder / name
        return folder if folder.exists() else save_tiny(name, folder)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("hub"))


def load(checkpoints: Checkpoints, name: str, **options: object) -> HubVideoGenerator:
    return load_video_generator(name, checkpoints[name], settings=CPU, options={**tiny_options(name), **options})


def request(*, index: int = 0, seed: int = 3) -> StepRequest:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([4 * columns, 5 * rows, 2 * (rows + columns)], axis=-1).astype(np.uint8)
    return StepRequest(index, "Pick up the red block.", image, image[::-1].copy(), seed)


def region(change: NDArray[np.float32] | None = None) -> RegionPrediction:
    if change is None:
        change = np.zeros((HEIGHT, WIDTH), np.float32)
        change[8:20, 8:28] = 1.0
    return RegionPrediction(change, change)


def nowhere() -> RegionPrediction:
    return region(np.zeros((HEIGHT, WIDTH), np.float32))


def test_there_is_a_tiny_pipeline_for_every_family() -> None:
    assert set(BUILDERS) == set(FAMILIES)


def test_a_family_is_at_most_thirty_lines_of_code() -> None:
    """Its entry, and every function that it alone names."""
    found = {}
    functions = {
        node.name: node.end_lineno - node.lineno + 1  # type: ignore[operator]
        for module in (families, calls, mends)
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.FunctionDef)
    }
    for node in ast.walk(ast.parse(inspect.getsource(families))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Family":
            named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            named |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            (name,) = (word.value.value for word in node.keywords if word.arg == "name")  # type: ignore[attr-defined]
            lines = node.end_lineno - node.lineno + 1  # type: ignore[operator]
            found[name] = lines + sum(functions[function] for function in named & set(functions))
    assert set(found) == set(FAMILIES)
    assert max(found.values()) <= 30, found


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_draws_a_clip_and_leaves_what_lies_outside_the_region(checkpoints: Checkpoints, name: str) -> None:
    generator = load(checkpoints, name)
    asked = request()
    clip = generator.generate(asked, region())
    assert clip.shape == (16, HEIGHT, WIDTH, 3)
    assert clip.dtype == np.uint8
    assert (clip[0] == asked.image).all()
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[4:28, 4:32] = False  # the region, and more than the settings grow it by
    assert (clip[:, outside] == asked.image[outside]).all()
    assert (clip[1:, 11:17, 14:22] != asked.image[11:17, 14:22]).any(axis=(1, 2, 3)).all()
    assert (clip == generator.generate(asked, region())).all()


@pytest.mark.parametrize("name", HELD)
def test_latents_outside_the_region_end_as_the_context_frames_own(checkpoints: Checkpoints, name: str) -> None:
    generator = load(checkpoints, name, hold="latents")
    still, drawn = (decoded(generator, where) for where in (nowhere(), region()))
    own = context_latents(generator)
    # With nothing free the decoder is given the context frame's own latents: the clip is the autoencoder's copy of it.
    assert (still[:, :, -own.shape[2] :] - own)[:, :, 1:].abs().max() < 2e-2
    moved = (still - drawn).abs().amax(dim=(0, 1, 2))  # (h, w)
    assert moved[-1].max() < 1e-3, "the lowest rows of the frame lie outside the region"
    assert moved.max() > 1e-2, "something moves inside it"


@pytest.mark.parametrize("name", EACH)
def test_drawing_stops_between_solver_steps(checkpoints: Checkpoints, name: str) -> None:
    generator = load(checkpoints, name, steps=50)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:  # before anything, after the first step, after the second
            raise Cancelled("the caller asked to stop")

    with pytest.raises(Cancelled):
        generator.generate(request(), region(), check_cancelled=check)
    assert len(calls) == 3


def test_every_step_seed_and_candidate_has_noise_of_its_own(checkpoints: Checkpoints) -> None:
    generator = load(checkpoints, "ltx")
    first, *others = (
        generator.generate(one, region())
        for one in (request(), request(index=1), request(seed=4), replace(request(), candidate=1))
    )
    for other in others:
        assert (first != other).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edition", "name", "frames"),
    [("wan2.1", "wan2.2-i2v", 5), ("wan2.2-ti2v", "wan2.2-i2v", 5), ("cogvideox1.5", "cogvideox-i2v", 5)],
)
def test_other_editions_of_a_family_are_run_by_the_same_entry(
    tmp_path: Path, edition: str, name: str, frames: int
) -> None:
    from training_parts import save_variant

    options = {**tiny_options(name), "frames": frames}
    generator = load_video_generator(name, save_variant(edition, tmp_path / edition), settings=CPU, options=options)
    clip = generator.generate(request(), region())
    assert clip.shape == (16, HEIGHT, WIDTH, 3)
    assert (clip[:, 30:] == request().image[30:]).all()


def test_a_tokenizer_that_is_only_a_sentencepiece_model_is_read(tmp_path: Path) -> None:
    """As CogVideoX and LTX have theirs on the hub."""
    import sentencepiece

    folder = save_tiny("ltx", tmp_path / "ltx")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([step for one in default_library().procedures[:60] for step in one.steps]),
        model_writer=written, vocab_size=98, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        minloglevel=2,
    )  # fmt: skip
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/spiece.model").write_bytes(written.getvalue())
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 128}
    (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps(settings))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "tokenizer": ["transformers", "T5Tokenizer"]}))
    generator = load_video_generator("ltx", folder, settings=CPU, options=tiny_options("ltx"))
    assert generator.generate(request(), region()).shape == (16, HEIGHT, WIDTH, 3)


@pytest.mark.slow
def test_pia_is_put_together_from_a_base_and_its_adapter(tmp_path: Path) -> None:
    """The base's index names a picture processor that transformers 5 has done away with, and a safety checker."""
    torch.manual_seed(0)
    tiny_stable_diffusion().save_pretrained(tmp_path / "base")
    tiny_motion_adapter().save_pretrained(tmp_path / "adapter")
    index = json.loads((tmp_path / "base/model_index.json").read_text())
    index |= {
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    (tmp_path / "base/model_index.json").write_text(json.dumps(index))
    generator = load_video_generator(
        "pia", tmp_path / "base", companion=tmp_path / "adapter", settings=CPU, options=tiny_options("pia")
    )
    assert generator.generate(request(), region()).shape == (16, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("name", "component"), [("svd", "feature_extractor"), ("hunyuan-i2v", "image_processor")])
def test_picture_processors_are_loaded_under_their_published_name(tmp_path: Path, name: str, component: str) -> None:
    """Without torchvision transformers calls them otherwise when it saves them."""
    folder = save_tiny(name, tmp_path / name)
    index = json.loads((folder / "model_index.json").read_text())
    assert index[component][1] != "CLIPImageProcessor"
    (folder / "model_index.json").write_text(json.dumps({**index, component: ["transformers", "CLIPImageProcessor"]}))
    generator = load_video_generator(name, folder, settings=CPU, options=tiny_options(name))
    assert getattr(generator.pipeline, component).size


def test_a_family_runs_in_bfloat16_with_its_autoencoder_whole(checkpoints: Checkpoints) -> None:
    settings = RunSettings(device="cpu", dtype="bfloat16", vae_tiling=True, vae_slicing=True, attention="native")
    name = "wan2.2-i2v"
    generator = load_video_generator(name, checkpoints[name], settings=settings, options=tiny_options(name))
    assert generator.pipeline.transformer.dtype == torch.bfloat16
    assert generator.pipeline.vae.dtype == torch.float32
    assert generator.generate(request(), region()).shape[0] == 16


def test_the_goal_is_told_to_families_that_take_it(checkpoints: Checkpoints) -> None:
    told = load(checkpoints, "wan2.2-i2v", hold="none").generate(request(), region())
    untold = load(checkpoints, "wan2.2-i2v", hold="none", use_goal=False).generate(request(), region())
    assert (told != untold).any()


def test_cosmos_refuses_to_run_without_its_guardrail_unless_told(checkpoints: Checkpoints) -> None:
    if find_spec("cosmos_guardrail") is not None:
        pytest.skip("the guardrail is installed here")
    with pytest.raises(PresetError, match="guardrail=False"):
        load(checkpoints, "cosmos-predict2", guardrail=True)


def test_too_little_memory_is_an_error_that_says_what_to_change(checkpoints: Checkpoints) -> None:
    generator = load(checkpoints, "svd")

    def overflow(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    handle = generator.pipeline.unet.register_forward_pre_hook(overflow)
    with pytest.raises(PresetError, match=r"too little memory .*vae_tiling=True, offload=\"model\""):
        generator.generate(request(), region())
    handle.remove()


def test_what_a_family_cannot_draw_is_refused_with_the_nearest() -> None:
    ltx = FAMILIES["ltx"]
    with pytest.raises(PresetError, match=r"8k \+ 1 frames, not 16; the nearest is 9"):
        VideoSettings(frames=16).for_family(ltx)
    with pytest.raises(PresetError, match="take 64"):
        VideoSettings(size=(64, 70)).for_family(ltx)
    with pytest.raises(PresetError, match="no video setting"):
        load_video_generator("ltx", options={"step": 2}, settings=CPU)
    with pytest.raises(PresetError, match="steps must be at least 1"):
        VideoSettings(steps=0)


def test_the_prompt_is_a_scene_with_the_steps_own_words() -> None:
    assert "hands pick up the red block. " in prompt_of(FAMILIES["wan2.2-i2v"], "Pick up the red block.")
    assert prompt_of(FAMILIES["svd"], "Pick up the red block.") == ""


@pytest.mark.slow
def test_a_compiled_family_draws_what_it_draws_uncompiled(checkpoints: Checkpoints) -> None:
    plain = load(checkpoints, "ltx").generate(request(), region())
    settings = RunSettings(device="cpu", compile=True)
    compiled = load_video_generator("ltx", checkpoints["ltx"], settings=settings, options=tiny_options("ltx"))
    difference = np.abs(plain.astype(int) - compiled.generate(request(), region()))
    assert difference.mean() < 1.0


def decoded(generator: HubVideoGenerator, where: RegionPrediction) -> torch.Tensor:
    """What the autoencoder is given to decode, (1, C, T, h, w) in the solver's scale."""
    vae, seen = generator.pipeline.vae, []
    decode = vae.decode

    def listening(latents: torch.Tensor, *arguments: object, **options: object) -> object:
        seen.append(latents.detach().clone())
        return decode(latents, *arguments, **options)

    vae.decode = listening
    try:
        generator.generate(request(), where)
    finally:
        vae.decode = decode
    latents = torch.cat(seen)
    return _scaled(vae, (latents.transpose(0, 1)[None] if latents.ndim == 4 else latents).float())


def context_latents(generator: HubVideoGenerator) -> torch.Tensor:
    """(1, C, T, h, w) of the context frame standing still."""
    size, frames = SIZES[generator.family.name]
    image = Fit((HEIGHT, WIDTH), size).to_picture(request().image)
    with torch.no_grad():
        return still_latents(generator.pipeline, generator.family, image, frames)
