"""What server and workers say to each other, over a private socket on the same machine.

A worker has a control thread (`Ready`, `Unready`, `Beat`; hears `Stop`) and one thread a job slot (`Idle`, `Made`,
`Finished`, `Failed`; hears `Run`), each with a socket of its own. Bodies stay in files; `Made`, `Finished`, `Failed`
and `Unready` carry the header for the client as their body, so the server passes it on unread.
"""

# ruff: noqa: RUF009 - `required` and `optional` only describe a field; they make no value to be shared.
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ksgen_agent.frames import GREATEST_CANDIDATES
from ksgen_agent.wire.blobs import Blob, check_blob
from ksgen_agent.wire.messages import CLIP_ENCODINGS, MOST_STEPS, PICTURE_ENCODINGS
from ksgen_agent.wire.schema import choice, flag, listing, optional, plain_map, real, required, text, whole

_key = whole(0, 2**63 - 1)
_path = text(4096)
_file = whole(0, 2**63 - 1)


@dataclass(frozen=True)
class Run:
    """Imagine this; key steps below ``have`` are in the store already and need not be written.

    Bodies go to files in ``folder``: those in ``spares`` are to be overwritten first, then new ones are to be made,
    numbered from ``new_files`` on, as many as a job may have key steps.
    """

    TYPE: ClassVar = "run"
    key: int = required(_key)
    id: str = required(text(64))
    task: str = required(text(4000))
    seed: int = required(whole(0, 2**63 - 1))
    allow_out_of_domain: bool = required(flag)
    candidates: int = required(whole(1, GREATEST_CANDIDATES))
    least_trust: float = required(real(0, 1))
    from_here: bool = required(flag)
    frame: Blob = required(check_blob)
    frame_path: str = required(_path)
    folder: str = required(_path)
    new_files: int = required(_file)
    images: str = required(choice(*PICTURE_ENCODINGS))
    clip: str = required(choice(*CLIP_ENCODINGS))
    have: int = required(whole(0, MOST_STEPS))
    queued: float = required(real(0))
    spares: tuple[int, ...] = optional(listing(_file, 64), ())


@dataclass(frozen=True)
class Stop:
    """Stop imagining this."""

    TYPE: ClassVar = "stop"
    key: int = required(_key)


@dataclass(frozen=True)
class Ready:
    """The imaginer is loaded; ``imaginer`` is its spec."""

    TYPE: ClassVar = "ready"
    imaginer: dict[str, Any] = required(plain_map)


@dataclass(frozen=True)
class Unready:
    """The imaginer cannot be loaded; the body is the `Error`."""

    TYPE: ClassVar = "unready"


@dataclass(frozen=True)
class Beat:
    """Still there."""

    TYPE: ClassVar = "beat"


@dataclass(frozen=True)
class Idle:
    """A slot waits for its first job."""

    TYPE: ClassVar = "idle"


@dataclass(frozen=True)
class Made:
    """A key step's body of ``size`` bytes is in the file of this number; the body is the `Step`."""

    TYPE: ClassVar = "made"
    key: int = required(_key)
    index: int = required(whole(0, MOST_STEPS - 1))
    size: int = required(whole(0, 2**40))
    file: int = required(_file)


@dataclass(frozen=True)
class Finished:
    """All key steps are made; the body is the `Done`."""

    TYPE: ClassVar = "finished"
    key: int = required(_key)


@dataclass(frozen=True)
class Failed:
    """It came to nothing, or was stopped; the body is the `Error`."""

    TYPE: ClassVar = "failed"
    key: int = required(_key)


FROM_SERVER: dict[str, type[Any]] = {kind.TYPE: kind for kind in (Run, Stop)}
FROM_WORKER: dict[str, type[Any]] = {kind.TYPE: kind for kind in (Ready, Unready, Beat, Idle, Made, Finished, Failed)}
