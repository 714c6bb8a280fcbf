"""Key steps as step messages and back.

===========================  =======================================================================
``image``, ``goal``          (H, W, 3) uint8; raw, ``jpeg`` or ``png``
``clip``                     (T, H, W, 3) uint8; raw or ``mp4``
``keypoints``, ``world``     (T, 2, 21, 3) float32, NaN where a hand is absent
``confidence``               (T, 2) float32
``valid``, ``interpolated``  (T, 2) bool
``predicted``, ``change``    (H, W) float32
``observed``                 (H, W) bool
``per_frame``                (T, H, W) bool
``embedding``                (D,) float32
===========================  =======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.wire.blobs import Blob, Layout, lay_out, raw, view_array, view_bytes
from ksgen_agent.wire.messages import CLIP_ENCODINGS, PICTURE_ENCODINGS, Done, Step
from ksgen_agent.wire.schema import listing, mapping, plain, real, text
from ksgen_models.errors import ProtocolError
from ksgen_models.types import HAND_KEYPOINTS, Evidence, HandTrack, KeyStep, Plan, RegionOfMotion

_TRACK = tuple(item.name for item in fields(HandTrack))
_REGION = tuple(item.name for item in fields(RegionOfMotion))
_DTYPES = {
    **dict.fromkeys(("image", "goal", "clip"), "uint8"),
    **dict.fromkeys(("keypoints", "world", "confidence", "predicted", "change", "embedding"), "float32"),
    **dict.fromkeys(("valid", "interpolated", "observed", "per_frame"), "bool"),
}
_NAMES = ("image", "goal", "clip", *_TRACK, *_REGION, "embedding")
_ENCODINGS = {"image": PICTURE_ENCODINGS, "goal": PICTURE_ENCODINGS, "clip": CLIP_ENCODINGS}
_MOST_EMBEDDING = 65536


def pack_key_step(
    request: str,
    step: KeyStep,
    *,
    images: str = "raw",
    clip: str = "raw",
    timings: Mapping[str, float] | None = None,
) -> tuple[Step, list[memoryview]]:
    """A key step as a message, and the pieces of its body; raw arrays are not copied.

    Raises:
        ProtocolError: an array's dtype does not travel.
    """
    arrays: dict[str, tuple[str, Any, tuple[int, ...]]] = {
        "image": _pack_picture(step.image, images),
        "goal": _pack_picture(step.goal, images),
        "clip": _pack_clip(step, clip),
    }
    arrays |= {name: raw(getattr(step.hands, name)) for name in _TRACK}
    arrays |= {name: raw(getattr(step.region_of_motion, name)) for name in _REGION}
    arrays["embedding"] = raw(step.embedding)
    records, pieces = lay_out(arrays)
    message = Step(
        id=request,
        index=step.index,
        description=step.description,
        fps=float(step.fps),
        scores={name: float(value) for name, value in step.scores.items()},
        provenance=dict(step.provenance),
        arrays=records,
        timings=dict(timings or {}),
    )
    return message, pieces


def unpack_key_step(message: Step, body: memoryview | None) -> KeyStep:
    """The key step of a message; raw arrays are read-only views of the body.

    Raises:
        ProtocolError: an array is missing, or its dtype or shape does not fit the others.
    """
    layout = message.arrays
    _check_shapes(layout)
    arrays = {name: _unpack(name, layout[name], body) for name in _NAMES}
    return KeyStep(
        index=message.index,
        description=message.description,
        image=arrays["image"],
        goal=arrays["goal"],
        clip=arrays["clip"],
        fps=message.fps,
        hands=HandTrack(**{name: arrays[name] for name in _TRACK}),
        region_of_motion=RegionOfMotion(**{name: arrays[name] for name in _REGION}),
        scores=message.scores,
        provenance=message.provenance,
        embedding=arrays["embedding"],
    )


def pack_plan(plan: Plan) -> dict[str, Any]:
    """A plan as plain data."""
    evidence = [
        {"task": item.task, "steps": list(item.steps), "similarity": float(item.similarity), "source": item.source}
        for item in plan.evidence
    ]
    return {
        "task": plan.task,
        "steps": list(plan.steps),
        "confidence": float(plan.confidence),
        "source": plan.source,
        "evidence": evidence,
        "done": list(plan.done),
    }


def unpack_plan(message: Done) -> Plan:
    """The plan of a finished job.

    Raises:
        ProtocolError: it lacks something, or something is not of its kind.
    """
    values = message.plan
    sentence = text(4000)
    sentences = listing(sentence, 256)
    try:
        evidence = tuple(
            Evidence(
                task=sentence(item["task"]),
                steps=sentences(item["steps"]),
                similarity=real()(item["similarity"]),
                source=sentence(item["source"]),
            )
            for item in listing(mapping(plain, 10), 1000)(values["evidence"])
        )
        return Plan(
            task=sentence(values["task"]),
            steps=sentences(values["steps"]),
            confidence=real()(values["confidence"]),
            source=sentence(values["source"]),
            evidence=evidence,
            done=sentences(values["done"]),
        )
    except KeyError as exc:
        raise ProtocolError(f"the plan lacks {exc}") from exc


def _pack_picture(image: NDArray[np.uint8], encoding: str) -> tuple[str, Any, tuple[int, ...]]:
    if encoding == "raw":
        return raw(image)
    from ksgen_agent.wire.pictures import encode_picture

    return encoding, encode_picture(image, encoding), image.shape


def _pack_clip(step: KeyStep, encoding: str) -> tuple[str, Any, tuple[int, ...]]:
    if encoding == "raw":
        return raw(step.clip)
    from ksgen_agent.wire.pictures import encode_clip

    return encoding, encode_clip(step.clip, step.fps), step.clip.shape


def _unpack(name: str, blob: Blob, body: memoryview | None) -> NDArray[Any]:
    if blob.encoding == "raw":
        return view_array(blob, body)
    from ksgen_agent.wire.pictures import decode_clip, decode_picture

    part = view_bytes(blob, body)
    return decode_clip(part, blob.shape) if name == "clip" else decode_picture(part, blob.encoding, blob.shape)


@lru_cache(maxsize=128)
def _check_shapes(layout: Layout) -> None:
    """Whether the declared arrays make up a key step; what is decoded later is held to what was declared.

    Raises:
        ProtocolError: they do not.
    """
    if lacking := [name for name in _NAMES if name not in layout]:
        raise ProtocolError(f"the key step lacks the array {lacking[0]!r}")
    picture, clip = layout["image"].shape, layout["clip"].shape
    side, frames = picture[:2], clip[:1]
    shapes = {
        "image": (*side, 3) if len(side) == 2 else (0, 0, 3),
        "goal": picture,
        "clip": (*frames, *picture),
        "keypoints": (*frames, 2, HAND_KEYPOINTS, 3),
        "world": (*frames, 2, HAND_KEYPOINTS, 3),
        "confidence": (*frames, 2),
        "valid": (*frames, 2),
        "interpolated": (*frames, 2),
        "predicted": side,
        "change": side,
        "observed": side,
        "per_frame": (*frames, *side),
        "embedding": (min(layout["embedding"].size // 4, _MOST_EMBEDDING),),
    }
    for name in _NAMES:
        blob = layout[name]
        if blob.dtype != _DTYPES[name] or blob.shape != shapes[name]:
            raise ProtocolError(f"{name} is {blob.dtype} {blob.shape}, expected {_DTYPES[name]} {shapes[name]}")
        if blob.encoding not in _ENCODINGS.get(name, ("raw",)):
            raise ProtocolError(f"{name} is encoded as {blob.encoding}")
