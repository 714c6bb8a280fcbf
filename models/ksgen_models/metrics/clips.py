"""Where clips come from: a folder of video files, a data set of demonstrations, or a folder of saved imaginations.

A source lists its clips by key and loads one at a time. Two sources are compared key by key:

===================  ==============================================================================================
video files          the path below the folder without its ending, ``pour/clip_07``; the first folder is the task
demonstrations       ``<task>/<episode>/step_00`` for each key step of each ``<task>/<episode>.npz``
imaginations         ``<folder>/step_00`` for each key step of each folder that `Imagination.save` wrote
===================  ==============================================================================================

The sentences that video files show may lie beside them in ``clips.jsonl``, one object a line with ``clip`` (the key)
and any of ``text`` and ``task``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ksgen_models.demonstration import Demonstration, load_demonstration
from ksgen_models.errors import DatasetError

SENTENCES = "clips.jsonl"
_VIDEOS = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".gif", ".m4v"})
_IMAGINATION = "imagination.json"


@dataclass(frozen=True)
class ClipEntry:
    """One clip of a source.

    Attributes:
        key: what it is matched by.
        task: what it belongs to, for the split by task; "" where nothing says.
        text: the sentence that it shows; "" where nothing says.
        path: the file that it is in.
        step: which of the file's key steps.
        mark: changes when the file does.
    """

    key: str
    task: str
    text: str
    path: Path
    step: int
    mark: str


class ClipSource(Protocol):
    """Clips by key."""

    def entries(self) -> Mapping[str, ClipEntry]:
        """Every clip, by key, in a stable order."""
        ...

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """(T, H, W, 3) uint8 and frames a second; raises a `KSGenError` when it cannot be read."""
        ...


def open_clips(folder: str | Path) -> ClipSource:
    """See what a folder holds and open it.

    Raises:
        DatasetError: there is nothing of the three kinds in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    for source in (Imaginations(folder), Demonstrations(folder), VideoFiles(folder)):
        if source.entries():
            return source
    raise DatasetError(
        f"{folder} holds no clips: neither video files ({', '.join(sorted(_VIDEOS))}), nor demonstrations "
        "(<task>/<seed>.npz), nor saved imaginations"
    )


class VideoFiles:
    """A folder of video files, at any depth."""

    def __init__(self, folder: Path) -> None:
        """List the files; none is opened."""
        said = _sentences(folder / SENTENCES)
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _VIDEOS and path.is_file())
        self._entries: dict[str, ClipEntry] = {}
        for path in paths:
            below = path.relative_to(folder)
            key = below.with_suffix("").as_posix()
            if key in self._entries:
                raise DatasetError(f"{folder} holds two video files called {key}; keep one")
            own = said.get(key, {})
            task = own.get("task") or (below.parts[0] if len(below.parts) > 1 else "")
            self._entries[key] = ClipEntry(key, task, own.get("text", ""), path, 0, _mark(path))

    def entries(self) -> Mapping[str, ClipEntry]:
        """See `ClipSource`."""
        return self._entries

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """See `ClipSource`; raises `InvalidClip`."""
        from ksgen_models.video_io import read_video

        return read_video(self._entries[key].path)


class Demonstrations:
    """A data set of demonstrations (see `ksgen_models.demonstration`); episodes of stills are left out."""

    def __init__(self, folder: Path) -> None:
        """List the key steps; of each file only its description is read."""
        self._entries: dict[str, ClipEntry] = {}
        self._last: tuple[Path, Demonstration] | None = None
        for path in sorted(folder.glob("*/*.npz")):
            if path.name.startswith(".") or path.stem.endswith("-stills"):
                continue
            mark = _mark(path)
            for step, text in enumerate(_descriptions(path)):
                key = f"{path.parent.name}/{path.stem}/step_{step:02d}"
                self._entries[key] = ClipEntry(key, path.parent.name, text, path, step, mark)

    def entries(self) -> Mapping[str, ClipEntry]:
        """See `ClipSource`."""
        return self._entries

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """See `ClipSource`; the last episode is kept, since its key steps are asked for one after the other."""
        entry = self._entries[key]
        if self._last is None or self._last[0] != entry.path:
            self._last = (entry.path, load_demonstration(entry.path))
        demonstration = self._last[1]
        return demonstration.steps[entry.step].clip, demonstration.fps


class Imaginations:
    """Folders written by `Imagination.save`, at any depth."""

    def __init__(self, folder: Path) -> None:
        """List the key steps; of each imagination only its record is read."""
        self._entries: dict[str, ClipEntry] = {}
        self._shapes: dict[str, tuple[int, float]] = {}
        for record_path in sorted(folder.rglob(_IMAGINATION)):
            below = record_path.parent.relative_to(folder)
            task = below.parts[0] if below.parts else ""
            for step, record in enumerate(_steps_of(record_path)):
                name = f"step_{step:02d}"
                key = (below / name).as_posix()
                path = record_path.parent / name / "clip.png"
                self._entries[key] = ClipEntry(key, task, str(record["description"]), path, step, _mark(path))
                self._shapes[key] = (int(record["frames"]), float(record["fps"]))

    def entries(self) -> Mapping[str, ClipEntry]:
        """See `ClipSource`."""
        return self._entries

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """See `ClipSource`."""
        import cv2

        path, (frames, fps) = self._entries[key].path, self._shapes[key]
        strip = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if strip is None or frames < 1 or strip.shape[0] % frames:
            raise DatasetError(f"{path} is no film strip of {frames} frames; imagine it anew")
        pictures = np.ascontiguousarray(strip[..., ::-1]).astype(np.uint8, copy=False)
        return pictures.reshape(frames, -1, *pictures.shape[1:]), fps


def _sentences(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    said = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            said[str(record["clip"])] = {name: str(record[name]) for name in ("text", "task") if record.get(name)}
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise DatasetError(
                f'{path} line {number} is no object with "clip" and any of "text" and "task" ({exc}): {line[:80]}'
            ) from exc
    return said


def _descriptions(path: Path) -> list[str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [str(text) for text in json.loads(archive["meta"].tobytes())["descriptions"]]
    except Exception as exc:
        raise DatasetError(f"{path} is not a readable episode ({exc}); delete it and generate it anew") from exc


def _steps_of(path: Path) -> list[dict]:
    try:
        steps = json.loads(path.read_bytes())["steps"]
        return [{name: step[name] for name in ("description", "frames", "fps")} for step in steps]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{path} is not the record of an imagination ({exc!r}); imagine it anew") from exc


def _mark(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read ({exc})") from exc
    return f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
