"""Imaginers for worker processes; a worker is told which by an importable path, ``"module:function"``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ksgen_models.errors import KSGenError, PresetError

if TYPE_CHECKING:
    from ksgen_agent.agent import Agent
    from ksgen_agent.imaginer import Imaginer


def local_agent(preset: str = "mini", device: str | None = None) -> Agent:
    """The local `Agent` of a preset: what a server runs unless told otherwise."""
    from ksgen_agent.agent import Agent

    return Agent(preset, device=device)


def make_imaginer(path: str, options: Mapping[str, Any]) -> Imaginer:
    """Import and call a factory.

    Raises:
        PresetError: there is no such function, or it fails.
        KSGenError: the factory's own, e.g. `WeightsMissing`.
    """
    module, _, function = path.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(**options)
    except KSGenError:
        raise
    except Exception as exc:
        raise PresetError(f'the imaginer "{path}" cannot be made ({type(exc).__name__}: {exc})') from exc
