"""Imagining with a live display, and writing what came out.

Progress goes to standard error, results to standard output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ksgen_agent import Imagination
from ksgen_launch.watch import watch_parts, work_of
from ksgen_models.types import Plan

if TYPE_CHECKING:
    from ksgen_agent.report.page import ReportFilm

# The scores shown in the small table: name, heading, digits.
_SHOWN = (
    ("hand_rate", "hand found", 2),
    ("region_agreement", "RoM agreement", 2),
    ("background_psnr", "background dB", 1),
)


@contextmanager
def announce(what: str) -> Iterator[None]:
    """Show that something goes on, and how long it took."""
    console, began = Console(stderr=True), time.perf_counter()
    with console.status(f"{what} …"):
        yield
    console.print(f"{what}: {time.perf_counter() - began:.1f} s")


@contextmanager
def imagining(preset: str) -> Iterator[Callable[..., Imagination]]:
    """Load a preset's models; gives `ksgen_agent.Agent.imagine` that shows the plan at once and every stage as it goes.

    Args:
        preset: its name.
    """
    from ksgen_agent import Agent
    from ksgen_agent.presets import find_preset, load_parts

    chosen = find_preset(preset)
    with announce(f'Loading the models of preset "{chosen.name}"'):
        parts = load_parts(chosen)
    display = _Display()
    with Agent(chosen.name, parts=watch_parts(parts, display)) as agent:

        def imagine(frame: NDArray[np.uint8], task: str, **choices: Any) -> Imagination:
            with display:
                return agent.imagine(frame, task, **choices)

        yield imagine


def write_imagination(imagination: Imagination, out: Path, *, film: ReportFilm | None = None) -> None:
    """Write ``report.html``, ``overview.png``, ``imagination/`` and ``frame.png``; print a table of the steps.

    Args:
        imagination: what is written.
        out: the folder.
        film: what a robot did with it, shown in the report.
    """
    from ksgen_agent.report.overview import overview

    with announce("Writing the report"):
        out.mkdir(parents=True, exist_ok=True)
        _write_png(imagination.frame, out / "frame.png")
        imagination.save(out / "imagination")
        _write_png(overview(imagination), out / "overview.png")
        report = imagination.report(out / "report.html", film=film)
    console = Console()
    console.print(_step_table(imagination))
    # Not through rich: it would break a long path at the edge of the window.
    print(f"report: {Path(report).resolve()}")
    print(f"imagination: {(out / 'imagination').resolve()}")


class _Display:
    """A progress bar with the plan above it; a `ksgen_launch.watch.Listener`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: TaskID | None = None
        self._planned: tuple[str, ...] = ()
        self._clips = 0

    def __enter__(self) -> _Display:
        columns = (BarColumn(30), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
        self._progress = Progress(*columns, TextColumn("{task.description}"), console=self._console)
        self._bar = self._progress.add_task("checking the frame", total=None)
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if exc_info[0] is None:
            self._update(description="done")
        self._progress.stop()

    def planned(self, plan: Plan) -> None:
        self._planned = plan.steps
        self._console.print(f"Plan ({plan.source}, confidence {plan.confidence:.2f}):")
        for number, step in enumerate(plan.steps, 1):
            self._console.print(f"  {number}. {step}", markup=False)

    def left(self, steps: tuple[str, ...]) -> None:
        if done := [str(number) for number, step in enumerate(self._planned, 1) if step not in steps]:
            self._console.print(f"Done already, as the frame shows: {', '.join(done)}")
        self._clips = len(steps)
        self._update(total=work_of(self._clips))

    def further(self) -> None:
        self._clips += 1
        self._update(total=work_of(self._clips))

    def begun(self, what: str) -> None:
        self._update(description=what)
        if not self._console.is_terminal:  # a log shows no bar, but should show that something goes on
            self._console.print(what, markup=False)

    def done(self) -> None:
        self._update(advance=1)

    def _update(
        self, *, description: str | None = None, total: float | None = None, advance: float | None = None
    ) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, description=description, total=total, advance=advance)


def _step_table(imagination: Imagination) -> Table:
    table = Table(title=None)
    table.add_column("step", justify="right")
    table.add_column("description")
    for _, heading, _ in _SHOWN:
        table.add_column(heading, justify="right")
    table.add_column("seconds", justify="right")
    for step in imagination.steps:
        scores = [f"{step.scores[name]:.{digits}f}" if name in step.scores else "" for name, _, digits in _SHOWN]
        seconds = sum(imagination.step_timings(step.index).values())
        table.add_row(str(step.index + 1), step.description, *scores, f"{seconds:.1f}")
    table.add_section()
    first, total = (imagination.timings.get(name, float("nan")) for name in ("first_step", "total"))
    table.add_row("", f"all steps; the first was there after {first:.1f} s", *[""] * len(_SHOWN), f"{total:.1f}")
    return table


def _write_png(image: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    Image.fromarray(image).save(path, format="PNG")
