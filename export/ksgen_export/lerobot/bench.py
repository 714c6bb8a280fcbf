"""Times `LeRobotWriter` against the lerobot library's own writer, on the same frames, codec and settings.

::

    python -m ksgen_export.lerobot.bench --episodes 10 --python OTHER_ENVIRONMENT/bin/python

The other environment is that of `ksgen_export.verify`. Both write the camera and the RoM as H.264 with the library's
settings (yuv420p, constant rate factor 30, a key frame every second frame) and the same columns, in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ksgen_export.columns import fill_columns
from ksgen_export.conversion import episode_of_demonstration
from ksgen_export.lerobot import layout
from ksgen_export.lerobot.staging import region_video
from ksgen_export.lerobot.writer import LeRobotWriter
from ksgen_export.video import VideoOptions
from ksgen_models.errors import DatasetError

_SAME = VideoOptions(codec="libx264", pixel_format="yuv420p", quality=30, key_frame_every=2, preset="")


@dataclass(frozen=True)
class Comparison:
    """Both writers on the same episodes.

    Attributes:
        episodes, frames: how many.
        size: width and height of the pictures, pixels.
        ours, theirs: seconds.
        ours_worked, theirs_worked: processor seconds, of all threads: the ratio that a busy machine leaves as it is.
    """

    episodes: int
    frames: int
    size: tuple[int, int]
    ours: float
    theirs: float
    ours_worked: float
    theirs_worked: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.theirs / self.ours


def compare(number: int, python: Path) -> Comparison:
    """Write ``number`` episodes with both.

    Args:
        number: of episodes.
        python: interpreter of the environment that holds lerobot.

    Raises:
        DatasetError: the other writer failed; carries the end of what it said.
    """
    from ksgen_envs import TASKS
    from ksgen_envs.demonstrator import demonstrate

    demonstrations = (demonstrate(TASKS[seed % len(TASKS)], seed) for seed in range(number))
    episodes = [episode_of_demonstration(item) for item in demonstrations]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for index, episode in enumerate(episodes):
            columns = fill_columns(episode)
            columns[layout.CAMERA], columns[layout.REGION] = episode.frames, region_video(episode)
            np.savez(folder / f"episode-{index}.npz", allow_pickle=False, task=np.array(episode.task), **columns)
        features = layout.make_features(episodes[0].schema)
        kept = {name: ft for name, ft in features.items() if name not in (*layout.COUNTERS, "subtask_index")}
        (folder / "features.json").write_text(json.dumps({"features": kept, "fps": layout.whole(episodes[0].fps)}))
        began, worked = time.perf_counter(), sum(os.times()[:4])
        with LeRobotWriter(folder / "ours", video=_SAME) as writer:
            for episode in episodes:
                writer.add(episode)
        ours, ours_worked = time.perf_counter() - began, sum(os.times()[:4]) - worked
        theirs, theirs_worked = _their_seconds(python, folder)
    height, width = episodes[0].frames.shape[1:3]
    frames = sum(map(len, episodes))
    return Comparison(len(episodes), frames, (width, height), ours, theirs, ours_worked, theirs_worked)


def _their_seconds(python: Path, folder: Path) -> tuple[float, float]:
    script = Path(__file__).parents[1] / "foreign/writer.py"
    try:
        result = subprocess.run([python, script, folder], capture_output=True, text=True, check=True)
        seconds, worked = map(float, result.stdout.split()[-2:])
        return seconds, worked
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.strip().splitlines()[-1:]
        raise DatasetError(f"{python} cannot write with lerobot ({' '.join(last)}); name one that holds it") from exc
    except (OSError, ValueError, IndexError) as exc:
        raise DatasetError(f"{python} is no Python that holds lerobot ({exc}); name one") from exc


def main(arguments: list[str] | None = None) -> None:
    """Print seconds and frames a second of both."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--python", required=True, type=Path, help="of the environment that holds lerobot")
    asked = parser.parse_args(arguments)
    done = compare(asked.episodes, asked.python)
    ours, theirs, frames = done.ours, done.theirs, done.frames
    print(f"{done.episodes} episodes, {frames} frames of {done.size[0]}×{done.size[1]}")
    print(f"KSGen-Agent {ours:.1f} s ({frames / ours:.1f} frames/s), lerobot {theirs:.1f} s ({frames / theirs:.1f})")
    work = done.theirs_worked / done.ours_worked
    print(
        f"{done.ratio:.2f} times as fast; processor time {done.ours_worked:.1f} s and {done.theirs_worked:.1f} s, "
        f"{work:.2f} times"
    )


if __name__ == "__main__":
    main()
