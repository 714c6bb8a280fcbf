"""The message types of the protocol, one frozen dataclass each; ``docs/protocol.md`` tells their story.

`FROM_CLIENT` and `FROM_SERVER` are what either side accepts.
"""

# ruff: noqa: RUF009 - `required` and `optional` only describe a field; they make no value to be shared.
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ksgen_agent.frames import GREATEST_CANDIDATES
from ksgen_agent.wire.blobs import Blob, Layout, check_blob, check_layout
from ksgen_agent.wire.schema import (
    choice,
    figure,
    flag,
    listing,
    mapping,
    nullable,
    optional,
    plain_map,
    real,
    required,
    text,
    whole,
)

MOST_STEPS = 256
JOB_STATES = ("queued", "running", "done", "failed", "cancelled")
PICTURE_ENCODINGS = ("raw", "jpeg", "png")
CLIP_ENCODINGS = ("raw", "mp4")
ERROR_CODES = (
    "invalid_frame", "invalid_task", "invalid_input", "unknown_task", "task_done", "low_confidence", "no_hand_found",
    "preset", "weights_missing", "cancelled", "timeout", "busy", "protocol", "version", "authentication", "unknown_job",
    "conflict", "worker_lost", "internal",
)  # fmt: skip

_id = text(64, least=1)
_seconds = real(0, 1e9)
_timings = mapping(real(0), 2000)


@dataclass(frozen=True)
class Hello:
    """Client: who are you? Answered by `Spec`."""

    TYPE: ClassVar = "hello"


@dataclass(frozen=True)
class Submit:
    """Client: imagine this. The body holds the frame.

    Attributes:
        id: chosen by the client; the same id again is the same job.
        client: a name under which the client's jobs take turns with those of others, where no keys tell them apart.
        task, seed, allow_out_of_domain, candidates, least_trust, from_here: as in `ksgen_agent.Agent.imagine`.
        frame: (H, W, 3) uint8, raw, or a JPEG or PNG file whose shape may be declared as ().
        deadline: seconds from now after which the job is given up.
        start: first key step to be sent.
        images, clip: how key-step images and clips are to be encoded.
        topic: under which the key steps are also broadcast; empty for not at all.
    """

    TYPE: ClassVar = "submit"
    id: str = required(_id)
    task: str = required(text(4000))
    frame: Blob = required(check_blob)
    client: str = optional(text(64), "")
    seed: int = optional(whole(0, 2**63 - 1), 0)
    allow_out_of_domain: bool = optional(flag, False)
    candidates: int = optional(whole(1, GREATEST_CANDIDATES), 1)
    least_trust: float = optional(real(0, 1), 0.0)
    from_here: bool = optional(flag, True)
    deadline: float | None = optional(nullable(_seconds), None)
    start: int = optional(whole(0, MOST_STEPS), 0)
    images: str = optional(choice(*PICTURE_ENCODINGS), "raw")
    clip: str = optional(choice(*CLIP_ENCODINGS), "raw")
    topic: str = optional(text(128), "")


@dataclass(frozen=True)
class Fetch:
    """Client: send me this job's key steps from ``start`` on. Answered by `JobStatus`, then steps, then the end.

    A connection that is being sent the job already only gets the `JobStatus`.
    """

    TYPE: ClassVar = "fetch"
    id: str = required(_id)
    start: int = optional(whole(0, MOST_STEPS), 0)


@dataclass(frozen=True)
class Status:
    """Client: how does this job stand? Without an id: how does the server stand? (`ServerStatus`)"""

    TYPE: ClassVar = "status"
    id: str = optional(text(64), "")


@dataclass(frozen=True)
class Cancel:
    """Client: stop this job. Answered by `JobStatus`, or by `Error` ``unknown_job``."""

    TYPE: ClassVar = "cancel"
    id: str = required(_id)


@dataclass(frozen=True)
class Ping:
    """Client: are you there? Answered by `Pong` of the same number."""

    TYPE: ClassVar = "ping"
    number: int = optional(whole(0, 2**63 - 1), 0)


@dataclass(frozen=True)
class Spec:
    """Server: what it is.

    Attributes:
        server: a name that changes with every start of the server.
        package: version of ksgen-agent.
        state: ``starting`` (no worker is ready yet), ``serving`` or ``draining``.
        limits: greatest sizes and counts, by name.
        imaginer: the fields of `ksgen_agent.ImaginerSpec`; null while no worker has been ready.
    """

    TYPE: ClassVar = "spec"
    server: str = required(text(64))
    package: str = required(text(64))
    state: str = required(choice("starting", "serving", "draining"))
    limits: dict[str, Any] = required(mapping(whole(0, 2**63 - 1), 50))
    imaginer: dict[str, Any] | None = optional(nullable(plain_map), None)


