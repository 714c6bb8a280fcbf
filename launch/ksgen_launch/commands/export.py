"""``ksgen-agent export``: imaginations, demonstrations or a dataset to a dataset that imitation learners read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[
        Path, typer.Argument(help="Imaginations, demonstrations, or a dataset to convert: a folder of any of them.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the dataset; episodes go behind those already there.")],
    format_name: Annotated[str, typer.Option("--format", help="lerobot, robomimic or minari.")] = "lerobot",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many episodes; 0 takes all.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a stopped export: leave out what OUT holds of it already.")
    ] = False,
) -> None:
    """Write a dataset for imitation learning. An episode that cannot be read is named, and the rest goes on."""
    from tqdm import tqdm

    from ksgen_export.formats import open_source, open_writer
    from ksgen_models.errors import KSGenError

    episodes = open_source(source)
    count = min(limit, len(episodes)) if limit else len(episodes)
    writer = open_writer(format_name, out)
    failed: list[str] = []
    before = writer.episodes
    there = before if resume else 0
    try:
        for index in tqdm(range(count), desc=format_name, unit="episode"):
            try:
                episode = episodes[index]
            except KSGenError as exc:
                failed.append(f"episode {index}: {type(exc).__name__}: {exc}")
                continue
            if there:
                there -= 1
                continue
            writer.add(episode)
    finally:
        writer.close()
    typer.echo(f"{out}: {writer.episodes - before} episodes written, {writer.episodes} in all, {len(failed)} failed")
    if failed:
        typer.echo("\n".join(failed), err=True)
        raise typer.Exit(1)
