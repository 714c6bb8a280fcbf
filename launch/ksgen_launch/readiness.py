"""Which presets can run on this machine, and what each of the others lacks."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.util import find_spec

from ksgen_agent import Agent
from ksgen_agent.presets import PRESETS, Preset
from ksgen_models.errors import KSGenError

DEFAULT_PRESET: str = inspect.signature(Agent).parameters["preset"].default
"""The preset of ``Agent()``."""


@dataclass(frozen=True)
class Readiness:
    """Whether one preset can run here.

    Attributes:
        name: of the preset.
        description: of the preset, one sentence.
        default: it is the one that ``Agent()`` takes.
        lacks: what is missing, with what to do; empty where it can run.
    """

    name: str
    description: str
    default: bool
    lacks: tuple[str, ...]


def preset_readiness() -> tuple[Readiness, ...]:
    """Look at every preset. An embedded one whose libraries are there is loaded, since nothing less shows that it can
    run; of those from the hub the checkpoints are looked at, since loading takes minutes."""
    return tuple(
        Readiness(name, preset.description, name == DEFAULT_PRESET, _lacks(preset)) for name, preset in PRESETS.items()
    )


def _lacks(preset: Preset) -> tuple[str, ...]:
    missing = [name for name in preset.needs if find_spec(name) is None]
    if missing:
        return (f"{', '.join(missing)} not installed; run: pip install 'ksgen-agent[{preset.extra}]'",)
    from ksgen_launch.machine import devices

    there = {device.name.partition(":")[0] for device in devices()}
    if preset.device.partition(":")[0] not in there:
        return (f"device {preset.device} is not here; there is {', '.join(sorted(there))}",)
    if preset.from_hub:
        return _missing_checkpoints(preset)
    try:
        Agent(preset.name).close()
    except KSGenError as exc:
        return (" ".join(str(exc).split()),)
    return ()


def _missing_checkpoints(preset: Preset) -> tuple[str, ...]:
    from ksgen_models.hub.needs import preset_needs

    needs = preset_needs(preset.arguments["video"], preset.arguments["images"])
    lacking = [need.source for need in needs if need.lacks]
    return (f"lacks {', '.join(lacking)}; see: ksgen-agent doctor --preset {preset.name}",) if lacking else ()
