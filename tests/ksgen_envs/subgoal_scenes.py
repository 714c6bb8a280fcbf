"""A small environment to imagine in, and light parts of a real agent that know it or any picture.

`PushEnv` is the scene of ``tests/ksgen_agent/blob_parts.py`` as an environment: an action slides the red block.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium import spaces

sys.path.append(str(Path(__file__).parents[1] / "ksgen_agent"))

import blob_parts
from blob_parts import ClausePlanner, ColourTracker, LetterEncoder, make_frame

from ksgen_models.interfaces import Parts, RegionPrediction, never_cancelled

TASK = "push the block then push it again"
STRIDE = 4


class PushEnv(gym.Env):
    """A block at a column of a (96, 128) picture; action 2 slides it right by 4 pixels, 0 left, 1 nowhere.

    A key step is done for every 12 pixels from the start. The episode is over after ``length`` steps.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(self, render_mode="rgb_array", length=100, task=None, pixels=False):
        self.render_mode = render_mode
        self.length = length
        self.pixels = pixels
        if task is not None:
            self.task = task
        self.action_space = spaces.Discrete(3)
        state = spaces.Box(0, 1, (1,), np.float32)
        picture = spaces.Box(0, 255, (96, 128, 3), np.uint8)
        self.observation_space = spaces.Dict({"state": state, "camera": picture}) if pixels else state

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start = self.column = int(self.np_random.integers(12, 32))
        self.row = int(self.np_random.integers(40, 80))
        self.count = 0
        return self._observe(), {"steps_done": 0}

    def step(self, action):
        self.column = int(np.clip(self.column + STRIDE * (int(action) - 1), 8, 100))
        self.count += 1
        truncated = self.count >= self.length
        return self._observe(), 0.0, False, truncated, {"steps_done": (self.column - self.start) // 12}

    def render(self):
        return make_frame(row=self.row, column=self.column)

    def _observe(self):
        state = np.array([self.column / 128], np.float32)
        return {"state": state, "camera": self.render()} if self.pixels else state


gym.register("KSGenTest/Push-v0", entry_point=PushEnv)


class Repaint:
    """A KIG for any picture: each key step paints a square of its own."""

    def draw(self, frame, steps, *, seed, check_cancelled=never_cancelled):
        images = [frame]
        for index, _ in enumerate(steps):
            check_cancelled()
            image = images[-1].copy()
            image[_square(frame.shape, index)] = 255 - image[_square(frame.shape, index)]
            images.append(image)
        return np.stack(images)


class SquareRegions:
    """The square that a key step paints."""

    def predict(self, request, *, check_cancelled=never_cancelled):
        mask = np.zeros(request.image.shape[:2], np.float32)
        mask[_square(mask.shape, request.index)] = 1
        return RegionPrediction(mask, mask)


class Fade:
    """A clip that goes over from key-step image to goal in five frames."""

    fps = 8.0

    def generate(self, request, region, *, check_cancelled=never_cancelled):
        times = np.linspace(0, 1, 5)[:, None, None, None]
        return ((1 - times) * request.image + times * request.goal).astype(np.uint8)


def _square(shape, index):
    height, width = shape[:2]
    left = (index % 3) * width // 3
    return slice(height // 4, height // 2), slice(left, left + width // 4)


def any_parts(**parts):
    """Parts that work on any picture, with some of them given."""
    whole = {
        "planner": ClausePlanner(),
        "image_generator": Repaint(),
        "region_model": SquareRegions(),
        "video_generator": Fade(),
        "tracker": ColourTracker(),
        "sentence_encoder": LetterEncoder(),
        "domain_check": None,
        "provenance": {"models": {"squares": "0" * 64}},
    }
    return Parts(**{**whole, **parts})


def push_parts(**parts):
    """Parts that know the scene of `PushEnv`."""
    return blob_parts.make_parts(**parts)
