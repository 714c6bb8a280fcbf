"""When to stop: the caller's wish, a time limit, or the end of whoever listens."""

from __future__ import annotations

import numbers
import threading
import time

from ksgen_models.errors import Cancelled, InvalidInput, SubgoalTimeout


class StopSignal:
    """Says when an imagination must end; `check` is called between solver steps and while waiting.

    Args:
        deadline: seconds from now, or None for no limit.
        cancel: the caller's event, or None.

    Raises:
        InvalidInput: the deadline is not a positive number.
    """

    def __init__(self, deadline: float | None = None, cancel: threading.Event | None = None) -> None:
        if deadline is not None and (not isinstance(deadline, numbers.Real) or not deadline > 0):
            raise InvalidInput(f"the deadline is {deadline!r}; pass seconds above 0, or None for no limit")
        self._limit = None if deadline is None else float(deadline)
        self._ends = None if self._limit is None else time.monotonic() + self._limit
        self._cancel = cancel
        self._stop = threading.Event()

    def set(self) -> None:
        """Ask the work to end."""
        self._stop.set()

    def check(self) -> None:
        """Go on or raise.

        Raises:
            Cancelled: the caller's event or `set` asked to stop.
            SubgoalTimeout: the deadline has passed.
        """
        if self._stop.is_set() or (self._cancel is not None and self._cancel.is_set()):
            raise Cancelled("the imagination was cancelled")
        if self._ends is not None and time.monotonic() > self._ends:
            raise SubgoalTimeout(f"the imagination took longer than {self._limit:g} s; allow more or ask for less")
