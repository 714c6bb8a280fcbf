"""Writes episodes with the lerobot library's own writer, for `ksgen_export.lerobot.bench`.

It runs in an environment of its own and imports nothing of KSGen-Agent: ``python writer.py FOLDER`` with what the bench
left in the folder. It prints seconds and processor seconds.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    readers = importlib.import_module("readers")
    folder = Path(sys.argv[1])
    told = json.loads((folder / "features.json").read_text())
    features = {name: {**ft, "shape": tuple(ft["shape"])} for name, ft in told["features"].items()}
    library = readers.import_lerobot("datasets.lerobot_dataset")
    episodes = []
    for path in sorted(folder.glob("episode-*.npz")):
        with np.load(path) as archive:
            episodes.append({name: archive[name] for name in archive.files})
    began, worked = time.perf_counter(), sum(os.times()[:4])
    dataset = library.LeRobotDataset.create(
        "local/bench", fps=told["fps"], features=features, root=folder / "theirs", use_videos=True, vcodec="h264"
    )
    for episode in episodes:
        for place in range(len(episode["scores"])):
            frame: dict[str, Any] = {"task": str(episode["task"])}
            for name, feature in features.items():
                value = episode[name][place]
                if feature["dtype"] == "string":
                    frame[name] = str(value)
                else:
                    frame[name] = value if feature["dtype"] == "video" else np.asarray(value).reshape(feature["shape"])
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()
    print(time.perf_counter() - began, sum(os.times()[:4]) - worked)
