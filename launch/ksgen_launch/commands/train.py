"""``ksgen-agent train``: the embedded models from demonstrations, and full-size models on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ksgen_launch.commands import train_hub

app = typer.Typer(help="Train models.", no_args_is_help=True)
train_hub.register(app)


@app.callback()
def train() -> None:
    """Train models: mini from demonstrations, the others on clips that ksgen-agent curate wrote."""


@app.command("mini")
def mini(
    data: Annotated[Path, typer.Option("--data", help="Folder written by generate-demos.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for weights, checkpoints and logs.")],
    small: Annotated[
        bool, typer.Option("--small", help="A run of minutes with small networks, to try the recipe.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints in OUT.")] = False,
) -> None:
    """Train the embedded `mini` models, with the recipe that made the shipped weights."""
    from ksgen_models.training.mini import SMALL, train_mini

    weights = train_mini(data, out, recipe=SMALL if small else None, resume=resume)
    typer.echo(f"weights: {weights}")
