"""Reading what a user typed: seed ranges and task names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ksgen_models.errors import InvalidInput, UnknownTask


def parse_seeds(text: str) -> range:
    """``"A:B"`` to ``range(A, B)``; ``"A"`` alone to that one seed.

    Raises:
        InvalidInput: not of that form, or empty.
    """
    first, colon, last = text.partition(":")
    try:
        start = int(first)
        stop = int(last) if colon else start + 1
    except ValueError:
        raise InvalidInput(f"seeds must be A:B (from A up to, not including, B) or one number, got {text!r}") from None
    if start < 0 or stop <= start:
        raise InvalidInput(f"seeds {text} name no seed; in A:B, B must be greater than A, and A at least 0")
    return range(start, stop)


def short_name(env_id: str) -> str:
    """``"KSGen/StackBlocks-v0"`` to ``"StackBlocks"``."""
    return env_id.rpartition("/")[2].partition("-")[0]


def parse_tasks(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Env ids for ``"all"`` or for names joined by commas, short (``StackBlocks``) or full.

    Raises:
        UnknownTask: a name is not among ``known``; carries the nearest.
    """
    if text.strip().lower() == "all":
        return tuple(known)
    by_name = {name.lower(): env_id for env_id in known for name in (env_id, short_name(env_id))}
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    if not wanted:
        raise InvalidInput(f'tasks must be "all" or names joined by commas, got {text!r}')
    return tuple(dict.fromkeys(_find(name, by_name) for name in wanted))


def _find(name: str, by_name: dict[str, str]) -> str:
    if name.lower() in by_name:
        return by_name[name.lower()]
    short = [known for known in by_name if "/" not in known]
    ranked = sorted(short, key=lambda known: -_likeness(name, known))[:3]
    raise UnknownTask(name, tuple((short_name(by_name[known]), _likeness(name, known)) for known in ranked))


def _likeness(name: str, known: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), known).ratio()
