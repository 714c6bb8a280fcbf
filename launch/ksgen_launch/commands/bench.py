"""``ksgen-agent bench``: how long things take here, each next to what a user would do instead."""

from __future__ import annotations

import json
import resource
import statistics
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure speed and memory on this machine."""


@app.command("imagine")
def imagine(
    runs: Annotated[int, typer.Option("--runs", min=1, help="Warm runs.")] = 3,
    preset: Annotated[str, typer.Option("--preset", help="Which models.")] = "mini",
) -> None:
    """Time `imagine(frame, "assemble shelf")` in a warm process, and say where the time goes."""
    from ksgen_agent import Agent
    from ksgen_launch.scenes import camera_frame

    frame = camera_frame("KSGen/AssembleShelf-v0", 1_000_003)
    totals, firsts, stages = [], [], {}
    with Agent(preset) as agent:
        agent.imagine(frame, "assemble shelf", seed=0)
        for run in range(runs):
            started = time.perf_counter()
            first = None
            for _ in agent.imagine_stream(frame, "assemble shelf", seed=run + 1):
                first = first or time.perf_counter() - started
            totals.append(time.perf_counter() - started)
            firsts.append(first)
        stages = dict(agent.imagine(frame, "assemble shelf", seed=0).timings)
    result = {
        "total_seconds": statistics.median(totals),
        "first_step_seconds": statistics.median(firsts),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "stages": stages,
    }
    typer.echo(json.dumps(result, indent=1))


@app.command("track")
def track(
    video: Annotated[Path, typer.Option("--video", exists=True, help="A video file with hands.")],
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs of each, in turn.")] = 3,
) -> None:
    """Time the hand tracker against one `HandLandmarker.detect` call a frame in image mode, on the same clip."""
    from ksgen_models.assets import HAND_LANDMARKER, asset_path
    from ksgen_models.hands.tracker import HandTracker
    from ksgen_models.video_io import read_video

    clip, fps = read_video(video)
    ratios = []
    with HandTracker() as tracker:
        tracker.track(clip[:16], fps)
        found = 0
        for _ in range(runs):
            started = time.perf_counter()
            hands = tracker.track(clip, fps)
            ours = time.perf_counter() - started
            theirs = _image_mode_seconds(clip, str(asset_path(HAND_LANDMARKER)))
            ratios.append(theirs / ours)
            found = int(hands.valid.any(1).sum())
    result = {
        "frames": len(clip),
        "frames_with_a_hand": found,
        "speed_over_image_mode": statistics.median(ratios),
        "all_ratios": [round(ratio, 3) for ratio in ratios],
    }
    typer.echo(json.dumps(result, indent=1))


def _image_mode_seconds(clip, networks: str) -> float:
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=networks), running_mode=vision.RunningMode.IMAGE, num_hands=2
    )
    with vision.HandLandmarker.create_from_options(options) as landmarker:
        landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=clip[0]))
        started = time.perf_counter()
        for frame in clip:
            landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=frame))
        return time.perf_counter() - started


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