@dataclass(frozen=True)
class JobStatus:
    """Server: how a job stands.

    Attributes:
        state: one of `JOB_STATES`.
        position: place in the queue, 1 comes next; 0 when it does not wait.
        steps: key steps that are finished.
        timings: seconds: ``queued``, ``running``.
    """

    TYPE: ClassVar = "status"
    id: str = required(_id)
    state: str = required(choice(*JOB_STATES))
    position: int = optional(whole(0, 2**31), 0)
    steps: int = optional(whole(0, MOST_STEPS), 0)
    timings: dict[str, float] = optional(_timings, {})


@dataclass(frozen=True)
class Step:
    """Server: a key step is done. The body holds its arrays; see `ksgen_agent.wire.key_steps` for their names.

    Attributes:
        timings: seconds by stage in the server: ``queued``, ``since_start``, ``imagining``, ``packing``.
    """

    TYPE: ClassVar = "step"
    id: str = required(_id)
    index: int = required(whole(0, MOST_STEPS - 1))
    description: str = required(text(4000))
    fps: float = required(real(0, 1e6))
    scores: dict[str, float] = required(mapping(figure, 200))
    provenance: dict[str, Any] = required(plain_map)
    arrays: Layout = required(check_layout)
    timings: dict[str, float] = optional(_timings, {})


@dataclass(frozen=True)
class Done:
    """Server: the job is done and all its key steps were sent.

    Attributes:
        steps: how many there are.
        plan: ``task``, ``steps``, ``confidence``, ``source``, ``evidence``, as `ksgen_agent.Plan`.
        timings: seconds by stage: the imaginer's own, and ``server/queued``, ``server/running``.
    """

    TYPE: ClassVar = "done"
    id: str = required(_id)
    steps: int = required(whole(0, MOST_STEPS))
    plan: dict[str, Any] = required(plain_map)
    timings: dict[str, float] = optional(_timings, {})


@dataclass(frozen=True)
class Error:
    """Server: it will not be, or it was stopped.

    Attributes:
        id: of the request that is meant; empty where it could not be read.
        code: one of `ERROR_CODES`.
        message: what was wrong, and what to do.
        details: by code: ``retry_after`` (busy), ``score`` and ``threshold`` (low_confidence), ``task`` and
            ``nearest`` (unknown_task).
        timings: of a job that ended so, seconds: ``queued``, ``running``.
    """

    TYPE: ClassVar = "error"
    id: str = required(text(64))
    code: str = required(text(40))
    message: str = required(text(8000))
    details: dict[str, Any] = optional(plain_map, {})
    timings: dict[str, float] = optional(_timings, {})


@dataclass(frozen=True)
class ServerStatus:
    """Server: how it stands.

    Attributes:
        state: as in `Spec`.
        uptime: seconds.
        counts: whole numbers by name: jobs by state, queue, bytes stored, workers lost, messages and connections
            refused (``refused/<code>``), …
        workers: for each worker ``number``, ``pid``, ``state``, ``device``, ``jobs``, ``uptime``, ``memory``.
        jobs: those under way and the next ones to be, as far as the client may see them: the first characters of its
            ``id``, ``client``, ``state``, ``steps``, ``seconds``, ``worker``.
        timings: seconds that all jobs that have ended took together: ``queued``, ``running``.
    """

    TYPE: ClassVar = "server"
    state: str = required(text(20))
    uptime: float = required(_seconds)
    counts: dict[str, int] = required(mapping(whole(0, 2**63 - 1), 100))
    workers: tuple[dict[str, Any], ...] = required(listing(plain_map, 1024))
    jobs: tuple[dict[str, Any], ...] = optional(listing(plain_map, 256), ())
    timings: dict[str, float] = optional(_timings, {})


@dataclass(frozen=True)
class Pong:
    """Server: yes."""

    TYPE: ClassVar = "pong"
    number: int = optional(whole(0, 2**63 - 1), 0)


FromClient = Hello | Submit | Fetch | Status | Cancel | Ping
FromServer = Spec | JobStatus | Step | Done | Error | ServerStatus | Pong
FROM_CLIENT: dict[str, type[Any]] = {kind.TYPE: kind for kind in (Hello, Submit, Fetch, Status, Cancel, Ping)}
FROM_SERVER: dict[str, type[Any]] = {
    kind.TYPE: kind for kind in (Spec, JobStatus, Step, Done, Error, ServerStatus, Pong)
}
