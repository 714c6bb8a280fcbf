"""How an imagination lies on disk: a folder of plain files that any tool can open.

===========================  ==================================================================================
``imagination.json``         format version, task, plan, timings; of each step its sentence, fps, frame count,
                             scores and provenance; the SHA-256 of every other file
``frame.png``                the camera's picture
``step_00/image.png``        the key-step image; ``goal.png`` beside it, how the step is to end
``step_00/clip.png``         the clip as a film strip: its T frames one below the other, (T · H, W)
``step_00/arrays.npz``       ``keypoints``, ``world``, ``confidence``, ``valid``, ``interpolated`` of the hand track,
                             ``predicted``, ``observed``, ``per_frame``, ``change`` of the RoM, ``embedding``
===========================  ==================================================================================

PNG and NPZ lose nothing, and no file holds pickled objects. Reading checks every file against its hash first.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import uuid
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_models.errors import DatasetError
from ksgen_models.types import Evidence, HandTrack, KeyStep, Plan, RegionOfMotion

FORMAT = "ksgen-imagination"
FORMAT_VERSION = 1
MANIFEST = "imagination.json"
_WRITERS = 100  # how often a save may find that another one was quicker
_TRACK = tuple(field.name for field in fields(HandTrack))
_REGION = tuple(field.name for field in fields(RegionOfMotion))


def save_imagination(imagination: Imagination, folder: str | Path) -> Path:
    """Write an imagination; see `Imagination.save`."""
    folder = Path(folder)
    if _occupied(folder):
        raise DatasetError(f"{folder} exists and is no saved imagination; choose another path")
    files = _encode_files(imagination)
    files[MANIFEST] = _encode_manifest(imagination, files)
    try:
        _write_folder(folder, files)
    except OSError as exc:
        raise DatasetError(f"cannot write {folder}: {exc}") from exc
    return folder


def load_imagination(folder: str | Path) -> Imagination:
    """Read an imagination; see `Imagination.load`."""
    folder = Path(folder)
    manifest = _read_manifest(folder)
    try:
        hashes = manifest["files"]
        files = {name: _read_checked(folder / name, hashes[name]) for name in _file_names(len(manifest["steps"]))}
        return _decode(manifest, files)
    except DatasetError:
        raise
    except Exception as exc:
        raise DatasetError(f"{folder} is not a readable imagination ({exc!r}); imagine it anew") from exc


def _encode_files(imagination: Imagination) -> dict[str, bytes]:
    files = {"frame.png": _to_png(imagination.frame)}
    for number, step in enumerate(imagination.steps):
        frames, height, width, _ = step.clip.shape
        arrays = {name: getattr(step.hands, name) for name in _TRACK}
        arrays |= {name: getattr(step.region_of_motion, name) for name in _REGION}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, embedding=step.embedding, **arrays)
        files[f"step_{number:02d}/image.png"] = _to_png(step.image)
        files[f"step_{number:02d}/goal.png"] = _to_png(step.goal)
        files[f"step_{number:02d}/clip.png"] = _to_png(step.clip.reshape(frames * height, width, 3))
        files[f"step_{number:02d}/arrays.npz"] = buffer.getvalue()
    return files


def _file_names(steps: int) -> list[str]:
    names = ("image.png", "goal.png", "clip.png", "arrays.npz")
    return ["frame.png", *(f"step_{number:02d}/{name}" for number in range(steps) for name in names)]


def _encode_manifest(imagination: Imagination, files: dict[str, bytes]) -> bytes:
    manifest = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "task": imagination.task,
        "plan": asdict(imagination.plan),
        "timings": dict(imagination.timings),
        "steps": [
            {
                "index": step.index,
                "description": step.description,
                "fps": step.fps,
                "frames": len(step.clip),
                "scores": dict(step.scores),
                "provenance": dict(step.provenance),
            }
            for step in imagination.steps
        ],
        "files": {name: hashlib.sha256(blob).hexdigest() for name, blob in files.items()},
    }
    try:
        return json.dumps(manifest, indent=1, default=_from_numpy).encode()
    except (TypeError, ValueError) as exc:
        raise DatasetError(
            f"the imagination holds a record that JSON cannot: {exc}; use plain numbers and text"
        ) from exc


def _decode(manifest: dict[str, Any], files: dict[str, bytes]) -> Imagination:
    plan = manifest["plan"]
    evidence = tuple(Evidence(**{**item, "steps": tuple(item["steps"])}) for item in plan["evidence"])
    return Imagination(
        task=manifest["task"],
        frame=_from_png(files["frame.png"]),
        plan=Plan(**{**plan, "steps": tuple(plan["steps"]), "evidence": evidence, "done": tuple(plan.get("done", ()))}),
        steps=tuple(_decode_step(number, record, files) for number, record in enumerate(manifest["steps"])),
        timings=manifest["timings"],
    )


def _decode_step(number: int, record: dict[str, Any], files: dict[str, bytes]) -> KeyStep:
    folder = f"step_{number:02d}"
    strip = _from_png(files[f"{folder}/clip.png"])  # (T · H, W, 3)
    with np.load(io.BytesIO(files[f"{folder}/arrays.npz"]), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return KeyStep(
        index=record["index"],
        description=record["description"],
        image=_from_png(files[f"{folder}/image.png"]),
        goal=_from_png(files[f"{folder}/goal.png"]),
        clip=strip.reshape(record["frames"], -1, *strip.shape[1:]),
        fps=record["fps"],
        hands=HandTrack(**{name: arrays[name] for name in _TRACK}),
        region_of_motion=RegionOfMotion(**{name: arrays[name] for name in _REGION}),
        scores=record["scores"],
        provenance=record["provenance"],
        embedding=arrays["embedding"],
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        raise DatasetError(f"{folder} holds no {MANIFEST}; give a folder that Imagination.save wrote") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise DatasetError(f"{path} cannot be read ({exc}); imagine it anew") from exc
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DatasetError(f"{path} is not the record of an imagination; give a folder that Imagination.save wrote")
    if manifest.get("version") != FORMAT_VERSION:
        raise DatasetError(
            f"{path} has format version {manifest.get('version')!r}, this release reads {FORMAT_VERSION}; "
            "install the release that wrote it or imagine it anew"
        )
    return manifest


def _read_checked(path: Path, digest: str) -> bytes:
    try:
        blob = path.read_bytes()
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read ({exc}); imagine it anew") from exc
    if hashlib.sha256(blob).hexdigest() != digest:
        raise DatasetError(f"{path} is damaged: its SHA-256 is not the recorded {digest[:12]}…; imagine it anew")
    return blob


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write all files to a folder beside the target and rename it, so that no reader ever sees half of it."""
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    try:
        for name, blob in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(blob)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename ``partial`` to ``folder``; what is there goes aside first, and several writers take turns."""
    for _ in range(_WRITERS):
        try:
            partial.rename(folder)  # works where nothing, or an empty folder, is in the way
            return
        except OSError:
            if not folder.exists() and not folder.parent.is_dir():
                raise
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
        with contextlib.suppress(FileNotFoundError):  # another writer was quicker
            folder.rename(aside)
        _discard(aside)
    raise DatasetError(f"{folder} is being written by others again and again; choose another path")


def _discard(folder: Path) -> None:
    """Delete a saved imagination, its manifest last: who listed the folder just then still sees what it was."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != MANIFEST:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _occupied(folder: Path) -> bool:
    """Whether something lies there that is no saved imagination; one look, since others may be saving there too."""
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return folder.exists()  # else a parent of it is a file, which the writing will say
    return bool(names) and MANIFEST not in names


def _from_numpy(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__qualname__}")


def _to_png(image: NDArray[np.uint8]) -> bytes:
    import cv2

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise DatasetError(f"cannot save a picture of shape {image.shape} and dtype {image.dtype}; use (H, W, 3) uint8")
    ok, blob = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not ok:
        raise DatasetError(f"cannot encode a picture of shape {image.shape} as PNG")
    return blob.tobytes()


def _from_png(blob: bytes) -> NDArray[np.uint8]:
    import cv2

    image = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError("a picture of the imagination is no PNG; imagine it anew")
    return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)
