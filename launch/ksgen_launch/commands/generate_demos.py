"""``ksgen-agent generate-demos``: write demonstrations of the Workbench tasks to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def generate_demos(
    out: Annotated[Path, typer.Option("--out", help="Folder of the data set; made when it is not there.")],
    seeds: Annotated[
        str, typer.Option("--seeds", help="A:B, from A up to, not including, B. Below 1000000: training.")
    ],
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas.')] = "all",
    stills: Annotated[
        bool,
        typer.Option("--stills", help="Only the pictures before and after each step, no hands: ten times faster."),
    ] = False,
    ways: Annotated[
        int, typer.Option("--ways", min=0, help="With --stills: also where hands move in so many ways to do each step.")
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 takes every core.")] = 0,
) -> None:
    """Write demonstrations by the simulated person; what is there already is kept, so a stopped run goes on.

    Each is one file OUT/TASK/SEED.npz, or SEED-stills.npz; `ksgen_models.demonstration` documents and reads it.
    """
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_models.processes import core_count

    chosen_seeds = parse_seeds(seeds)
    from ksgen_envs import TASKS
    from ksgen_envs.datasets import generate_demonstrations

    wanted = parse_tasks(tasks, TASKS)
    workers = workers or core_count()
    summary = generate_demonstrations(out, wanted, chosen_seeds, workers=workers, stills=stills, ways=ways)
    typer.echo(f"{out}: {summary.written} written, {summary.skipped} there already, {len(summary.failed)} failed")
    if summary.failed:
        typer.echo("\n".join(f"{name}: {error}" for name, error in summary.failed), err=True)
        raise typer.Exit(1)
