"""What the readers share: opening files and reading values, with errors that name the file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ksgen_export.curation.segments import Problem, StepSegment
from ksgen_models.errors import DatasetError

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
Entries = list[StepSegment | Problem]
UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What a malformed entry raises when it is read."""


def read_json(path: str | Path, name: str) -> dict[str, Any]:
    """The object at the top of a JSON file.

    Raises:
        DatasetError: no such file, no JSON, or no object.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise DatasetError(f"{path} is not a readable annotation file of {name} ({exc})") from exc
    if not isinstance(document, dict):
        raise DatasetError(f"{path} is not an annotation file of {name}: its top is a {type(document).__name__}")
    return document


def read_table(path: str | Path, name: str, columns: set[str]) -> Iterator[Mapping[str, str]]:
    """The rows of a CSV file with a line of headings.

    Raises:
        DatasetError: no such file, no text, or a column is missing.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = columns - set(rows.fieldnames or ())
            if missing:
                raise DatasetError(
                    f"{path} is not an annotation file of {name}: no column {', '.join(sorted(missing))}"
                )
            yield from rows
    except (OSError, ValueError, csv.Error) as exc:
        raise DatasetError(f"{path} is not a readable annotation file of {name} ({exc})") from exc


def problem(video: Any, exc: Exception) -> Problem:
    """A problem out of what a malformed entry raised."""
    return Problem(str(video), f"malformed entry ({type(exc).__name__}: {exc})")


def spoken(name: str) -> str:
    """``ReplaceCDDriveWithSSD`` → ``replace CD drive with SSD``."""
    words = _HUMP.sub(" ", name).replace("_", " ").split()
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
