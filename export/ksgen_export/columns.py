"""The columns of a dataset: what stands beside every frame, the same in all formats.

=========================  =============  ============  ==========================================================
column                     dtype          shape         meaning
=========================  =============  ============  ==========================================================
``observation.state``      float32        (P,)          the robot's state, or where there is none `hand_states`
``action``                 float32        (A,)          the robot's action, or the hands' state in the next frame
``next.reward``            float32        (1,)          what came of the action; only with a robot
``next.done``              bool           (1,)          the episode's last frame; only with a robot
``next.success``           bool           (1,)          all was done after the action; only with a robot
``hands.keypoints``        float32        (2, 21, 3)    as `HandTrack.keypoints`, 0 where absent
``hands.world``            float32        (2, 21, 3)    as `HandTrack.world`, 0 where absent
``hands.confidence``       float32        (2,)          the detector's
``hands.presence``         int64          (2,)          0 absent, 1 measured, 2 interpolated
``scores``                 float32        (N,)          of the key step, in the order of `SCORES`; the lowest value
                                                        where there is none
``key_step_index``         int64          (1,)          0-based place in the plan
``provenance.generated``   bool           (1,)          a model drew the frame
``provenance.preset``      string         (1,)          see `FrameProvenance`, as the four below
``provenance.model_hash``  string         (1,)
``provenance.seed``        int64          (1,)
``provenance.prompt``      string         (1,)
``provenance.candidate``   int64          (1,)
=========================  =============  ============  ==========================================================

There are no NaN: trainers fall over them. `hand_track` puts them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_export.episode import HAND_STATE_NAMES, Episode, EpisodeSchema, RobotTrack
from ksgen_models.scores import SCORES
from ksgen_models.types import HAND_KEYPOINTS, HandTrack

ABSENT, MEASURED, INTERPOLATED = 0, 1, 2
_THUMB_TIP, _INDEX_TIP = 4, 8
_FINGERS = ("thumb", "index", "middle", "ring", "little")
KEYPOINT_NAMES: tuple[str, ...] = ("wrist", *(f"{finger}_{joint}" for finger in _FINGERS for joint in range(1, 5)))
_COORDINATES = tuple(
    f"{side}.{point}.{axis}" for side in ("left", "right") for point in KEYPOINT_NAMES for axis in "xyz"
)


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as in the table above.
        dtype: NumPy's name, or ``string``.
        shape: of one frame's value.
        names: of its numbers, flattened.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers one frame has."""
        return int(np.prod(self.shape))


def columns_of(schema: EpisodeSchema) -> tuple[Column, ...]:
    """The columns of a dataset, in order."""
    robot: tuple[Column, ...] = ()
    if schema.robot:
        robot = (
            Column("next.reward", "float32", (1,), ("reward",)),
            Column("next.done", "bool", (1,), ("done",)),
            Column("next.success", "bool", (1,), ("success",)),
        )
    return (
        Column("observation.state", "float32", (len(schema.state_names),), schema.state_names),
        Column("action", "float32", (len(schema.action_names),), schema.action_names),
        *robot,
        Column("hands.keypoints", "float32", (2, HAND_KEYPOINTS, 3), _COORDINATES),
        Column("hands.world", "float32", (2, HAND_KEYPOINTS, 3), _COORDINATES),
        Column("hands.confidence", "float32", (2,), ("left", "right")),
        Column("hands.presence", "int64", (2,), ("left", "right")),
        Column("scores", "float32", (len(SCORES),), tuple(spec.name for spec in SCORES)),
        Column("key_step_index", "int64", (1,), ("key_step_index",)),
        Column("provenance.generated", "bool", (1,), ("generated",)),
        Column("provenance.preset", "string", (1,), ("preset",)),
        Column("provenance.model_hash", "string", (1,), ("model_hash",)),
        Column("provenance.seed", "int64", (1,), ("seed",)),
        Column("provenance.prompt", "string", (1,), ("prompt",)),
        Column("provenance.candidate", "int64", (1,), ("candidate",)),
    )


