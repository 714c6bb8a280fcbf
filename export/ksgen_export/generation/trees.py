"""Comparing two data sets byte by byte, for the benches."""

from __future__ import annotations

import filecmp
from pathlib import Path


def differing_files(first: Path, second: Path) -> tuple[tuple[str, ...], int]:
    """Files that two folders do not have in common byte by byte, and how many the first has."""
    one, two = _files(first), _files(second)
    unequal = {name for name in one & two if not filecmp.cmp(first / name, second / name, shallow=False)}
    return tuple(sorted(unequal | (one ^ two))), len(one)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
