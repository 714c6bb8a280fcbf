"""A short film of a task: what the camera saw, how a hand does it (imagined or demonstrated), the robot doing it.

``python -m ksgen_envs.film --task KSGen/StackBlocks-v0 --scene 1000000 --out film.gif`` films a true demonstration and
the robot that follows it; ``--imagined`` films what an agent imagines from the robot's camera.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.execution import KeyStepExecutor
from ksgen_envs.executors.retarget_success import source_of
from ksgen_envs.goal_env.environment import CONTROL_HZ, WorkbenchEnv
from ksgen_envs.tasks import TASKS
from ksgen_models.errors import InvalidInput
from ksgen_models.types import KeyStep

Frames = NDArray[np.uint8]
EVERY = 8
"""Actions from one picture of the robot to the next."""
FPS = 12.0
"""Frames a second of the film: the robot is shown at four times its speed."""
_GAP, _STRIP = 4, 22  # pixels between panels, and of the line of text below them
_END = 10  # frames that the last one stands
_INK, _PAPER = (40, 40, 40), 255


def film(
    env: WorkbenchEnv, steps: Iterable[KeyStep], *, every: int = EVERY, after: Callable[[bool], None] | None = None
) -> Frames:
    """Let the robot do key steps and film it.

    Args:
        env: reset, at the true start; pictures are of its ``image_size``.
        steps: asked for one after the other, each when the robot has done the one before.
        every: actions from one picture to the next, 1 or more.
        after: told of each key step whether it worked.

    Returns:
        (T, H + 22, 3 W + 8, 3) uint8: camera frame, hand, robot side by side, and the key step's sentence.

    Raises:
        InvalidInput: ``every`` is less than 1, or there is no key step.
    """
    if every < 1:
        raise InvalidInput(f"every is {every}; give 1 or more actions from one picture to the next")
    frames: list[Frames] = []
    for index, step in enumerate(steps):
        before, robot = env.picture(), []
        goals = env.instruction.steps
        executor = KeyStepExecutor(env, watch=_watcher(env, robot, every))
        done = executor.execute(step, goals[min(index, len(goals) - 1)])
        if after is not None:
            after(done.success)
        robot.append(env.picture())
        hand = _stretched(step.clip, len(robot))
        frames += [_side_by_side(before, *pair, step.description) for pair in zip(hand, robot, strict=True)]
    if not frames:
        raise InvalidInput("there is no key step to film")
    return np.stack(frames + frames[-1:] * _END)


def write_film(path: str | Path, frames: Frames, fps: float = FPS) -> None:
    """Write a film (T, H, W, 3) uint8 as GIF or MP4, as the file's name says.

    Raises:
        InvalidInput: the name says neither.
        InvalidClip: not a clip, or ``fps`` is not a positive number.
    """
    path = Path(path)
    if path.suffix == ".mp4":
        from ksgen_models.video_io import write_video

        write_video(path, frames, fps)
    elif path.suffix == ".gif":
        _write_gif(path, frames, fps)
    else:
        raise InvalidInput(f"{path} ends neither with .gif nor with .mp4")


def _write_gif(path: Path, frames: Frames, fps: float) -> None:
    from PIL import Image

    from ksgen_models.video_io import check_clip

    path.parent.mkdir(parents=True, exist_ok=True)
    # One palette for all, so that nothing flickers.
    check_clip(frames)
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


def _side_by_side(camera: Frames, hand: Frames, robot: Frames, sentence: str) -> Frames:
    import cv2

    height, width = camera.shape[:2]
    panels = [np.asarray(cv2.resize(panel, (width, height))) for panel in (camera, hand, robot)]
    sheet = np.full((height + _STRIP, 3 * width + 2 * _GAP, 3), _PAPER, np.uint8)
    for index, panel in enumerate(panels):
        left = index * (width + _GAP)
        sheet[:height, left : left + width] = panel
    place = (6, height + _STRIP - 7)
    cv2.putText(sheet, sentence, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return sheet


def main(arguments: list[str] | None = None) -> None:
    """Film one task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default=TASKS[0])
    parser.add_argument("--scene", type=int, default=1_000_000, help="scene seed")
    parser.add_argument("--imagined", action="store_true", help="let an agent imagine the key steps")
    parser.add_argument("--out", type=Path, default=Path("out/film.gif"), help=".gif or .mp4")
    asked = parser.parse_args(arguments)
    env = WorkbenchEnv(asked.task, continuing=True)
    try:
        env.reset(options={"scene_seed": asked.scene})
        with source_of(asked.imagined) as source:
            told: list[bool] = []
            frames = film(env, source.whole(env), after=told.append)
        write_film(asked.out, frames)
        seconds, speed = len(frames) / FPS, FPS * EVERY / CONTROL_HZ
        print(f"{asked.out}: {seconds:.0f} s, {speed:.1f} times as fast as the robot")
        print(f"{sum(told)} of {len(told)} key steps done")
    finally:
        env.close()


if __name__ == "__main__":
    main()
