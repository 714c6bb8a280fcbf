"""Subgoals as arrays of fixed shapes, and how they join an environment's observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.subgoal import Subgoal
from ksgen_models.errors import InvalidInput

Arrays = dict[str, NDArray[Any]]
Mode = Literal["observation", "goal"]

KEYS = ("embedding", "goal", "keypoints", "keypoints_valid", "region_of_motion", "scores", "index", "total")
VALID = "subgoal_valid"
KEYPOINT_LIMIT = 8.0  # image sizes; farther keypoints are cut off, so that the space is bounded
_GOALS = ("achieved_goal", "desired_goal")


@dataclass(frozen=True)
class SubgoalLayout:
    """The arrays of a subgoal, brought to sizes that never change.

    Attributes:
        height, width: pixels of ``goal`` and ``region_of_motion``.
        frames: T of ``keypoints`` and ``keypoints_valid``; a clip of another length is sampled at T even times.
        embedding_dimension: D of ``embedding``.
        keys: which of `KEYS` are wanted.
    """

    height: int
    width: int
    frames: int
    embedding_dimension: int
    keys: tuple[str, ...] = KEYS

    def __post_init__(self) -> None:
        unknown = [key for key in self.keys if key not in KEYS]
        if unknown or len(set(self.keys)) != len(self.keys):
            raise InvalidInput(f"keys={self.keys} has unknown or repeated names; choose from {KEYS}")
        for name in ("height", "width", "frames", "embedding_dimension"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be at least 1")

    def spaces(self) -> dict[str, spaces.Space[Any]]:
        """Space by key, as `ksgen_agent.Subgoal.space` has them, bounded and with room for "no subgoal"."""
        whole = Subgoal.space(
            self.height, self.width, frames=self.frames, embedding_dimension=self.embedding_dimension
        ).spaces
        keypoints = whole["keypoints"].shape
        whole["keypoints"] = spaces.Box(-KEYPOINT_LIMIT, KEYPOINT_LIMIT, keypoints, np.float32)
        whole["total"] = spaces.Box(0, np.iinfo(np.int32).max, (1,), np.int32)
        scores = whole["scores"]
        if isinstance(scores, spaces.Box):  # 0 stands for "no subgoal" in every score
            low, high = np.minimum(scores.low, 0), np.maximum(scores.high, 0)
            whole["scores"] = spaces.Box(low, high, dtype=np.float32)
        return {key: whole[key] for key in self.keys}

    def encode(self, imagination: Imagination) -> tuple[Arrays, ...]:
        """The arrays of every key step, in order.

        Raises:
            InvalidInput: the embeddings have another length than the layout.
        """
        return tuple(self._encode(subgoal) for subgoal in imagination.subgoals())

    def _encode(self, subgoal: Subgoal) -> Arrays:
        size = len(subgoal.embedding)
        if "embedding" in self.keys and size not in (0, self.embedding_dimension):
            raise InvalidInput(
                f"the imaginer's embeddings have {size} numbers and the observation space has room for "
                f"{self.embedding_dimension}; pass embedding_dimension={size}"
            )
        times = np.linspace(0, max(len(subgoal.keypoints) - 1, 0), self.frames).round().astype(int)
        held = replace(
            subgoal,
            embedding=subgoal.embedding if size else np.zeros(self.embedding_dimension, np.float32),
            goal=self.resize(subgoal.goal),
            keypoints=np.clip(subgoal.keypoints[times], -KEYPOINT_LIMIT, KEYPOINT_LIMIT),  # (T, 2, 21, 3)
            keypoints_valid=subgoal.keypoints_valid[times],
            region_of_motion=(self.resize(subgoal.region_of_motion.astype(np.uint8) * 255) >= 128).astype(np.int8),
        ).as_observation()
        return {key: held[key] for key in self.keys}

    def nothing(self) -> Arrays:
        """Zeros: there is no subgoal."""
        return {key: np.zeros(space.shape or (), space.dtype) for key, space in self.spaces().items()}

    def resize(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring (H, W, 3) or (H, W) uint8 to the layout's height and width."""
        return resize(picture, self.height, self.width)


def resize(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) or (H, W) uint8 with antialiasing (Pillow's bilinear filter)."""
    if picture.shape[:2] == (height, width):
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Composer:
    """Joins subgoals to observations of one environment, or of a batch.

    Attributes:
        mode: ``"observation"``: the environment's entries and ``subgoal_<key>``. ``"goal"``: as goal environments have
            it, ``achieved_goal`` the camera's picture and ``desired_goal`` the subgoal's goal picture, instead of what
            the environment calls so, and ``subgoal_<key>`` for the other keys.
        base: observation space of a single environment; one that is no Dict becomes the entry ``observation``.
        layout: the subgoal's arrays.
    """

    mode: Mode
    base: spaces.Space[Any]
    layout: SubgoalLayout

    def __post_init__(self) -> None:
        if self.mode not in ("observation", "goal"):
            raise InvalidInput(f"mode={self.mode!r} is not understood; pass 'observation' or 'goal'")
        if self.mode == "goal" and "goal" not in self.layout.keys:
            raise InvalidInput(f"mode='goal' needs the key 'goal'; keys={self.layout.keys}")
        taken = set(self._base_spaces()) & set(self._own_spaces())
        if taken:
            raise InvalidInput(f"the environment's observation has the entries {sorted(taken)} already")

    @property
    def needs_frame(self) -> bool:
        """Every observation shows the present picture."""
        return self.mode == "goal"

    def space(self) -> spaces.Dict:
        """Observation space of a single wrapped environment."""
        return spaces.Dict({**self._base_spaces(), **self._own_spaces()})

    def compose(self, observation: Any, subgoal: Mapping[str, NDArray[Any]], frame: NDArray[np.uint8] | None) -> Any:
        """Join; all three may have a leading batch axis.

        Args:
            observation: of the environment.
            subgoal: the layout's arrays and `VALID`.
            frame: the present picture at the layout's size, (H, W, 3); only needed where `needs_frame`.
        """
        whole = dict(observation) if isinstance(self.base, spaces.Dict) else {"observation": observation}
        for key in _GOALS if self.mode == "goal" else ():
            whole.pop(key, None)
        for key, value in subgoal.items():
            whole[self._name(key)] = value
        if self.mode == "goal":
            whole["achieved_goal"] = frame
        return whole

    def _name(self, key: str) -> str:
        if key == VALID:
            return key
        return "desired_goal" if self.mode == "goal" and key == "goal" else f"subgoal_{key}"

    def _base_spaces(self) -> dict[str, spaces.Space[Any]]:
        if not isinstance(self.base, spaces.Dict):
            return {"observation": self.base}
        hidden = _GOALS if self.mode == "goal" else ()
        return {key: space for key, space in self.base.spaces.items() if key not in hidden}

    def _own_spaces(self) -> dict[str, spaces.Space[Any]]:
        own: dict[str, spaces.Space[Any]] = {self._name(key): space for key, space in self.layout.spaces().items()}
        if self.mode == "goal":
            own["achieved_goal"] = own["desired_goal"]
        own[VALID] = spaces.MultiBinary(1)
        return own
