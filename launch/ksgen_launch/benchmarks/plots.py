"""Curves as small SVG files that read on light and on dark pages."""

from __future__ import annotations

import math
from html import escape

from ksgen_launch.benchmarks.figures import Curve

_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 40, 50
_MOST_LINEAR = 16  # the largest x over the smallest, up to which the axis is linear
_STYLE = """
text { font: 12px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #565c64 }
.title { font-size: 13px; font-weight: 600; fill: #1d2024 }
.card { fill: #fff; stroke: #dcdcd6 } .grid { stroke: #e6e6e1 }
.line { fill: none; stroke: #0b6e78; stroke-width: 2 } .dot { fill: #0b6e78 } .value { fill: #1d2024 }
@media (prefers-color-scheme: dark) {
  text { fill: #a5adb7 } .title, .value { fill: #eceef0 } .card { fill: #1c1f24; stroke: #32373e }
  .grid { stroke: #32373e } .line { stroke: #62cfd9 } .dot { fill: #62cfd9 }
}
"""


def plot(curve: Curve) -> str:
    """One curve. Both axes begin at zero; x is logarithmic where it spans much, and says so."""
    xs, ys = [x for x, _ in curve.points], [y for _, y in curve.points]
    ticks = _ticks(max(ys))

    logarithmic = xs[-1] > _MOST_LINEAR * xs[0]

    def at_x(x: float) -> float:
        share = math.log(x / xs[0]) / math.log(xs[-1] / xs[0]) if logarithmic else x / xs[-1]
        return round(_LEFT + 14 + share * (_WIDTH - _LEFT - _RIGHT - 28), 1)

    def at_y(y: float) -> float:
        return round(_HEIGHT - _BOTTOM - y / ticks[-1] * (_HEIGHT - _TOP - _BOTTOM), 1)

    places = [(at_x(x), at_y(y)) for x, y in curve.points]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{escape(curve.title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="10"/>',
        f'<text class="title" x="16" y="24">{escape(curve.title)}</text>',
    ]
    for tick in ticks:
        y = at_y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for (x, _), (px, py) in zip(curve.points, places, strict=True):
        parts.append(f'<text x="{px}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
        parts.append(f'<circle class="dot" cx="{px}" cy="{py}" r="4"/>')
    parts.append(f'<polyline class="line" points="{" ".join(f"{x},{y}" for x, y in places)}"/>')
    parts += [
        f'<text class="value" x="{px}" y="{py - 9}" text-anchor="middle">{value(y)}</text>'
        for (px, py), y in zip(places, ys, strict=True)
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    below = escape(curve.x) + (", logarithmic" if logarithmic else "")
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{below}</text>')
    upright = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text transform="translate(18 {upright}) rotate(-90)" text-anchor="middle">{escape(curve.y)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def value(number: float) -> str:
    """Three significant digits without an exponent."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:,.{digits}f}"


def _ticks(most: float) -> list[float]:
    """Zero and up to five round steps that hold ``most``."""
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most))
    step = next(step for step in (power * part for part in (0.2, 0.25, 0.5, 1.0, 2.0)) if step * 5 >= most)
    return [round(step * index, 10) for index in range(math.ceil(most / step - 1e-9) + 1)]
