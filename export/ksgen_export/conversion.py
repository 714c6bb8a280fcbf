"""Episodes from imaginations, demonstrations and rollouts, and back again.

========================  ======================================================================================
what                      how its frames and key steps become an episode
========================  ======================================================================================
`Imagination`             the clips one after the other; everything is generated
`Demonstration`           the clips one after the other; keypoints become a `HandTrack` in MediaPipe's units
a robot's rollout         the camera's frames; each key step lasts as long as the robot pursued it
========================  ======================================================================================

What an episode's fields cannot hold (plan, timings, object poses, camera...) goes into ``record`` and ``arrays``, so
that `imagination_of_episode` and `demonstration_of_episode` give back what went in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent import Imagination
from ksgen_export.episode import Episode, EpisodeKeyStep, FrameProvenance, RobotTrack
from ksgen_models.demonstration import Camera, Demonstration, DemonstrationStep, HandLook
from ksgen_models.errors import InvalidInput
from ksgen_models.rom import region_of_keypoints
from ksgen_models.types import Evidence, HandTrack, KeyStep, Plan, RegionOfMotion

_WRIST = 0


def episode_of_imagination(imagination: Imagination) -> Episode:
    """The clips of an imagination as one episode of generated frames.

    Raises:
        InvalidInput: it has no key steps, or its clips differ in size or frames a second.
    """
    steps = imagination.steps
    if not steps:
        raise InvalidInput(f"the imagination of {imagination.task!r} has no key steps, so there are no frames to write")
    if len({(step.fps, step.clip.shape[1:]) for step in steps}) > 1:
        raise InvalidInput(f"the clips of {imagination.task!r} differ in size or fps; imagine them with one preset")
    starts = np.cumsum([0, *(len(step.clip) for step in steps)])
    return Episode(
        kind="imagination",
        task=imagination.task,
        fps=float(steps[0].fps),
        frames=np.concatenate([step.clip for step in steps]),
        key_steps=tuple(
            EpisodeKeyStep(
                description=step.description,
                start=int(start),
                stop=int(start) + len(step.clip),
                image=step.image,
                goal=step.goal,
                hands=step.hands,
                region_of_motion=step.region_of_motion,
                frame_provenance=provenance_of_key_step(step, generated=True),
                scores=dict(step.scores),
                embedding=step.embedding,
                provenance=dict(step.provenance),
            )
            for step, start in zip(steps, starts, strict=False)
        ),
        record={
            "plan": asdict(imagination.plan),
            "timings": dict(imagination.timings),
            "indices": [step.index for step in steps],
        },
        arrays={"frame": imagination.frame},
    )


def imagination_of_episode(episode: Episode) -> Imagination:
    """The imagination that an episode was made from.

    Raises:
        InvalidInput: the episode was not made from one.
    """
    if episode.kind != "imagination":
        raise InvalidInput(f"the episode {episode.task!r} is a {episode.kind}; only an imagination becomes one again")
    plan = episode.record["plan"]
    evidence = tuple(Evidence(**{**item, "steps": tuple(item["steps"])}) for item in plan["evidence"])
    return Imagination(
        task=episode.task,
        frame=np.asarray(episode.arrays["frame"], np.uint8),
        plan=Plan(**{**plan, "steps": tuple(plan["steps"]), "evidence": evidence, "done": tuple(plan.get("done", ()))}),
        steps=tuple(
            KeyStep(
                index=index,
                description=step.description,
                image=step.image,
                goal=step.goal,
                clip=episode.frames[step.start : step.stop],
                fps=episode.fps,
                hands=step.hands,
                region_of_motion=step.region_of_motion,
                scores=dict(step.scores),
                provenance=dict(step.provenance),
                embedding=step.embedding,
            )
            for index, step in zip(episode.record["indices"], episode.key_steps, strict=True)
        ),
        timings=dict(episode.record["timings"]),
    )


def episode_of_demonstration(demonstration: Demonstration) -> Episode:
    """The clips of a demonstration as one episode of frames that no model drew.

    Raises:
        InvalidInput: it is one of stills, without clips.
    """
    steps = demonstration.steps
    if not steps or any(not len(step.clip) for step in steps):
        raise InvalidInput(f"the demonstration of {demonstration.task!r} has no clips; generate it without --stills")
    goals = demonstration.images()[1:]
    starts = np.cumsum([0, *(len(step.clip) for step in steps)])
    height, width = demonstration.frame.shape[:2]
    key_steps = []
    for step, start, goal in zip(steps, starts, goals, strict=False):
        per_frame, _ = region_of_keypoints(step.keypoints, height, width)
        key_steps.append(
            EpisodeKeyStep(
                description=step.description,
                start=int(start),
                stop=int(start) + len(step.clip),
                image=step.image,
                goal=goal,
                hands=track_of_truth(step.keypoints, step.visible, demonstration.camera, width, height),
                region_of_motion=RegionOfMotion(
                    predicted=np.zeros((height, width), np.float32),
                    observed=step.region_of_motion,
                    per_frame=per_frame,
                    change=step.region_of_change.astype(np.float32),
                ),
                frame_provenance=FrameProvenance(False, "", "", demonstration.seed, step.description),
                provenance={"env_id": demonstration.env_id, "seed": demonstration.seed},
            )
        )
    return Episode(
        kind="demonstration",
        task=demonstration.task,
        fps=float(demonstration.fps),
        frames=np.concatenate([step.clip for step in steps]),
        key_steps=tuple(key_steps),
        record={
            "env_id": demonstration.env_id,
            "seed": demonstration.seed,
            "motion_seed": demonstration.motion_seed,
            "look": asdict(demonstration.look),
            "objects": list(demonstration.objects),
            "targets": [step.target for step in steps],
        },
        arrays={
            "frame": demonstration.frame,
            "keypoints": np.concatenate([step.keypoints for step in steps]),
            "visible": np.concatenate([step.visible for step in steps]),
            "poses": demonstration.poses,
            "intrinsics": demonstration.camera.intrinsics,
            "world_to_camera": demonstration.camera.world_to_camera,
        },
    )


def demonstration_of_episode(episode: Episode) -> Demonstration:
    """The demonstration that an episode was made from.

    Raises:
        InvalidInput: the episode was not made from one.
    """
    if episode.kind != "demonstration":
        raise InvalidInput(f"the episode {episode.task!r} is a {episode.kind}; only a demonstration becomes one again")
    record, arrays = episode.record, episode.arrays
    look = record["look"]
    return Demonstration(
        env_id=record["env_id"],
        seed=record["seed"],
        motion_seed=record["motion_seed"],
        task=episode.task,
        frame=np.asarray(arrays["frame"], np.uint8),
        goal=episode.key_steps[-1].goal,
        camera=Camera(arrays["intrinsics"], arrays["world_to_camera"]),
        fps=episode.fps,
        look=HandLook(tuple(look["skin"]), tuple(look["sleeve"])),
        objects=tuple(record["objects"]),
        steps=tuple(
            DemonstrationStep(
                description=step.description,
                target=target,
                image=step.image,
                clip=episode.frames[step.start : step.stop],
                keypoints=arrays["keypoints"][step.start : step.stop],
                visible=arrays["visible"][step.start : step.stop],
                region_of_motion=step.region_of_motion.observed,
                region_of_change=step.region_of_motion.change > 0.5,
            )
            for step, target in zip(episode.key_steps, record["targets"], strict=True)
        ),
        poses=arrays["poses"],
    )


def episode_of_rollout(
    task: str,
    frames: NDArray[np.uint8],
    fps: float,
    robot: RobotTrack,
    pursued: Sequence[int],
    key_steps: Sequence[KeyStep],
    record: Mapping[str, Any] | None = None,
) -> Episode:
    """What a robot did while it pursued key steps, imagined or true.

    Args:
        task: what was asked.
        frames: (T, H, W, 3) uint8 of the robot's camera.
        fps: frames a second.
        robot: states, actions and rewards of the T frames.
        pursued: (T,) index into ``key_steps`` of what was pursued at each frame, never falling.
        key_steps: the key steps in order; their pictures and maps must have the frames' size. Those that were never
            reached are left out.
        record: plain data to keep with the episode, e.g. the scene's seed.

    Raises:
        InvalidInput: the parts do not fit together.
    """
    order = np.asarray(pursued, int)
    if order.shape != (len(frames),) or (np.diff(order) < 0).any() or not set(order) <= set(range(len(key_steps))):
        raise InvalidInput(
            f"pursued must name one of {len(key_steps)} key steps for each of {len(frames)} frames, never falling"
        )
    made = []
    for index in np.unique(order):
        step, (start, last) = key_steps[index], np.flatnonzero(order == index)[[0, -1]]
        length = int(last) + 1 - int(start)
        region = step.region_of_motion
        made.append(
            EpisodeKeyStep(
                description=step.description,
                start=int(start),
                stop=int(last) + 1,
                image=step.image,
                goal=step.goal,
                hands=no_hands(length),
                region_of_motion=RegionOfMotion(
                    predicted=region.predicted,
                    observed=region.observed,
                    per_frame=np.zeros((length, *region.observed.shape), bool),
                    change=region.change,
                ),
                frame_provenance=provenance_of_key_step(step, generated=False),
                scores=dict(step.scores),
                embedding=step.embedding,
                provenance=dict(step.provenance),
            )
        )
    return Episode("rollout", task, float(fps), frames, tuple(made), robot, dict(record or {}))


def provenance_of_key_step(step: KeyStep, *, generated: bool) -> FrameProvenance:
    """What a dataset says of each frame, out of a key step's own record."""
    told = step.provenance
    seed, candidate = (value if isinstance(value := told.get(name, 0), int) else 0 for name in ("seed", "candidate"))
    return FrameProvenance(
        generated=generated,
        preset=str(told.get("preset", "")),
        model_hash=model_hash(told.get("models")),
        seed=seed,
        prompt=str(told.get("prompt", step.description)),
        candidate=candidate,
    )


