"""Region-of-motion guidance for models that were never trained for it: what lies outside is held to the context frame.

At the end of each solver step the latents outside the region are replaced by those of the context frame, standing still
and noised to the level that the solver has reached (blended latent diffusion, Avrahami et al. 2022; the replacement
step of RePaint, Lugmayr et al. 2022). After the last step they are the context frame's own, so only the VAE can change
the background; and where asked, pixels outside the region come from the frame itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ksgen_models.hub.families import Family
from ksgen_models.interfaces import CheckCancelled, RegionPrediction


def free_region(region: RegionPrediction, threshold: float, dilation: float) -> NDArray[np.bool_]:
    """(H, W) bool: where things may move.

    Args:
        region: predicted; its region of change is taken.
        threshold: a pixel belongs to it from this probability on.
        dilation: radius by which it is grown, as a share of the picture's short side.
    """
    from ksgen_models.rom import dilate_mask

    return dilate_mask(region.change >= threshold, round(dilation * min(region.change.shape)))


def composite(
    clip: NDArray[np.uint8], image: NDArray[np.uint8], free: NDArray[np.bool_], feather: int
) -> NDArray[np.uint8]:
    """Take the pixels outside the region from the frame; inside they fade in over ``feather`` pixels from its edge.

    Args:
        clip: (T, H, W, 3).
        image: (H, W, 3).
        free: (H, W).
        feather: pixels; 0 for a hard edge.
    """
    import cv2

    if free.all():
        return clip
    alpha = free.astype(np.float32)
    if feather > 0:
        alpha = np.clip(cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 5) / (feather + 1), 0, 1)
    alpha = alpha[..., None]
    return np.stack([np.round(frame * alpha + image * (1 - alpha)).astype(np.uint8) for frame in clip])


def still_latents(pipe: Any, family: Family, image: NDArray[np.uint8], frames: int) -> Tensor:
    """Latents of a clip in which the image stands still.

    Args:
        pipe: the loaded pipeline.
        family: of the pipeline.
        image: (h, w, 3) uint8 at the model's size.
        frames: of the clip.

    Returns:
        (1, C, T, h', w') float32 on the pipeline's device, in the scale that the solver works in.
    """
    vae, device = pipe.vae, pipe._execution_device
    overflows = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    dtype = torch.float32 if overflows else vae.dtype
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(device).to(dtype) / 127.5 - 1.0
    before = vae.dtype
    if before != dtype:
        vae.to(dtype=dtype)
    if _sees_time(vae):
        latents = _mode(vae.encode(pixels[:, :, None].expand(-1, -1, frames, -1, -1)))
    else:
        latents = _mode(vae.encode(pixels))[:, :, None].expand(-1, -1, frames, -1, -1)
    if before != dtype:
        vae.to(dtype=before)
    return _scaled(vae, latents.float())


@dataclass
class StepHold:
    """Holds what lies outside the region, and looks whether to stop, at the end of each solver step.

    Attributes:
        family: of the pipeline.
        scheduler: of the pipeline.
        check_cancelled: raises to stop.
        still: (1, C, T, h, w) of `still_latents`; None to hold nothing.
        free: (1, 1, 1, h, w) float32, 1 where things may move.
        noise: of the shape of ``still``: the same at every step, so that the held latents follow one path.
        first: number of leading latent frames that are left alone.
        unpack, pack: between the solver's layout and (1, C, T, h, w).
    """

    family: Family
    scheduler: Any
    check_cancelled: CheckCancelled
    still: Tensor | None = None
    free: Tensor | None = None
    noise: Tensor | None = None
    first: int = 0
    unpack: Callable[[Tensor], Tensor] = lambda latents: latents
    pack: Callable[[Tensor], Tensor] = lambda latents: latents

    def at_step_end(self, pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """What diffusers calls as ``callback_on_step_end``."""
        return {"latents": self(tensors["latents"], index)}

    def __call__(self, latents: Tensor, index: int) -> Tensor:
        """The latents after step ``index``, held."""
        self.check_cancelled()
        if self.still is None or self.free is None or self.noise is None:
            return latents
        drawn = self.unpack(latents)
        still = _padded(self.still, drawn.shape[2])
        held = self._noised(still, _padded(self.noise, drawn.shape[2]), index).to(drawn)
        free = self.free.to(drawn)
        kept = drawn * free + held * (1 - free)
        kept = torch.cat([drawn[:, :, : self.first], kept[:, :, self.first :]], dim=2)
        return self.pack(kept)

    @contextmanager
    def around_step(self) -> Iterator[None]:
        """Do the same around the scheduler's own step, for pipelines that call nobody back."""
        step, count = self.scheduler.step, iter(range(1_000_000))

        def held_step(*arguments: Any, **options: Any) -> Any:
            output = step(*arguments, **options)
            output.prev_sample = self(output.prev_sample, next(count))
            return output

        self.scheduler.step = held_step
        try:
            yield
        finally:
            del self.scheduler.step  # the class's own method shows again

    def _noised(self, clean: Tensor, noise: Tensor, index: int) -> Tensor:
        """Clean latents at the noise level that the solver has after step ``index``."""
        scheduler = self.scheduler
        if index + 1 >= len(scheduler.timesteps):
            return clean
        if self.family.exploding:
            return clean + scheduler.sigmas[index + 1].to(clean) * noise
        level = scheduler.timesteps[index + 1].reshape(1)
        if hasattr(scheduler, "scale_noise"):
            return scheduler.scale_noise(clean, level, noise)
        return scheduler.add_noise(clean, noise, level)


