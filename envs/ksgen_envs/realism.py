"""Is the demonstrator's hand a hand? Asks MediaPipe, over random frames of random demonstrations.

``python -m ksgen_envs.realism --frames 500`` prints in how many of the frames with at least 15 of 21 keypoints
visible MediaPipe's HandLandmarker (image mode, default confidences) finds the hand, and the median keypoint error in
palm lengths (wrist to middle knuckle, as the camera would see it held flat at the wrist's depth).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.demonstration import CLIP_FRAMES

LEAST_VISIBLE = 15
_PALM = 0.0945  # metres, of an average hand
_NEAR = 1.0  # palm lengths: a detection further off is something else


@dataclass(frozen=True)
class Sample:
    """One judged frame.

    Attributes:
        name: env id, seed, step and frame.
        image: (H, W, 3) uint8.
        true: (21, 2) pixels.
        found: (21, 2) pixels, or None.
        errors: (21,) palm lengths, or None.
        side: 0 left, 1 right.
    """

    name: str
    image: NDArray[np.uint8]
    true: NDArray[np.float64]
    found: NDArray[np.float64] | None
    errors: NDArray[np.float64] | None
    side: int


def judge(frames: int, first_seed: int, per_step: int = 4, *, image_size: int = 256) -> Iterator[Sample]:
    """Yield ``frames`` judged frames from demonstrations of all tasks with seeds from ``first_seed`` on.

    The demonstrations are those that `demonstrate` records; only the frames that are judged are rendered.
    """
    from ksgen_envs.tasks import TASKS

    rng = np.random.default_rng(first_seed)
    done = 0
    with _landmarker() as landmarker:
        for index in range(frames):
            env_id, seed = TASKS[index % len(TASKS)], first_seed + index
            for sample in _judge_scene(env_id, seed, landmarker, rng, per_step, image_size):
                yield sample
                done += 1
                if done >= frames:
                    return


def _landmarker() -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    from ksgen_models.assets import asset_path

    options = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(asset_path("hand-landmarker"))), num_hands=2
    )
    return vision.HandLandmarker.create_from_options(options)


def _judge_scene(
    env_id: str, seed: int, landmarker: Any, rng: np.random.Generator, per_step: int, size: int
) -> Iterator[Sample]:
    from ksgen_envs.demonstrator import finish, motion_generator, plan_step, pose_at
    from ksgen_envs.stage import Stage, sample_person
    from ksgen_envs.workbench import Workbench

    bench = Workbench(env_id, seed, image_size=size)
    stage = Stage(bench, *sample_person(seed))
    motion, habit = motion_generator(env_id, seed, seed)
    focal = stage.camera.intrinsics[0, 0]
    try:
        for number, goal in enumerate(bench.instruction.steps):
            work = plan_step(stage, goal, habit, motion)
            taken = 0
            for t in rng.permutation(np.arange(1, CLIP_FRAMES)):
                pose_at(stage, work, float(t))
                points, seen = stage.keypoints()
                side = int(seen.sum(axis=1).argmax())
                if seen[side].sum() < LEAST_VISIBLE:
                    continue
                palm = _PALM * focal / float(points[side, 0, 2])
                name = f"{env_id} {seed} step {number} frame {t}"
                yield _judged(
                    landmarker, name, stage.picture(), points[side, :, :2].astype(np.float64) * size, palm, side
                )
                taken += 1
                if taken == per_step:
                    break
            finish(stage, work)
    finally:
        stage.close()


def _judged(
    landmarker: Any, name: str, image: NDArray[np.uint8], true: NDArray[np.float64], palm: float, side: int
) -> Sample:
    found = _nearest(landmarker, image, true)
    errors = None if found is None else np.linalg.norm(found - true, axis=1) / palm
    if errors is not None and np.median(errors) > _NEAR:
        found = errors = None
    return Sample(name, image, true, found, errors, side)


def _nearest(landmarker: Any, image: NDArray[np.uint8], true: NDArray[np.float64]) -> NDArray[np.float64] | None:
    import mediapipe

    picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
    hands = [
        np.array([[mark.x * image.shape[1], mark.y * image.shape[0]] for mark in hand])
        for hand in landmarker.detect(picture).hand_landmarks
    ]
    return min(hands, key=lambda hand: float(np.linalg.norm(hand - true, axis=1).mean()), default=None)


def contact_sheet(samples: list[Sample], columns: int = 10) -> NDArray[np.uint8]:
    """Frames side by side: true keypoints green, found ones red, a red frame where nothing was found."""
    import cv2

    tiles = []
    for sample in samples:
        tile = sample.image.copy()
        for x, y in sample.true:
            cv2.circle(tile, (round(x), round(y)), 1, (0, 255, 0), -1)
        if sample.found is None:
            tile[:4], tile[-4:], tile[:, :4], tile[:, -4:] = 4 * ((255, 0, 0),)
        else:
            for x, y in sample.found:
                cv2.circle(tile, (round(x), round(y)), 1, (255, 0, 0), -1)
        tiles.append(tile)
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)])


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(prog="python -m ksgen_envs.realism", description=__doc__)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=1_100_000)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--per-step", type=int, default=4, help="frames taken from one step")
    parser.add_argument("--sheet", help="PNG file for a contact sheet of the first 60 frames")
    parser.add_argument("--misses", help="PNG file for a contact sheet of frames without a hand found")
    arguments = parser.parse_args()
    samples = list(judge(arguments.frames, arguments.first_seed, arguments.per_step, image_size=arguments.image_size))
    errors = np.array([sample.errors for sample in samples if sample.errors is not None])
    print(f"frames with at least {LEAST_VISIBLE} of 21 keypoints visible: {len(samples)}")
    print(f"hand found in {len(errors) / len(samples):.1%}")
    print(f"median keypoint error {np.median(errors):.3f} palm lengths")
    print("by keypoint", " ".join(f"{value:.2f}" for value in np.median(errors, axis=0)))
    for task in sorted({sample.name.split()[0] for sample in samples}):
        own = [sample for sample in samples if sample.name.startswith(task)]
        hit = [sample.errors for sample in own if sample.errors is not None]
        print(f"{task}: found {len(hit)} of {len(own)}, median error {np.median(hit) if hit else np.nan:.3f}")
    import cv2

    missed = [sample for sample in samples if sample.found is None][:60]
    for path, chosen in ((arguments.sheet, samples[:60]), (arguments.misses, missed)):
        if path and chosen:
            cv2.imwrite(path, cv2.cvtColor(contact_sheet(chosen), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
