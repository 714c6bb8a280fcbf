"""The LeRobot writer against encoding its videos and nothing else, and against the lerobot library's own writer.

The limit is `ksgen_export.video.encode_video` (FFmpeg's libx264 through PyAV) of the same frames with the same options:
what is left of the writer's time goes into statistics, columns, records and joining. Both run in this process, in turn.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path

from ksgen_export.conversion import episode_of_demonstration
from ksgen_export.episode import Episode
from ksgen_export.lerobot import bench as against_lerobot
from ksgen_export.lerobot.staging import region_video
from ksgen_export.lerobot.writer import LeRobotWriter
from ksgen_export.video import VideoOptions, encode_video
from ksgen_launch.benchmarks.figures import LESS, LIMIT, MORE, PEER, Part, ratio
from ksgen_launch.benchmarks.rounds import Scale, grow, over, seconds, take_turns

TASKS = ("KSGen/StackBlocks-v0", "KSGen/AssembleShelf-v0")
SCENE_SEED = 1_000_003
EPISODES = (2, 4, 8, 16)
_COMPARED = 4


def measure(scale: Scale, lerobot: Path | None = None) -> Part:
    """Run the part.

    Args:
        scale: how much.
        lerobot: Python of an environment that holds lerobot, to be measured against too.
    """
    from ksgen_envs.demonstrator import demonstrate

    made = [episode_of_demonstration(demonstrate(task, SCENE_SEED)) for task in TASKS]

    def episodes(number: int) -> list[Episode]:
        return [made[index % len(made)] for index in range(number)]

    with tempfile.TemporaryDirectory(prefix="ksgen-bench-") as scratch:
        folder = Path(scratch)
        compared = episodes(_COMPARED)
        regions = [region_video(episode) for episode in compared]

        def encode() -> None:
            for episode, region in zip(compared, regions, strict=True):
                for frames in (episode.frames, region):
                    encode_video(folder / "encoded.mp4", frames, episode.fps, VideoOptions())

        turns = take_turns(
            scale.rounds,
            {
                "writer": lambda: seconds(lambda: _write(folder / "dataset", compared)),
                "encode": lambda: seconds(encode),
            },
        )
        curve, growth = grow(
            scale, "export-episodes", "write a LeRobot dataset", "episodes", "seconds", EPISODES,
            lambda number: seconds(lambda: _write(folder / "dataset", episodes(number))),
        )  # fmt: skip
    words = "LeRobot writer over encoding alone (libx264 through PyAV), camera and region of motion"
    ratios = [ratio("export/encode", words, LIMIT, over(turns["writer"], turns["encode"]), better=LESS)]
    if lerobot:
        runs = [against_lerobot.compare(_COMPARED, lerobot).ratio for _ in range(scale.rounds)]
        words = "lerobot's own writer over ours, the same columns, frames and encoder"
        ratios.append(ratio("export/lerobot", words, PEER, runs, better=MORE, bar=1.5))
    frames = sum(map(len, compared))
    figures = {"frames a second": frames / statistics.median(turns["writer"])}
    height, width = compared[0].frames.shape[1:3]
    how = f"{_COMPARED} episodes, {frames} frames of {width} × {height} pixels, `VideoOptions()`"
    return Part("export", how, (*ratios, growth), figures, (curve,))


def _write(folder: Path, episodes: list[Episode]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with LeRobotWriter(folder) as writer:
        for episode in episodes:
            writer.add(episode)
