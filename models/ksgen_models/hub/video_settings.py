"""How clips are drawn: one vocabulary for every family of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ksgen_models.errors import PresetError
from ksgen_models.hub.families import NEGATIVE, Family
from ksgen_models.hub.fit import FITS

HOLDS = ("pixels", "latents", "none")


@dataclass(frozen=True)
class VideoSettings:
    """How clips are drawn; None takes what the family's authors advise.

    Attributes:
        steps: of the solver.
        guidance: classifier-free, in the family's own scale.
        size: (height, width) to draw at; both multiples of the family's ``multiple``.
        frames: to draw; of the family's rule.
        clip_frames: of the clips handed on, evenly out of those drawn.
        fit: ``"letterbox"`` or ``"crop"``, see `ksgen_models.hub.fit.Fit`.
        hold: what lies outside the predicted region: ``"pixels"``, latents are held while drawing and pixels come from
            the key-step image; ``"latents"``, only the first; ``"none"``.
        threshold: probability of change from which on a pixel may move.
        dilation: by which that region is grown, as a share of the picture's short side.
        feather: pixels over which what was drawn fades in from the region's edge.
        use_goal: tell families that can take it how the step ends.
        negative: what the clip is not to show.
        decoded_at_once: frames that the VAE decodes together, for families that leave a choice.
        guardrail: use the safety checker that a family's licence asks for.
    """

    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    frames: int | None = None
    clip_frames: int = 16
    fit: str = "letterbox"
    hold: str = "pixels"
    threshold: float = 0.3
    dilation: float = 0.03
    feather: int = 4
    use_goal: bool = True
    negative: str = NEGATIVE
    decoded_at_once: int = 4
    guardrail: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.fit not in FITS or self.hold not in HOLDS:
            raise PresetError(f"fit is one of {', '.join(FITS)} and hold one of {', '.join(HOLDS)}")
        for name, least in (("steps", 1), ("frames", 1), ("clip_frames", 2), ("decoded_at_once", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise PresetError(f"{name} must be at least {least}, got {value}")

    def for_family(self, family: Family) -> VideoSettings:
        """With the family's own values for what is None.

        Raises:
            PresetError: a size or length that the family cannot draw; names the nearest that it can.
        """
        frames = family.frames if self.frames is None else self.frames
        shortest = family.stride + family.offset
        if frames < shortest or (frames - family.offset) % family.stride:
            near = max((frames - family.offset) // family.stride, 1) * family.stride + family.offset
            rule = f"{family.stride}k + {family.offset}" if family.stride > 1 else "any number"
            raise PresetError(f"{family.name} draws {rule} frames, not {frames}; the nearest is {near}")
        for side in self.size or ():
            if side < 1 or side % family.multiple:
                near = max(round(side / family.multiple), 1) * family.multiple
                raise PresetError(
                    f"{family.name} draws sides of multiples of {family.multiple}, not {side}; take {near}"
                )
        return replace(
            self,
            frames=frames,
            steps=family.steps if self.steps is None else self.steps,
            guidance=family.guidance if self.guidance is None else self.guidance,
        )


def video_settings(choices: Mapping[str, Any] | VideoSettings | None) -> VideoSettings:
    """Settings out of a mapping, e.g. of a configuration file.

    Raises:
        PresetError: a name or value that is no setting.
    """
    if isinstance(choices, VideoSettings):
        return choices
    known = [entry.name for entry in fields(VideoSettings)]
    strange = sorted(set(choices or {}) - set(known))
    if strange:
        raise PresetError(f"there is no video setting {', '.join(strange)}; there are {', '.join(known)}")
    return VideoSettings(**(choices or {}))
