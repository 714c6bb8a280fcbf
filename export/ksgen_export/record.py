"""The record of an episode: what neither frames nor columns can hold, as one NumPy archive without pickled objects.

Every format keeps it beside the frames: LeRobot as ``ksgen/episode-000000.npz``, robomimic and Minari as a byte array
``ksgen``. Trainers need not look at it; readers turn an episode back into what it was made from with it.

=====================  ==============================================================================================
``record``             UTF-8 JSON: format version, kind, task, fps, key steps with scores and provenance, the
                       episode's own ``record``, names of the robot's numbers
``pictures``           PNG bytes of key-step images and goals, joined; equal ones once
``pictures_at``        (n + 1,) int64 offsets; ``image`` and ``goal`` (S,) int64 say which picture is whose
``predicted``          (S, H, W) uint8, the RoM maps in 255 steps; ``change`` likewise
``observed``           (S, H, W) bool, packed along the last axis; ``per_frame`` (T, H, W) likewise
``embedding``          (S, D) float32
``arrays/<name>``      the episode's own arrays
=====================  ==============================================================================================
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_export.columns import hand_track, robot_track
from ksgen_export.episode import Episode, EpisodeKeyStep, EpisodeSchema, FrameProvenance
from ksgen_models.demonstration import decode_picture, split_blobs
from ksgen_models.errors import DatasetError, InvalidInput
from ksgen_models.types import RegionOfMotion

RECORD_VERSION = 1


def pack_record(episode: Episode) -> bytes:
    """The record as the bytes of an ``.npz`` archive; the same episode gives the same bytes.

    Raises:
        InvalidInput: the episode's record is no plain data.
    """
    steps = episode.key_steps
    places: dict[bytes, int] = {}
    owners = {
        name: [places.setdefault(_to_png(getattr(step, name)), len(places)) for step in steps]
        for name in ("image", "goal")
    }
    maps = {
        name: np.stack([np.rint(np.clip(getattr(step.region_of_motion, name), 0, 1) * 255) for step in steps])
        for name in ("predicted", "change")
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        record=np.frombuffer(_to_json(episode).encode(), np.uint8),
        pictures=np.frombuffer(b"".join(places), np.uint8),
        pictures_at=np.array([0, *itertools.accumulate(map(len, places))], np.int64),
        image=np.array(owners["image"], np.int64),
        goal=np.array(owners["goal"], np.int64),
        predicted=maps["predicted"].astype(np.uint8),
        change=maps["change"].astype(np.uint8),
        observed=np.packbits(np.stack([step.region_of_motion.observed for step in steps]), axis=-1),
        per_frame=np.packbits(np.concatenate([step.region_of_motion.per_frame for step in steps]), axis=-1),
        embedding=np.stack([np.asarray(step.embedding, np.float32) for step in steps]),
        **{f"arrays/{name}": array for name, array in episode.arrays.items()},
    )
    return buffer.getvalue()


def unpack_record(blob: bytes, frames: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]) -> Episode:
    """Put an episode together from its record, its frames and its columns.

    Raises:
        DatasetError: the record is damaged, or belongs to other frames.
    """
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
        told = json.loads(data["record"].tobytes())
        if told["version"] != RECORD_VERSION:
            raise DatasetError(
                f"an episode's record has version {told['version']}, this release reads {RECORD_VERSION}"
            )
        return _assemble(told, data, frames, columns)
    except DatasetError:
        raise
    except Exception as exc:
        raise DatasetError(f"an episode's record cannot be read ({exc!r}); write the dataset anew") from exc


def _to_json(episode: Episode) -> str:
    robot = episode.robot
    told = {
        "version": RECORD_VERSION,
        "kind": episode.kind,
        "task": episode.task,
        "fps": float(episode.fps),
        "robot": robot is not None,
        "terminated": bool(robot.terminated) if robot else False,
        "state_names": robot.state_names if robot else (),
        "action_names": robot.action_names if robot else (),
        "key_steps": [
            {
                "description": step.description,
                "start": step.start,
                "stop": step.stop,
                "scores": dict(step.scores),
                "frame_provenance": asdict(step.frame_provenance),
                "provenance": dict(step.provenance),
            }
            for step in episode.key_steps
        ],
        "record": dict(episode.record),
    }
    try:
        return json.dumps(told, default=_plain)
    except (TypeError, ValueError) as exc:
        raise InvalidInput(f"the record of {episode.task!r} is no plain data: {exc}; use numbers and text") from exc


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__qualname__}")


def _assemble(
    told: dict[str, Any], data: dict[str, NDArray[Any]], frames: NDArray[np.uint8], columns: Mapping[str, NDArray[Any]]
) -> Episode:
    width = frames.shape[2]
    pictures = [decode_picture(blob) for blob in split_blobs(data["pictures"], data["pictures_at"])]
    observed = np.unpackbits(data["observed"], axis=-1, count=width).astype(bool)
    per_frame = np.unpackbits(data["per_frame"], axis=-1, count=width).astype(bool)
    schema = EpisodeSchema(
        told["fps"], frames.shape[1], width, told["robot"], tuple(told["state_names"]), tuple(told["action_names"])
    )
    key_steps = tuple(
        EpisodeKeyStep(
            description=step["description"],
            start=step["start"],
            stop=step["stop"],
            image=pictures[data["image"][index]],
            goal=pictures[data["goal"][index]],
            hands=hand_track(columns, step["start"], step["stop"]),
            region_of_motion=RegionOfMotion(
                predicted=data["predicted"][index].astype(np.float32) / 255,
                observed=observed[index],
                per_frame=per_frame[step["start"] : step["stop"]],
                change=data["change"][index].astype(np.float32) / 255,
            ),
            frame_provenance=FrameProvenance(**step["frame_provenance"]),
            scores=step["scores"],
            embedding=data["embedding"][index],
            provenance=step["provenance"],
        )
        for index, step in enumerate(told["key_steps"])
    )
    return Episode(
        kind=told["kind"],
        task=told["task"],
        fps=told["fps"],
        frames=frames,
        key_steps=key_steps,
        robot=robot_track(columns, schema, told["terminated"]),
        record=told["record"],
        arrays={name.removeprefix("arrays/"): data[name] for name in data if name.startswith("arrays/")},
    )


def _to_png(image: NDArray[np.uint8]) -> bytes:
    import cv2

    ok, blob = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise DatasetError(f"cannot encode a picture of shape {image.shape} as PNG")
    return blob.tobytes()
