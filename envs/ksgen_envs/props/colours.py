"""Named colours, with the small variations that real paint has."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

# Hue, saturation and value at the middle of each named colour.
_HSV: dict[str, tuple[float, float, float]] = {
    "red": (0.995, 0.86, 0.80),
    "orange": (0.070, 0.92, 0.95),
    "yellow": (0.140, 0.85, 0.96),
    "green": (0.355, 0.75, 0.58),
    "cyan": (0.500, 0.72, 0.80),
    "blue": (0.610, 0.85, 0.78),
    "purple": (0.765, 0.68, 0.60),
    "pink": (0.925, 0.48, 0.95),
    "white": (0.120, 0.03, 0.95),
    "black": (0.650, 0.10, 0.09),
}
COLOURS: tuple[str, ...] = tuple(_HSV)

# Pairs that a person could mix up; never both in one scene.
_ALIKE = (
    {"red", "orange"},
    {"red", "pink"},
    {"orange", "yellow"},
    {"green", "cyan"},
    {"cyan", "blue"},
    {"blue", "purple"},
    {"pink", "purple"},
)


@dataclass(frozen=True)
class Colour:
    """A colour as one would say it, and as it is.

    Attributes:
        name: one of `COLOURS`.
        rgba: each in [0, 1].
    """

    name: str
    rgba: tuple[float, float, float, float]

    def shade(self, factor: float) -> tuple[float, float, float, float]:
        """The same colour, darker (factor < 1) or lighter."""
        red, green, blue, alpha = self.rgba
        return (min(red * factor, 1.0), min(green * factor, 1.0), min(blue * factor, 1.0), alpha)


def paint(name: str, rng: np.random.Generator) -> Colour:
    """One pot of the named colour: its hue, saturation and value vary a little."""
    hue, saturation, value = _HSV[name]
    hue = (hue + rng.uniform(-0.012, 0.012)) % 1.0
    saturation = float(np.clip(saturation * rng.uniform(0.92, 1.06), 0.0, 1.0))
    value = float(np.clip(value * rng.uniform(0.92, 1.05), 0.0, 1.0))
    return Colour(name, (*colorsys.hsv_to_rgb(hue, saturation, value), 1.0))


def pick_colours(rng: np.random.Generator, count: int, *, without: str = "") -> tuple[Colour, ...]:
    """``count`` (at most 5) colours that nobody mixes up, and none called ``without``."""
    while True:
        names = [str(name) for name in rng.choice(COLOURS, size=count, replace=False)]
        if without not in names and not any(pair <= set(names) for pair in _ALIKE):
            return tuple(paint(name, rng) for name in names)
