"""An imagination against its networks' forward calls alone, and how its cost grows.

The forward calls of one imagination are kept with their inputs and made once more, one after the other, with nothing
between them: what no agent around the same networks can beat that does one thing at a time. The two take turns.
"""

from __future__ import annotations

import resource
import statistics
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent import Agent
from ksgen_agent.presets import find_preset, load_parts
from ksgen_launch.benchmarks.figures import LESS, LIMIT, MORE, Part, Ratio, ratio
from ksgen_launch.benchmarks.forwards import Call, Watch, again, staged, watched
from ksgen_launch.benchmarks.profile import Profile, account, tables
from ksgen_launch.benchmarks.rounds import Scale, grow, over, seconds, take_turns
from ksgen_launch.scenes import camera_frame
from ksgen_models.interfaces import Parts, Planner
from ksgen_models.types import Plan

SCENE, SCENE_SEED, TASK = "KSGen/AssembleShelf-v0", 1_000_003, "assemble shelf"
SIDES = (128, 256, 512, 1024)
CANDIDATES = (1, 2, 4)


class Shortened:
    """A planner whose plans end early.

    Attributes:
        most: key steps that a plan may have; None for all.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self.most: int | None = None

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        """See `ksgen_models.interfaces.Planner`."""
        plan = self._planner.plan(frame, task)
        return replace(plan, steps=plan.steps[: self.most])


@dataclass(frozen=True)
class _Subject:
    """What is measured: an agent with a planner that can be told to stop early, and a frame."""

    agent: Agent
    parts: Parts
    planner: Shortened
    stages: Watch
    frame: NDArray[np.uint8]

    def imagine(self, *, steps: int | None = None, frame: NDArray[np.uint8] | None = None, seed: int = 0) -> Any:
        """One imagination; the same arguments do the same work."""
        self.planner.most = steps
        return self.agent.imagine(self.frame if frame is None else frame, TASK, seed=seed)


def measure(scale: Scale, preset: str = "mini") -> Part:
    """Run the part; see the module.

    Raises:
        PresetError, WeightsMissing: as of `Agent`.
    """
    with _Opened(preset) as subject:
        profile, calls = _profile(subject)
        turns = take_turns(
            scale.rounds,
            {"imagine": lambda: seconds(subject.imagine), "forwards": lambda: seconds(lambda: again(calls))},
        )
        first = [_first_step(subject) for _ in range(scale.rounds)]
        peak = _peak_memory_mb()
        calls.clear()
        grown = [_steps(subject, scale), _sides(subject, scale), _candidates(subject, scale)]
    totals = turns["imagine"]
    words = "imagine over its networks' forward calls alone, one after the other (it tracks hands beside drawing)"
    ratios = [
        ratio("imagine/forwards", words, LIMIT, over(totals, turns["forwards"]), better=LESS),
        _share(profile),
        *(growth for _, growth in grown),
    ]
    figures = {
        "whole, s": statistics.median(totals),
        "first key step, s": statistics.median(first),
        "forward calls alone, s": statistics.median(turns["forwards"]),
        "peak memory, MB": peak,
    }
    how = f'`imagine(frame, "{TASK}")`, preset {preset}, {_size(subject.frame)}, warm, the same seed in every round'
    return Part("imagine", how, tuple(ratios), figures, tuple(curve for curve, _ in grown), tables(profile))


def measure_profile(preset: str = "mini") -> Part:
    """The profile alone."""
    with _Opened(preset) as subject:
        profile, _ = _profile(subject)
    how = f'One warm `imagine(frame, "{TASK}")`, preset {preset}, {_size(subject.frame)}'
    figures = {"whole, s": profile.total, "peak memory, MB": _peak_memory_mb()}
    return Part("imagine", how, (_share(profile),), figures, (), tables(profile))


class _Opened:
    """Opens a `_Subject`, warm, and closes its agent."""

    def __init__(self, preset: str) -> None:
        self._preset = preset

    def __enter__(self) -> _Subject:
        parts = load_parts(find_preset(self._preset))
        planner, stages = Shortened(parts.planner), Watch()
        agent = Agent(self._preset, parts=staged(replace(parts, planner=planner), stages))
        self._agent = agent
        try:
            subject = _Subject(agent, parts, planner, stages, camera_frame(SCENE, SCENE_SEED))
            subject.imagine()
        except BaseException:
            agent.close()
            raise
        return subject

    def __exit__(self, *_: object) -> None:
        self._agent.close()


def _profile(subject: _Subject) -> tuple[Profile, list[Call]]:
    """Where the time of one imagination went, and its forward calls."""
    watch = Watch(keep=True)
    before = len(subject.stages.timed)
    with watched(subject.parts, watch):
        began = time.perf_counter()
        subject.imagine()
        ended = time.perf_counter()
    return account(began, ended, watch.timed, subject.stages.timed[before:]), watch.calls


def _share(profile: Profile) -> Ratio:
    return ratio("imagine/share", "share of the time in which some network computes", LIMIT, [profile.share],
                 better=MORE, bar=0.85)  # fmt: skip


def _first_step(subject: _Subject) -> float:
    subject.planner.most = None
    began = time.perf_counter()
    stream = subject.agent.imagine_stream(subject.frame, TASK, seed=0)
    next(stream)
    taken = time.perf_counter() - began
    stream.close()
    return taken


def _steps(subject: _Subject, scale: Scale) -> Any:
    def cost(steps: int) -> float:
        return seconds(lambda: subject.imagine(steps=steps))

    subject.planner.most = None
    most = len(subject.parts.planner.plan(subject.frame, TASK).steps)
    return grow(scale, "imagine-steps", "imagine", "key steps", "seconds", range(1, most + 1), cost)


def _sides(subject: _Subject, scale: Scale) -> Any:
    import cv2

    frames = {
        side: np.asarray(cv2.resize(subject.frame, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
        for side in SIDES
    }

    def cost(side: int) -> float:
        return seconds(lambda: subject.imagine(steps=1, frame=frames[side]))

    title = "imagine one key step"
    return grow(scale, "imagine-size", title, "pixels, side of the frame", "seconds", SIDES, cost)


def _candidates(subject: _Subject, scale: Scale) -> Any:
    """Several imaginations of one frame at once, as whoever chooses the best of them asks for."""

    def cost(number: int) -> float:
        subject.planner.most = 1
        threads = [
            threading.Thread(target=subject.agent.imagine, args=(subject.frame, TASK), kwargs={"seed": seed})
            for seed in range(number)
        ]

        def run() -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return seconds(run)

    title = "imagine one key step several times at once"
    return grow(scale, "imagine-candidates", title, "candidates", "seconds", CANDIDATES, cost)


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _size(frame: NDArray[np.uint8]) -> str:
    return f"a camera frame of {frame.shape[1]} × {frame.shape[0]} pixels"
