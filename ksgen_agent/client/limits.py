"""How long a client waits for what."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ksgen_models.errors import InvalidInput


@dataclass(frozen=True)
class Limits:
    """Time limits of a client, in seconds; every one is finite.

    Attributes:
        connect: until the server says the first word.
        first_step: from the call to the first key step, waiting in the queue included.
        job: from the call to the end of the imagination, less the time the caller takes between two key steps. The
            server gives the job up then, too.
        reconnect: how long a connection may be silent before `ServerLost` is raised; until then the client reconnects
            and goes on where it was.
        busy: how long to go on asking a server whose queue is full; 0 raises `ServerBusy` at once.

    Raises:
        InvalidInput: one is not a finite number of at least 0.
    """

    connect: float = 5.0
    first_step: float = 300.0
    job: float = 1800.0
    reconnect: float = 60.0
    busy: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise InvalidInput(f"the time limit {item.name} is {value!r}; pass a finite number of seconds")
