"""Taking turns: every round does each thing once, so that what else the machine does weighs on all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ksgen_launch.benchmarks.figures import GROWTH, LESS, Curve, Ratio, ratio

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Attributes:
        rounds: how often each ratio is measured.
        whole_curves: measure all points of the curves; else only the first and the last, which the ratios need.
    """

    rounds: int = 4
    whole_curves: bool = True


QUICK = Scale(rounds=3, whole_curves=False)


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def take_turns(rounds: int, works: Mapping[_Key, Callable[[], float]]) -> dict[_Key, list[float]]:
    """Call each of ``works`` once a round and gather what they return."""
    found: dict[_Key, list[float]] = {key: [] for key in works}
    for _ in range(rounds):
        for key, work in works.items():
            found[key].append(work())
    return found


def over(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """First over second, round by round."""
    return [one / other for one, other in zip(first, second, strict=True)]


def grow(
    scale: Scale, name: str, title: str, x: str, y: str, sizes: Sequence[int], measure: Callable[[int], float]
) -> tuple[Curve, Ratio]:
    """Measure a cost at every size, in turn; the curve, and the cost at the largest size over that at the smallest.

    Args:
        scale: how much.
        name, title, x, y: see `Curve`.
        sizes: rising.
        measure: size → cost.
    """
    chosen = list(sizes) if scale.whole_curves else [sizes[0], sizes[-1]]
    found = take_turns(scale.rounds, {size: (lambda size=size: measure(size)) for size in chosen})
    curve = Curve(name, title, x, y, tuple((float(size), statistics.median(found[size])) for size in chosen))
    largest, smallest = chosen[-1], chosen[0]
    words = f"{title}: at {largest:,} over at {smallest:,} {x}"
    return curve, ratio(name, words, GROWTH, over(found[largest], found[smallest]), better=LESS)
