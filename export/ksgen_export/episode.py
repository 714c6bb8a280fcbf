"""`Episode`: what every dataset writer takes and every reader gives back, and the protocol `EpisodeWriter`.

An episode is a run of camera frames cut into key steps. It comes from an `Imagination` (generated frames), from a
`Demonstration` (frames of a person in the simulator), or from a robot's rollout (frames, states and actions, with the
key steps that it pursued). `ksgen_export.conversion` makes episodes and turns them back.

Axes: T frames of the whole episode, t frames of one key step, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput
from ksgen_models.types import HandTrack, RegionOfMotion

EpisodeKind = Literal["imagination", "demonstration", "rollout"]
HAND_STATE_NAMES: tuple[str, ...] = tuple(
    f"{side}.{name}" for side in ("left", "right") for name in ("x", "y", "aperture", "presence")
)
"""What stands for states and actions where no robot acts; see `ksgen_export.columns.hand_states`."""


@dataclass(frozen=True)
class FrameProvenance:
    """Where the frames of a key step come from.

    Attributes:
        generated: a model drew these frames; False for frames of a camera, real or simulated.
        preset: the preset behind the key step; empty where no model was involved.
        model_hash: one SHA-256 over the hashes of all models of the preset; empty where no model was involved.
        seed: of the imagination, or of the scene where no model was involved.
        prompt: what the models were told.
        candidate: which of the clips that were drawn of the key step this is, from 0 on; with the seed it tells the
            clip apart.
    """

    generated: bool
    preset: str
    model_hash: str
    seed: int
    prompt: str
    candidate: int = 0


@dataclass(frozen=True, eq=False)
class EpisodeKeyStep:
    """One key step of an episode and the frames ``[start, stop)`` in which it is done.

    Attributes:
        description: the key step's sentence.
        start, stop: its frames in the episode, t = stop - start.
        image: (H, W, 3) uint8, the key-step image.
        goal: (H, W, 3) uint8, how the scene is to look when the key step is done.
        hands: the hand track of these frames, (t, 2, ...); all absent where there are none.
        region_of_motion: (H, W) maps and (t, H, W) masks.
        scores: named figures; empty for what nobody scored.
        embedding: (D,) float32, the sentence's vector; D may be 0.
        frame_provenance: where these frames come from.
        provenance: everything that is recorded about the key step, plain data.
    """

    description: str
    start: int
    stop: int
    image: NDArray[np.uint8]
    goal: NDArray[np.uint8]
    hands: HandTrack
    region_of_motion: RegionOfMotion
    frame_provenance: FrameProvenance
    scores: Mapping[str, float] = field(default_factory=dict)
    embedding: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RobotTrack:
    """What a robot did, frame by frame.

    Attributes:
        states: (T, P) float32, what the robot knew of itself when frame i was taken.
        actions: (T, A) float32, what it was told to do then.
        rewards: (T,) float32, what came of the action.
        success: (T,) bool, whether all was done after the action.
        state_names, action_names: names of the P and A numbers, with units where they have any.
        terminated: the episode ended because all was done, and not because time ran out.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    success: NDArray[np.bool_]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    terminated: bool


@dataclass(frozen=True, eq=False)
class Episode:
    """A run of camera frames with a task, key steps, and where there is one a robot.

    Attributes:
        kind: what it was made from.
        task: what is done, one sentence.
        fps: frames a second.
        frames: (T, H, W, 3) uint8 RGB of the one camera.
        key_steps: in order; together they cover all T frames.
        robot: what the robot did; None where there is none.
        record: plain data (JSON) that turns the episode back into what it was made from; see `ksgen_export.conversion`.
        arrays: arrays for the same.

    Raises:
        InvalidInput: parts do not fit together; the message names the part.
    """

    kind: EpisodeKind
    task: str
    fps: float
    frames: NDArray[np.uint8]
    key_steps: tuple[EpisodeKeyStep, ...]
    robot: RobotTrack | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise InvalidInput(f"the episode {self.task!r} cannot be used: {problem}")

    def __len__(self) -> int:
        """Number of frames, T."""
        return len(self.frames)

    @property
    def plan(self) -> tuple[str, ...]:
        """The key steps' sentences."""
        return tuple(step.description for step in self.key_steps)

    @property
    def schema(self) -> EpisodeSchema:
        """What all episodes of one dataset share."""
        robot = self.robot
        return EpisodeSchema(
            fps=float(self.fps),
            height=int(self.frames.shape[1]),
            width=int(self.frames.shape[2]),
            robot=robot is not None,
            state_names=robot.state_names if robot else HAND_STATE_NAMES,
            action_names=robot.action_names if robot else HAND_STATE_NAMES,
        )


