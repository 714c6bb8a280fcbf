"""The parts of training on the user's data: what is read, what noise is, what is widened, what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_parts import SENTENCES, make_manifest, make_subclip

from ksgen_models.errors import DatasetError, InvalidInput, PresetError
from ksgen_models.library import Library, Procedure, save_library
from ksgen_models.region_overlap import miou_loss
from ksgen_models.training.hub import noising
from ksgen_models.training.hub.adapt import add_adapters, merged, merged_state, widen
from ksgen_models.training.hub.cache import Cache
from ksgen_models.training.hub.config import TrainConfig
from ksgen_models.training.hub.manifest import held_out, load_clip, read_clips
from ksgen_models.training.hub.planner_library import make_library, open_library
from ksgen_models.training.hub.plans import key_step_images, plans_of


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_manifest(tmp_path_factory.mktemp("curated"))


# What is read


def test_kept_clips_are_read_with_pixels_hands_and_regions(curated: Path) -> None:
    clips = read_clips(curated)
    assert len(clips) == 6  # and not the one that was rejected
    made = make_subclip(0, 0, 64, 9)
    clip = load_clip(clips[0], 64, 64, 9)
    assert clips[0].sentence == made.description
    assert np.abs(clip.frames.astype(int) - made.clip).mean() < 4  # JPEG
    np.testing.assert_array_equal(clip.regions, made.per_frame)
    np.testing.assert_allclose(clip.keypoints, made.hands.keypoints, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 64), (48, 32), (96, 96)])
def test_keypoints_stay_on_the_hand_when_a_clip_is_fitted(curated: Path, height: int, width: int) -> None:
    clip = load_clip(read_clips(curated)[0], height, width, 9)
    assert clip.frames.shape == (9, height, width, 3)
    points = clip.keypoints[4, 1, :, :2]
    centre = (points.mean(axis=0) * (width, height)).astype(int)
    if 0 <= centre[0] < width and 0 <= centre[1] < height:
        assert clip.regions[4][centre[1], centre[0]]


def test_the_last_frame_is_held_once_and_not_twice(curated: Path) -> None:
    reference = read_clips(curated)[0]
    clip = load_clip(reference, 32, 32, 10)
    np.testing.assert_array_equal(clip.frames[9], clip.frames[8])
    with pytest.raises(DatasetError, match="fewer frames"):
        load_clip(reference, 32, 32, 11)


def test_held_out_clips_are_of_other_videos(curated: Path) -> None:
    clips, validation = held_out(read_clips(curated), 2)
    assert clips
    assert validation
    assert not {clip.video for clip in clips} & {clip.video for clip in validation}


def _without_column(folder: Path) -> None:
    table = pq.read_table(folder / "manifest.parquet")
    pq.write_table(table.drop_columns(["clip", "fps"]), folder / "manifest.parquet")


def _without_clips(folder: Path) -> None:
    table = pq.read_table(folder / "manifest.parquet")
    pq.write_table(table.filter(pa.compute.equal(table["status"], "rejected")), folder / "manifest.parquet")


def _pointing_outside(folder: Path) -> None:
    table = pq.read_table(folder / "manifest.parquet").to_pylist()
    for row in table:
        row["clip"] = "../../etc/passwd"
    pq.write_table(pa.Table.from_pylist(table), folder / "manifest.parquet")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "manifest.parquet").unlink(), "ksgen-agent curate"),
        (lambda folder: (folder / "manifest.parquet").write_bytes(b"PAR1 no"), "not a readable manifest"),
        (_without_column, "lacks the columns fps, clip"),
        (_without_clips, "keeps none"),
        (_pointing_outside, "outside its folder"),
        (lambda folder: next(folder.rglob("*.npz")).unlink(), "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(tmp_path: Path, damage, words: str) -> None:
    folder = make_manifest(tmp_path / "curated", videos=1, segments=2, side=16, frames=2)
    damage(folder)
    with pytest.raises(DatasetError, match=words):
        read_clips(folder)


def test_a_damaged_clip_is_named(tmp_path: Path) -> None:
    folder = make_manifest(tmp_path, videos=1, segments=1, side=16, frames=2)
    next(folder.rglob("*.npz")).write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="not a readable clip"):
        load_clip(read_clips(folder)[0], 16, 16, 2)


def test_one_clip_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="one clip"):
        held_out(read_clips(make_manifest(tmp_path, videos=1, segments=1, side=16, frames=2)), 1)


def test_plans_are_the_steps_of_a_video_in_order(curated: Path) -> None:
    clips = read_clips(curated)
    plan = plans_of(clips, 8)[0]
    assert plan.steps == (SENTENCES[0], SENTENCES[1])
    images = key_step_images(plan, 64, 64)
    np.testing.assert_array_equal(images[0], load_clip(clips[0], 64, 64, 1).frames[0])
    np.testing.assert_array_equal(images[1], load_clip(clips[1], 64, 64, 1).frames[0])
    np.testing.assert_array_equal(images[2], load_clip(clips[1], 64, 64, 9).frames[8])
    assert [len(plan.steps) for plan in plans_of(clips, 1)] == [1] * 6


# Noise


def _schedules() -> list[noising.Noising]:
    cog = diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    svd = diffusers.EulerDiscreteScheduler(
        prediction_type="v_prediction", timestep_type="continuous", use_karras_sigmas=True, sigma_min=0.002,
        sigma_max=700.0,
    )  # fmt: skip
    wan = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    return [noising.noising_of(scheduler) for scheduler in (cog, svd, wan, diffusers.DDIMScheduler())]


@pytest.mark.parametrize("schedule", _schedules(), ids=["cogvideox", "svd", "wan", "ddim"])
def test_picture_and_noise_come_back_from_the_target(schedule: noising.Noising) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(64, 2, 3, generator=generator), torch.randn(64, 2, 3, generator=generator)
    levels = schedule.draw(64, generator)
    assert (levels.signal >= 0).all()
    assert (levels.noise >= 0).all()
    noisy = noising.add_noise(clean, noise, levels)
    said = noising.target_of(schedule.predicts, clean, noise, levels)
    torch.testing.assert_close(noising.noise_of(schedule.predicts, noisy, said, levels), noise, atol=2e-3, rtol=1e-3)
    told = levels.signal > 0.05  # where nearly all is noise, noise alone does not say what the picture was
    found = noising.clean_of(schedule.predicts, noisy, said, levels)
    torch.testing.assert_close(found[told], clean[told], atol=2e-3, rtol=1e-3)


def test_noise_and_velocity_are_those_of_the_scheduler() -> None:
    scheduler = diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    schedule = noising.noising_of(scheduler)
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(8, 2, generator=generator), torch.randn(8, 2, generator=generator)
    levels = schedule.draw(8, generator)
    torch.testing.assert_close(
        noising.add_noise(clean, noise, levels), scheduler.add_noise(clean, noise, levels.timestep)
    )
    theirs = scheduler.alphas_cumprod[levels.timestep][:, None].float()
    torch.testing.assert_close(
        noising.target_of(noising.V, clean, noise, levels), theirs.sqrt() * noise - (1 - theirs).sqrt() * clean
    )


def test_svd_is_scaled_as_its_pipeline_scales() -> None:
    scheduler = diffusers.EulerDiscreteScheduler(
        prediction_type="v_prediction", timestep_type="continuous", use_karras_sigmas=True, sigma_min=0.002,
        sigma_max=700.0,
    )  # fmt: skip
    scheduler.set_timesteps(7)
    path = noising.noising_of(scheduler).path(7)
    torch.testing.assert_close(path.timestep[:7], scheduler.timesteps, atol=1e-3, rtol=1e-3)
    sigma = scheduler.sigmas[:7]
    torch.testing.assert_close(path.signal[:7], (sigma**2 + 1).rsqrt(), atol=1e-4, rtol=1e-3)


@settings(max_examples=30)
@given(st.floats(0, 0.9), st.floats(0.05, 1), st.floats(0.5, 8))
def test_an_expert_is_trained_on_its_part_of_the_path(least: float, width: float, shift: float) -> None:
    most = min(1.0, least + width)
    levels = noising.Flow(shift, 1000.0, least, most).draw(64, torch.Generator().manual_seed(0))
    assert float(levels.noise.min()) >= least - 1e-3
    assert float(levels.noise.max()) <= most + 1e-3
    torch.testing.assert_close(levels.timestep, 1000 * levels.noise)


def test_a_scheduler_that_predicts_something_else_is_refused() -> None:
    with pytest.raises(PresetError, match="sample"):
        noising.noising_of(diffusers.DDIMScheduler(prediction_type="sample"))


# What is trained


def _wan() -> diffusers.WanTransformer3DModel:
    torch.manual_seed(0)
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8,
        freq_dim=8, ffn_dim=8, num_layers=1, rope_max_seq_len=16,
    )  # fmt: skip


def _said(network: diffusers.WanTransformer3DModel, video: torch.Tensor) -> torch.Tensor:
    text = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(1))
    return network(video, torch.tensor([500]), text, return_dict=False)[0]


@torch.no_grad()
def test_a_widened_network_says_the_same_and_is_saved_wide(tmp_path: Path) -> None:
    network = _wan()
    video = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    before = _said(network, video)
    widen(network, "patch_embedding")
    wide = torch.cat([video, torch.rand(1, 1, 2, 4, 4)], dim=1)
    torch.testing.assert_close(_said(network, wide), before)
    network.save_pretrained(tmp_path)
    again = diffusers.WanTransformer3DModel.from_pretrained(tmp_path)
    torch.testing.assert_close(_said(again, wide), before)


def test_patches_of_cogvideox_1_5_are_widened_in_the_right_places() -> None:
    network = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, time_embed_dim=8, text_embed_dim=8,
        num_layers=1, sample_width=4, sample_height=4, sample_frames=9, patch_size=2, patch_size_t=2,
        max_text_seq_length=4, use_rotary_positional_embeddings=True,
    )  # fmt: skip
    video, text = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 4, 8)
    with torch.no_grad():
        before = network.patch_embed(text, video)
        widen(network, "patch_embed.proj")
        after = network.patch_embed(text, torch.cat([video, torch.rand(1, 2, 1, 4, 4)], dim=2))
    torch.testing.assert_close(after, before)


@torch.no_grad()
def test_merged_adapters_say_what_adapters_say() -> None:
    network = _wan()
    add_adapters(network, 2, seed=0)
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    video = torch.randn(1, 4, 2, 4, 4)
    told = _said(network, video)
    plain = _wan()
    plain.load_state_dict(merged_state(network.state_dict()))
    torch.testing.assert_close(_said(plain, video), told, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(_said(merged(network), video), told, atol=1e-4, rtol=1e-4)


def test_a_layer_that_cannot_be_widened_is_refused() -> None:
    with pytest.raises(InvalidInput, match="LayerNorm"):
        widen(_wan(), "norm_out")


def test_overlap_costs_nothing_where_masks_agree_and_all_where_they_do_not() -> None:
    one = torch.zeros(2, 4, 4)
    one[:, :2] = 1
    assert float(miou_loss(one, one)) == pytest.approx(0)
    assert float(miou_loss(one, 1 - one)) == pytest.approx(1)
    half = one.clone().requires_grad_(True)
    miou_loss(half * 0.5, one).backward()
    assert half.grad is not None
    assert (half.grad[:, :2] < 0).all()  # more mask where it belongs lowers the cost


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"precision": "int4"}, {"schedule": "zigzag"}, {"averaging": 1.0}, {"learning_rate": 0.0},
     {"rank": 4, "whole_unet": True}],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidInput):
        TrainConfig(Path("data"), "model", Path("out"), **wrong)


# What is kept


def test_a_cache_makes_things_once_and_damaged_ones_again(tmp_path: Path) -> None:
    made = []
    cache = Cache(tmp_path)

    def make() -> dict[str, torch.Tensor]:
        made.append(1)
        return {"x": torch.arange(4.0)}

    for _ in range(2):
        torch.testing.assert_close(cache.get({"clip": "a"}, make)["x"], torch.arange(4.0))
    assert len(made) == 1
    next(tmp_path.rglob("*.safetensors")).write_bytes(b"half")
    torch.testing.assert_close(cache.get({"clip": "a"}, make)["x"], torch.arange(4.0))
    assert len(made) == 2
    assert not list(tmp_path.rglob("*.part"))
    cache.close()
    cache.get({"clip": "a"}, make)
    with pytest.raises(DatasetError, match="--resume"):
        cache.get({"clip": "b"}, make)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot write"):
        Cache(tmp_path / "file").get({}, lambda: {"x": torch.zeros(1)})


# The step library


class _Letters:
    """A sentence encoder of a few lines: how often each letter occurs."""

    dimension = 26

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, sentences: tuple[str, ...]) -> np.ndarray:
        self.asked += sentences
        rows = np.array([[1e-3 + text.lower().count(chr(97 + at)) for at in range(26)] for text in sentences])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _coin(path: Path) -> Path:
    steps = [{"id": "1", "segment": [0.0, 2.0], "label": "open the box"},
             {"id": "2", "segment": [3.0, 5.0], "label": "take out the part"}]  # fmt: skip
    videos = {f"v{n}": {"class": name, "annotation": steps} for n, name in enumerate(("OpenBox", "ReplaceSIM"))}
    path.write_text(json.dumps({"database": videos}))
    return path


def test_annotations_become_a_library_that_the_planner_plans_with(tmp_path: Path) -> None:
    from ksgen_models.planner import RetrievalPlanner

    made = make_library("coin", [_coin(tmp_path / "COIN.json")], tmp_path / "out", _Letters())
    assert (made.procedures, made.steps, made.sentences) == (2, 4, 2)
    encoder = _Letters()
    library, stored = open_library(tmp_path / "out", encoder)
    plan = RetrievalPlanner(library, stored, threshold=0.5).plan(np.zeros((8, 8, 3), np.uint8), "open box")
    assert plan.steps == ("Open the box", "Take out the part")
    assert "replace SIM" not in encoder.asked  # its vector was read, not made


def test_own_step_files_are_joined_and_repeats_left_out(tmp_path: Path) -> None:
    tea = Procedure("tea", "make tea", (), ("Boil water", "Pour it over the leaves"))
    again = Procedure("tea-2", "Make tea", (), tea.steps, source="mine")
    save_library(Library((tea,)), tmp_path / "a.json")
    save_library(Library((again,)), tmp_path / "b.json")
    made = make_library("own", [tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "out", _Letters())
    assert made.procedures == 1
    assert made.repeated == ("tea-2",)


def test_vectors_of_another_encoder_are_noticed(tmp_path: Path) -> None:
    make_library("coin", [_coin(tmp_path / "COIN.json")], tmp_path / "out", _Letters())

    class Other(_Letters):
        def embed(self, sentences: tuple[str, ...]) -> np.ndarray:
            return super().embed(sentences)[:, ::-1]

    with pytest.raises(DatasetError, match="another sentence encoder"):
        open_library(tmp_path / "out", Other())


@pytest.mark.parametrize(
    ("source", "files", "error"),
    [("recipes", ["a"], InvalidInput), ("coin", ["a", "b"], InvalidInput), ("coin", ["nowhere.json"], DatasetError)],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, source: str, files: list[str], error) -> None:
    with pytest.raises(error):
        make_library(source, [tmp_path / name for name in files], tmp_path / "out", _Letters())
