"""KSGen-Agent: a robot imagines a task, key step by key step, before it does it.

::

    from ksgen_agent import Agent

    with Agent() as agent:
        imagination = agent.imagine(frame, "assemble shelf")
        imagination.report("shelf.html")

Names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksgen_agent.agent import Agent
    from ksgen_agent.frames import read_frame
    from ksgen_agent.imagination import Imagination
    from ksgen_agent.imaginer import Imaginer, ImaginerSpec
    from ksgen_agent.subgoal import Subgoal
    from ksgen_models.errors import (
        AssetError,
        AuthenticationFailed,
        Cancelled,
        DatasetError,
        InvalidClip,
        InvalidFrame,
        InvalidInput,
        InvalidTask,
        KSGenError,
        LowConfidence,
        NoHandFound,
        PresetError,
        ProtocolError,
        RemoteError,
        ServerBusy,
        ServerLost,
        SubgoalTimeout,
        UnknownTask,
        WeightsMissing,
    )
    from ksgen_models.types import Evidence, HandTrack, KeyStep, Plan, RegionOfMotion

_HOMES: dict[str, tuple[str, ...]] = {
    "ksgen_agent.agent": ("Agent",),
    "ksgen_agent.frames": ("read_frame",),
    "ksgen_agent.imagination": ("Imagination",),
    "ksgen_agent.imaginer": ("Imaginer", "ImaginerSpec"),
    "ksgen_agent.subgoal": ("Subgoal",),
    "ksgen_models.errors": (
        "AssetError",
        "AuthenticationFailed",
        "Cancelled",
        "DatasetError",
        "InvalidClip",
        "InvalidFrame",
        "InvalidInput",
        "InvalidTask",
        "KSGenError",
        "LowConfidence",
        "NoHandFound",
        "PresetError",
        "ProtocolError",
        "RemoteError",
        "ServerBusy",
        "ServerLost",
        "SubgoalTimeout",
        "UnknownTask",
        "WeightsMissing",
    ),
    "ksgen_models.types": ("Evidence", "HandTrack", "KeyStep", "Plan", "RegionOfMotion"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AssetError",
    "AuthenticationFailed",
    "Cancelled",
    "DatasetError",
    "Evidence",
    "HandTrack",
    "Imagination",
    "Imaginer",
    "ImaginerSpec",
    "InvalidClip",
    "InvalidFrame",
    "InvalidInput",
    "InvalidTask",
    "KSGenError",
    "KeyStep",
    "LowConfidence",
    "NoHandFound",
    "Plan",
    "PresetError",
    "ProtocolError",
    "RegionOfMotion",
    "RemoteError",
    "ServerBusy",
    "ServerLost",
    "Subgoal",
    "SubgoalTimeout",
    "UnknownTask",
    "WeightsMissing",
    "read_frame",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
