"""The video networks that can be trained: one row each of how it takes what, and what its VAE does.

Everything outside this module has latents as (B, C, T, h, w); a row turns them as its network wants them. What is
predicted (noise, v, flow) follows from the checkpoint's scheduler, see `ksgen_models.training.hub.noising`.

==============================  ====================================  ==============================================
network                         beside the noisy latents              told
==============================  ====================================  ==============================================
UNetSpatioTemporalCondition…    the picture's latents in every frame  CLIP vector of the picture; no sentence
CogVideoXTransformer3DModel     the picture's latents, then zeros     T5 states of the sentence
WanTransformer3DModel           4 known-frame channels, latents of    UMT5 states of the sentence; CLIP states of the
                                the picture and grey frames           picture where the network has a place for them
… of Wan 2.2 TI2V               the picture takes the first frame's   UMT5 states of the sentence
                                place, whose timestep is 0
==============================  ====================================  ==============================================

Behind these comes one channel more, the region of motion, for which `adapt.widen` makes room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ksgen_models.errors import PresetError

_WAN_WORDS = 512  # tokens that Wan's pipeline gives its network
_SVD_BUCKET, _SVD_AUGMENTATION = 127, 0.02  # motion bucket and noise on the picture, the pipeline's own defaults


@dataclass(frozen=True)
class Inputs:
    """What a network is given.

    Attributes:
        noisy: (B, C, T, h, w) noisy latents.
        context: (B, C', T, h, w), from the row's ``context``.
        mask: (B, 1, T, h, w) in [0, 1], the region of motion.
        timestep: (B,).
        text: (B, L, D), or None.
        image: (B, N, D), or None.
        fps: frames a second.
    """

    noisy: Tensor
    context: Tensor
    mask: Tensor
    timestep: Tensor
    text: Tensor | None
    image: Tensor | None
    fps: float


@dataclass(frozen=True)
class Backbone:
    """A row of the table.

    Attributes:
        pipeline: class of the checkpoint's pipeline.
        network: class of its denoising network.
        components: under which the pipeline holds it; of several (experts), each is trained by itself.
        input_layer: dotted name of the projection that the mask channel is added to.
        size: height and width that the published checkpoints were made for.
        rule: clips have ``rule * k + 1`` frames. CogVideoX' decoder wants an odd number of latent frames, each of
            which stands for four frames.
        encode: (pipeline, (B, 3, T, H, W) in [-1, 1]) → (B, C, T', h, w) latents as the network knows them.
        decode: the way back, with a gradient.
        context: (pipeline, network, (1, 3, H, W) in [-1, 1], T, noise generator) → (1, C', T', h, w).
        text: (pipeline, sentence) → (L, D), or None for a network that reads no text.
        image: (pipeline, (1, 3, H, W) in [-1, 1]) → (N, D), or None for one that sees no vectors of the picture.
        call: (pipeline, network, inputs) → prediction (B, C, T', h, w).
    """

    pipeline: str
    network: str
    components: tuple[str, ...]
    input_layer: str
    size: tuple[int, int]
    rule: int
    encode: Callable[[Any, Tensor], Tensor]
    decode: Callable[[Any, Tensor], Tensor]
    context: Callable[[Any, Any, Tensor, int, torch.Generator], Tensor]
    text: Callable[[Any, str], Tensor | None]
    image: Callable[[Any, Any, Tensor], Tensor | None]
    call: Callable[[Any, Any, Inputs], Tensor]


def _svd_encode(pipe: Any, video: Tensor) -> Tensor:
    b, _, t = video.shape[:3]
    latents = pipe.vae.encode(video.transpose(1, 2).flatten(0, 1)).latent_dist.mode() * pipe.vae.config.scaling_factor
    return latents.unflatten(0, (b, t)).transpose(1, 2)


def _svd_decode(pipe: Any, latents: Tensor) -> Tensor:
    b, _, t = latents.shape[:3]
    flat = latents.transpose(1, 2).flatten(0, 1) / pipe.vae.config.scaling_factor
    return pipe.vae.decode(flat, num_frames=t).sample.unflatten(0, (b, t)).transpose(1, 2)


def _svd_context(pipe: Any, _: Any, picture: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(picture.shape, generator=generator).to(picture)
    latents = pipe.vae.encode(picture + _SVD_AUGMENTATION * noise).latent_dist.mode()  # not scaled, as it was trained
    return latents[:, :, None].expand(-1, -1, frames, -1, -1)


def _svd_image(pipe: Any, _: Any, picture: Tensor) -> Tensor:
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    small = (_resize_with_antialiasing(picture, (224, 224)) + 1) / 2
    return pipe._encode_image(small, picture.device, 1, False)[0]


def _svd_call(_: Any, network: Any, given: Inputs) -> Tensor:
    sample = torch.cat([given.noisy, given.context, given.mask], dim=1).transpose(1, 2)
    # The published network was told the frame rate less one.
    ids = given.noisy.new_tensor([[given.fps - 1, _SVD_BUCKET, _SVD_AUGMENTATION]]).expand(len(sample), -1)
    return network(sample, given.timestep, given.image, added_time_ids=ids, return_dict=False)[0].transpose(1, 2)


def _cog_pad(network: Any, latents: Tensor) -> Tensor:
    """Repeat the first frame until the temporal patches of CogVideoX 1.5 come out even."""
    patch = network.config.patch_size_t
    missing = -latents.shape[2] % patch if patch else 0
    return torch.cat([latents[:, :, :1]] * missing + [latents], dim=2) if missing else latents


def _cog_encode(pipe: Any, video: Tensor) -> Tensor:
    return pipe.vae.encode(video).latent_dist.mode() * pipe.vae.config.scaling_factor


def _cog_decode(pipe: Any, latents: Tensor) -> Tensor:
    return pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample


def _cog_context(pipe: Any, _: Any, picture: Tensor, frames: int, __: torch.Generator) -> Tensor:
    latents = pipe.vae.encode(picture[:, :, None]).latent_dist.mode()
    factor = pipe.vae.config.scaling_factor
    latents = latents / factor if pipe.vae.config.invert_scale_latents else latents * factor
    return torch.cat([latents, latents.new_zeros(*latents.shape[:2], frames - 1, *latents.shape[3:])], dim=2)


def _wan_prompt(pipe: Any, sentence: str) -> Tensor:
    encoded = pipe.encode_prompt(
        sentence,
        do_classifier_free_guidance=False,
        max_sequence_length=_WAN_WORDS,
        device=pipe.text_encoder.device,
    )
    return encoded[0][0]


def _cog_prompt(pipe: Any, sentence: str) -> Tensor:
    encoded = pipe.encode_prompt(
        sentence,
        do_classifier_free_guidance=False,
        max_sequence_length=pipe.transformer.config.max_text_seq_length,
        device=pipe.text_encoder.device,
    )
    return encoded[0][0]


def _cog_call(pipe: Any, network: Any, given: Inputs) -> Tensor:
    config = pipe.transformer.config
    frames = given.noisy.shape[2]
    stacked = torch.cat([given.noisy, given.context, given.mask], dim=1)
    sample = _cog_pad(pipe.transformer, stacked).transpose(1, 2)
    height, width = (side * pipe.vae_scale_factor_spatial for side in sample.shape[-2:])
    rotary = None
    if config.use_rotary_positional_embeddings:
        rotary = pipe._prepare_rotary_positional_embeddings(height, width, sample.shape[1], sample.device)
    ofs = None if config.ofs_embed_dim is None else sample.new_full((1,), 2.0)  # as the pipeline has it
    said = network(sample, given.text, given.timestep, ofs=ofs, image_rotary_emb=rotary, return_dict=False)[0]
    return said.transpose(1, 2)[:, :, -frames:]


def _wan_scale(pipe: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (latents.new_tensor(pipe.vae.config[name]) for name in ("latents_mean", "latents_std"))
    return mean.reshape(1, -1, 1, 1, 1), std.reshape(1, -1, 1, 1, 1)


def _wan_encode(pipe: Any, video: Tensor) -> Tensor:
    latents = pipe.vae.encode(video).latent_dist.mode()
    mean, std = _wan_scale(pipe, latents)
    return (latents - mean) / std


def _wan_decode(pipe: Any, latents: Tensor) -> Tensor:
    mean, std = _wan_scale(pipe, latents)
    return pipe.vae.decode(latents * std + mean).sample


def _wan_context(pipe: Any, _: Any, picture: Tensor, frames: int, __: torch.Generator) -> Tensor:
    still = picture[:, :, None]
    if pipe.config.expand_timesteps:
        latents = _wan_encode(pipe, still)
        return latents.expand(-1, -1, frames, -1, -1)
    length = (frames - 1) * pipe.vae_scale_factor_temporal
    latents = _wan_encode(pipe, torch.cat([still, still.new_zeros(*still.shape[:2], length, *still.shape[3:])], dim=2))
    known = latents.new_zeros(1, pipe.vae_scale_factor_temporal, *latents.shape[2:])
    known[:, :, 0] = 1
    return torch.cat([known, latents], dim=1)


def _wan_image(pipe: Any, network: Any, picture: Tensor) -> Tensor | None:
    if network.config.image_dim is None:
        return None
    from diffusers.image_processor import VaeImageProcessor

    pil = VaeImageProcessor().postprocess(picture.float().cpu(), output_type="pil")
    return pipe.encode_image(pil, picture.device)[0]


def _wan_call(pipe: Any, network: Any, given: Inputs) -> Tensor:
    timestep = given.timestep
    if pipe.config.expand_timesteps:
        sample = torch.cat([given.context[:, :, :1], given.noisy[:, :, 1:]], dim=2)
        rows, columns = (side // 2 for side in sample.shape[-2:])  # tokens of 2 × 2 latents
        later = torch.arange(sample.shape[2], device=sample.device).clamp(max=1).repeat_interleave(rows * columns)
        timestep = timestep[:, None] * later
    else:
        sample = torch.cat([given.noisy, given.context], dim=1)
    sample = torch.cat([sample, given.mask], dim=1)
    return network(sample, timestep, given.text, encoder_hidden_states_image=given.image, return_dict=False)[0]


def _nothing(*_: Any) -> None:
    return None


BACKBONES: dict[str, Backbone] = {
    row.pipeline: row
    for row in (
        Backbone(
            "StableVideoDiffusionPipeline", "UNetSpatioTemporalConditionModel", ("unet",), "conv_in", (576, 1024), 1,
            _svd_encode, _svd_decode, _svd_context, _nothing, _svd_image, _svd_call,
        ),
        Backbone(
            "CogVideoXImageToVideoPipeline", "CogVideoXTransformer3DModel", ("transformer",), "patch_embed.proj",
            (480, 720), 8, _cog_encode, _cog_decode, _cog_context, _cog_prompt, _nothing, _cog_call,
        ),
        Backbone(
            "WanImageToVideoPipeline", "WanTransformer3DModel", ("transformer", "transformer_2"), "patch_embedding",
            (480, 832), 4, _wan_encode, _wan_decode, _wan_context, _wan_prompt, _wan_image, _wan_call,
        ),
    )
}  # fmt: skip
"""By the class of the checkpoint's pipeline."""


def backbone_of(pipeline: str) -> Backbone:
    """The row of a checkpoint. Raises `PresetError` where there is none."""
    if pipeline not in BACKBONES:
        raise PresetError(f"checkpoints of {pipeline} cannot be trained on clips; those of {', '.join(BACKBONES)} can")
    return BACKBONES[pipeline]
