"""Compares what a format's own library reads from a dataset with what was written, column by column, frame by frame.

`ksgen-agent verify` does it with the libraries of `ksgen_export.outside`. What was written is the dataset's source
where that is at hand, else what `ksgen_export` itself reads. Frames that went through a video codec are compared, byte
for byte, with what `ksgen_export` decodes, and with their source by PSNR.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_export.columns import fill_columns
from ksgen_export.episode import Episode
from ksgen_export.formats import EpisodeSource, open_source
from ksgen_models.errors import DatasetError

LEAST_PSNR = 38.0
"""dB that frames keep through the video codec at the default quality."""
_QUANTILE_BINS = 5000  # of LeRobot's histogram
_TIME_LIMIT = 3600.0  # seconds


@dataclass(frozen=True)
class Verdict:
    """What was compared.

    Attributes:
        library: with its version.
        equal: what was found equal, a sentence each.
        different: what was not.
    """

    library: str
    equal: tuple[str, ...]
    different: tuple[str, ...]


def verify_dataset(
    folder: str | Path, python: str | Path, originals: Sequence[Episode] | EpisodeSource | None = None
) -> Verdict:
    """Read a dataset with its format's own library and compare.

    Args:
        folder: of the dataset.
        python: the interpreter of an environment that holds the library.
        originals: the episodes that were written, in order; at least as many as the dataset has. None takes the
            dataset's own for them.

    Raises:
        DatasetError: it is no dataset, or the library cannot read it.
    """
    place = Path(folder)
    source, kind = open_source(place), format_of(place)
    if kind is None:
        raise DatasetError(f"{folder} is a dataset of none of the formats; export it first")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if kind == "lerobot" and originals is not None:
            _put_pictures(originals, len(source), scratch)
        facts = _ask(kind, place, python, scratch)
        pairs = _Pairs(source, originals, facts, scratch)
        different = list(pairs.differences())
    equal = [
        f"{len(source)} episodes, {sum(facts['lengths'])} frames: lengths, frames"
        f"{', tasks' if facts['tasks'] else ''} and {len(pairs.compared)} columns"
        f"{'' if originals is None else ', against what was written'}"
    ]
    if kind == "lerobot":
        different += _compare_stats(facts)
        equal.append(f"statistics of {len(facts['recomputed'])} features, made anew by the library")
        equal.append(f"every frame by its index, with {' and '.join(facts['decoders'])}")
        if facts["unlike"]:
            different.append(f"{facts['unlike']} frames differ between {' and '.join(facts['decoders'])}")
        if pairs.psnr:
            least, median = min(pairs.psnr), np.median(pairs.psnr)
            told = f"frames through the codec: PSNR {least:.1f} dB at least, {median:.1f} in the median"
            (equal if least >= LEAST_PSNR else different).append(told)
        doctor = _ask_doctor(place, python)
        if doctor is not None:
            (equal if doctor[0] else different).append(doctor[1])
    return Verdict(facts["library"], tuple(equal), tuple(different))


class _Pairs:
    """Episodes as the library read them beside those that were written.

    Attributes:
        compared: names of the columns that were compared.
        psnr: dB of every frame against the original's; empty where frames are kept without loss.
    """

    def __init__(
        self,
        source: EpisodeSource,
        originals: Sequence[Episode] | EpisodeSource | None,
        facts: dict[str, Any],
        scratch: Path,
    ) -> None:
        self._source, self._originals, self._facts, self._scratch = source, originals, facts, scratch
        self.compared: set[str] = set()
        self.psnr: list[float] = []

    def differences(self) -> Iterator[str]:
        lengths, tasks = self._facts["lengths"], self._facts["tasks"]
        if len(lengths) != len(self._source):
            yield f"{len(lengths)} episodes read, {len(self._source)} written"
            return
        for index, ours in enumerate(self._source):
            episode = ours if self._originals is None else self._originals[index]
            if lengths[index] != len(episode):
                yield f"episode {index}: {lengths[index]} frames read, {len(episode)} written"
                continue
            if tasks and tasks[index] != episode.task:
                yield f"episode {index}: task {tasks[index]!r} read, {episode.task!r} written"
            with np.load(self._scratch / f"episode-{index}.npz") as archive:
                seen = {name: archive[name] for name in archive.files}
            if not np.array_equal(seen["frames"], ours.frames):
                most = int(np.abs(seen["frames"].astype(int) - ours.frames).max())
                yield f"episode {index}: frames differ, by up to {most} of 255"
            if "timestamp" in seen and episode is not ours:
                self.psnr += _psnr(seen["frames"], episode.frames)
            elif not np.array_equal(seen["frames"], episode.frames):
                yield f"episode {index}: frames are not those that were written"
            yield from (f"episode {index}: {name} differs" for name in self._columns(episode, seen, index))

    def _columns(self, episode: Episode, seen: dict[str, NDArray[Any]], index: int) -> Iterator[str]:
        wanted = fill_columns(episode)
        if "timestamp" in seen:
            yield from wanted.keys() - seen.keys()
        wanted["actions"] = wanted["action"]
        wanted["rewards"] = wanted.get("next.reward", np.zeros(len(episode), np.float32))
        wanted["subtask"] = np.repeat(episode.plan, [step.stop - step.start for step in episode.key_steps])
        if "timestamp" in seen:  # LeRobot's counters
            wanted["timestamp"] = (np.arange(len(episode)) / episode.fps).astype(np.float32)
            wanted["episode_index"] = np.full(len(episode), index)
            wanted["frame_index"] = np.arange(len(episode))
        for name in wanted.keys() & seen.keys():
            self.compared.add(name)
            values = wanted[name]
            if name in ("actions", "rewards"):  # Minari's transitions are one fewer
                values = values[: len(seen[name])]
            if not np.array_equal(np.asarray(seen[name]).reshape(values.shape), values):
                yield name


def _put_pictures(originals: Sequence[Episode] | EpisodeSource, count: int, scratch: Path) -> None:
    """For the library's own statistics of pictures, which are those from before the codec."""
    from ksgen_export.lerobot import layout
    from ksgen_export.lerobot.staging import region_video

    for index in range(count):
        episode = originals[index]
        pictures = {layout.CAMERA: episode.frames, layout.REGION: region_video(episode)}
        np.savez(scratch / f"original-{index}.npz", allow_pickle=False, **pictures)


