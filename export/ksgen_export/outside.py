"""The formats' own libraries, each in a virtual environment of its own, where their pins need not fit ours."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ksgen_models.errors import DatasetError, InvalidInput


@dataclass(frozen=True)
class Library:
    """A library that reads one of the formats.

    Attributes:
        format: one of `ksgen_export.formats.FORMATS`.
        packages: what pip is told to install.
    """

    format: str
    packages: tuple[str, ...]


LIBRARIES: Mapping[str, Library] = {
    "lerobot": Library("lerobot", ("lerobot==0.4.4", "lerobot-doctor==0.2.0")),
    "lerobot-dataset": Library(
        "lerobot", ("lerobot-dataset==0.4.4", "torch", "torchvision<0.26", "lerobot-doctor==0.2.0")
    ),
    "robomimic": Library("robomimic", ("robomimic==0.3.0",)),
    "minari": Library("minari", ("minari[hdf5]==0.5.4", "pillow")),
}
"""By name. lerobot and lerobot-dataset are of one source; the second goes without the robots."""


def find_library(name: str) -> Library:
    """A library by its name.

    Raises:
        InvalidInput: there is no such library.
    """
    if name not in LIBRARIES:
        near = difflib.get_close_matches(name, LIBRARIES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidInput(f"there is no library {name!r}, there are {', '.join(LIBRARIES)}{hint}")
    return LIBRARIES[name]


def environment(name: str, folder: Path) -> Path:
    """The Python of a library's environment under a folder; made with pip where it is missing.

    Raises:
        InvalidInput: there is no such library.
        DatasetError: it cannot be made.
    """
    place = folder.absolute() / name
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = place / ".installed"
    packages = find_library(name).packages
    if done.exists() and done.read_text("utf-8").split() == list(packages):
        return python
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    ):
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as exc:
            raise DatasetError(f"cannot make an environment for {name} in {place} ({exc}); make one yourself") from exc
        if result.returncode:
            raise DatasetError(
                f"cannot install {name} in {place}: {result.stderr.strip()[-1500:]}; install {' '.join(packages)} in "
                "an environment of your own and name its Python"
            )
    done.write_text("\n".join(packages), "utf-8")
    return python
