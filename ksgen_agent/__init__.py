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
    from ksgen_agent.client.async_client import AsyncSubgoalClient
    from ksgen_agent.client.client import SubgoalClient
    from ksgen_agent.client.limits import Limits
    from ksgen_agent.client.listener import SubgoalListener
    from ksgen_agent.fake_server import FakeServer
    from ksgen_agent.frames import read_frame
    from ksgen_agent.imagination import Imagination
    from ksgen_agent.imaginer import Imaginer, ImaginerSpec, StreamEnd
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
        MalformedAnswer,
        NoHandFound,
        OutOfReach,
        PresetError,
        ProtocolError,
        RemoteError,
        ServerBusy,
        ServerLost,
        SubgoalTimeout,
        TaskDone,
        UnknownTask,
        WeightsMissing,
    )
    from ksgen_models.progress import StepVerdict
    from ksgen_models.types import Evidence, HandTrack, KeyStep, Plan, RegionOfMotion

_HOMES: dict[str, tuple[str, ...]] = {
    "ksgen_agent.agent": ("Agent",),
    "ksgen_agent.client.async_client": ("AsyncSubgoalClient",),
    "ksgen_agent.client.client": ("SubgoalClient",),
    "ksgen_agent.client.limits": ("Limits",),
    "ksgen_agent.client.listener": ("SubgoalListener",),
    "ksgen_agent.fake_server": ("FakeServer",),
    "ksgen_agent.frames": ("read_frame",),
    "ksgen_agent.imagination": ("Imagination",),
    "ksgen_agent.imaginer": ("Imaginer", "ImaginerSpec", "StreamEnd"),
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
        "MalformedAnswer",
        "NoHandFound",
        "OutOfReach",
        "PresetError",
        "ProtocolError",
        "RemoteError",
        "ServerBusy",
        "ServerLost",
        "SubgoalTimeout",
        "TaskDone",
        "UnknownTask",
        "WeightsMissing",
    ),
    "ksgen_models.progress": ("StepVerdict",),
    "ksgen_models.types": ("Evidence", "HandTrack", "KeyStep", "Plan", "RegionOfMotion"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AssetError",
    "AsyncSubgoalClient",
    "AuthenticationFailed",
    "Cancelled",
    "DatasetError",
    "Evidence",
    "FakeServer",
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
    "Limits",
    "LowConfidence",
    "MalformedAnswer",
    "NoHandFound",
    "OutOfReach",
    "Plan",
    "PresetError",
    "ProtocolError",
    "RegionOfMotion",
    "RemoteError",
    "ServerBusy",
    "ServerLost",
    "StepVerdict",
    "StreamEnd",
    "Subgoal",
    "SubgoalClient",
    "SubgoalListener",
    "SubgoalTimeout",
    "TaskDone",
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
