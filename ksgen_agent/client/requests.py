"""From a caller's arguments to messages, and from messages to what a caller gets: shared by both clients."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.client.exchange import Imagining, Question
from ksgen_agent.client.limits import Limits
from ksgen_agent.frames import check_candidates, check_frame, check_seed, check_task
from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import ImaginerSpec, StreamEnd
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import Blob
from ksgen_agent.wire.keys import ClientKey
from ksgen_agent.wire.schema import listing, real, text, whole
from ksgen_models.errors import InvalidFrame, InvalidInput, ProtocolError
from ksgen_models.types import KeyStep


@dataclass(frozen=True)
class Settings:
    """What a client is told once.

    Attributes:
        address: of the server.
        key: the client's key, None for a server without keys.
        limits: time limits.
        name: under which its jobs take turns with those of others, where there are no keys.
        frames: how arrays are sent as frames: ``raw``, ``png`` or ``jpeg`` (which loses detail).
        images, clip: how key-step images and clips are to come: ``raw``, or ``png``/``jpeg`` and ``mp4``.
    """

    address: str
    key: ClientKey | None
    limits: Limits
    name: str
    frames: str
    images: str
    clip: str


def make_settings(
    address: str,
    key: str | Path | ClientKey | None,
    limits: Limits | None,
    name: str | None,
    frames: str,
    images: str,
    clip: str,
) -> Settings:
    """Check a client's settings.

    Raises:
        InvalidInput: an encoding is unknown, or the address is no text.
        AuthenticationFailed: the key file is missing or damaged.
    """
    for value, known in (
        (frames, wire.PICTURE_ENCODINGS),
        (images, wire.PICTURE_ENCODINGS),
        (clip, wire.CLIP_ENCODINGS),
    ):
        if value not in known:
            raise InvalidInput(f"there is no encoding {value!r} here; choose one of: {', '.join(known)}")
    if not isinstance(address, str) or "://" not in address:
        raise InvalidInput(f"{address!r} is no address; give one such as tcp://127.0.0.1:7447")
    if isinstance(key, str | Path):
        key = ClientKey.read(key)
    own = name if name is not None else f"{socket.gethostname()[:40]}-{os.getpid()}"
    return Settings(address, key, limits or Limits(), own[:64], frames, images, clip)


@dataclass(frozen=True)
class Asked:
    """A checked request: ``exchange`` runs it, ``frame`` is the frame as far as the caller gave one as an array."""

    exchange: Imagining
    task: str
    frame: NDArray[np.uint8] | None

    def imagination(self, steps: Sequence[KeyStep], end: StreamEnd | None) -> Imagination:
        """Everything that came, as the local agent would have returned it."""
        if end is None:
            raise ProtocolError("the imagination ended without a plan")
        frame = self.frame
        # The server reduces large frames; key-step image 0 is the frame as the models saw it.
        if steps and (frame is None or frame.shape != steps[0].image.shape):
            frame = steps[0].image
        if frame is None:
            raise ProtocolError("the imagination came without a single key step")
        return Imagination(self.task, frame, end.plan, tuple(steps), dict(end.timings))


def ask(
    settings: Settings,
    spec: wire.Spec,
    frame: Any,
    task: str,
    *,
    seed: int,
    allow_out_of_domain: bool,
    candidates: int,
    least_trust: float,
    from_here: bool,
    deadline: float | None,
    request_id: str | None,
    topic: str,
) -> Asked:
    """Make a request of a caller's arguments.

    Raises:
        InvalidFrame, InvalidTask, InvalidInput: they cannot be used.
    """
    limits = settings.limits
    if deadline is not None:
        if not isinstance(deadline, int | float) or not 0 < deadline < float("inf"):
            raise InvalidInput(f"the deadline is {deadline!r}; pass seconds above 0, or None")
        limits = replace(limits, job=float(deadline), first_step=min(limits.first_step, float(deadline)))
    identity = uuid.uuid4().hex if request_id is None else check_id(request_id)
    blob, body, picture = _pack_frame(frame, settings.frames)
    most = spec.limits.get("frame_bytes", blob.size)
    if blob.size > most:
        raise InvalidFrame(
            f"the frame has {blob.size} bytes, the server takes {most}; send frames='jpeg', or smaller ones"
        )
    words = check_task(task)
    candidates, least_trust = check_candidates(candidates, least_trust)
    if candidates > (drawn := spec.limits.get("candidates", candidates)):
        raise InvalidInput(f"candidates is {candidates}, the server draws at most {drawn} of a key step; ask for fewer")
    request = wire.Submit(
        id=identity,
        task=words,
        frame=blob,
        client=settings.name,
        seed=check_seed(seed),
        allow_out_of_domain=bool(allow_out_of_domain),
        candidates=candidates,
        least_trust=least_trust,
        from_here=bool(from_here),
        deadline=limits.job,
        images=settings.images,
        clip=settings.clip,
        topic=topic,
    )
    return Asked(Imagining(request, body, identity, limits), words, picture)


def check_id(name: Any) -> str:
    """A request id.

    Raises:
        InvalidInput: it is no text of 1 to 64 characters.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= 64:
        raise InvalidInput(f"the request id is {name!r}; pass text of 1 to 64 characters")
    return name


def ask_spec(limit: float, *, ready: bool) -> Question:
    """The server's spec; with ``ready``, only one that knows its imaginer."""
    return Question(
        wire.Hello(), lambda reply: isinstance(reply, wire.Spec) and (not ready or reply.imaginer is not None), limit
    )


def ask_job(message: wire.Status | wire.Cancel, limit: float) -> Question:
    """How a job stands."""
    return Question(message, lambda reply: isinstance(reply, wire.JobStatus) and reply.id == message.id, limit)


def ask_server(limit: float) -> Question:
    """How the server stands."""
    return Question(wire.Status(), lambda reply: isinstance(reply, wire.ServerStatus), limit)


def ask_ping(number: int, limit: float) -> Question:
    """Whether the server is there."""
    return Question(wire.Ping(number), lambda reply: isinstance(reply, wire.Pong) and reply.number == number, limit)


def read_spec(message: wire.Spec) -> ImaginerSpec:
    """The imaginer's spec out of the server's.

    Raises:
        ProtocolError: it is not there or not as it should be.
    """
    values = message.imaginer or {}
    try:
        return ImaginerSpec(
            preset=text(200)(values["preset"]),
            description=text(2000)(values["description"]),
            fps=real(0)(values["fps"]),
            embedding_dimension=whole(0, 2**20)(values["embedding_dimension"]),
            score_names=listing(text(200), 200)(values["score_names"]),
            working_side=whole(1, 2**20)(values["working_side"]),
            provenance=dict(values["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise ProtocolError(f"the server's spec lacks {exc}") from exc


def _pack_frame(frame: Any, encoding: str) -> tuple[Blob, bytes | memoryview, NDArray[np.uint8] | None]:
    if isinstance(frame, bytes | bytearray | memoryview):
        from ksgen_agent.wire.pictures import guess_encoding

        file = bytes(frame)
        return Blob(guess_encoding(file), "uint8", (), 0, len(file)), file, None
    picture = check_frame(frame, reduce=False)
    if encoding == "raw":
        return Blob("raw", "uint8", picture.shape, 0, picture.nbytes), picture.reshape(-1).data, picture
    from ksgen_agent.wire.pictures import encode_picture

    file = encode_picture(picture, encoding)
    return Blob(encoding, "uint8", picture.shape, 0, len(file)), file, picture
