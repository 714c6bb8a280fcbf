"""Reads a dataset with the format's own library and writes down what it saw, for `ksgen_export.verify`.

It runs in a virtual environment of its own, whose library's pins need not fit KSGen-Agent's: nothing of KSGen-Agent is
imported here. ``python readers.py lerobot|robomimic|minari FOLDER OUT`` writes ``OUT/episode-<i>.npz`` with
``frames`` (T, H, W, 3) uint8 and the columns, and ``OUT/facts.json``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def main(format_name: str, folder: str, out: str) -> None:
    """Read and write down."""
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    read = {"lerobot": read_lerobot, "robomimic": read_robomimic, "minari": read_minari}[format_name]
    (target / "facts.json").write_text(json.dumps(read(Path(folder), target)))


def read_lerobot(folder: Path, out: Path) -> dict[str, Any]:
    """With `LeRobotDataset` of lerobot, or of the standalone lerobot-dataset, whose package is called ledataset."""
    stats, library = import_lerobot("datasets.compute_stats"), import_lerobot("datasets.lerobot_dataset")
    dataset = library.LeRobotDataset("local/dataset", root=folder, video_backend="pyav")
    numeric = {key: ft for key, ft in dataset.features.items() if ft["dtype"] not in ("video", "image", "string")}
    camera = next(key for key in dataset.meta.video_keys if "camera" in key)
    episodes, rows, lengths, tasks = [], [], [], []
    for index in range(len(dataset)):
        item = dataset[index]
        rows.append(item)
        last = (
            index + 1 == len(dataset)
            or int(item["index"]) + 1 == dataset.meta.episodes[len(lengths)]["dataset_to_index"]
        )
        if not last:
            continue
        values = {key: np.stack([np.asarray(row[key]) for row in rows]) for key in numeric}
        frames = np.stack([np.rint(np.asarray(row[camera]) * 255).astype(np.uint8).transpose(1, 2, 0) for row in rows])
        np.savez(out / f"episode-{len(lengths)}.npz", allow_pickle=False, frames=frames, **values)
        episodes.append(stats.compute_episode_stats(values, numeric))
        lengths.append(len(rows))
        tasks.append(rows[0]["task"])
        rows = []
    recomputed = stats.aggregate_stats(episodes)
    return {
        "lengths": lengths,
        "tasks": tasks,
        "fps": dataset.fps,
        "stats": _lists(dataset.meta.stats),
        "recomputed": _lists(recomputed),
        "library": library.__name__.partition(".")[0],
    }


def import_lerobot(module: str) -> ModuleType:
    """A module of lerobot, or the same of the standalone lerobot-dataset."""
    _allow_torchvision_without_its_compiled_part()
    name = "lerobot" if importlib.util.find_spec("lerobot") else "ledataset"
    return importlib.import_module(f"{name}.{module}")


def read_robomimic(folder: Path, out: Path) -> dict[str, Any]:
    """With robomimic's `SequenceDataset`."""
    import h5py

    obs_utils = importlib.import_module("robomimic.utils.obs_utils")
    library = importlib.import_module("robomimic.utils.dataset")
    path = folder / "dataset.hdf5"
    with h5py.File(path) as file:
        data: Any = file["data"]
        keys = list(data["demo_0/obs"])
        tasks = {name: str(demo.attrs["task"]) for name, demo in data.items()}
    low = [key for key in keys if key != "camera_image"]
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": low, "rgb": ["camera_image"]}})
    dataset = library.SequenceDataset(
        str(path), keys, ("actions", "rewards", "dones"), hdf5_use_swmr=False, load_next_obs=False,
        filter_by_attribute="train",
    )  # fmt: skip
    lengths = [int(dataset._demo_id_to_demo_length[demo]) for demo in dataset.demos]
    for index, demo in enumerate(dataset.demos):
        start = dataset._demo_id_to_start_indices[demo]
        items = [dataset[place] for place in range(start, start + lengths[index])]
        frames = np.stack([_to_bytes(item["obs"]["camera_image"][0]) for item in items])
        values = {key: np.stack([item["obs"][key][0] for item in items]) for key in low}
        values["actions"] = np.stack([item["actions"][0] for item in items])
        np.savez(out / f"episode-{index}.npz", allow_pickle=False, frames=frames, **values)
    return {"lengths": lengths, "tasks": [tasks[demo] for demo in dataset.demos]}


def read_minari(folder: Path, out: Path) -> dict[str, Any]:
    """With `minari.MinariDataset`."""
    minari = importlib.import_module("minari")
    dataset = minari.MinariDataset(folder / "data")
    lengths = []
    for index, episode in enumerate(dataset.iterate_episodes()):
        values = {key: value for key, value in episode.infos.items() if np.asarray(value).dtype.kind in "fiub"}
        np.savez(out / f"episode-{index}.npz", frames=episode.observations["camera"], actions=episode.actions, **values)
        lengths.append(len(episode) + 1)
    return {"lengths": lengths, "tasks": None, "steps": int(dataset.total_steps)}


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """robomimic gives channels first in [0, 1] where its processing is on, else the bytes."""
    if image.dtype == np.uint8:
        return image
    return np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)


def _lists(stats: dict[str, Any]) -> dict[str, Any]:
    return {key: {name: np.asarray(value).tolist() for name, value in found.items()} for key, found in stats.items()}


def _allow_torchvision_without_its_compiled_part() -> None:
    """torchvision declares a fake of an operator that it may lack; the datasets use none of its operators."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


_KEPT: list[Any] = []  # the operator's definition lasts as long as this list

if __name__ == "__main__":
    main(*sys.argv[1:])
