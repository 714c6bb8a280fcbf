"""``ksgen-agent view``: look at a dataset in Rerun, or as one static page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ksgen_export.episode import Episode


def view(
    dataset: Annotated[Path, typer.Argument(help="A dataset, or a folder of imaginations or demonstrations.")],
    episodes: Annotated[str, typer.Option("--episodes", help="A:B, from A up to, not including, B, or one.")] = "0:10",
    save: Annotated[Path | None, typer.Option("--save", help="Write a Rerun file (.rrd) and open no window.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a contact sheet (.html) in place of it.")] = None,
) -> None:
    """Look at a dataset: frames, hands, regions of motion, scores and key steps."""
    from ksgen_export.formats import open_source
    from ksgen_launch.choices import parse_seeds
    from ksgen_models.errors import InvalidInput

    source = open_source(dataset)
    chosen = [index for index in parse_seeds(episodes) if index < len(source)]
    if not chosen:
        raise InvalidInput(f"--episodes {episodes} names none of the {len(source)} episodes of {dataset}")

    def wanted() -> Iterator[tuple[int, Episode]]:
        return ((index, source[index]) for index in chosen)

    if html is not None:
        from ksgen_export.contact_sheet import write_contact_sheet

        place = dataset.resolve()
        name = place.name if place.name != "dataset" else f"{place.parent.name}/dataset"  # of a generation job
        count = "1 episode" if len(source) == 1 else f"{len(source)} episodes"
        typer.echo(f"written: {write_contact_sheet(wanted(), html, f'{name}, {count}')}")
    if save is not None or html is None:
        from ksgen_export.view import view_episodes

        shown = view_episodes(wanted(), save)
        typer.echo(f"written: {save}" if save is not None else f"{shown} episodes shown")
