"""What the machine is on which something was measured; no names and no paths."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from ksgen_launch.machine import installed_versions, memory_gb
from ksgen_models.processes import core_count

PACKAGES = ("ksgen-agent", "numpy", "torch", "diffusers", "transformers", "mediapipe", "pyzmq", "av")
MEASURED_WITH = ("cpu", "cores", "python", *PACKAGES[1:])
"""Facts that move ratios when they change."""
_QUIET = 0.3  # cores' worth of other work


def machine_facts() -> dict[str, Any]:
    """``cpu``, ``cores``, ``memory_gb``, ``system``, ``python``, ``load`` and the versions of the packages.

    ``load`` is how many cores' worth of work the machine did in the last minute, before anything was measured; None
    where the system does not say.
    """
    memory = memory_gb()
    versions = installed_versions()
    return {
        "cpu": _processor(),
        "cores": core_count(),
        "memory_gb": round(memory[0]) if memory else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "packages": {name: versions[name] for name in PACKAGES if versions.get(name)},
    }


def was_busy(facts: dict[str, Any]) -> bool:
    """Whether the machine did other work when the measuring began, so that seconds are too long and ratios rough."""
    return (facts.get("load") or 0.0) > _QUIET


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """In words, what of `MEASURED_WITH` differs between two machines."""

    def flat(facts: dict[str, Any]) -> dict[str, Any]:
        return {**facts, **facts.get("packages", {})}

    one, other = flat(first), flat(second)
    return [
        f"{name}: {one.get(name) or 'none'} then, {other.get(name) or 'none'} now"
        for name in MEASURED_WITH
        if one.get(name) != other.get(name)
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return named[0] if named and named[0] else platform.processor() or platform.machine()
