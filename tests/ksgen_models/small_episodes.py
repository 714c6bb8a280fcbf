"""Tiny demonstrations for the tests of training: a red square jumps, a skin-coloured hand passes, on a plain table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ksgen_models.demonstration import Camera, Demonstration, DemonstrationStep, HandLook, save_demonstration


def make_demonstration(seed: int, *, size: int = 128, steps: int = 2) -> Demonstration:
    """One episode of ``steps`` key steps; everything follows from the seed."""
    random = np.random.default_rng(seed)
    images = [_scene(size, random.integers(60, 200, 3), 0)]
    images += [_scene(size, images[0][0, 0], step + 1) for step in range(steps)]
    keypoints = np.full((16, 2, 21, 3), np.nan, np.float32)
    offsets = random.uniform(-0.08, 0.08, (21, 2))
    made = []
    for step in range(steps):
        clip = [images[step]]
        for time in range(1, 16):
            frame = images[step if time < 8 else step + 1].copy()
            row = size * 3 // 4 - time * size // 40
            frame[row : row + size // 8, size // 2 : size * 5 // 8] = [205, 150, 120]
            clip.append(frame)
            keypoints[time, 1, :, :2] = np.array([0.56, (row + size / 16) / size]) + offsets
            keypoints[time, 1, :, 2] = 0.5
        region = np.abs(np.stack(clip).astype(int) - images[step]).max((0, -1)) > 6
        made.append(
            DemonstrationStep(
                description=f"Put the red block in place {step + 1}",
                target="red block",
                image=images[step],
                clip=np.stack(clip),
                keypoints=keypoints.copy(),
                visible=np.isfinite(keypoints[..., 0]),
                region_of_motion=region,
                region_of_change=region,
            )
        )
    return Demonstration(
        env_id="KSGen/StackBlocks-v0",
        seed=seed,
        motion_seed=seed,
        task="stack the blocks",
        frame=images[0],
        goal=images[-1],
        camera=Camera(np.eye(3), np.eye(4)[:3]),
        fps=8.0,
        look=HandLook((0.8, 0.6, 0.5), (0.1, 0.2, 0.3)),
        objects=("red block", "blue block"),
        steps=tuple(made),
        poses=np.zeros((steps + 1, 2, 7), np.float32),
    )


def write_episodes(folder: Path, number: int = 4, *, size: int = 128) -> Path:
    """A data set of ``number`` episodes of two or three steps, and one of stills."""
    for seed in range(number):
        demonstration = make_demonstration(seed, size=size, steps=2 + seed % 2)
        save_demonstration(demonstration, folder / "stack_blocks" / f"{seed:07d}.npz")
    stills = without_clips(make_demonstration(number, size=size))
    save_demonstration(stills, folder / "stack_blocks" / f"{number:07d}-stills.npz")
    return folder


def without_clips(demonstration: Demonstration) -> Demonstration:
    """Keep only the pictures before and after every step, and its keypoints in two ways."""
    steps = (
        replace(
            step,
            clip=step.clip[:0],
            keypoints=step.keypoints[:0],
            visible=step.visible[:0],
            ways=np.stack([step.keypoints, step.keypoints + np.float32(0.02)]),
        )
        for step in demonstration.steps
    )
    return replace(demonstration, steps=tuple(steps))


def _scene(size: int, table: np.ndarray, place: int) -> np.ndarray:
    image = np.empty((size, size, 3), np.uint8)
    image[:] = table
    left = size // 8 + place * size // 5
    image[size // 4 : size // 4 + size // 8, left : left + size // 8] = [220, 30, 30]
    return image
