"""``ksgen-agent demo``: the whole line once, from a simulated camera frame to a robot's try, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ksgen_models.errors import InvalidInput

TASK = "assemble shelf"
ENV_ID = "KSGen/AssembleShelf-v0"
DEVELOPMENT_SEEDS = range(1_000_000, 2_000_000)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report, the imagination and the frame.")] = Path(
        "out/demo"
    ),
    scene: Annotated[
        int, typer.Option("--scene", help="Workbench seed, one that no model was trained on.")
    ] = 1_000_003,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the imagination.")] = 7,
) -> None:
    """Imagine "assemble shelf" from a camera frame of the Workbench, let a robot do it, look again, imagine and do what
    is missing, and write a report."""
    if scene not in DEVELOPMENT_SEEDS:
        raise InvalidInput(f"--scene {scene} is not a development seed; take one from 1000000 to 1999999")
    from ksgen_launch.readiness import DEFAULT_PRESET
    from ksgen_launch.show import announce, imagining, write_imagination
    from ksgen_launch.trial import Trial

    with announce("Setting the scene"):
        trial = Trial(ENV_ID, scene)
    with trial, imagining(DEFAULT_PRESET) as imagine:
        imagination = imagine(trial.picture, TASK, seed=seed)
        trial.do(imagination.steps)
        if said := trial.go_on(lambda frame: imagine(frame, TASK, seed=seed + 1)):
            typer.echo(f"the agent looks again: {said}", err=True)
        film = trial.report_film()
    write_imagination(imagination, out, film=film)
    typer.echo(f"robot: {film.caption}")