@dataclass(frozen=True)
class EpisodeSchema:
    """What all episodes of one dataset share.

    Attributes:
        fps: frames a second.
        height, width: of the frames, pixels.
        robot: whether a robot acts; else states and actions are those of the hands.
        state_names, action_names: of the robot's numbers, or `HAND_STATE_NAMES`.
    """

    fps: float
    height: int
    width: int
    robot: bool
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]


class EpisodeWriter(Protocol):
    """Writes episodes to one dataset on disk.

    Every writer is a context manager: leaving it closes it. What `add` returned from is kept by `close`; a dataset
    that was not closed is not yet one that the format's own readers open.
    """

    @property
    def folder(self) -> Path:
        """Where the dataset lies."""
        ...

    @property
    def episodes(self) -> int:
        """Number of episodes in the dataset, those of earlier runs included."""
        ...

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index.

        Raises:
            DatasetError: the episode does not fit the dataset's schema, or it cannot be written; what was written
                before stays.
        """
        ...

    def close(self) -> None:
        """Write what completes the dataset; a second call does nothing.

        Raises:
            DatasetError: it cannot be written.
        """
        ...


class DatasetReader(ABC):
    """What the readers of all formats share: episodes of one schema, each read when it is asked for.

    Args:
        folder: of the dataset.
        schema: what all episodes share.
        length: number of episodes.
    """

    def __init__(self, folder: str | Path, schema: EpisodeSchema, length: int) -> None:
        self._folder, self._schema, self._length = Path(folder), schema, length

    @property
    def folder(self) -> Path:
        """Where the dataset lies."""
        return self._folder

    @property
    def schema(self) -> EpisodeSchema:
        """What all episodes share."""
        return self._schema

    def __len__(self) -> int:
        """Number of episodes."""
        return self._length

    @abstractmethod
    def __getitem__(self, index: int) -> Episode:
        """Read an episode.

        Raises:
            IndexError: there are fewer.
            DatasetError: a file of it is missing or damaged.
        """

    def __iter__(self) -> Iterator[Episode]:
        """Read one after the other."""
        return (self[index] for index in range(len(self)))


def _problems(episode: Episode) -> Iterator[str]:
    frames = episode.frames
    if episode.kind not in get_args(EpisodeKind):
        yield f"kind is {episode.kind!r}, not one of {', '.join(get_args(EpisodeKind))}"
    if not episode.task.strip():
        yield "it has no task"
    if not (np.isfinite(episode.fps) and episode.fps > 0):
        yield f"fps is {episode.fps!r}, not a positive number"
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        yield f"frames are {frames.dtype} {frames.shape}, not uint8 (T, H, W, 3) with at least one frame"
        return
    ends = [0, *(step.stop for step in episode.key_steps)]
    if not episode.key_steps or ends[-1] != len(frames):
        yield f"its key steps end at frame {ends[-1]}, it has {len(frames)} frames"
    for index, (step, start) in enumerate(zip(episode.key_steps, ends, strict=False)):
        if step.start != start or step.stop <= step.start:
            yield f"key step {index} has frames [{step.start}, {step.stop}) where one from {start} on was due"
        yield from (f"key step {index}: {problem}" for problem in _key_step_problems(step, frames.shape[1:]))
    if episode.robot is not None:
        yield from _robot_problems(episode.robot, len(frames))


def _key_step_problems(step: EpisodeKeyStep, size: tuple[int, ...]) -> Iterator[str]:
    length, maps = step.stop - step.start, size[:2]
    wanted: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "image": (step.image, size),
        "goal": (step.goal, size),
        "hands.keypoints": (step.hands.keypoints, (length, 2, 21, 3)),
        "hands.world": (step.hands.world, (length, 2, 21, 3)),
        "hands.confidence": (step.hands.confidence, (length, 2)),
        "hands.valid": (step.hands.valid, (length, 2)),
        "hands.interpolated": (step.hands.interpolated, (length, 2)),
        "region_of_motion.predicted": (step.region_of_motion.predicted, maps),
        "region_of_motion.observed": (step.region_of_motion.observed, maps),
        "region_of_motion.change": (step.region_of_motion.change, maps),
        "region_of_motion.per_frame": (step.region_of_motion.per_frame, (length, *maps)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            yield f"{name} has shape {array.shape}, not {shape}"


def _robot_problems(robot: RobotTrack, length: int) -> Iterator[str]:
    wanted: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "states": (robot.states, (length, len(robot.state_names))),
        "actions": (robot.actions, (length, len(robot.action_names))),
        "rewards": (robot.rewards, (length,)),
        "success": (robot.success, (length,)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            yield f"robot.{name} has shape {array.shape}, not {shape}"
        elif array.dtype != bool and not np.isfinite(array).all():
            yield f"robot.{name} holds numbers that are not finite"
