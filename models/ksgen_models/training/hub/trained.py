"""Trained video models at work: the region of motion of stage 1 and the clips of stage 2, as parts of an agent.

They satisfy `RegionModel` and `VideoGenerator` of `ksgen_models.interfaces`, so a model that a user trained takes its
place beside the other parts of a preset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ksgen_models.hub.loading import named_errors
from ksgen_models.hub.settings import RunSettings, resolve_device, resolve_dtype
from ksgen_models.interfaces import CheckCancelled, RegionPrediction, StepRequest, never_cancelled
from ksgen_models.rom import dilate_mask
from ksgen_models.training.hub.adapt import load_network
from ksgen_models.training.hub.clips import ROM, VIDEO
from ksgen_models.training.hub.kit import Kit, open_kit
from ksgen_models.training.hub.measuring import region_of
from ksgen_models.training.hub.record import Record
from ksgen_models.training.hub.sampling import sample
from ksgen_models.training.hub.tensors import latent_mask, to_frames, to_video

_AROUND = 0.08  # how far the region of change reaches beyond the hands, in shorter sides of the picture


class TrainedModel:
    """A trained network on the checkpoint that it was trained from."""

    def __init__(
        self,
        folder: str | Path,
        kind: str,
        *,
        model: str | None = None,
        settings: RunSettings | None = None,
        solver_steps: int = 20,
    ) -> None:
        """Load it.

        Args:
            folder: ``OUT/model`` of a run.
            kind: what it must be.
            model: checkpoint that it was trained from, where that lies elsewhere now.
            settings: device and dtype; offload and quantisation are not for trained models.
            solver_steps: of a clip.

        Raises:
            WeightsMissing: the folder or the checkpoint lacks a file.
            AssetError: they do not fit.
            PresetError: the device is not here.
        """
        self.settings = settings or RunSettings()
        self.record = Record.read(folder, kind)
        self.solver_steps = solver_steps
        self._half = resolve_dtype(self.settings) is not torch.float32
        self.kit = self._loaded(Path(folder), model)

    def _loaded(self, folder: Path, model: str | None) -> Kit:
        record, device = self.record, resolve_device(self.settings)
        kit = open_kit(
            model or record.model,
            revision=record.revision,
            component=record.component,
            height=record.height,
            width=record.width,
            frames=record.frames,
            most_frames=record.frames,
            half=self._half,
        )
        network = load_network(folder, kit.network, record.component, kit.backbone.input_layer)
        with named_errors(f"the trained model in {folder}", "load", self.settings):
            kit.to(device)
            return kit.with_network(network.eval().requires_grad_(False).to(device))

    @torch.no_grad()
    def draw(
        self,
        picture: NDArray[np.uint8],
        sentence: str,
        region: NDArray[np.floating] | None,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """Draw one clip.

        Args:
            picture: (H, W, 3) uint8, resized to the model's size.
            sentence: of the step.
            region: (H, W) in [0, 1]; None is a white mask.
            seed: of the noise.
            check_cancelled: called between solver steps.

        Returns:
            (T, h, w, 3) uint8 at the model's size.
        """
        import cv2

        kit, record = self.kit, self.record
        size = (record.width, record.height)
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        still = to_video(small[None])[:, 0][None]
        allowed = np.ones((record.height, record.width), np.float32)
        if region is not None:
            allowed = cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        with named_errors("the trained model", "draw", self.settings):
            context = kit.context(still, seed)
            given: dict[str, Any] = {"text": kit.text(sentence), "image": kit.image(still)}
            batch = {name: tensor[None] for name, tensor in given.items() if tensor is not None}
            batch |= {"context": context, "mask": latent_mask(torch.from_numpy(allowed), *context.shape[2:])[None]}
            batch = {name: tensor.to(kit.device) for name, tensor in batch.items()}
            generator = torch.Generator().manual_seed(seed)
            with torch.autocast(kit.device.type, torch.bfloat16, enabled=self._half):
                latents = sample(kit, kit.network, batch, record.fps, self.solver_steps, generator, check_cancelled)
            return to_frames(kit.decode(latents)[0])


class TrainedRegionModel(TrainedModel):
    """Stage 1 as a `ksgen_models.interfaces.RegionModel`."""

    def __init__(self, folder: str | Path, **options: Any) -> None:
        """As `TrainedModel`, of the kind ``"rom"``."""
        super().__init__(folder, ROM, **options)

    def predict(self, request: StepRequest, *, check_cancelled: CheckCancelled = never_cancelled) -> RegionPrediction:
        """Where the hands will be; the region of change is taken to reach a little beyond, for stage 1 learns hands."""
        motion = self.region(request.image, request.description, _seed(request), check_cancelled)
        change = dilate_mask(motion > 0.5, round(_AROUND * min(motion.shape)))
        return RegionPrediction(motion, change.astype(np.float32))

    def region(
        self,
        picture: NDArray[np.uint8],
        sentence: str,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.float32]:
        """The region of motion (H, W) of a step in [0, 1], at the picture's size."""
        import cv2

        drawn = region_of(self.draw(picture, sentence, None, seed, check_cancelled)).astype(np.float32)
        height, width = picture.shape[:2]
        return np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


class TrainedVideoGenerator(TrainedModel):
    """Stage 2 as a `ksgen_models.interfaces.VideoGenerator`."""

    def __init__(self, folder: str | Path, **options: Any) -> None:
        """As `TrainedModel`, of the kind ``"video"``."""
        super().__init__(folder, VIDEO, **options)

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.record.fps

    def generate(
        self,
        request: StepRequest,
        region: RegionPrediction,
        *,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """The clip (T, H, W, 3) at the size of ``request.image``, which is its frame 0."""
        import cv2

        seed = _seed(request)
        drawn = self.draw(request.image, request.description, region.motion, seed, check_cancelled)
        height, width = request.image.shape[:2]
        clip = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in drawn])
        clip[0] = request.image
        return clip


def _seed(request: StepRequest) -> int:
    return int(np.random.SeedSequence(request.noise_key).generate_state(1)[0])
