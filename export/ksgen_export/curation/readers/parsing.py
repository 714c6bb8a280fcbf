"""What the readers share: a malformed entry is a problem of its own, and the rest is read."""

from __future__ import annotations

from typing import Any

from ksgen_export.curation.segments import Problem, StepSegment

Entries = list[StepSegment | Problem]
UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What a malformed entry raises when it is read."""


def problem(video: Any, exc: Exception) -> Problem:
    """A problem out of what a malformed entry raised."""
    return Problem(str(video), f"malformed entry ({type(exc).__name__}: {exc})")
