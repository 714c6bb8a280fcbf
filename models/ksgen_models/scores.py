"""How far a generated clip can be trusted: plain figures over arrays, each with a fixed range.

Every score is a deterministic numpy function of what the models said and drew; none looks at the true scene. `SCORES`
fixes the names, their order in a subgoal's score vector, their ranges and what they mean. Higher is always better. A
score that has nothing to measure takes its lowest value where that is bad news (no hand) and its highest where it is
not (no background left to drift); each function says which. Agreement with the text is left out where a preset has
no `StepVerifier`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_models.types import HAND_BONES, HandTrack, RegionOfMotion

BACKGROUND_MARGIN = 4  # pixels: soft shadows and resampling leak a little over a region's edge
MOTION_LEVEL = 12  # of 255: smaller differences are noise of the decoder, not motion
PSNR_CEILING = 60.0  # dB: beyond this two 8-bit pictures are equal for every purpose


@dataclass(frozen=True)
class ScoreSpec:
    """What one score means.

    Attributes:
        name: key in ``KeyStep.scores``.
        label: a few words for people.
        low: the least value it can take.
        high: the greatest; greater is better.
        unit: ``""`` for a share or index, else e.g. ``"dB"``.
        meaning: one sentence.
        fair, good: from where on people may read it as fair and as good.
    """

    name: str
    label: str
    low: float
    high: float
    unit: str
    meaning: str
    fair: float = 0.33
    good: float = 0.66


SCORES: tuple[ScoreSpec, ...] = (
    ScoreSpec("hand_rate", "Hand found", 0, 1, "", "Share of the clip's frames in which a hand was measured."),
    ScoreSpec("hand_confidence", "Hand confidence", 0, 1, "", "Mean confidence of the measured hands."),
    ScoreSpec("bone_constancy", "Bones keep length", 0, 1, "", "1 less the typical relative variation of bone length."),
    ScoreSpec("motion_inside", "Motion inside", 0, 1, "", "Share of all motion inside the predicted regions."),
    ScoreSpec("region_agreement", "RoM agreement", 0, 1, "", "Overlap (IoU) of predicted and observed RoM."),
    ScoreSpec(
        "background_psnr",
        "Background held",
        0,
        PSNR_CEILING,
        "dB",
        "PSNR to the key-step image outside the predicted region of change.",
        fair=28,
        good=35,
    ),
    ScoreSpec("goal_agreement", "Goal reached", 0, 1, "", "How much of the asked change the clip's end shows."),
    ScoreSpec("text_agreement", "Does as told", 0, 1, "", "Probability that the clip does its step and no other."),
)
SCORE_NAMES: tuple[str, ...] = tuple(spec.name for spec in SCORES)
TEXT = "text_agreement"
"""The one score that needs a `StepVerifier`."""
ALWAYS_SCORED: tuple[str, ...] = tuple(name for name in SCORE_NAMES if name != TEXT)


def score_step(
    image: NDArray[np.uint8],
    goal: NDArray[np.uint8],
    clip: NDArray[np.uint8],
    hands: HandTrack,
    region: RegionOfMotion,
    agreement: float | None = None,
) -> dict[str, float]:
    """All scores of one key step, in the order of `SCORES`.

    Args:
        image, goal: (H, W, 3) uint8, the scene before and after the step.
        clip: (T, H, W, 3) uint8.
        hands: the hand track of the clip.
        region: predicted and observed RoM, and predicted change.
        agreement: with the text, from `step_agreement`; None leaves that score out.
    """
    change = region.change >= 0.5
    values = (
        hand_rate(hands),
        hand_confidence(hands),
        bone_constancy(hands),
        motion_inside(clip, change | (region.predicted >= 0.5)),
        region_agreement(region.predicted, region.observed),
        background_psnr(clip, image, change),
        goal_agreement(clip, image, goal),
    )
    scores = dict(zip(ALWAYS_SCORED, values, strict=True))
    return scores if agreement is None else scores | {TEXT: float(agreement)}


def trust(scores: Mapping[str, float]) -> float:
    """Probability in [0, 1] that a robot succeeds with a key step of these scores (`ksgen_models.calibration`)."""
    from ksgen_models.calibration import shipped_trust

    return shipped_trust().probability(scores)


def hand_rate(hands: HandTrack) -> float:
    """Share of frames with at least one measured hand, in [0, 1]; interpolated hands do not count."""
    measured = hands.valid & ~hands.interpolated
    return float(measured.any(axis=1).mean()) if len(measured) else 0.0


def hand_confidence(hands: HandTrack) -> float:
    """Mean confidence of the measured hands, in [0, 1]; 0 where there is none."""
    measured = hands.valid & ~hands.interpolated
    return float(np.clip(hands.confidence[measured].mean(), 0, 1)) if measured.any() else 0.0


def bone_constancy(hands: HandTrack) -> float:
    """Whether bones keep their length through the clip, in [0, 1].

    A bone's variation is the standard deviation of its length over the frames where its hand was measured, divided by
    its mean (metres, ``HandTrack.world``). The score is 1 less the median over all bones, at least 0; and 0 where no
    hand was measured in two frames.
    """
    starts, ends = np.array(HAND_BONES).T
    measured = hands.valid & ~hands.interpolated
    variations = []
    for hand in range(hands.world.shape[1]):
        points = hands.world[measured[:, hand], hand]  # (N, 21, 3)
        points = points[np.isfinite(points).all(axis=(1, 2))]
        if len(points) < 2:
            continue
        lengths = np.linalg.norm(points[:, starts] - points[:, ends], axis=-1)  # (N, B)
        variations.append(lengths.std(axis=0) / np.maximum(lengths.mean(axis=0), 1e-6))
    return float(np.clip(1 - np.median(np.concatenate(variations)), 0, 1)) if variations else 0.0


def motion_inside(clip: NDArray[np.uint8], region: NDArray[np.bool_]) -> float:
    """Share of the clip's motion that lies in ``region`` dilated by `BACKGROUND_MARGIN`, in [0, 1].

    Motion is how far a pixel departs from the clip's first frame (greatest channel, levels above `MOTION_LEVEL`),
    summed over time. A clip in which nothing moves scores 0: it does not show the step.
    """
    motion = np.zeros(clip.shape[1:3])
    for frame in clip[1:]:
        difference = _difference(frame, clip[0])
        motion += np.where(difference > MOTION_LEVEL, difference, 0)
    total = motion.sum()
    return float(motion[dilate(region, BACKGROUND_MARGIN)].sum() / total) if total > 0 else 0.0


def region_agreement(predicted: NDArray[np.float32], observed: NDArray[np.bool_]) -> float:
    """Intersection over union of ``predicted >= 0.5`` and ``observed``, in [0, 1]; 0 where both are empty."""
    said = predicted >= 0.5
    union = np.count_nonzero(said | observed)
    return float(np.count_nonzero(said & observed) / union) if union else 0.0


def background_psnr(clip: NDArray[np.uint8], image: NDArray[np.uint8], change: NDArray[np.bool_]) -> float:
    """How well what must not move is held, in dB in [0, `PSNR_CEILING`].

    PSNR of all frames against the key-step image, outside ``change`` dilated by `BACKGROUND_MARGIN`. Where the change
    covers the picture there is no background to drift: `PSNR_CEILING`.
    """
    outside = ~dilate(change, BACKGROUND_MARGIN)
    if not outside.any():
        return PSNR_CEILING
    still = image[outside].astype(np.float32)
    error = float(np.mean([np.mean(np.square(frame[outside] - still)) for frame in clip]))
    return float(np.clip(10 * np.log10(255.0**2 / max(error, 1e-12)), 0, PSNR_CEILING))


def goal_agreement(clip: NDArray[np.uint8], image: NDArray[np.uint8], goal: NDArray[np.uint8]) -> float:
    """How much of the asked change the end of the clip shows, in [0, 1].

    The end is the clip's last quarter without its last frame, which a generator may be given; a pixel counts by the
    frame in which it comes nearest to the goal, as a hand that leaves hides something in each of them. Over the pixels
    where key-step image and goal differ by more than `MOTION_LEVEL`: 1 less the distance to the goal divided by the
    distance from the key-step image to the goal. 1: looks like the goal; 0: no nearer than the start. Where the goal
    asks for no change the score is 1.

    Args:
        clip: (T, H, W, 3) uint8; of less than two frames, the last one counts.
        image, goal: (H, W, 3) uint8, before and after the step.
    """
    asked = _difference(goal, image)
    where = asked > MOTION_LEVEL
    if not where.any():
        return 1.0
    end = clip[min(len(clip) * 3 // 4, len(clip) - 2) : -1] if len(clip) > 1 else clip
    left = np.min([_difference(frame, goal)[where] for frame in end], axis=0)
    return float(np.clip(1 - left.sum() / asked[where].sum(), 0, 1))


def step_agreement(before: Sequence[float], after: Sequence[float], index: int) -> float:
    """Whether what changed is what one step asks for and no other, in [0, 1].

    The probability that the step was not done before and is done after, times, for each other step of its procedure,
    that of being as far as it was.

    Args:
        before, after: probabilities that each step of the procedure is done, in [0, 1], at the clip's two ends.
        index: of the step.
    """
    was, now = np.asarray(before, np.float64), np.asarray(after, np.float64)
    same = 1 - np.abs(now - was)
    same[index] = now[index] * (1 - was[index])
    return float(np.clip(same.prod(), 0, 1))


def dilate(mask: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """Grow a (H, W) mask by ``margin`` pixels in each direction (a square of side 2 · margin + 1)."""
    grown = mask.copy()
    for shift in range(1, margin + 1):
        grown[shift:] |= mask[:-shift]
        grown[:-shift] |= mask[shift:]
    rows = grown.copy()
    for shift in range(1, margin + 1):
        grown[:, shift:] |= rows[:, :-shift]
        grown[:, :-shift] |= rows[:, shift:]
    return grown


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(H, W) greatest difference over the channels, in levels of [0, 255]."""
    return np.abs(first.astype(np.int16) - second).max(axis=-1).astype(np.float64)
