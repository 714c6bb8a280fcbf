"""Compares what a format's own library reads from a dataset with what `ksgen_export` says is in it.

::

    python -m ksgen_export.verify DATASET --python OTHER_ENVIRONMENT/bin/python

The other environment holds the library: ``lerobot==0.4.4`` or ``lerobot-dataset==0.4.4`` with torch, torchvision and
av; ``robomimic``; or ``minari``. Where it holds ``lerobot-doctor``, that is asked about a LeRobot dataset as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ksgen_export.columns import fill_columns
from ksgen_export.episode import Episode
from ksgen_export.formats import EpisodeSource, open_source
from ksgen_models.errors import DatasetError

_QUANTILE_BINS = 5000  # of LeRobot's histogram
_TIME_LIMIT = 3600.0  # seconds


def verify_dataset(folder: str | Path, python: str | Path) -> tuple[list[str], list[str]]:
    """Read a dataset with its format's own library and compare.

    Args:
        folder: of the dataset.
        python: the interpreter of an environment that holds the library.

    Returns:
        What was found equal, and what was not.

    Raises:
        DatasetError: it is no dataset, or the library cannot read it.
    """
    source, kind = open_source(folder), _kind(Path(folder))
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(__file__).parent / "foreign/readers.py"
        command = [str(python), str(script), kind, str(Path(folder).resolve()), scratch]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIME_LIMIT)
        if result.returncode:
            raise DatasetError(f"{kind}'s own library cannot read {folder}: {result.stderr.strip()[-2000:]}")
        facts = json.loads((Path(scratch) / "facts.json").read_text())
        wrong = list(_differences(source, facts, Path(scratch)))
    right = [f"{len(source)} episodes, {sum(facts['lengths'])} frames: lengths, tasks, frames and columns compared"]
    if kind == "lerobot":
        wrong += _compare_stats(facts)
        right.append(f"statistics of {len(facts['recomputed'])} features compared with {facts['library']}'s own")
        doctor = _ask_doctor(Path(folder), python)
        if doctor is not None:
            passed, said = doctor
            (right if passed else wrong).append(f"lerobot-doctor: {said}")
    return right, wrong


def _differences(source: EpisodeSource, facts: dict[str, Any], scratch: Path) -> Iterator[str]:
    if len(facts["lengths"]) != len(source):
        yield f"{len(facts['lengths'])} episodes read, {len(source)} written"
        return
    for index, episode in enumerate(source):
        if facts["lengths"][index] != len(episode):
            yield f"episode {index}: {facts['lengths'][index]} frames read, {len(episode)} written"
            continue
        if facts["tasks"] and facts["tasks"][index] != episode.task:
            yield f"episode {index}: task {facts['tasks'][index]!r} read, {episode.task!r} written"
        with np.load(scratch / f"episode-{index}.npz") as archive:
            seen = {name: archive[name] for name in archive.files}
        if not np.array_equal(seen["frames"], episode.frames):
            least = float(np.abs(seen["frames"].astype(int) - episode.frames).max())
            yield f"episode {index}: frames differ, by up to {least:.0f} of 255"
        yield from (f"episode {index}: {name} differs" for name in _differing_columns(episode, seen, index))


def _differing_columns(episode: Episode, seen: dict[str, Any], index: int) -> Iterator[str]:
    for name, values in fill_columns(episode).items():
        if name in seen and not np.array_equal(np.asarray(seen[name]).reshape(values.shape), values):
            yield name
    if "timestamp" in seen:  # LeRobot's counters
        wanted = (np.arange(len(episode)) / episode.fps).astype(np.float32)
        if not np.array_equal(seen["timestamp"].reshape(-1), wanted):
            yield "timestamp"
        if not (seen["episode_index"] == index).all():
            yield "episode_index"


def _compare_stats(facts: dict[str, Any]) -> list[str]:
    """Equal but for rounding; quantiles but for the width of a bin of LeRobot's histograms."""
    wrong = []
    for feature, wanted in facts["recomputed"].items():
        there = facts["stats"].get(feature)
        if there is None:
            wrong.append(f"statistics of {feature} are missing")
            continue
        reach = np.asarray(wanted["max"], float) - np.asarray(wanted["min"], float)
        for name, values in wanted.items():
            tolerance = reach / _QUANTILE_BINS + 1e-6 if name.startswith("q") else 1e-5 * (1 + np.abs(values))
            off = np.abs(np.asarray(there[name], float).reshape(np.shape(values)) - np.asarray(values, float))
            if (off > tolerance).any():
                wrong.append(f"statistics: {name} of {feature} differs by up to {off.max():.3g}")
    return wrong


def _ask_doctor(folder: Path, python: str | Path) -> tuple[bool, str] | None:
    """Whether lerobot-doctor finds no error, and its last lines; None where it is not installed."""
    if subprocess.run([str(python), "-c", "import lerobot_doctor"], capture_output=True, check=False).returncode:
        return None
    call = "import sys; from lerobot_doctor.cli import main; sys.exit(main())"
    command = [str(python), "-c", call, str(folder.resolve())]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIME_LIMIT)
    failed = "FAIL" in result.stdout or result.returncode != 0
    return not failed, " ".join(result.stdout.split())[-1500:] if failed else "no error"


def _kind(folder: Path) -> str:
    if (folder / "meta/info.json").exists():
        return "lerobot"
    return "robomimic" if (folder / "dataset.hdf5").exists() else "minari"


def main(arguments: list[str] | None = None) -> None:
    """Print what is equal and what is not; the exit code is 1 where something is not."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--python", required=True, type=Path, help="of the environment that holds the library")
    asked = parser.parse_args(arguments)
    right, wrong = verify_dataset(asked.dataset, asked.python)
    print("\n".join([*(f"equal: {line}" for line in right), *(f"DIFFERENT: {line}" for line in wrong)]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