def model_hash(models: Any) -> str:
    """One SHA-256 over the record of a preset's models; empty where there is none."""
    return hashlib.sha256(json.dumps(models, sort_keys=True, default=str).encode()).hexdigest() if models else ""


def no_hands(length: int) -> HandTrack:
    """The hand track of ``length`` frames without hands."""
    return HandTrack(
        keypoints=np.full((length, 2, 21, 3), np.nan, np.float32),
        world=np.full((length, 2, 21, 3), np.nan, np.float32),
        confidence=np.zeros((length, 2), np.float32),
        valid=np.zeros((length, 2), bool),
        interpolated=np.zeros((length, 2), bool),
    )


def track_of_truth(
    keypoints: NDArray[np.float32], visible: NDArray[np.bool_], camera: Camera, width: int, height: int
) -> HandTrack:
    """The simulator's keypoints in the units of `HandTrack`.

    Depth becomes MediaPipe's z (relative to the wrist, in image widths, weak perspective), the world coordinates are
    unprojected and centred on each hand, and the confidence is the share of keypoints that can be seen.

    Args:
        keypoints: (T, 2, 21, 3), x and y normalised, z camera depth in metres; NaN where the hand is absent.
        visible: (T, 2, 21).
        camera: with the intrinsics of a (``height``, ``width``) picture.
    """
    valid = np.asarray(np.isfinite(keypoints).all(axis=(2, 3)))  # (T, 2)
    depth = keypoints[..., 2:].astype(np.float64)
    wrist = depth[..., _WRIST : _WRIST + 1, :]
    relative = (depth - wrist) * camera.intrinsics[0, 0] / (wrist * width)
    pixels = np.concatenate([keypoints[..., :2] * (width, height), np.ones_like(depth)], axis=-1)
    world = pixels @ np.linalg.inv(camera.intrinsics).T * depth  # metres, in the camera's frame
    world -= world.mean(axis=-2, keepdims=True)
    absent = ~valid[..., None, None]
    return HandTrack(
        keypoints=np.where(absent, np.nan, np.concatenate([keypoints[..., :2], relative], -1)).astype(np.float32),
        world=np.where(absent, np.nan, world).astype(np.float32),
        confidence=np.where(valid, visible.mean(axis=-1), 0).astype(np.float32),
        valid=valid,
        interpolated=np.zeros_like(valid),
    )
