"""Times `LeRobotWriter` against the lerobot library's own writer, on the same frames, codec and settings.

::

    python -m ksgen_export.lerobot.bench --episodes 10 --python OTHER_ENVIRONMENT/bin/python

The other environment is that of `ksgen_export.verify`. Both write the camera and the RoM as H.264 with the library's
settings (yuv420p, constant rate factor 30, a key frame every second frame) and the same columns, in one process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from ksgen_export.columns import fill_columns
from ksgen_export.conversion import episode_of_demonstration
from ksgen_export.lerobot import layout
from ksgen_export.lerobot.staging import region_video
from ksgen_export.lerobot.writer import LeRobotWriter
from ksgen_export.video import VideoOptions

_SAME = VideoOptions(codec="libx264", pixel_format="yuv420p", quality=30, key_frame_every=2, preset="")


def main(arguments: list[str] | None = None) -> None:
    """Print seconds and frames a second of both."""
    from ksgen_envs import TASKS
    from ksgen_envs.demonstrator import demonstrate

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--python", required=True, type=Path, help="of the environment that holds lerobot")
    asked = parser.parse_args(arguments)
    demonstrations = (demonstrate(TASKS[seed % len(TASKS)], seed) for seed in range(asked.episodes))
    episodes = [episode_of_demonstration(item) for item in demonstrations]
    frames = sum(map(len, episodes))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for index, episode in enumerate(episodes):
            columns = fill_columns(episode)
            columns[layout.CAMERA], columns[layout.REGION] = episode.frames, region_video(episode)
            np.savez(folder / f"episode-{index}.npz", allow_pickle=False, task=np.array(episode.task), **columns)
        features = layout.make_features(episodes[0].schema)
        kept = {name: ft for name, ft in features.items() if name not in (*layout.COUNTERS, "subtask_index")}
        (folder / "features.json").write_text(json.dumps({"features": kept, "fps": layout.whole(episodes[0].fps)}))
        began = time.perf_counter()
        with LeRobotWriter(folder / "ours", video=_SAME) as writer:
            for episode in episodes:
                writer.add(episode)
        ours = time.perf_counter() - began
        script = Path(__file__).parents[1] / "foreign/writer.py"
        result = subprocess.run([asked.python, script, folder], capture_output=True, text=True, check=True)
        theirs = float(result.stdout.split()[-1])
    print(f"{len(episodes)} episodes, {frames} frames of {episodes[0].frames.shape[2]}×{episodes[0].frames.shape[1]}")
    print(f"KSGen-Agent {ours:.1f} s ({frames / ours:.1f} frames/s), lerobot {theirs:.1f} s ({frames / theirs:.1f})")
    print(f"{theirs / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
