"""How well the retargeter reads true demonstrations: ``python -m ksgen_envs.executors.retarget_accuracy --scenes 10``.

Development scenes (seeds from 1,000,000 on) of all six tasks, each step read twice: from the demonstration's exact
keypoints, and from the hand track that `HandTracker` finds in its clip. The truth is the simulator's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ksgen_envs.executors.hand_pose import half_turn
from ksgen_envs.executors.reading import Reading
from ksgen_envs.executors.retarget import HandRetargeter
from ksgen_envs.executors.sight import Array
from ksgen_envs.tasks import TASKS
from ksgen_models.demonstration import Demonstration
from ksgen_models.errors import KSGenError
from ksgen_models.types import HandTrack, KeyStep, RegionOfMotion

FIRST_SEED = 1_000_000
_ROUND = ("ball", "cylinder", "peg", "knob", "button")
FIGURES = ("grasp xy cm", "grasp z cm", "carry xy cm", "carry z cm", "grasp yaw °", "turn °", "hold frames", "let go")


@dataclass(frozen=True)
class StepTruth:
    """What the simulator knows of a step.

    Attributes:
        verb, target: of the step goal.
        start, end: (3,) metres, the step goal's grasp point before and after.
        axes: (3,) before and after, the step goal's grasp axis.
        closed, there: frames, when the hand holds and when the thing is at its goal.
    """

    verb: str
    target: str
    start: Array
    end: Array
    axes: tuple[Array, Array]
    closed: float
    there: float


def step_truths(env_id: str, seed: int) -> list[StepTruth]:
    """The truth of each step of the default demonstration of a scene."""
    from ksgen_envs.demonstrator import finish, motion_generator, plan_step
    from ksgen_envs.stage import Stage, sample_person
    from ksgen_envs.workbench import Workbench

    bench = Workbench(env_id, seed)
    rng, habit = motion_generator(env_id, seed, seed)
    stage = Stage(bench, *sample_person(seed))
    truths = []
    try:
        for goal in bench.instruction.steps:
            body = stage.data.body(goal.body)
            spots = []
            turn = body.xmat.reshape(3, 3)
            spots.append((body.xpos + turn @ goal.grasp.point, turn @ goal.grasp.axis))
            work = plan_step(stage, goal, habit, rng)
            finish(stage, work)
            turn = body.xmat.reshape(3, 3)
            spots.append((body.xpos + turn @ goal.grasp.point, turn @ goal.grasp.axis))
            (start, before), (end, after) = spots
            timing = work.timing
            truths.append(StepTruth(goal.verb, goal.target, start, end, (before, after), timing.closed, timing.there))
    finally:
        stage.close()
    return truths


def key_step_of(demonstration: Demonstration, index: int, hands: HandTrack) -> KeyStep:
    """A demonstration's step as a `KeyStep` with a hand track of its clip, as if it had been imagined perfectly."""
    step = demonstration.steps[index]
    height, width = step.image.shape[:2]
    nothing = np.zeros((len(step.clip), height, width), bool)
    change = step.region_of_change.astype(np.float32)
    region = RegionOfMotion(step.region_of_motion.astype(np.float32), step.region_of_motion, nothing, change)
    goal = demonstration.images()[index + 1]
    return KeyStep(index, step.description, step.image, goal, step.clip, demonstration.fps, hands, region)


def errors_of(reading: Reading, truth: StepTruth) -> Array:
    """(8,) in the units of `FIGURES`; NaN where a figure means nothing (the yaw of a ball)."""
    grasp, carry = reading.grasp - truth.start, (reading.release - reading.grasp) - (truth.end - truth.start)
    if truth.verb == "press":
        carry[:] = np.nan
    yaw, turn = _yaw_errors(reading, truth)
    return np.array(
        [
            100 * np.hypot(grasp[0], grasp[1]),
            100 * abs(grasp[2]),
            100 * np.hypot(carry[0], carry[1]),
            100 * abs(carry[2]),
            yaw,
            turn,
            abs(reading.frames[0] - truth.closed),
            abs(reading.frames[1] - truth.there),
        ]
    )


