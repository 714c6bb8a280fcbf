"""All parts in one run, each in a process of its own: memory, threads and caches of one leave the next alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ksgen_launch.benchmarks.figures import Part
from ksgen_launch.benchmarks.rounds import Scale
from ksgen_models.errors import InvalidInput

PARTS = ("imagine", "track", "serve", "export")


@dataclass(frozen=True)
class Wish:
    """What is measured.

    Attributes:
        scale: how much.
        parts: some of `PARTS`.
        preset: whose imagination is measured.
        video: a file with hands, or None.
        lerobot: Python of an environment that holds lerobot, or None.
    """

    scale: Scale
    parts: tuple[str, ...] = PARTS
    preset: str = "mini"
    video: Path | None = None
    lerobot: Path | None = None


def check_parts(names: list[str] | None) -> tuple[str, ...]:
    """The parts in their order; all without names.

    Raises:
        InvalidInput: a name is not among `PARTS`.
    """
    if unknown := set(names or PARTS) - set(PARTS):
        raise InvalidInput(f"there is no part {sorted(unknown)[0]!r}; choose from: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in (names or PARTS))


def measure(wish: Wish, begin: Callable[[str], None] = lambda part: None) -> Iterator[Part]:
    """Measure part by part, each yielded as soon as it is done; ``begin`` is told the name of each before."""
    from ksgen_launch.serving_bench.processes import run_client

    makers: dict[str, Callable[[], Part]] = {
        "imagine": lambda: run_client(_imagine, wish.scale, wish.preset),
        "track": lambda: run_client(_track, wish.scale, wish.video),
        "serve": lambda: _serve(wish.scale),  # has processes of its own
        "export": lambda: run_client(_export, wish.scale, wish.lerobot),
    }
    for name in wish.parts:
        begin(name)
        yield makers[name]()


def _imagine(scale: Scale, preset: str) -> Part:
    from ksgen_launch.benchmarks import imagine

    return imagine.measure(scale, preset)


def _track(scale: Scale, video: Path | None) -> Part:
    from ksgen_launch.benchmarks import track

    return track.measure(scale, video)


def _serve(scale: Scale) -> Part:
    from ksgen_launch.benchmarks import serve

    return serve.measure(scale)


def _export(scale: Scale, lerobot: Path | None) -> Part:
    from ksgen_launch.benchmarks import export

    return export.measure(scale, lerobot)
