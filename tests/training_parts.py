"""A curated folder of a few tiny made clips, written with curation's own writer, and settings of a run of seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tiny_pipelines import tiny_clip_pictures, tiny_clip_vision, tiny_t5, tiny_tokenizer, tiny_umt5, tiny_wan_vae

from ksgen_export.curation.manifest import KEPT, MANIFEST, SCHEMA, Row, to_table
from ksgen_export.curation.subclip import Subclip, pseudo_region, save_subclip
from ksgen_models.training.hub.config import TrainConfig
from ksgen_models.types import HandTrack

SENTENCES = ("put the red block on the blue block", "open the drawer", "wipe the table")


def make_manifest(folder: Path, videos: int = 3, segments: int = 2, side: int = 64, frames: int = 9) -> Path:
    """``videos`` with ``segments`` each, one clip a segment: a skin-coloured patch that moves over a soft ground."""
    rows = []
    for video in range(videos):
        for segment in range(segments):
            subclip = make_subclip(video, segment, side, frames)
            name = f"clips/v{video}/{segment}.npz"
            save_subclip(subclip, folder / name)
            rows.append(_row(subclip, segment, frames, side, clip=name, status=KEPT))
    rows.append(replace(rows[0], clip="", status="rejected", reasons=("still",)))
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(rows, SCHEMA), folder / MANIFEST)
    return folder


def make_subclip(video: int, segment: int, side: int, frames: int) -> Subclip:
    """A clip with a hand track on its patch."""
    random = np.random.default_rng([video, segment])
    ground = random.uniform(60, 200, 3)
    start, speed = random.uniform(0.2, 0.4, 2), random.uniform(0.1, 0.35, 2) / frames
    shape = random.uniform(-0.12, 0.12, (21, 2))
    keypoints = np.full((frames, 2, 21, 3), np.nan, np.float32)
    clip = np.empty((frames, side, side, 3), np.uint8)
    clip[:] = (ground + random.normal(0, 4, (side, side, 3))).clip(0, 255).astype(np.uint8)
    for time in range(frames):
        keypoints[time, 1, :, :2] = start + speed * time + shape
        keypoints[time, 1, :, 2] = 0
    valid = np.zeros((frames, 2), bool)
    valid[:, 1] = True
    nothing = np.zeros_like(valid)
    hands = HandTrack(keypoints, keypoints.copy(), valid.astype(np.float32), valid, nothing)
    regions = pseudo_region(clip, hands)
    clip[regions] = (224, 172, 140)
    sentence = SENTENCES[(video + segment) % len(SENTENCES)]
    return Subclip(f"v{video}", "made", "tidy up", sentence, float(segment), 8.0, clip, hands, regions)


def config_of(data: Path, model: Path, out: Path, **changes: Any) -> TrainConfig:
    """A run of seconds in full precision on the CPU."""
    return TrainConfig(
        **{
            "data": data, "model": str(model), "out": out, "steps": 4, "batch": 1, "learning_rate": 1e-3,
            "schedule": "constant", "warmup": 0, "rank": 0, "precision": "no", "gradient_checkpointing": False,
            "averaging": 0.0, "height": 32, "width": 32, "frames": 5, "alpha": 0.0, "beta": 0.0,
            "checkpoint_every": 2, "validate_every": 1000, "validation_clips": 2, "validation_draws": 2, "samples": 0,
            "sample_steps": 2, "metrics": ("motion_distance_farneback",), **changes,
        }
    )  # fmt: skip


def save_variant(name: str, folder: Path) -> Path:
    """Checkpoints whose networks take other things than those of `tiny_pipelines`."""
    import torch

    torch.manual_seed(0)
    {"wan2.1": _wan21, "wan2.2-ti2v": _wan_ti2v, "cogvideox1.5": _cogvideox15}[name]().save_pretrained(folder)
    return folder


def _wan21() -> Any:
    """With a CLIP encoder of the picture."""
    vision = tiny_clip_vision(32, projected=False)
    return _wan(in_channels=36, image_encoder=vision, image_processor=tiny_clip_pictures(), image_dim=32)


def _wan_ti2v() -> Any:
    """The picture takes the first frame's place, whose timestep is zero."""
    return _wan(in_channels=16, expand_timesteps=True)


def _wan(in_channels: int, image_dim: int | None = None, **options: Any) -> Any:
    import diffusers

    return diffusers.WanImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_umt5(),
        vae=tiny_wan_vae(),
        scheduler=diffusers.UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        transformer=diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=in_channels,
            out_channels=16, text_dim=32, freq_dim=32, ffn_dim=16, num_layers=1, rope_max_seq_len=32,
            image_dim=image_dim, added_kv_proj_dim=None if image_dim is None else 24,
        ),
        **options,
    )  # fmt: skip


def _cogvideox15() -> Any:
    """With patches in time and the offset embedding."""
    import diffusers

    return diffusers.CogVideoXImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_t5(),
        vae=diffusers.AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2,
            temporal_compression_ratio=4, scaling_factor=0.7, invert_scale_latents=True,
        ),
        transformer=diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=8, out_channels=4, time_embed_dim=8,
            text_embed_dim=32, num_layers=1, sample_width=4, sample_height=4, sample_frames=9, patch_size=2,
            patch_size_t=2, patch_bias=False, ofs_embed_dim=8, max_text_seq_length=16,
            use_rotary_positional_embeddings=True,
        ),
        scheduler=diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    )  # fmt: skip


def _row(subclip: Subclip, segment: int, frames: int, side: int, *, clip: str, status: str) -> Row:
    start, stop = subclip.start, subclip.start + frames / subclip.fps
    return Row(
        video=subclip.video, path=f"{subclip.video}.mp4", source=subclip.source, task=subclip.task,
        description=subclip.description, segment=segment, segment_start=start, segment_stop=stop, start=start,
        stop=stop, frames=frames, fps=subclip.fps, height=side, width=side, status=status, clip=clip,
    )  # fmt: skip
