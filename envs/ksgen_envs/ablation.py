"""What the parts of IVG are worth, in the form of its Table 2: the same steps by other masks and by other weights.

Key-step image, goal image and sentence are the true ones, so that planner and KIG play no part. Every row is measured
as every other, and so is the floor: the same person doing the same step again with another motion seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import DatasetError, InvalidInput
from ksgen_models.interfaces import RegionPrediction, StepRequest
from ksgen_models.metrics import aligned_keypoint_error, detection_rate, outside_psnr
from ksgen_models.mini.generate import MiniRegionModel, MiniVideoGenerator, SamplerSettings
from ksgen_models.region_overlap import best_cut
from ksgen_models.rom import mask_iou, observed_region

if TYPE_CHECKING:
    from ksgen_models.demonstration import Demonstration, DemonstrationStep
    from ksgen_models.interfaces import Tracker
    from ksgen_models.mini.networks import Networks

WHITE, TRUE, PRIOR, STAGE_1, UNTRACKED = "white", "true", "prior", "stage 1", "stage 1 untracked"
MASKS = (WHITE, TRUE, PRIOR, STAGE_1, UNTRACKED)
ANOTHER_WAY = "another way"
"""The row of the floor."""
_OTHER_MOTION = 7919  # motion seed of the floor, beside the scene's own


@dataclass(frozen=True)
class AblationRow:
    """One way to draw a clip.

    Attributes:
        name: in the table.
        mask: what stage 2 is told of where things move: `WHITE` (everywhere), `TRUE` (with the true hand track),
            `PRIOR` (of the task), `STAGE_1`, `UNTRACKED` (`STAGE_1`, with no hand track told to either stage).
        networks: the weights.
        settings: solver steps.
    """

    name: str
    mask: str
    networks: Networks
    settings: SamplerSettings = field(default_factory=SamplerSettings)


@dataclass(frozen=True)
class StepFigures:
    """One step, one row. NaN where there is nothing to measure.

    Attributes:
        row, env_id, seed, step: which.
        hand_error: HS-Err, palm lengths, aligned in time, against the simulator's keypoints.
        generated_rate, true_rate: share of the frames in which the tracker finds a hand.
        outside_psnr: dB, against the key-step image, outside the true region of change grown by 4 pixels.
        motion_iou: region of motion observed in the clip against the true one.
        mask_iou: region of motion told to stage 2 against the true one.
        followed: region of motion observed in the clip against the one told to stage 2.
    """

    row: str
    env_id: str
    seed: int
    step: int
    hand_error: float
    generated_rate: float
    true_rate: float
    outside_psnr: float
    motion_iou: float
    mask_iou: float
    followed: float


Prior = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Regions of motion and change (H, W), 0 or 1."""
SeeClip = Callable[[StepFigures, NDArray[np.uint8], NDArray[np.uint8]], None]
"""Called with each row's figures, its clip and the true clip."""


def evaluate_ablation(
    rows: Sequence[AblationRow],
    tracker: Tracker,
    env_id: str,
    seed: int,
    prior: Prior | None = None,
    *,
    see: SeeClip | None = None,
) -> Iterator[StepFigures]:
    """Draw every step of a scene's demonstration in every row.

    Args:
        rows: ways to draw.
        tracker: finds hands.
        env_id, seed: the scene.
        prior: the task's, from `prior_regions`; needed where a row is drawn along it.
        see: shown every clip.

    Yields:
        The figures of each step, first those of the floor.

    Raises:
        InvalidInput: a row is to be drawn along the prior mask, and none is given.
    """
    from ksgen_envs.demonstrator import demonstrate

    shown = demonstrate(env_id, seed)
    again = demonstrate(env_id, seed, motion_seed=seed + _OTHER_MOTION)
    for index, true in enumerate(shown.steps):
        true_rate = detection_rate(tracker.track(true.clip, shown.fps))
        request = _request(shown, index, seed)

        def measured(name: str, clip: NDArray[np.uint8], told: NDArray[np.bool_] | None) -> StepFigures:
            figures = _figures(name, clip, told, true, tracker, shown, index, true_rate)  # noqa: B023 (called at once)
            if see:
                see(figures, clip, true.clip)  # noqa: B023
            return figures

        yield measured(ANOTHER_WAY, again.steps[index].clip, None)
        for row in rows:
            region = _region(row, request, true, prior)
            clip = MiniVideoGenerator(row.networks, row.settings).generate(request, region)
            yield measured(row.name, clip, None if row.mask == WHITE else _told(region))


