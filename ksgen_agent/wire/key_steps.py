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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.wire.blobs import Blob, lay_out, raw, view_array, view_bytes
from ksgen_agent.wire.messages import Done, Step
from ksgen_agent.wire.schema import listing, mapping, plain, real, text
from ksgen_models.errors import ProtocolError
from ksgen_models.types import HAND_KEYPOINTS, Evidence, HandTrack, KeyStep, Plan, RegionOfMotion

_TRACK = tuple(item.name for item in fields(HandTrack))
_REGION = tuple(item.name for item in fields(RegionOfMotion))
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
    known = message.arrays
    image = _unpack_picture(known, "image", body)
    clip = _unpack_clip(known, body)
    height, width = image.shape[:2]
    frames = clip.shape[0]
    _expect("clip", clip, np.uint8, (frames, height, width, 3))
    goal = _unpack_picture(known, "goal", body)
    _expect("goal", goal, np.uint8, image.shape)
    hands = {name: view_array(_find(known, name), body) for name in _TRACK}
    for name in ("keypoints", "world"):
        _expect(name, hands[name], np.float32, (frames, 2, HAND_KEYPOINTS, 3))
    _expect("confidence", hands["confidence"], np.float32, (frames, 2))
    for name in ("valid", "interpolated"):
        _expect(name, hands[name], np.bool_, (frames, 2))
    region = {name: view_array(_find(known, name), body) for name in _REGION}
    for name in ("predicted", "change"):
        _expect(name, region[name], np.float32, (height, width))
    _expect("observed", region["observed"], np.bool_, (height, width))
    _expect("per_frame", region["per_frame"], np.bool_, (frames, height, width))
    embedding = view_array(_find(known, "embedding"), body)
    _expect("embedding", embedding, np.float32, (min(embedding.size, _MOST_EMBEDDING),))
    return KeyStep(
        index=message.index,
        description=message.description,
        image=image,
        goal=goal,
        clip=clip,
        fps=message.fps,
        hands=HandTrack(**hands),
        region_of_motion=RegionOfMotion(**region),
        scores=message.scores,
        provenance=message.provenance,
        embedding=embedding,
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


def _unpack_picture(known: Mapping[str, Blob], name: str, body: memoryview | None) -> NDArray[np.uint8]:
    blob = _find(known, name)
    if blob.encoding == "raw":
        image = view_array(blob, body)
        _expect(name, image, np.uint8, (*image.shape[:2], 3))
        return image
    from ksgen_agent.wire.pictures import decode_picture

    if blob.encoding not in ("jpeg", "png"):
        raise ProtocolError(f"{name} is encoded as {blob.encoding}")
    return decode_picture(view_bytes(blob, body), blob.encoding, blob.shape)


def _unpack_clip(known: Mapping[str, Blob], body: memoryview | None) -> NDArray[np.uint8]:
    blob = _find(known, "clip")
    if blob.encoding == "raw":
        clip = view_array(blob, body)
        _expect("clip", clip, np.uint8, (*clip.shape[:3], 3))
        return clip
    from ksgen_agent.wire.pictures import decode_clip

    if blob.encoding != "mp4":
        raise ProtocolError(f"the clip is encoded as {blob.encoding}")
    return decode_clip(view_bytes(blob, body), blob.shape)


def _find(known: Mapping[str, Blob], name: str) -> Blob:
    if name not in known:
        raise ProtocolError(f"the key step lacks the array {name!r}")
    return known[name]


def _expect(name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ProtocolError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
