"""Worker processes: how many there is room for, and what they are told before anything in them starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for processes that are spawned meanwhile; afterwards they are as they were.

    A spawned process takes them over before it imports a renderer or starts a thread pool, which read them once.
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