def prior_regions(data: str | Path, task_folder: str, number: int = 40) -> Prior:
    """Where things usually move in a task: the mean of the regions of training clips, cut where IoU is best.

    Args:
        data: folder of demonstrations.
        task_folder: the task's folder in it.
        number: of episodes looked at.

    Raises:
        DatasetError: none there.
    """
    import torch

    from ksgen_models.demonstration import load_demonstration

    paths = sorted((Path(data) / task_folder).glob("???????.npz"))[:number]
    if not paths:
        raise DatasetError(f"no demonstrations in {Path(data) / task_folder}; the prior mask is a mean over some")
    steps = [step for path in paths for step in load_demonstration(path).steps]

    def cut(masks: list[NDArray[np.bool_]]) -> NDArray[np.float32]:
        mean = torch.from_numpy(np.mean(masks, axis=0, dtype=np.float32))
        return (mean >= best_cut(mean)).float().numpy()

    return cut([step.region_of_motion for step in steps]), cut([step.region_of_change for step in steps])


def summary(figures: Sequence[StepFigures]) -> dict[str, dict[str, float]]:
    """Row → figure → mean over the steps (HS-Err: mean and median); NaN where nothing was measured."""
    table = {}
    for name in dict.fromkeys(figure.row for figure in figures):
        row = [figure for figure in figures if figure.row == name]

        def values(key: str) -> NDArray[np.float64]:
            every = np.array([getattr(figure, key) for figure in row])  # noqa: B023 (called at once)
            return every[np.isfinite(every)]

        def mean(key: str) -> float:
            return float(values(key).mean()) if len(values(key)) else float("nan")

        errors = values("hand_error")
        table[name] = {
            "steps": float(len(row)),
            "HS-Err, mean": mean("hand_error"),
            "HS-Err, median": float(np.median(errors)) if len(errors) else float("nan"),
            "hands, generated over true": mean("generated_rate") / mean("true_rate"),
            "PSNR outside the true change": mean("outside_psnr"),
            "RoM mIoU of the clip": mean("motion_iou"),
            "RoM mIoU of the mask": mean("mask_iou"),
            "mask followed": mean("followed"),
        }
    return table


def _request(shown: Demonstration, index: int, seed: int) -> StepRequest:
    images = shown.images()
    return StepRequest(index, shown.steps[index].description, images[index], images[index + 1], seed)


def _region(row: AblationRow, request: StepRequest, true: DemonstrationStep, prior: Prior | None) -> RegionPrediction:
    height, width = request.image.shape[:2]
    if row.mask == WHITE:
        return RegionPrediction(np.ones((height, width), np.float32), np.ones((height, width), np.float32))
    if row.mask == PRIOR:
        if prior is None:
            raise InvalidInput("the prior mask is a mean over demonstrations; give their folder (--data)")
        return RegionPrediction(*prior)
    if row.mask in (STAGE_1, UNTRACKED):
        settings = replace(row.settings, tracked=row.mask == STAGE_1)
        return MiniRegionModel(row.networks, settings).predict(request)
    return _true_region(true, row.networks)


def _true_region(true: DemonstrationStep, networks: Networks) -> RegionPrediction:
    from ksgen_models.mini.autoencoder import FACTOR
    from ksgen_models.mini.clip_model import MASK_PATCH
    from ksgen_models.training.cache import frame_masks

    side = MASK_PATCH * networks.meta.config.image_size // FACTOR
    masks = [
        frame_masks(frame, true.image, keypoints, side)
        for frame, keypoints in zip(true.clip, true.keypoints, strict=True)
    ]
    frames = np.stack(masks).astype(np.float32) / np.float32(255)
    return RegionPrediction(
        true.region_of_motion.astype(np.float32),
        true.region_of_change.astype(np.float32),
        frames=frames,
        track=true.keypoints[..., :2],
    )


def _told(region: RegionPrediction) -> NDArray[np.bool_]:
    """(H, W): the region of motion that stage 2 is told of, united over time."""
    import cv2

    if region.frames is None:
        return region.motion >= 0.5
    height, width = region.motion.shape
    union = region.frames[:, 0].max(0)
    return cv2.resize(union, (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5


def _figures(
    name: str,
    clip: NDArray[np.uint8],
    told: NDArray[np.bool_] | None,
    true: DemonstrationStep,
    tracker: Tracker,
    shown: Demonstration,
    index: int,
    true_rate: float,
) -> StepFigures:
    hands = tracker.track(clip, shown.fps)
    observed = observed_region(hands, *true.region_of_motion.shape)[1]
    nothing = float("nan")
    return StepFigures(
        row=name,
        env_id=shown.env_id,
        seed=shown.seed,
        step=index,
        hand_error=aligned_keypoint_error(hands, true.keypoints),
        generated_rate=detection_rate(hands),
        true_rate=true_rate,
        outside_psnr=outside_psnr(clip, true.image, true.region_of_change),
        motion_iou=mask_iou(observed, true.region_of_motion),
        mask_iou=nothing if told is None else mask_iou(told, true.region_of_motion),
        followed=nothing if told is None else mask_iou(observed, told),
    )
