"""Tiny episodes for the tests of datasets: imaginations and demonstrations of a table with a moving square."""

from __future__ import annotations

import numpy as np

from ksgen_agent import Imagination
from ksgen_export.conversion import episode_of_imagination, episode_of_rollout
from ksgen_export.episode import Episode, RobotTrack
from ksgen_models.rom import observed_region
from ksgen_models.scores import SCORES
from ksgen_models.types import Evidence, HandTrack, KeyStep, Plan, RegionOfMotion

SIDE, FRAMES = 64, 6


def make_imagination(seed: int, *, steps: int = 2, task: str = "stack the blocks", side: int = SIDE) -> Imagination:
    """Everything follows from the seed."""
    random = np.random.default_rng(seed)
    images = [_scene(random, side, place) for place in range(steps + 1)]
    key_steps = tuple(_key_step(random, seed, index, images, side) for index in range(steps))
    plan = Plan(
        task, tuple(step.description for step in key_steps), 0.9, "retrieval", (Evidence(task, ("a",), 0.8, "x"),)
    )
    return Imagination(task, images[0], plan, key_steps, {"total": 1.5, "steps/0/clip": 0.25})


def make_rollout(seed: int, length: int = 10) -> Episode:
    """A robot that pursues the key steps of an imagination."""
    random = np.random.default_rng(seed)
    imagination = make_imagination(seed)
    robot = RobotTrack(
        states=random.normal(size=(length, 3)).astype(np.float32),
        actions=random.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=np.linspace(-1, 0, length).astype(np.float32),
        success=np.arange(length) == length - 1,
        state_names=("x", "y", "grip"),
        action_names=("dx", "dy"),
        terminated=True,
    )
    frames = random.integers(0, 256, (length, SIDE, SIDE, 3), np.uint8)
    pursued = [0] * (length // 2) + [1] * (length - length // 2)
    return episode_of_rollout("stack the blocks", frames, 25.0, robot, pursued, imagination.steps, {"scene_seed": seed})


def make_episode(seed: int, **options: object) -> Episode:
    """An imagination as an episode."""
    return episode_of_imagination(make_imagination(seed, **options))  # type: ignore[arg-type]


def _key_step(random: np.random.Generator, seed: int, index: int, images: list[np.ndarray], side: int) -> KeyStep:
    clip = np.repeat(images[index][None], FRAMES, axis=0)
    keypoints = np.full((FRAMES, 2, 21, 3), np.nan, np.float32)
    for time in range(1, FRAMES):
        clip[time, side // 2 : side // 2 + 8, 4 * time : 4 * time + 8] = (210, 160, 120)
        keypoints[time, 1] = random.uniform(0.3, 0.7, (21, 3))
    valid = np.isfinite(keypoints).all(axis=(2, 3))
    interpolated = np.zeros_like(valid)
    interpolated[3, 1] = True
    hands = HandTrack(keypoints, keypoints * 0.1, valid.astype(np.float32) * 0.75, valid, interpolated)
    per_frame, observed = observed_region(hands, side, side)
    region = RegionOfMotion(
        np.rint(random.random((side, side)) * 255).astype(np.float32) / 255,
        observed,
        per_frame,
        observed.astype(np.float32),
    )
    sentence = f"Put block {index} in place"
    return KeyStep(
        index=index,
        description=sentence,
        image=images[index],
        goal=images[index + 1],
        clip=clip,
        fps=8.0,
        hands=hands,
        region_of_motion=region,
        scores={spec.name: float(random.uniform(spec.low, spec.high)) for spec in SCORES},
        provenance={"preset": "mini", "models": {"clip": "abc"}, "seed": seed, "prompt": sentence, "steps": 2},
        embedding=random.normal(size=8).astype(np.float32),
    )


def _scene(random: np.random.Generator, side: int, place: int) -> np.ndarray:
    ramp = np.linspace(60, 160, side).astype(np.uint8)
    image = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 90)], -1)
    image = image.astype(np.uint8)
    left = int(random.integers(0, 8)) + place * 12
    image[10:22, left : left + 12] = (220, 40, 40)
    return image
