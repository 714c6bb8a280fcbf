"""``ksgen-agent bench``: how long things take here, each next to what a user would do instead."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ksgen_launch.benchmarks.figures import Benchmarks, Part
    from ksgen_launch.benchmarks.run import Wish

Rounds = Annotated[int, typer.Option("--rounds", "--runs", min=1, help="How often each ratio is measured.")]
AsJson = Annotated[bool, typer.Option("--json", help="All figures as JSON instead of the tables.")]
Preset = Annotated[str, typer.Option("--preset", help="Whose imagination.")]
Video = Annotated[
    Path | None, typer.Option("--video", exists=True, dir_okay=False, help="A video file with hands, measured too.")
]
Lerobot = Annotated[
    Path | None, typer.Option("--lerobot", exists=True, help="Python of an environment with lerobot, to compare with.")
]
Parts = Annotated[list[str] | None, typer.Option("--part", help="Only this part. Repeatable.")]

COMMITTED = Path("docs/benchmarks/figures.json")
app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure speed and memory on this machine."""


@app.command("imagine")
def imagine(
    rounds: Rounds = 3,
    preset: Preset = "mini",
    profile: Annotated[
        bool, typer.Option("--profile", help="Only say where the time of one imagination goes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Time an imagination against its networks' forward calls alone, and say where the time goes."""
    from ksgen_launch.benchmarks import imagine as part
    from ksgen_launch.benchmarks.rounds import Scale

    _show([part.measure_profile(preset) if profile else part.measure(Scale(rounds), preset)], as_json)


@app.command("track")
def track(video: Video = None, rounds: Rounds = 3, as_json: AsJson = False) -> None:
    """Time the hand tracker against one `HandLandmarker.detect` call a frame in image mode, on the same clips."""
    from ksgen_launch.benchmarks import track as part
    from ksgen_launch.benchmarks.rounds import Scale

    _show([part.measure(Scale(rounds), video)], as_json)


@app.command("export")
def export(lerobot: Lerobot = None, rounds: Rounds = 3, as_json: AsJson = False) -> None:
    """Time the LeRobot writer against encoding its videos alone, and against lerobot's own writer."""
    from ksgen_launch.benchmarks import export as part
    from ksgen_launch.benchmarks.rounds import Scale

    _show([part.measure(Scale(rounds), lerobot)], as_json)


@app.command("serve")
def serve(
    quick: Annotated[bool, typer.Option("--quick", help="A little of everything, in minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON instead of the table.")] = False,
    part: Annotated[
        list[str] | None, typer.Option("--part", help="Only this; again for each further one. See docs/server.md.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.05, help="Of mixed load; 60 by itself.")] = None,
) -> None:
    """Measure the subgoal server next to bare sockets and to other kinds of servers, and try to break it.

    The whole takes about an hour and a half, an hour of it mixed load. Exit code 1 if something is not reached.
    """
    import tempfile
    from dataclasses import asdict, replace

    from ksgen_launch.serving_bench.table import PARTS, QUICK, Scale, measure, print_rows
    from ksgen_models.errors import InvalidInput

    parts = tuple(part or PARTS)
    if unknown := set(parts) - set(PARTS):
        raise InvalidInput(f"there is no part {sorted(unknown)[0]!r}; choose from: {', '.join(PARTS)}")
    scale = QUICK if quick else Scale()
    if minutes is not None:
        scale = replace(scale, soak_minutes=minutes)
    with tempfile.TemporaryDirectory(prefix="ksgen-bench-") as folder:
        rows = measure(Path(folder), scale, parts)
        if as_json:
            found = [asdict(row) for row in rows]
            typer.echo(json.dumps(found, indent=1))
            reached = all(row["reached"] for row in found)
        else:
            reached = print_rows(rows)
    if not reached:
        raise typer.Exit(1)


@app.command("all")
def run_all(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, and only the ends of the curves.")] = False,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Of each ratio; 4, or 3 with --quick.")] = None,
    part: Parts = None,
    preset: Preset = "mini",
    video: Video = None,
    lerobot: Lerobot = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for figures.json.")] = Path("out/bench"),
    write: Annotated[
        Path | None, typer.Option("--write", help="Also write figures, plots and benchmarks.md in this docs folder.")
    ] = None,
) -> None:
    """Measure imagine, track, serve and export, each a ratio in one run, and how their costs grow.

    Takes about ten minutes on two cores with nothing else running.
    """
    from dataclasses import replace

    from ksgen_launch.benchmarks.figures import write_figures
    from ksgen_launch.benchmarks.page import write_docs
    from ksgen_launch.benchmarks.rounds import QUICK, Scale
    from ksgen_launch.benchmarks.run import Wish, check_parts

    scale = QUICK if quick else Scale()
    scale = replace(scale, rounds=rounds or scale.rounds)
    found = _measure(Wish(scale, check_parts(part), preset, video, lerobot))
    written = [write_figures(found, out / "figures.json"), *(write_docs(found, write) if write else ())]
    for path in written:
        typer.echo(f"written: {path}")


@app.command("report")
def report(
    figures: Annotated[Path, typer.Argument(help="A figures.json of `bench all`.")] = COMMITTED,
    write: Annotated[Path, typer.Option("--write", help="The docs folder.")] = Path("docs"),
) -> None:
    """Make the generated part of docs/benchmarks.md and its plots anew from measured figures."""
    from ksgen_launch.benchmarks.figures import read_figures
    from ksgen_launch.benchmarks.page import write_docs

    for path in write_docs(read_figures(figures), write):
        typer.echo(f"written: {path}")


@app.command("check")
def check(
    against: Annotated[Path, typer.Option("--against", help="Earlier figures.")] = COMMITTED,
    now: Annotated[
        Path | None, typer.Option("--now", exists=True, help="Compare these figures instead of measuring.")
    ] = None,
    part: Parts = None,
    preset: Preset = "mini",
    video: Video = None,
    lerobot: Lerobot = None,
) -> None:
    """Measure the ratios anew, compare with earlier figures, and name what became worse beyond noise.

    Exit code 1 if something did.
    """
    from ksgen_launch.benchmarks import guard
    from ksgen_launch.benchmarks.figures import read_figures
    from ksgen_launch.benchmarks.rounds import QUICK
    from ksgen_launch.benchmarks.run import Wish, check_parts

    parts = check_parts(part)
    earlier = read_figures(against)
    later = read_figures(now) if now else _measure(Wish(QUICK, parts, preset, video, lerobot))
    verdict = guard.compare(earlier, later)
    typer.echo(f"\n{guard.RULE}")
    for difference in verdict.machines:
        typer.echo(f"another machine: {difference}; ratios can differ for that alone")
    for when in verdict.busy:
        typer.echo(f"the machine was busy {when}: ratios are rough")
    for change in verdict.changes:
        typer.echo(str(change))
    for name in verdict.gone:
        typer.echo(f"not measured now: {name}")
    for name in verdict.new:
        typer.echo(f"new: {name}")
    if verdict.worse:
        typer.echo(f"became worse: {', '.join(change.now.name for change in verdict.worse)}", err=True)
        raise typer.Exit(1)


def _measure(wish: Wish) -> Benchmarks:
    """Measure and show part by part."""
    from ksgen_launch.benchmarks.facts import machine_facts
    from ksgen_launch.benchmarks.figures import Benchmarks
    from ksgen_launch.benchmarks.run import measure

    facts = machine_facts()
    found: list[Part] = []
    for part in measure(wish, lambda name: typer.echo(f"measuring {name} …", err=True)):
        _show([part], as_json=False)
        found.append(part)
    return Benchmarks(facts, tuple(found))


def _show(parts: Iterable[Part], as_json: bool) -> None:
    from dataclasses import asdict

    from ksgen_launch.benchmarks.show import print_part

    for part in parts:
        if as_json:
            typer.echo(json.dumps(asdict(part), indent=1))
        else:
            print_part(part)
