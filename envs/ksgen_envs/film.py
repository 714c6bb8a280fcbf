"""A short film of a task: what the camera saw, how a hand does it (imagined or demonstrated), the robot doing it.

``python -m ksgen_envs.film --task KSGen/StackBlocks-v0 --scene 1000000 --out film.gif`` films a true demonstration and
the robot that follows it; ``--imagined`` films what an agent imagines from the robot's camera, each key step anew
before it is done; ``--imagination DIR`` what was imagined of the scene's first frame and saved, all of it done without
imagining anew. Below the pictures
stands the key step's sentence, and when the robot has driven home, whether the simulator takes the step as done.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.continuing import meaning
from ksgen_envs.executors.execution import Execution, KeyStepExecutor
from ksgen_envs.executors.retarget_success import CANDIDATES, source_of
from ksgen_envs.goal_env.environment import CONTROL_HZ, WorkbenchEnv
from ksgen_envs.goals import StepGoal
from ksgen_envs.tasks import TASKS
from ksgen_envs.workbench import Workbench
from ksgen_models.errors import InvalidInput
from ksgen_models.types import KeyStep

Frames = NDArray[np.uint8]
EVERY = 8
"""Actions from one picture of the robot to the next."""
FPS = 12.0
"""Frames a second of the film: the robot is shown at four times its speed."""
STRIP = 20
"""Pixels of the lines of text above and below the pictures."""
GAP = 4
"""Pixels between pictures."""
_VERDICT, _END = 6, 10  # frames that a step's verdict stands, and the last one
_INK, _FAINT, _GOOD, _BAD, _PAPER = (40, 40, 40), (110, 110, 110), (20, 120, 60), (190, 40, 30), 255


@dataclass(frozen=True, eq=False)
class Film:
    """What was filmed.

    Attributes:
        frames: (T, H + 40, 3 W + 8, 3) uint8: camera frame, hand, robot side by side, the words above and below.
        steps: how each try of a key step went.
        task_done: whether all that the instruction asks for is there at the end: the simulator's word.
    """

    frames: Frames
    steps: tuple[Execution, ...]
    task_done: bool

    def __str__(self) -> str:
        done: dict[str, bool] = {}
        for step in self.steps:
            what = meaning(step.description)
            done[what] = step.success or done.get(what, False)
        return (
            f"{sum(done.values())} of {len(done)} key steps done, the task {'done' if self.task_done else 'not done'}"
        )

    def then(self, later: Film) -> Film:
        """This film and a later one of the same scene."""
        return Film(np.concatenate([self.frames, later.frames]), self.steps + later.steps, later.task_done)


def film(env: WorkbenchEnv, steps: Iterable[KeyStep], *, every: int = EVERY, side: int = 256, hand: str = "") -> Film:
    """Let the robot do key steps and film it.

    Args:
        env: reset, at the true start.
        steps: asked for one after the other, each when the robot has done the one before.
        every: actions from one picture to the next, 1 or more.
        side: W and H of each of the three pictures, pixels; 64 or more.
        hand: what the picture in the middle is called, for instance "imagined".

    Raises:
        InvalidInput: ``every`` or ``side`` is too small, or there is no key step.
    """
    if every < 1 or side < 64:
        raise InvalidInput(f"every is {every} and side {side}; give 1 or more actions, and 64 pixels or more")
    frames: list[Frames] = []
    went: list[Execution] = []
    executor = KeyStepExecutor(env)
    goals = env.instruction.steps
    titles = ("camera", hand, "robot")
    for index, step in enumerate(steps):
        before, robot = env.picture(), []
        executor = KeyStepExecutor(env, watch=_watcher(env, robot, every))
        went.append(executor.execute(step, _goal_of(step, goals, index)))
        robot.append(env.picture())
        said = f"{index + 1}. {step.description}"
        clip = _stretched(step.clip, len(robot))
        shown = [_sheet((before, *pair), titles, said, side) for pair in zip(clip, robot, strict=True)]
        verdict = _sheet((before, clip[-1], robot[-1]), titles, said, side, went[-1].success)
        frames += [*shown, *[verdict] * _VERDICT]
    if not frames:
        raise InvalidInput("there is no key step to film")
    return Film(np.stack(frames + frames[-1:] * _END), tuple(went), executor.task_done)


def _goal_of(step: KeyStep, goals: tuple[StepGoal, ...], index: int) -> StepGoal:
    # What the simulator judges a key step by: what asks for the same, or else what is at the same place. Key steps are
    # tried again, and left out where they are done already.
    alike = [goal for goal in goals if meaning(goal.description) == meaning(step.description)]
    return alike[0] if alike else goals[min(index, len(goals) - 1)]


def write_film(path: str | Path, frames: Frames, fps: float = FPS, *, quality: int = 60) -> None:
    """Write a film (T, H, W, 3) uint8 as GIF, animated WebP or MP4, as the file's name says.

    Args:
        path: ends with ``.gif``, ``.webp`` or ``.mp4``.
        frames, fps: the film.
        quality: of WebP, 1 to 100.

    Raises:
        InvalidInput: the name says none of these.
        InvalidClip: not a clip, or ``fps`` is not a positive number.
    """
    from ksgen_models.video_io import check_clip, write_video

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_clip(frames)
    if path.suffix == ".mp4":
        write_video(path, frames, fps)
    elif path.suffix == ".gif":
        _write_gif(path, frames, fps)
    elif path.suffix == ".webp":
        from PIL import Image

        first, *others = (Image.fromarray(frame) for frame in frames)
        duration = round(1000 / fps)
        first.save(path, save_all=True, append_images=others, duration=duration, loop=0, quality=quality, method=6)
    else:
        raise InvalidInput(f"{path} ends neither with .gif nor with .webp nor with .mp4")


def _write_gif(path: Path, frames: Frames, fps: float) -> None:
    from PIL import Image

    # One palette for all, so that nothing flickers.
    palette = Image.fromarray(np.concatenate(list(frames[:: max(1, len(frames) // 6)]))).quantize(128)
    drawn = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=round(1000 / fps), loop=0, optimize=True)


def _watcher(env: WorkbenchEnv, pictures: list[Frames], every: int) -> Callable[[], None]:
    count = 0

    def watch() -> None:
        nonlocal count
        count += 1
        if count % every == 0:
            pictures.append(env.picture())

    return watch


def _stretched(clip: Frames, count: int) -> Frames:
    # (count, H, W, 3), the clip as long as the robot takes.
    return clip[np.round(np.linspace(0, len(clip) - 1, count)).astype(int)]


def _sheet(
    panels: tuple[Frames, ...], titles: tuple[str, ...], sentence: str, side: int, done: bool | None = None
) -> Frames:
    import cv2

    sheet = np.full((side + 2 * STRIP, 3 * side + 2 * GAP, 3), _PAPER, np.uint8)
    width = sheet.shape[1]

    def write(text: str, left: int, bottom: int, ink: tuple[int, int, int]) -> None:
        cv2.putText(sheet, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink, 1, cv2.LINE_AA)

    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = index * (side + GAP)
        sheet[STRIP : STRIP + side, left : left + side] = cv2.resize(panel, (side, side), interpolation=cv2.INTER_AREA)
        write(title, left + 4, STRIP - 6, _FAINT)
    low = STRIP + side + STRIP - 6
    write(sentence, 4, low, _INK)
    if done is not None:
        word = "done" if done else "not done"
        room = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] + 6
        sheet[STRIP + side :, width - room - 4 :] = _PAPER
        write(word, width - room, low, _GOOD if done else _BAD)
    return sheet


def _of_saved(env: WorkbenchEnv, scene: int, folder: Path) -> tuple[KeyStep, ...]:
    # Key steps that were imagined from the scene's first frame; the environment is to do the same instruction.
    from ksgen_agent import Imagination

    saved = Imagination.load(folder)
    said = [instruction.task.lower() for instruction in Workbench(env.env_id, scene).instructions()]
    if saved.task.lower() not in said:
        raise InvalidInput(f"{folder} imagines {saved.task!r}; scene {scene} of {env.env_id} knows {'; '.join(said)}")
    env.reset(options={"scene_seed": scene, "instruction": said.index(saved.task.lower())})
    return saved.steps


def main(arguments: list[str] | None = None) -> None:
    """Film one task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default=TASKS[0])
    parser.add_argument("--scene", type=int, default=1_000_000, help="scene seed")
    parser.add_argument("--imagined", action="store_true", help="let an agent imagine the key steps")
    parser.add_argument("--imagination", type=Path, help="folder of an imagination that was saved")
    parser.add_argument("--preset", default="mini", help="who imagines")
    parser.add_argument("--candidates", type=int, default=CANDIDATES, help="imaginations to choose the best from")
    parser.add_argument("--side", type=int, default=256, help="pixels of each of the three pictures")
    parser.add_argument("--every", type=int, default=EVERY, help="actions from one picture to the next")
    parser.add_argument("--quality", type=int, default=60, help="of .webp, 1 to 100")
    parser.add_argument("--out", type=Path, default=Path("out/film.gif"), help=".gif, .webp or .mp4")
    asked = parser.parse_args(arguments)
    env = WorkbenchEnv(asked.task, continuing=True)
    try:
        env.reset(options={"scene_seed": asked.scene})
        form: dict[str, Any] = {"every": asked.every, "side": asked.side}
        if asked.imagination:
            filmed = film(env, _of_saved(env, asked.scene, asked.imagination), hand="imagined", **form)
        else:
            with source_of(asked.preset if asked.imagined else None, asked.candidates) as source:
                hand = "imagined" if asked.imagined else "demonstrated"
                filmed = film(env, source.whole(env), hand=hand, **form)
        write_film(asked.out, filmed.frames, quality=asked.quality)
        seconds, speed = len(filmed.frames) / FPS, FPS * asked.every / CONTROL_HZ
        print(f"{asked.out}: {seconds:.0f} s, {speed:.1f} times as fast as the robot")
        print(filmed)
    finally:
        env.close()


if __name__ == "__main__":
    main()