def _yaw_errors(reading: Reading, truth: StepTruth) -> tuple[float, float]:
    # Degrees; a block may be held across either pair of faces, a round thing in any way.
    if truth.verb == "press":
        return np.nan, np.nan
    first, last = (float(np.arctan2(axis[1], axis[0])) for axis in truth.axes)
    error = reading.yaws[0] - first
    error = half_turn(np.array(2 * error)) / 2 if "block" in truth.target else half_turn(np.array(error))
    wrong_turn = half_turn(np.array(reading.yaws[1] - reading.yaws[0] - (last - first)))
    is_round = any(word in truth.target for word in _ROUND)
    return (
        np.nan if is_round else float(np.rad2deg(abs(error))),
        np.nan if is_round and truth.verb != "turn" else float(np.rad2deg(abs(wrong_turn))),
    )


def measure_scene(
    demonstration: Demonstration, truths: list[StepTruth], tracks: list[HandTrack]
) -> Iterator[tuple[str, StepTruth, Reading | KSGenError]]:
    """Read every step twice; yields ``"exact"`` or ``"tracked"``, the truth, and the reading or why there is none."""
    retargeter = HandRetargeter(demonstration.camera, demonstration.frame.shape[:2])  # type: ignore[arg-type]
    for index, (truth, track) in enumerate(zip(truths, tracks, strict=True)):
        for source in ("exact", "tracked"):
            try:
                if source == "exact":
                    reading = retargeter.read_demonstration(demonstration, index)
                else:
                    reading = retargeter.read(key_step_of(demonstration, index, track))
                retargeter.waypoints(reading, demonstration.fps, len(demonstration.steps[index].clip))
                yield source, truth, reading
            except KSGenError as exc:
                yield source, truth, exc


def table(rows: list[tuple[str, str, Array | None]]) -> str:
    """Markdown: median / 90th percentile of each figure, for each source and kind of step."""
    lines = [
        "| hand | steps of | read | " + " | ".join(FIGURES) + " |",
        "|---|---|---|" + "---|" * len(FIGURES),
    ]
    for source, kind in sorted({(source, kind) for source, kind, _ in rows}):
        group = [figures for s, k, figures in rows if (s, k) == (source, kind)]
        read = [figures for figures in group if figures is not None]
        cells = []
        for column in range(len(FIGURES)):
            values = np.array([figures[column] for figures in read])
            values = values[np.isfinite(values)]
            cells.append("{:.1f} / {:.1f}".format(*np.percentile(values, [50, 90])) if len(values) else "–")
        lines.append(f"| {source} | {kind} | {len(read)}/{len(group)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    from ksgen_envs.demonstrator import demonstrate
    from ksgen_models.hands.tracker import HandTracker

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=10, help="scenes of each task")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="the first scene's seed")
    given = parser.parse_args()
    if not (given.scenes > 0 and given.seed >= FIRST_SEED and given.seed + given.scenes <= 2 * FIRST_SEED):
        parser.error("give one scene or more, with seeds of development scenes: 1,000,000 to 1,999,999")
    rows: list[tuple[str, str, Array | None]] = []
    with HandTracker() as tracker:
        for seed in range(given.seed, given.seed + given.scenes):
            for env_id in TASKS:
                demonstration = demonstrate(env_id, seed)
                tracks = [tracker.track(step.clip, demonstration.fps) for step in demonstration.steps]
                for source, truth, reading in measure_scene(demonstration, step_truths(env_id, seed), tracks):
                    figures = errors_of(reading, truth) if isinstance(reading, Reading) else None
                    for kind in (env_id.removeprefix("KSGen/"), f"all: {truth.verb}"):
                        rows.append((source, kind, figures))
    print(table(rows))


if __name__ == "__main__":
    main()
