"""Exceptions to error codes and back, so that a remote call raises what the local one would have raised."""

from __future__ import annotations

from typing import Any

from ksgen_agent.wire.messages import Error
from ksgen_agent.wire.schema import figure
from ksgen_models.errors import (
    AssetError,
    AuthenticationFailed,
    Cancelled,
    InvalidFrame,
    InvalidInput,
    InvalidTask,
    KSGenError,
    LowConfidence,
    NoHandFound,
    PresetError,
    ProtocolError,
    RemoteError,
    ServerBusy,
    SubgoalTimeout,
    TaskDone,
    UnknownTask,
)

# The first that fits, so a class stands before its bases.
_CODE_OF: tuple[tuple[type[KSGenError], str], ...] = (
    (InvalidFrame, "invalid_frame"),
    (InvalidTask, "invalid_task"),
    (InvalidInput, "invalid_input"),
    (UnknownTask, "unknown_task"),
    (TaskDone, "task_done"),
    (LowConfidence, "low_confidence"),
    (NoHandFound, "no_hand_found"),
    (PresetError, "preset"),
    (AssetError, "weights_missing"),
    (Cancelled, "cancelled"),
    (SubgoalTimeout, "timeout"),
    (ServerBusy, "busy"),
    (AuthenticationFailed, "authentication"),
    (ProtocolError, "protocol"),
)
_CLASS_OF: dict[str, type[KSGenError]] = {
    **{code: kind for kind, code in _CODE_OF},
    "version": ProtocolError,
    "unknown_job": ProtocolError,
    "conflict": ProtocolError,
}


def to_message(request: str, error: BaseException) -> Error:
    """The error message that tells a client of an exception."""
    details: dict[str, Any] = {}
    if isinstance(error, LowConfidence):
        details = {"score": float(error.score), "threshold": float(error.threshold)}
    elif isinstance(error, UnknownTask):
        nearest = [[name, float(similarity)] for name, similarity in error.nearest]
        details = {"task": error.task[:4000], "nearest": nearest[:20]}
    elif isinstance(error, TaskDone):
        steps = [step[:4000] for step in error.steps[:256]]
        details = {"task": error.task[:4000], "steps": steps, "confidence": float(error.confidence)}
    elif isinstance(error, ServerBusy):
        details = {"retry_after": float(error.retry_after)}
    if isinstance(error, KSGenError):
        code = next((code for kind, code in _CODE_OF if isinstance(error, kind)), "internal")
        return Error(request, code, _clean(str(error)), details)
    kind = type(error).__name__
    return Error(request, "internal", _clean(f"the imaginer failed with {kind}: {error}; the server's log says where"))


def to_exception(message: Error) -> KSGenError:
    """The exception that an error message stands for."""
    details = message.details
    try:
        if message.code == "low_confidence":
            score, threshold = figure(details["score"]), figure(details["threshold"])
            return LowConfidence(message.message, score=score, threshold=threshold)
        if message.code == "unknown_task":
            nearest = tuple((str(name), figure(similarity)) for name, similarity in details["nearest"])
            return UnknownTask(str(details["task"]), nearest)
        if message.code == "task_done":
            steps = tuple(str(step) for step in details["steps"])
            return TaskDone(str(details["task"]), steps, figure(details["confidence"]))
        if message.code == "busy":
            return ServerBusy(message.message, retry_after=max(figure(details["retry_after"]), 0.0))
    except (KeyError, TypeError, ValueError, ProtocolError):
        return RemoteError(message.message)
    return _CLASS_OF.get(message.code, RemoteError)(message.message)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:8000]
