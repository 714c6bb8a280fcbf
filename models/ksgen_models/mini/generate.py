"""The mini presets' generators: KIG, region of motion, video. Each is a few verbs around `sampling.sample`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ksgen_models.interfaces import CheckCancelled, RegionPrediction, StepRequest, never_cancelled
from ksgen_models.mini.autoencoder import FACTOR
from ksgen_models.mini.clip_model import CLIP, MASK_PATCH, MASKS, latent_to_masks, sharpened
from ksgen_models.mini.hand_pictures import HAND_CHANNELS, hand_pictures
from ksgen_models.mini.key_step_model import IMAGE
from ksgen_models.mini.networks import Networks, decode_over, encode_over, half_picture
from ksgen_models.mini.sampling import SHIFT, Velocity, gaussian, guided, sample
from ksgen_models.mini.unet import Condition
from ksgen_models.region_overlap import best_cut, soft_iou

# What a seed is used for; mixed into the noise so that no two uses share it.
_KEY_STEP, _REGION, _CLIP, _LOOK = range(4)

_VISIBLE = 6  # of 255: a smaller difference is no change


@dataclass(frozen=True)
class SamplerSettings:
    """How hard to try.

    Attributes:
        key_step_steps, region_steps, clip_steps: solver steps of each generator.
        key_step_guidance, clip_guidance: classifier-free guidance; 1 is none and half the work.
        guided_until: noise level in [0, 1] below which there is no guidance.
        region_samples: masks drawn, of which one is chosen.
        tracked: both stages are told the hand track that is to be expected.
        doubt: of a key step whose clip is trusted less others are drawn, see `ksgen_models.interfaces.Parts`.
    """

    key_step_steps: int = 10
    region_steps: int = 2
    clip_steps: int = 6
    key_step_guidance: float = 1.0
    clip_guidance: float = 1.0
    guided_until: float = 0.3
    region_samples: int = 3
    tracked: bool = True
    doubt: float = 0.65


QUALITIES = {
    "fast": SamplerSettings(key_step_steps=4, region_steps=2, clip_steps=3, region_samples=1, doubt=0.0),
    "balanced": SamplerSettings(),
    "best": SamplerSettings(key_step_steps=16, region_steps=3, clip_steps=16, region_samples=6),
}
"""Quality over speed and the reverse, by name; presets ``mini-fast``, ``mini`` and ``mini-best``."""


@dataclass(frozen=True)
class MiniKIG:
    """The Key-step Image Generator: all steps of the plan in one batch.

    Attributes:
        networks: the models.
        settings: solver steps and guidance.
    """

    networks: Networks
    settings: SamplerSettings

    @torch.inference_mode()
    def draw(
        self,
        frame: NDArray[np.uint8],
        steps: tuple[str, ...],
        *,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """See `ksgen_models.interfaces.KeyStepImageGenerator`."""
        networks = self.networks
        model, config = networks.key_step, networks.meta.config
        picture = half_picture(networks, networks.square(frame).to_square(frame))
        tokens, mask = networks.tokens(steps)

        def velocity_told(known: Tensor) -> Velocity:
            condition = model.condition(picture, tokens[None], known[None])
            return lambda x, level: model(x.to(networks.dtype), level.to(networks.dtype), condition).float()

        side = config.image_size // FACTOR
        noise = gaussian((1, len(steps), config.autoencoder.latent_channels, side, side), seed, _KEY_STEP)
        velocity = guided(
            velocity_told(mask),
            lambda: velocity_told(torch.zeros_like(mask)),
            self.settings.key_step_guidance,
            until=self.settings.guided_until,
        )
        latents = sample(
            velocity, noise, steps=self.settings.key_step_steps, shift=SHIFT[IMAGE], check_cancelled=check_cancelled
        )
        return np.concatenate([frame[None], decode_over(networks, latents[0], frame)])


@dataclass(frozen=True)
class MiniRegionModel:
    """Where hands will be: over all the ways to do a step, and in the one way that its clip will show.

    The first is what the Skill Transformer points at. The second is IVG's stage 1, the masks of the step's clip, told
    the hand track that is to be expected: of several drawn, the one that agrees best with the first.

    Attributes:
        networks: the models.
        settings: solver steps and samples.
    """

    networks: Networks
    settings: SamplerSettings

    def predict(self, request: StepRequest, *, check_cancelled: CheckCancelled = never_cancelled) -> RegionPrediction:
        """See `ksgen_models.interfaces.RegionModel`."""
        return self.predict_many([request], check_cancelled=check_cancelled)[0]

    @torch.inference_mode()
    def predict_many(
        self, requests: Sequence[StepRequest], *, check_cancelled: CheckCancelled = never_cancelled
    ) -> list[RegionPrediction]:
        """See `ksgen_models.interfaces.ManyRegions`."""
        networks, config = self.networks, self.networks.meta.config
        samples = self.settings.region_samples
        side = config.image_size // FACTOR
        shape = (samples, config.frames, 2 * MASK_PATCH**2, side, side)
        tracks = [self._expected_track(request) if self.settings.tracked else None for request in requests]
        told = Condition.join(
            [
                clip_condition(networks, request, None, track).repeat(samples)
                for request, track in zip(requests, tracks, strict=True)
            ]
        )
        latent = sample(
            lambda x, level: networks.clip(x.to(networks.dtype), level.to(networks.dtype), told, MASKS).float(),
            torch.cat([gaussian(shape, *request.noise_key, _REGION) for request in requests]),
            steps=self.settings.region_steps,
            shift=SHIFT[MASKS],
            check_cancelled=check_cancelled,
        )
        masks = sharpened(latent_to_masks(latent)).split(samples)  # (samples, T, 2, 4s, 4s) for each request
        return [self._choose(*one) for one in zip(requests, masks, tracks, strict=True)]

    def _choose(self, request: StepRequest, clips: Tensor, track: NDArray[np.float32] | None) -> RegionPrediction:
        expected = self._expected_motion(request)
        unions = clips.amax(1)  # (samples, 2, 4s, 4s)
        best = int(soft_iou(unions[:, 0], expected).argmax())
        square = self.networks.square(request.image)
        # The region of change is that of the mask clip which is kept: the clip follows it wherever the others went.
        motion, change = (square.from_square(mask.numpy()).clip(0.0, 1.0) for mask in (expected, unions[best, 1]))
        change = np.maximum.reduce([motion, change, _moved(request)])
        return RegionPrediction(motion=motion, change=change, frames=clips[best].numpy(), track=track)

    def _expected_track(self, request: StepRequest) -> NDArray[np.float32]:
        """(T, 2, 21, 2) float32, normalised to the square picture; NaN where a hand is absent."""
        networks = self.networks
        square = networks.square(request.image)
        image, goal = (half_picture(networks, square.to_square(it)).float() for it in (request.image, request.goal))
        tokens, mask = networks.tokens((request.description,))
        return networks.track(image, goal, tokens.float(), mask).track()[0].numpy()

    def _expected_motion(self, request: StepRequest) -> Tensor:
        """(4s, 4s) float32 in [0, 1]: where a hand will be, as the Skill Transformer sees it."""
        networks = self.networks
        tokens, mask = networks.tokens((request.description,))
        picture = half_picture(networks, networks.square(request.image).to_square(request.image))
        logits = networks.key_step.skills(picture, tokens[None], mask[None]).motion[-1]  # (1, 1, 2s, 2s)
        likely = F.interpolate(_smoothed(logits.float().sigmoid()), scale_factor=2.0, mode="bilinear")[0, 0]
        return (likely.logit(eps=1e-4) - best_cut(likely).logit(eps=1e-4)).sigmoid()


@dataclass(frozen=True)
class MiniVideoGenerator:
    """IVG stage 2: the clip of a step, given its key-step image, its goal image, its sentence and its regions.

    Attributes:
        networks: the models.
        settings: solver steps and guidance.
    """

    networks: Networks
    settings: SamplerSettings

    @property
    def fps(self) -> float:
        """Frames a second of the clips."""
        return self.networks.meta.fps

    def generate(
        self,
        request: StepRequest,
        region: RegionPrediction,
        *,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """See `ksgen_models.interfaces.VideoGenerator`."""
        return self.generate_many([(request, region)], check_cancelled=check_cancelled)[0]

    @torch.inference_mode()
    def generate_many(
        self,
        steps: Sequence[tuple[StepRequest, RegionPrediction]],
        *,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> list[NDArray[np.uint8]]:
        """See `ksgen_models.interfaces.ManyClips`."""
        networks = self.networks
        model, config = networks.clip, networks.meta.config

        def velocity_told(*, guided_away: bool) -> Velocity:
            told = Condition.join(
                [clip_condition(networks, *step, step[1].track, guided_away=guided_away) for step in steps]
            )
            return lambda x, level: model(x.to(networks.dtype), level.to(networks.dtype), told, CLIP).float()

        side = config.image_size // FACTOR
        shape = (1, config.frames, config.autoencoder.latent_channels, side, side)
        velocity = guided(
            velocity_told(guided_away=False),
            lambda: velocity_told(guided_away=True),
            self.settings.clip_guidance,
            until=self.settings.guided_until,
        )
        values, where = zip(*(_first_and_last(networks, request) for request, _ in steps), strict=True)
        latents = sample(
            velocity,
            torch.cat([gaussian(shape, *request.noise_key, _CLIP) for request, _ in steps]),
            steps=self.settings.clip_steps,
            shift=SHIFT[CLIP],
            known=(torch.cat(values), where[0]),
            check_cancelled=check_cancelled,
        )
        clips = []
        for (request, _), drawn in zip(steps, latents, strict=True):
            middle = decode_over(networks, drawn[1:-1], request.image)
            clips.append(np.concatenate([request.image[None], middle, request.goal[None]]))
        return clips


def _first_and_last(networks: Networks, request: StepRequest) -> tuple[Tensor, Tensor]:
    """Latents (1, T, C, h, w) of the clip's first and last frame, and which frames they are: a step begins with its
    key-step image and ends where the next one begins."""
    start, goal = (encode_over(networks, picture, request.image) for picture in (request.image, request.goal))
    middle = networks.meta.config.frames - 2
    values = torch.cat([start, torch.zeros_like(start).expand(middle, -1, -1, -1), goal])
    known = torch.tensor([True, *[False] * middle, True])
    return values[None], known[None, :, None, None, None]


def clip_condition(
    networks: Networks,
    request: StepRequest,
    region: RegionPrediction | None,
    track: NDArray[np.float32] | None,
    *,
    guided_away: bool = False,
) -> Condition:
    """What the clip model is told of a step; ``guided_away`` leaves out text and goal, for guidance."""
    square = networks.square(request.image)
    tokens, mask = networks.tokens((request.description,))
    side = 4 * networks.meta.config.image_size // FACTOR
    yes, no = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
    return networks.clip.condition(
        half_picture(networks, square.to_square(request.image)),
        half_picture(networks, square.to_square(request.goal)),
        _region_tensor(networks, region, side),
        _track_tensor(networks, track, side),
        tokens,
        torch.zeros_like(mask) if guided_away else mask,
        _look(networks, request.seed),
        has_goal=no if guided_away else yes,
        has_regions=no if region is None else yes,
        has_track=no if track is None else yes,
        has_look=yes,
    )


def _region_tensor(networks: Networks, region: RegionPrediction | None, side: int) -> Tensor:
    """(1, T, 2, side, side) in [-1, 1]: frame by frame where that is known, else the union at every frame."""
    frames = networks.meta.config.frames
    if region is None:
        return torch.zeros(1, frames, 2, side, side, dtype=networks.dtype)
    if region.frames is not None and region.frames.shape == (frames, 2, side, side):
        return (torch.from_numpy(region.frames) * 2 - 1)[None].to(networks.dtype)
    return _union_tensor(networks, region, side).expand(1, frames, -1, -1, -1)


def _track_tensor(networks: Networks, track: NDArray[np.float32] | None, side: int) -> Tensor:
    """(1, T, `HAND_CHANNELS`, side, side) in [0, 1]."""
    if track is None:
        return torch.zeros(1, networks.meta.config.frames, HAND_CHANNELS, side, side, dtype=networks.dtype)
    return (torch.from_numpy(hand_pictures(track, side)).float() / 255)[None].to(networks.dtype)


def _union_tensor(networks: Networks, region: RegionPrediction, side: int) -> Tensor:
    import cv2

    square = networks.square(np.empty((*region.motion.shape, 3), np.uint8))
    masks = []
    for mask in (region.motion, region.change):
        bytes3 = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=-1)
        masks.append(cv2.resize(square.to_square(bytes3)[..., 0], (side, side), interpolation=cv2.INTER_AREA))
    return (torch.from_numpy(np.stack(masks)).float() / 127.5 - 1.0)[None].to(networks.dtype)


def _moved(request: StepRequest) -> NDArray[np.float32]:
    """(H, W) 0 or 1: where the goal image differs from the key-step image."""
    difference = np.abs(request.goal.astype(np.int16) - request.image).max(-1)
    return (difference > _VISIBLE).astype(np.float32)


def _smoothed(likely: Tensor) -> Tensor:
    """(B, 1, h, w), each cell averaged with its neighbours: regions of motion have smooth edges."""
    line = torch.tensor([0.25, 0.5, 0.25], dtype=likely.dtype)
    return F.conv2d(F.pad(likely, (1, 1, 1, 1), mode="replicate"), torch.outer(line, line)[None, None])


def _look(networks: Networks, seed: int) -> Tensor:
    """Skin and sleeve of the imagined person: one of those seen in training, the same for all steps of a seed."""
    looks = networks.meta.looks
    chosen = np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, _LOOK]).integers(len(looks))
    return torch.tensor([looks[chosen]], dtype=networks.dtype)
