"""How often a retargeted key step succeeds in the simulator, with contact physics.

``python -m ksgen_envs.executors.retarget_success --scenes 4`` does development scenes of all six tasks from *true*
demonstrations: hands as `HandTracker` finds them in the true clips, pictures as the camera took them. ``--imagined``
takes what an agent imagines instead.

*Single key steps*: each key step alone, from the simulator's true state before it. *Whole tasks*: from the true start,
one key step after the other from wherever the robot has got to; a task is done when the simulator says that all of it
is and still is at the end. A true demonstration is recorded once, from the true start: its later key steps know nothing
of what the robot did to the scene. With ``--imagined`` every next key step is imagined anew from the robot's camera,
and once more where the agent sees that it was not done (``--tries``).

A line of JSON a scene goes to standard output (or is added to ``--out``), so that parts can be run apart;
``--sum FILE ...`` prints the table of parts. ``--part single`` and ``--part whole`` do one of the two; give each a file
of its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ksgen_envs.executors.execution import KeyStepExecutor
from ksgen_envs.executors.imagined import imagine_next
from ksgen_envs.executors.retarget_accuracy import FIRST_SEED, key_step_of
from ksgen_envs.executors.retarget_results import PARTS, Attempt, SceneResult, read_results, table
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.tasks import TASKS
from ksgen_models.errors import KSGenError
from ksgen_models.progress import TRIED_AGAIN_TO
from ksgen_models.scores import trust
from ksgen_models.types import KeyStep

if TYPE_CHECKING:
    from ksgen_agent import Imaginer
    from ksgen_models.interfaces import Parts, Tracker

CANDIDATES = 4
TRIES = 2


class Source(Protocol):
    """Where key steps come from."""

    def single(self, env: WorkbenchEnv, index: int) -> KeyStep:
        """Key step ``index`` of the environment's instruction, the scene being as it is before it.

        Raises:
            KSGenError: there is none.
        """
        ...

    def whole(self, env: WorkbenchEnv) -> Iterator[KeyStep]:
        """All key steps of the instruction; each is asked for when the one before it has been executed.

        Raises:
            KSGenError: there is no further one, though there should be.
        """
        ...


class Demonstrated:
    """Key steps of the scene's true demonstration, with tracked hands.

    Args:
        tracker: finds the hands in the true clips.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._shown: tuple[str, int, tuple[KeyStep, ...]] = ("", -1, ())

    def single(self, env: WorkbenchEnv, index: int) -> KeyStep:
        """The demonstration's step."""
        return self._steps(env)[index]

    def whole(self, env: WorkbenchEnv) -> Iterator[KeyStep]:
        """The demonstration's steps as they were recorded, whatever the scene has come to."""
        yield from self._steps(env)

    def _steps(self, env: WorkbenchEnv) -> tuple[KeyStep, ...]:
        from ksgen_envs.demonstrator import demonstrate

        if self._shown[:2] != (env.env_id, env.bench.seed):
            shown = demonstrate(env.env_id, env.bench.seed, image_size=env.image_size)
            tracks = [self._tracker.track(step.clip, shown.fps) for step in shown.steps]
            steps = tuple(key_step_of(shown, index, track) for index, track in enumerate(tracks))
            self._shown = (env.env_id, env.bench.seed, steps)
        return self._shown[2]


class Imagined:
    """Key steps that an imaginer imagines from the robot's camera, what some imaginations of each agree on.

    A single key step is asked for by its sentence. For a whole task the planner is told the task alone: it plans once,
    from the first frame, and the robot does what that plan says, imagining each key step anew before it does it. A key
    step that the agent's step verifier then sees as surely not done is imagined and done once more.

    Args:
        parts: whose planner plans tasks, and whose step verifier, if any, sees what has been done.
        imaginer: takes the sentence of a key step for the whole plan (`ksgen_models.planner.VerbatimPlanner`).
        candidates: imaginations of a key step.
        tries: of each key step of a whole task.
    """

    def __init__(self, parts: Parts, imaginer: Imaginer, candidates: int = CANDIDATES, tries: int = TRIES) -> None:
        self._parts, self._imaginer, self._candidates, self._tries = parts, imaginer, candidates, tries

    def single(self, env: WorkbenchEnv, index: int) -> KeyStep:
        """Imagined from the scene as it is."""
        return self._next(env, env.instruction.steps[index].description, index)

    def whole(self, env: WorkbenchEnv) -> Iterator[KeyStep]:
        """The plan's steps, each imagined from the scene as it is when it is asked for."""
        plan = self._parts.planner.plan(env.picture(), env.instruction.task)
        for index, sentence in enumerate(plan.steps):
            for earlier in range(self._tries):
                yield self._next(env, sentence, index, earlier)
                if self._parts.verifier is None:
                    break
                if self._parts.verifier.verify(env.picture(), plan.steps)[index].done > TRIED_AGAIN_TO:
                    break

    def _next(self, env: WorkbenchEnv, sentence: str, index: int, earlier: int = 0) -> KeyStep:
        return imagine_next(
            self._imaginer,
            env.picture(),
            sentence,
            task=env.instruction.task,
            index=index,
            candidates=self._candidates,
            seed=env.bench.seed + earlier * self._candidates,
        )


