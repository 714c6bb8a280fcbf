"""What runs inside a worker process, whichever engine started it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ksgen_export.jobs import Failure, Work
from ksgen_models import errors
from ksgen_models.errors import KSGenError


@dataclass(frozen=True)
class Unopened:
    """The work could not be opened.

    Attributes:
        kind: name of the error's class.
        message: of the error.
    """

    kind: str
    message: str

    def error(self) -> KSGenError:
        """The error again; of those that carry more than a message, the base class with their words."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, KSGenError) and "__init__" not in vars(kind):
            return kind(self.message)
        return KSGenError(f"{self.kind}: {self.message}")


class Worker:
    """Opens a work with the first task, so that what goes wrong then is an answer like any other.

    Args:
        work: to be opened.
    """

    def __init__(self, work: Work[Any, Any]) -> None:
        self._work = work
        self._stack = contextlib.ExitStack()
        self._do: Callable[[Any], Any] | None = None

    def do(self, task: Any) -> Any:
        """The task's result, a `Failure`, or `Unopened`. Errors stay here as such: not all survive pickling."""
        if self._do is None:
            try:
                self._do = self._stack.enter_context(self._work())
            except Exception as exc:
                return Unopened(type(exc).__name__, str(exc))
        try:
            return self._do(task)
        except Exception as exc:
            return Failure(f"{type(exc).__name__}: {exc}")

    def close(self) -> None:
        """Close the work."""
        self._stack.close()