def make_hold(
    pipe: Any,
    family: Family,
    check_cancelled: CheckCancelled,
    *,
    image: NDArray[np.uint8],
    free: NDArray[np.bool_] | None,
    frames: int,
    generator: torch.Generator,
) -> StepHold:
    """A `StepHold` for one clip.

    Args:
        pipe, family: what draws it.
        check_cancelled: raises to stop.
        image: (h, w, 3) uint8, the context frame at the model's size.
        free: (h, w) bool; None, or all True, to hold nothing.
        frames: of the clip.
        generator: for the noise of what is held.
    """
    scheduler = pipe.scheduler
    if free is None or free.all() or family.hold == "native":
        return StepHold(family, scheduler, check_cancelled)
    still = still_latents(pipe, family, image, frames)
    noise = torch.randn(still.shape, generator=generator, dtype=torch.float32).to(still)
    cells = F.adaptive_max_pool2d(torch.from_numpy(free)[None, None].float(), still.shape[-2:])
    unpack, pack = _layout(pipe, family, still.shape)
    first = 1 if family.keeps_first(pipe) else 0
    return StepHold(
        family, scheduler, check_cancelled, still, cells[:, :, None].to(still.device), noise, first, unpack, pack
    )


def _layout(
    pipe: Any, family: Family, shape: torch.Size
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    if family.layout == "BTCHW":
        return lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2)
    if family.layout == "TCHW":
        return lambda x: x.transpose(0, 1)[None], lambda x: x[0].transpose(0, 1)
    if family.layout == "packed":
        patch = pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size
        return (
            lambda x: pipe._unpack_latents(x, shape[2] // patch[1], shape[3] // patch[0], shape[4] // patch[0], *patch),
            lambda x: pipe._pack_latents(x, *patch),
        )
    return lambda x: x, lambda x: x


def _padded(latents: Tensor, frames: int) -> Tensor:
    """CogVideoX 1.5 draws latent frames ahead of the clip's own, which it drops in the end."""
    extra = frames - latents.shape[2]
    return latents if extra <= 0 else torch.cat([latents[:, :, :1].expand(-1, -1, extra, -1, -1), latents], dim=2)


def _sees_time(vae: Any) -> bool:
    """Video autoencoders compress time; Stable Video Diffusion's only decodes with it."""
    return type(vae).__name__ not in ("AutoencoderKL", "AutoencoderKLTemporalDecoder")


def _mode(encoded: Any) -> Tensor:
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents


def _scaled(vae: Any, latents: Tensor) -> Tensor:
    """What every pipeline does between VAE and solver: by channel where the VAE says so, else one factor."""
    buffers = dict(vae.named_buffers(recurse=False))
    mean, deviation = (
        buffers.get(name) if vae.config.get(name) is None else vae.config[name]
        for name in ("latents_mean", "latents_std")
    )
    if mean is not None and deviation is not None:
        mean, deviation = (torch.as_tensor(x).to(latents).view(1, -1, 1, 1, 1) for x in (mean, deviation))
        # Wan's and Cosmos' VAE have no factor beside these; LTX's is 1 in all its editions and counts too.
        return (latents - mean) / deviation * (vae.config.get("scaling_factor") or 1.0)
    return latents * vae.config.scaling_factor