def measure_scene(env_id: str, seed: int, source: Source, parts: Collection[str] = PARTS) -> SceneResult:
    """Do a scene's key steps, each alone and then all in a row.

    Args:
        env_id, seed: the scene.
        source: of key steps.
        parts: ``"single"``, ``"whole"`` or both.
    """
    env = WorkbenchEnv(env_id, continuing=True)
    try:
        env.reset(options={"scene_seed": seed})
        executor = KeyStepExecutor(env)
        result = SceneResult(env_id, seed)
        if "single" in parts:
            count = len(env.instruction.steps)
            result = replace(result, single=tuple(_alone(executor, source, env, index) for index in range(count)))
        if "whole" in parts:
            env.reset(options={"scene_seed": seed})
            done: list[Attempt] = []
            broken_off = ""
            try:
                for step in source.whole(env):
                    done.append(_attempt(executor, step))
            except KSGenError as exc:
                broken_off = f"{type(exc).__name__}: {exc}"
            result = replace(result, whole=tuple(done), task_done=executor.task_done, broken_off=broken_off)
        return result
    finally:
        env.close()


def _alone(executor: KeyStepExecutor, source: Source, env: WorkbenchEnv, index: int) -> Attempt:
    env.reset(options={"scene_seed": env.bench.seed, "key_step": index})
    try:
        step = source.single(env, index)
    except KSGenError as exc:
        return Attempt(env.key_step.description, False, f"{type(exc).__name__}: {exc}")
    return _attempt(executor, step)


def _attempt(executor: KeyStepExecutor, step: KeyStep) -> Attempt:
    done = executor.execute(step)
    trusted = trust(step.scores) if step.scores else None
    return Attempt(step.description, done.success, done.error, trusted, dict(step.scores))


def main(arguments: list[str] | None = None) -> None:
    """Measure, or add up what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4, help="scenes of each task")
    parser.add_argument("--first", type=int, default=FIRST_SEED + 100, help="the first scene seed")
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task (may be repeated)")
    parser.add_argument("--imagined", action="store_true", help="let an agent imagine the key steps")
    parser.add_argument("--candidates", type=int, default=CANDIDATES, help="imaginations to choose the best from")
    parser.add_argument("--tries", type=int, default=TRIES, help="of a key step that is imagined and seen as not done")
    parser.add_argument("--preset", default="mini", help="who imagines")
    parser.add_argument("--part", choices=PARTS, help="only single key steps, or only whole tasks")
    parser.add_argument("--out", type=Path, help="add lines of JSON to this file, and leave out scenes it holds")
    parser.add_argument("--sum", type=Path, nargs="+", metavar="FILE", help="only print the table of these files")
    asked = parser.parse_args(arguments)
    if asked.sum:
        print(table(read_results(asked.sum)))
        return
    if not (asked.scenes > 0 and asked.first >= FIRST_SEED and asked.first + asked.scenes <= 2 * FIRST_SEED):
        parser.error("give one scene or more, with seeds of development scenes: 1,000,000 to 1,999,999")
    known = list(read_results([asked.out])) if asked.out and asked.out.exists() else []
    have = {(result.env_id, result.seed) for result in known}
    seeds = range(asked.first, asked.first + asked.scenes)
    wanted = [(env_id, seed) for seed in seeds for env_id in asked.task or TASKS]
    results = [result for result in known if (result.env_id, result.seed) in wanted]
    with source_of(asked.preset if asked.imagined else None, asked.candidates, asked.tries) as source:
        for env_id, seed in wanted:
            if (env_id, seed) in have:
                continue
            results.append(measure_scene(env_id, seed, source, (asked.part,) if asked.part else PARTS))
            line = json.dumps(asdict(results[-1]))
            print(line, flush=True)
            if asked.out:
                with asked.out.open("a") as file:
                    file.write(line + "\n")
    print(table(results))


@contextmanager
def source_of(preset: str | None, candidates: int = CANDIDATES, tries: int = TRIES) -> Iterator[Source]:
    """True demonstrations, or a preset's imaginations (see `Imagined`); frees the networks at the end."""
    if preset:
        from ksgen_agent import Agent
        from ksgen_agent.presets import find_preset, load_parts
        from ksgen_models.planner import VerbatimPlanner

        parts = load_parts(find_preset(preset))
        with Agent(parts=parts, planner=VerbatimPlanner()) as agent:
            yield Imagined(parts, agent, candidates, tries)
        return
    from ksgen_models.hands.tracker import HandTracker

    with HandTracker() as tracker:
        yield Demonstrated(tracker)


if __name__ == "__main__":
    main()
