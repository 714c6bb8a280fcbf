"""``ksgen-agent train``: train the embedded models from demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train models from demonstrations.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train models from demonstrations."""


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
