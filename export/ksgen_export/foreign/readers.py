"""Reads a dataset with the format's own library and writes down what it saw, for `ksgen_export.verify`.

It runs in a virtual environment of its own, whose library's pins need not fit KSGen-Agent's: nothing of KSGen-Agent is
imported here. ``python readers.py lerobot|robomimic|minari FOLDER OUT`` writes ``OUT/episode-<i>.npz`` with
``frames`` (T, H, W, 3) uint8 and the columns, and ``OUT/facts.json``. Where ``OUT/original-<i>.npz`` hold pictures as
they were before they became videos, a (T, H, W, 3) array a feature, lerobot's statistics are made of those.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from importlib import metadata
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
    decoders = ["pyav", *(["torchcodec"] if _has_torchcodec() else [])]
    opened = [library.LeRobotDataset("local/dataset", root=folder, video_backend=name) for name in decoders]
    dataset = opened[0]
    features = {key: ft for key, ft in dataset.features.items() if ft["dtype"] not in ("video", "image")}
    numeric = {key: ft for key, ft in features.items() if ft["dtype"] != "string"}
    camera = next(key for key in dataset.meta.video_keys if "camera" in key)
    episodes, lengths, tasks, unlike = [], [], [], 0
    for place, rows in enumerate(_episodes(dataset)):
        values = {key: np.stack([np.asarray(row[key]) for row in rows]) for key in features}
        if "subtask" in rows[0]:  # lerobot-dataset does not look it up
            values["subtask"] = np.array([row["subtask"] for row in rows], str)
        frames = np.stack([_picture(row[camera]) for row in rows])
        start = int(rows[0]["index"])
        for other in opened[1:]:
            seen = (_picture(other[start + at][camera]) for at in range(len(rows)))
            unlike += sum(not np.array_equal(one, frame) for one, frame in zip(seen, frames, strict=True))
        np.savez(out / f"episode-{place}.npz", allow_pickle=False, frames=frames, **values)
        found = stats.compute_episode_stats({key: values[key] for key in numeric}, numeric)
        episodes.append(found | _picture_stats(stats, out / f"original-{place}.npz"))
        lengths.append(len(rows))
        tasks.append(rows[0]["task"])
    name = library.__name__.partition(".")[0].replace("ledataset", "lerobot-dataset")
    return {
        "library": f"{name} {metadata.version(name)}",
        "lengths": lengths,
        "tasks": tasks,
        "fps": dataset.fps,
        "stats": _lists(dataset.meta.stats),
        "recomputed": _lists(stats.aggregate_stats(episodes)),
        "decoders": decoders,
        "unlike": unlike,
    }


def _episodes(dataset: Any) -> Iterator[list[Any]]:
    """The items of each episode, every one asked for by its index."""
    ends = [int(end) for end in dataset.meta.episodes["dataset_to_index"]]
    for start, end in zip([0, *ends], ends, strict=False):
        yield [dataset[index] for index in range(start, end)]


def _picture(image: Any) -> np.ndarray:
    return np.rint(np.asarray(image) * 255).astype(np.uint8).transpose(1, 2, 0)


def _picture_stats(stats: ModuleType, path: Path) -> dict[str, Any]:
    """As `compute_episode_stats` makes them, but of numbers that can be squared: bytes overflow there."""
    if not path.exists():
        return {}
    with np.load(path) as archive:
        pictures = {key: archive[key] for key in archive.files}
    found = {}
    for key, frames in pictures.items():
        sampled = [frames[place].transpose(2, 0, 1) for place in stats.sample_indices(len(frames))]
        reduced = np.stack([stats.auto_downsample_height_width(image) for image in sampled]).astype(np.float64)
        told = stats.get_feature_stats(reduced, axis=(0, 2, 3), keepdims=True)
        found[key] = {name: value if name == "count" else value[0] / 255 for name, value in told.items()}
    return found


def _has_torchcodec() -> bool:
    """Whether lerobot's own choice of a decoder is there with FFmpeg's libraries."""
    try:
        importlib.import_module("torchcodec")
    except (ImportError, OSError, RuntimeError):
        return False
    return True


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
        values |= {key: np.stack([item[key][0] for item in items]) for key in ("actions", "rewards")}
        np.savez(out / f"episode-{index}.npz", allow_pickle=False, frames=frames, **values)
    library_name = f"robomimic {metadata.version('robomimic')}"
    return {"library": library_name, "lengths": lengths, "tasks": [tasks[demo] for demo in dataset.demos]}


def read_minari(folder: Path, out: Path) -> dict[str, Any]:
    """With `minari.MinariDataset`."""
    minari = importlib.import_module("minari")
    dataset = minari.MinariDataset(folder / "data")
    lengths = []
    for index, episode in enumerate(dataset.iterate_episodes()):
        values = {key: _texts(value) for key, value in episode.infos.items()}
        np.savez(
            out / f"episode-{index}.npz",
            allow_pickle=False,
            frames=episode.observations["camera"],
            actions=episode.actions,
            rewards=episode.rewards,
            **values,
        )
        lengths.append(len(episode) + 1)
    return {"library": f"minari {metadata.version('minari')}", "lengths": lengths, "tasks": None}


def _texts(values: Any) -> np.ndarray:
    """Numbers as they are, bytes and objects as texts."""
    array = np.asarray(values)
    if array.dtype.kind not in "SO":
        return array
    return np.array([text.decode() if isinstance(text, bytes) else str(text) for text in array.ravel()], str)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """robomimic gives channels first in [0, 1] where its processing is on, else the bytes."""
    if image.dtype == np.uint8:
        return image
    return np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)


def _lists(stats: dict[str, Any]) -> dict[str, Any]:
    return {key: {name: np.asarray(value).tolist() for name, value in found.items()} for key, found in stats.items()}


def _allow_torchvision_without_its_compiled_part() -> None:
    """torchvision declares fakes of operators that it may lack; the datasets use none of its operators."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    _KEPT.append(library)
    while True:
        try:
            importlib.import_module("torchvision")
            return
        except RuntimeError as exc:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(exc))
            if missing is None:
                raise
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library.define(f"{missing[1]}(Tensor first) -> Tensor")


_KEPT: list[Any] = []  # the operator's definition lasts as long as this list

if __name__ == "__main__":
    main(*sys.argv[1:])