def fill_columns(episode: Episode) -> dict[str, NDArray[Any]]:
    """Each column's values, (T, *shape); of shape (1,) they are (T,)."""
    steps = episode.key_steps
    lengths = [step.stop - step.start for step in steps]
    provenances = [step.frame_provenance for step in steps]

    def spread(values: list[Any], dtype: Any = None) -> NDArray[Any]:
        return np.repeat(np.array(values, dtype), lengths, axis=0)

    filled: dict[str, NDArray[Any]] = {}
    if episode.robot is None:
        states = hand_states(episode)
        filled["observation.state"] = states
        filled["action"] = np.concatenate([states[1:], states[-1:]])
    else:
        robot = episode.robot
        filled["observation.state"] = robot.states.astype(np.float32)
        filled["action"] = robot.actions.astype(np.float32)
        filled["next.reward"] = robot.rewards.astype(np.float32)
        filled["next.done"] = np.arange(len(episode)) == len(episode) - 1
        filled["next.success"] = robot.success.astype(bool)
    for name in ("keypoints", "world"):
        values = np.concatenate([getattr(step.hands, name) for step in steps])
        filled[f"hands.{name}"] = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    filled["hands.confidence"] = np.concatenate([step.hands.confidence for step in steps]).astype(np.float32)
    filled["hands.presence"] = np.concatenate(
        [np.where(step.hands.interpolated, INTERPOLATED, step.hands.valid) for step in steps]
    ).astype(np.int64)
    filled["scores"] = spread([[step.scores.get(spec.name, spec.low) for spec in SCORES] for step in steps], np.float32)
    filled["key_step_index"] = spread(list(range(len(steps))), np.int64)
    filled["provenance.generated"] = spread([told.generated for told in provenances], bool)
    filled["provenance.preset"] = spread([told.preset for told in provenances], str)
    filled["provenance.model_hash"] = spread([told.model_hash for told in provenances], str)
    filled["provenance.seed"] = spread([told.seed for told in provenances], np.int64)
    filled["provenance.prompt"] = spread([told.prompt for told in provenances], str)
    filled["provenance.candidate"] = spread([told.candidate for told in provenances], np.int64)
    return {name: np.nan_to_num(array) if array.dtype.kind == "f" else array for name, array in filled.items()}


def hand_states(episode: Episode) -> NDArray[np.float32]:
    """(T, 8): of each hand where it pinches, how wide, and whether it is there; named by `HAND_STATE_NAMES`.

    The pinch is the middle between the tips of thumb and index finger, x and y normalised to the frame; the aperture is
    the distance between them in the same units. Where a hand is absent it stays where it was last seen, or will first
    be seen, with presence 0; a hand that never appears is in the middle of the frame. Learners from human video take
    the next frame's hand pose for the action, and so does the column ``action``.
    """
    tips = np.concatenate([step.hands.keypoints[:, :, [_THUMB_TIP, _INDEX_TIP], :2] for step in episode.key_steps])
    there = np.asarray(np.isfinite(tips).all(axis=(2, 3)))  # (T, 2)
    states = np.zeros((len(tips), 2, 4), np.float32)
    for side in range(2):
        seen = np.flatnonzero(there[:, side])
        if not len(seen):
            states[:, side, :2] = 0.5
            continue
        nearest = seen[np.clip(np.searchsorted(seen, np.arange(len(tips)), "right") - 1, 0, None)]
        thumb, index = tips[nearest, side].transpose(1, 0, 2)  # (T, 2) each
        states[:, side, :2] = (thumb + index) / 2
        states[:, side, 2] = np.linalg.norm(thumb - index, axis=-1)
    states[:, :, 3] = there
    return states.reshape(len(tips), len(HAND_STATE_NAMES))


def hand_track(columns: Mapping[str, NDArray[Any]], start: int, stop: int) -> HandTrack:
    """The hand track of frames [start, stop), with NaN where a hand is absent."""
    presence = np.asarray(columns["hands.presence"][start:stop]).reshape(-1, 2)
    valid = presence != ABSENT
    absent = ~valid[..., None, None]
    shape = (stop - start, 2, HAND_KEYPOINTS, 3)
    return HandTrack(
        keypoints=np.where(absent, np.nan, columns["hands.keypoints"][start:stop].reshape(shape)).astype(np.float32),
        world=np.where(absent, np.nan, columns["hands.world"][start:stop].reshape(shape)).astype(np.float32),
        confidence=np.asarray(columns["hands.confidence"][start:stop], np.float32).reshape(-1, 2),
        valid=valid,
        interpolated=presence == INTERPOLATED,
    )


def robot_track(columns: Mapping[str, NDArray[Any]], schema: EpisodeSchema, terminated: bool) -> RobotTrack | None:
    """What the robot did; None in a dataset without one."""
    if not schema.robot:
        return None
    length = len(columns["action"])
    return RobotTrack(
        states=np.asarray(columns["observation.state"], np.float32).reshape(length, -1),
        actions=np.asarray(columns["action"], np.float32).reshape(length, -1),
        rewards=np.asarray(columns.get("next.reward", np.zeros(length)), np.float32).reshape(length),
        success=np.asarray(columns.get("next.success", np.zeros(length)), bool).reshape(length),
        state_names=schema.state_names,
        action_names=schema.action_names,
        terminated=terminated,
    )
