"""The embedded models: small, trained by this project in its own simulator, run on two CPU cores.

One autoencoder turns a picture into what differs from a context picture (`autoencoder`); one backbone draws the
region of motion and then the clip of a step, the two stages of IVG (`clip_model`); the KIG draws all key-step
images of a plan together (`key_step_model`); a reader names the scene's objects and knows unfamiliar frames
(`reader`). `load_mini_parts` puts them together for `ksgen_agent.Agent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksgen_models.mini.parts import load_mini_parts

__all__ = ["load_mini_parts"]


def __getattr__(name: str) -> Any:
    if name == "load_mini_parts":
        from ksgen_models.mini.parts import load_mini_parts

        return load_mini_parts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
