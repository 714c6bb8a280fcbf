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
    seed: Annotated[int, typer.Option("--seed", help="Seed of the imagination.")] = 0,
) -> None:
    """Imagine "assemble shelf" from a camera frame of the Workbench, let a robot do it, and write a report."""
    if scene not in DEVELOPMENT_SEEDS:
        raise InvalidInput(f"--scene {scene} is not a development seed; take one from 1000000 to 1999999")
    from ksgen_launch.carry_out import carry_out
    from ksgen_launch.readiness import DEFAULT_PRESET
    from ksgen_launch.scenes import camera_frame
    from ksgen_launch.show import announce, imagine_with_progress, write_imagination

    with announce("Setting the scene"):
        frame = camera_frame(ENV_ID, scene)
    imagination = imagine_with_progress(frame, TASK, preset=DEFAULT_PRESET, seed=seed)
    with announce("The robot does what was imagined"):
        film = carry_out(imagination, ENV_ID, scene)
    write_imagination(imagination, out, film=film)
    typer.echo(f"robot: {film.caption}")
