"""``ksgen-agent curate``: real instructional video to a manifest that training reads."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer


def curate(
    videos: Annotated[Path, typer.Option("--videos", help="Folder of video files, called by their ids.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the job; made when it is not there.")],
    source: Annotated[
        str, typer.Option("--source", help="coin, crosstask, htstep, epic-kitchens, ego4d; none: every video whole.")
    ] = "none",
    annotations: Annotated[
        list[Path] | None,
        typer.Option("--annotations", help="An annotation file; again for data sets with two."),
    ] = None,
    cuts: Annotated[str, typer.Option("--cuts", help="How scene cuts are found: histogram or transnet.")] = "histogram",
    threshold: Annotated[
        list[str] | None,
        typer.Option("--threshold", help="NAME=NUMBER, changes what is kept, e.g. shake=0.06. Again for more."),
    ] = None,
    side: Annotated[int, typer.Option("--side", help="Longest shorter side of the subclips, pixels.")] = 480,
    engine: Annotated[str, typer.Option("--engine", help="local, or ray: the cluster of RAY_ADDRESS.")] = "local",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes; 0 takes every core, or all that the Ray cluster has.")
    ] = 0,
) -> None:
    """Cut real video into 16-frame subclips with hand tracks and regions of motion, and say why the rest is dropped.

    Writes OUT/manifest.parquet, OUT/report.html and OUT/clips. A job that was stopped goes on when it is run again.
    """
    from ksgen_export.curation.job import CurationOptions
    from ksgen_export.curation.job import curate as run
    from ksgen_export.curation.readers import read_annotations
    from ksgen_models.errors import InvalidInput
    from ksgen_models.processes import core_count

    if cuts not in ("histogram", "transnet"):
        raise InvalidInput(f'--cuts is "{cuts}"; give histogram or transnet')
    if source == "none" and annotations:
        raise InvalidInput("annotation files need --source, the data set that they belong to")
    found = read_annotations(source, annotations or []) if source != "none" else None
    summary = run(
        videos,
        out,
        found,
        thresholds=_thresholds(threshold or []),
        options=CurationOptions(transnet=cuts == "transnet", side=side),
        workers=workers or (0 if engine == "ray" else core_count()),
        engine=engine,
    )
    typer.echo(f"{summary.kept} subclips kept, {summary.rejected} parts dropped, {summary.failed} segments failed")
    for reason, count in sorted(summary.reasons.items(), key=lambda item: -item[1]):
        typer.echo(f"  {reason.replace('_', ' ')}: {count}")
    if summary.problems:
        typer.echo(f"{len(summary.problems)} annotations or videos could not be used; see the report", err=True)
    typer.echo(f"manifest: {(out / 'manifest.parquet').resolve()}")
    typer.echo(f"report: {(out / 'report.html').resolve()}")
    if summary.failed:
        raise typer.Exit(1)


def _thresholds(given: list[str]):
    """`Thresholds` with some changed."""
    from ksgen_export.curation.thresholds import Thresholds
    from ksgen_models.errors import InvalidInput

    known = {field.name: type(field.default) for field in fields(Thresholds)}
    changed = {}
    for word in given:
        name, _, value = word.partition("=")
        if name not in known:
            raise InvalidInput(f'--threshold "{word}": known names are {", ".join(known)}')
        try:
            changed[name] = known[name](value)
        except ValueError as exc:
            raise InvalidInput(f'--threshold "{word}": give NAME=NUMBER') from exc
    return Thresholds(**changed)
