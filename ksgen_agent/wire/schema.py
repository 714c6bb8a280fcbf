"""What the fields of a message may hold: every value that comes off the network passes one of these checks.

A check takes the decoded value and returns it, or raises `ProtocolError` with what was expected. Message classes
declare their fields with `required` and `optional`, so a class is its own schema.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field, fields
from functools import cache
from typing import Any, TypeVar

from ksgen_models.errors import ProtocolError

Check = Callable[[Any], Any]
AnyMessage = TypeVar("AnyMessage")
_PLAIN_DEPTH = 8


def required(check: Check) -> Any:
    """A dataclass field that every message of its type carries."""
    return field(metadata={"check": check})


def optional(check: Check, default: Any) -> Any:
    """A dataclass field that a message may leave out."""
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"check": check})
    return field(default=default, metadata={"check": check})


def read_fields(kind: type[AnyMessage], values: Mapping[str, Any]) -> AnyMessage:
    """Make a message of checked fields.

    Raises:
        ProtocolError: a field is missing or not of its kind.
    """
    checked = {}
    for name, check, needed in _schema(kind):
        if name in values:
            try:
                checked[name] = check(values[name])
            except ProtocolError as exc:
                raise ProtocolError(f"{name}: {exc}") from None
        elif needed:
            raise ProtocolError(f"{name} is missing")
    return kind(**checked)


def text(most: int, least: int = 0) -> Check:
    """A string of ``least`` to ``most`` characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise ProtocolError(f"expected text of {least} to {most} characters, got {_show(value)}")
        return value

    return check


def choice(*names: str) -> Check:
    """One of these strings."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ProtocolError(f"expected one of {', '.join(names)}, got {_show(value)}")
        return value

    return check


def whole(low: int, high: int) -> Check:
    """An integer in [low, high]."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ProtocolError(f"expected a whole number in [{low}, {high}], got {_show(value)}")
        return value

    return check


def real(low: float = -math.inf, high: float = math.inf) -> Check:
    """A finite number in [low, high]."""

    def check(value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise ProtocolError(f"expected a number in [{low:g}, {high:g}], got {_show(value)}")
        return float(value)

    return check


def figure(value: Any) -> float:
    """Any float, NaN and infinities included."""
    if not isinstance(value, int | float) or isinstance(value, bool) or (abs(value) > 2**63 and math.isfinite(value)):
        raise ProtocolError(f"expected a number, got {_show(value)}")
    return float(value)


def flag(value: Any) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise ProtocolError(f"expected true or false, got {_show(value)}")
    return value


def listing(item: Check, most: int) -> Check:
    """A list of at most ``most`` values, as a tuple."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) > most:
            raise ProtocolError(f"expected a list of at most {most} values, got {_show(value)}")
        return tuple(item(one) for one in value)

    return check


def mapping(item: Check, most: int) -> Check:
    """A map from short strings to at most ``most`` values."""
    name = text(200)

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > most:
            raise ProtocolError(f"expected a map of at most {most} values, got {_show(value)}")
        return {name(key): item(one) for key, one in value.items()}

    return check


def plain(value: Any, depth: int = _PLAIN_DEPTH) -> Any:
    """Null, booleans, numbers, strings, and lists and string-keyed maps of them, at most 8 deep."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    if depth and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item, depth - 1) for key, item in value.items()}
    raise ProtocolError(f"expected plain data at most {_PLAIN_DEPTH} deep, got {_show(value)}")


def plain_map(value: Any) -> dict[str, Any]:
    """A string-keyed map of `plain` data."""
    if not isinstance(value, dict):
        raise ProtocolError(f"expected a map, got {_show(value)}")
    return plain(value)


def nullable(check: Check) -> Check:
    """Null, or what ``check`` takes."""
    return lambda value: None if value is None else check(value)


@cache
def _schema(kind: type[Any]) -> tuple[tuple[str, Any, bool], ...]:
    return tuple(
        (item.name, item.metadata["check"], item.default is MISSING and item.default_factory is MISSING)
        for item in fields(kind)
    )


def _show(value: Any) -> str:
    if isinstance(value, bool | int | float) or value is None:
        return repr(value)[:40]
    size = f" of length {len(value)}" if isinstance(value, str | bytes | list | dict) else ""
    return f"{type(value).__name__}{size}"
