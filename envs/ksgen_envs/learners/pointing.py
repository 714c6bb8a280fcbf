"""How well hands point: what subgoals tell a policy, measured without one.

``python -m ksgen_envs.learners.pointing --scenes 10 --imaginations DIR`` imagines development scenes (as
`ksgen-agent learn compare` does them, so that imaginations are shared) and compares each key step's rays with the
simulator's truth: how far they pass from the true place, and whether of all things the one that is to be moved, or the
one that it is to rest on, is the nearest to the ray. ``--true`` does the same for the simulated person's hands.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import Imaginer
from ksgen_envs.executors.expert import wilson
from ksgen_envs.executors.sight import Sight
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.learners import condition as c
from ksgen_envs.learners.comparison import explicit_instruction
from ksgen_envs.subgoals.layout import SubgoalLayout
from ksgen_envs.subgoals.wrapper import Seeds
from ksgen_envs.tasks import TASKS
from ksgen_models.errors import KSGenError


@dataclass(frozen=True)
class Pointed:
    """One key step.

    Attributes:
        env_id, scene, sentence: which.
        hand: whether its hand could be read.
        off: metres by which the rays of grasp and release pass the true places; NaN without a hand.
        right: whether the nearest things to the rays are the thing that moves and what it is to rest on or in; the
            second is None where nothing of the kind is asked for.
    """

    env_id: str
    scene: int
    sentence: str
    hand: bool
    off: tuple[float, float] = (float("nan"), float("nan"))
    right: tuple[bool, bool | None] = (False, None)


def point(env: WorkbenchEnv, instruction: int, imagination: Imagination) -> Iterator[Pointed]:
    """Compare the key steps of a scene's imagination with the truth.

    Args:
        env: of the scene that was imagined; is reset.
        instruction: that was imagined, index into `Workbench.instructions`.
        imagination: its key steps; those beyond the instruction's are left out.
    """
    scene, size = env.bench.seed, env.image_size
    frames = max(len(step.hands.keypoints) for step in imagination.steps)
    embedded = len(imagination.steps[0].embedding)
    arrays = SubgoalLayout(size, size, frames, embedded, c.SUBGOAL_KEYS).encode(imagination)
    for index, subgoal in enumerate(arrays[: len(env.bench.instructions()[instruction].steps)]):
        env.reset(options={"scene_seed": scene, "instruction": instruction, "key_step": index})
        sight = Sight(env.bench.camera(env.model, env.data), size, size)
        told = {f"subgoal_{name}": value for name, value in subgoal.items()}
        read = c.read_subgoal({"subgoal_valid": np.ones(1, np.int8), **told}, sight)
        yield _compare(env, read, c.read_truth(env, sight))


def _compare(env: WorkbenchEnv, read: NDArray[np.float32], truth: NDArray[np.float32]) -> Pointed:
    goal, scene = env.key_step, env.bench.seed
    if not read[c.HAND]:
        return Pointed(env.env_id, scene, goal.description, hand=False)
    bodies = list(env.bench.object_bodies)
    places = np.array([env.data.body(body).xpos for body in bodies])
    heights = (float(env.data.body(goal.body).xpos[2]), float(goal.goal[2]) if len(goal.goal) == 7 else 0.05)
    off, nearest = [], []
    for ray, height in zip((c.GRASP, c.RELEASE), heights, strict=True):
        off.append(float(np.linalg.norm(_at(read[ray], height) - _at(truth[ray], height))))
        away = [float(np.linalg.norm(_at(read[ray], place[2]) - place[:2])) for place in places]
        nearest.append(sorted(range(len(bodies)), key=away.__getitem__))
    moved = bodies.index(goal.body)
    rests = next((thing for thing in nearest[1] if thing != moved), -1)
    supported = bodies[rests] == goal.support if goal.support in bodies else None
    return Pointed(env.env_id, scene, goal.description, True, (off[0], off[1]), (nearest[0][0] == moved, supported))


def _at(ray: NDArray[np.floating[Any]], height: float) -> NDArray[np.floating[Any]]:
    return ray[:2] + (ray[2:] - ray[:2]) * (height - c.LOW) / (c.HIGH - c.LOW)


def table(found: list[Pointed]) -> str:
    """Markdown: for each task and for all, with medians, 90th percentiles and Wilson's 95 % intervals."""
    lines = [
        "| task | key steps, with a hand | grasp off, median / 90 % | release off | right thing | right support |",
        "|---|---|---|---|---|---|",
    ]
    for name in (*TASKS, "all"):
        group = [one for one in found if name in (one.env_id, "all")]
        seen = [one for one in group if one.hand]
        if seen:
            off = 100 * np.array([one.off for one in seen])
            middle, most = np.median(off, axis=0), np.percentile(off, 90, axis=0)
            supports = [one.right[1] for one in seen if one.right[1] is not None]
            lines.append(
                f"| {name} | {len(seen)} of {len(group)} | {middle[0]:.1f} / {most[0]:.1f} cm | "
                f"{middle[1]:.1f} / {most[1]:.1f} cm | {_share([one.right[0] for one in seen])} | {_share(supports)} |"
            )
    return "\n".join(lines)


def _share(right: list[bool]) -> str:
    if not right:
        return "–"
    low, high = wilson(sum(right), len(right))
    return f"{sum(right)} of {len(right)} ({low:.0%}–{high:.0%})"


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a line a key step and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=10, help="of each task")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first scene seed")
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task (may be repeated)")
    parser.add_argument("--true", action="store_true", help="the simulated person's hands instead of imagined ones")
    parser.add_argument("--imaginations", type=Path, default=Path("out/imaginations"), help="folder that keeps them")
    asked = parser.parse_args(arguments)
    seeds = range(asked.first, asked.first + asked.scenes)
    if not (asked.scenes > 0 and asked.first >= 1_000_000 and seeds.stop <= 2_000_000):
        parser.error("give one scene or more, with seeds of development scenes: 1,000,000 to 1,999,999")
    found: list[Pointed] = []
    with ExitStack() as stack:
        imaginer = None if asked.true else _open(asked.imaginations, stack)
        for env_id in asked.task or TASKS:
            for scene in seeds:
                found += _scene(env_id, scene, imaginer)
    print(table(found))


def _open(folder: Path, stack: ExitStack) -> Imaginer:
    from ksgen_agent import Agent
    from ksgen_envs.subgoals.kept import KeptImaginer

    return KeptImaginer(stack.enter_context(Agent()), folder)


def _scene(env_id: str, scene: int, imaginer: Imaginer | None) -> list[Pointed]:
    from ksgen_envs.learners.true_subgoals import DemonstrationImaginer
    from ksgen_models.text import MiniLM

    instruction = explicit_instruction(env_id, scene)
    if instruction is None:
        return []
    env, seeds = WorkbenchEnv(env_id), Seeds(None)
    try:
        seeds.reset(scene)
        env.reset(options={"scene_seed": scene, "instruction": instruction})
        who = imaginer or DemonstrationImaginer(env, MiniLM(), pictures=False)
        done = list(point(env, instruction, who.imagine(env.picture(), env.instruction.task, seed=seeds.draw())))
    except KSGenError as exc:
        print(f"{env_id} {scene}: {type(exc).__name__}: {exc}", flush=True)
        return []
    finally:
        env.close()
    for one in done:
        print(f"{env_id} {scene} {one.sentence!r}: {one.off[0]:.3f} {one.off[1]:.3f} m, {one.right}", flush=True)
    return done


if __name__ == "__main__":
    main()
