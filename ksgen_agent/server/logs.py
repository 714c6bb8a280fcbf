"""The server's log: one line an event, for people (``text``) or for machines (``json``), by the standard library.

An event is a short constant sentence and named values, so that lines can be searched and counted::

    _log.info("job ended", extra=fields(job=job.id, client=job.share, state="done", running=1.25))

Names that recur: ``job`` (the client's request id), ``client``, ``worker`` (number), ``pid``; times are in seconds.
Much of what is logged was chosen by somebody on the network: whatever it holds, an event stays on its line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from ksgen_models.errors import InvalidInput

FORMATS = ("text", "json")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ATTRIBUTE = "ksgen_fields"
_BARE = re.compile(r"[!-~]+")  # printable ASCII without a space
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MOST_TEXT = 2000  # characters of one value


def fields(**values: Any) -> dict[str, Any]:
    """Named values of an event, to be passed as ``extra=``; those that are None are left out."""
    return {_ATTRIBUTE: {name: value for name, value in values.items() if value is not None}}


def set_up(kind: str = "text", level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Have everything that this process logs written in one of `FORMATS`, instead of what was set up before.

    Args:
        kind: ``text`` or ``json``.
        level: what is less than this is not written.
        stream: standard error if None.

    Raises:
        InvalidInput: no such format.
    """
    if kind not in FORMATS:
        raise InvalidInput(f"there is no log format {kind!r}; take one of {', '.join(FORMATS)}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)


def level_of(name: str) -> int:
    """A level of the standard library by its name in `LEVELS`.

    Raises:
        InvalidInput: no such level.
    """
    if name.lower() not in LEVELS:
        raise InvalidInput(f"there is no log level {name!r}; take one of {', '.join(LEVELS)}")
    return LEVELS[name.lower()]


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00,000 INFO ksgen_agent.server job ended job=7f client=robot-1``; a traceback comes below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a traceback."""
        line = _CONTROL.sub(_escape, super().formatMessage(record))
        return " ".join([line, *(f"{name}={_show(value)}" for name, value in _fields_of(record).items())])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``message``, the event's own values, and
    ``traceback`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        event: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_MOST_TEXT],
        }
        event |= {name: _round(value) for name, value in _fields_of(record).items() if name not in event}
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)  # ASCII: no terminal or collector stumbles over it


class Throttle:
    """Lets an event of a kind through once in a while, so that a flood from the network does not flood the log.

    Args:
        seconds: between two events of one kind.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._kinds: dict[str, tuple[float, int]] = {}

    def admit(self, kind: str) -> int | None:
        """How many of this kind were held back since the last that was let through; None to hold this one back, too.

        Kinds are few and named by the code, never by the network.
        """
        now = self._clock()
        last, held = self._kinds.get(kind, (-float("inf"), 0))
        if now - last < self._seconds:
            self._kinds[kind] = (last, held + 1)
            return None
        self._kinds[kind] = (now, 0)
        return held


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, _ATTRIBUTE, {})


def _round(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value[:_MOST_TEXT] if isinstance(value, str) else value


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)[:_MOST_TEXT]
    return text if _BARE.fullmatch(text) and '"' not in text else json.dumps(text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")