def _ask(kind: str, folder: Path, python: str | Path, scratch: Path) -> dict[str, Any]:
    script = Path(__file__).parent / "foreign/readers.py"
    command = [str(python), str(script), kind, str(folder.resolve()), str(scratch)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIME_LIMIT)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise DatasetError(f"{python} cannot be asked ({exc}); name the Python of an environment with {kind}") from exc
    if result.returncode:
        raise DatasetError(f"{kind}'s own library cannot read {folder}: {result.stderr.strip()[-2000:]}")
    return json.loads((scratch / "facts.json").read_text())


def _psnr(seen: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> list[float]:
    """dB of each frame; 100 where it is equal."""
    errors = ((seen.astype(np.float32) - wanted) ** 2).mean(axis=(1, 2, 3))
    return [float(10 * np.log10(255**2 / error)) if error else 100.0 for error in errors]


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
    """Whether lerobot-doctor finds no error, and what it says; None where it is not installed."""
    if subprocess.run([str(python), "-c", "import lerobot_doctor"], capture_output=True, check=False).returncode:
        return None
    call = "import sys; from lerobot_doctor.cli import main; sys.exit(main())"
    command = [str(python), "-c", call, "check", str(folder.resolve()), "--ci"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIME_LIMIT)
    said = result.stderr.strip().splitlines()
    if not said or not said[-1].startswith("lerobot-doctor:"):
        return False, f"lerobot-doctor broke down: {result.stderr.strip()[-500:]}"
    problems = "" if result.returncode == 0 else f": {' '.join(result.stdout.split())[-1500:]}"
    return result.returncode == 0, said[-1] + problems


def format_of(folder: Path) -> str | None:
    """The format of a dataset's folder; None where it is none of `ksgen_export.formats.FORMATS`."""
    signs = {"meta/info.json": "lerobot", "dataset.hdf5": "robomimic", "data/metadata.json": "minari"}
    return next((name for sign, name in signs.items() if (folder / sign).exists()), None)
