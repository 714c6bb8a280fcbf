"""What this machine has: cores, memory, devices, system libraries, installed packages."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from importlib import metadata

PACKAGES = (
    "ksgen-agent", "numpy", "pyzmq", "msgpack", "torch", "diffusers", "transformers", "accelerate", "safetensors",
    "mediapipe", "opencv-contrib-python", "onnxruntime", "av", "pillow", "scipy", "mujoco", "gymnasium",
)  # fmt: skip

SYSTEM_LIBRARIES = {"libEGL.so.1": "libegl1", "libGLESv2.so.2": "libgles2", "libGL.so.1": "libgl1"}
"""What the wheels load from the system, and Debian's package of each."""


@dataclass(frozen=True)
class Device:
    """Something that torch can compute on.

    Attributes:
        name: as torch calls it, e.g. ``"cuda:0"``.
        description: for people.
        memory_gb: of the device; None where it shares the machine's.
    """

    name: str
    description: str
    memory_gb: float | None


def memory_gb() -> tuple[float, float] | None:
    """Memory of the machine and how much of it is free, in GB; None where the system does not say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE") / 1e9
        return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    except (AttributeError, ValueError, OSError):
        return None


def installed_versions() -> dict[str, str | None]:
    """Version of each of `PACKAGES`; None where it is not installed. Imports none of them."""
    return {name: _version(name) for name in PACKAGES}


def missing_libraries() -> tuple[str, ...]:
    """Debian's names of the system libraries that cannot be loaded here."""
    return tuple(package for library, package in SYSTEM_LIBRARIES.items() if not _loads(library))


def devices() -> tuple[Device, ...]:
    """What torch can compute on, the best first; empty without torch."""
    try:
        import torch
    except ImportError:
        return ()
    found: list[Device] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        found.append(Device(f"cuda:{index}", properties.name, properties.total_memory / 1e9))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", None))
    return (*found, Device("cpu", f"{torch.get_num_threads()} threads", None))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
