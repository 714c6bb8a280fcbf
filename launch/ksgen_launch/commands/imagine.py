"""``ksgen-agent imagine``: imagine a task from a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def imagine(
    frame: Annotated[Path, typer.Option("--frame", help="A photo: JPEG, PNG or anything else that Pillow reads.")],
    task: Annotated[str, typer.Option("--task", help='What is to be done, e.g. "assemble shelf".')],
    out: Annotated[Path, typer.Option("--out", help="Folder for the report, the imagination and the frame.")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed imagines the same again.")] = 0,
    preset: Annotated[str | None, typer.Option("--preset", help="Which models; `doctor` lists them.")] = None,
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, help="Clips drawn of each key step; the most trusted one is kept.")
    ] = 1,
    least_trust: Annotated[
        float, typer.Option("--least-trust", min=0, max=1, help="Stop where no clip of a key step is trusted so far.")
    ] = 0.0,
    allow_out_of_domain: Annotated[
        bool, typer.Option("--allow-out-of-domain", help="Go on with a frame that the models were not made for.")
    ] = False,
) -> None:
    """Imagine a task from a photo, key step by key step, and write a report."""
    from ksgen_agent import read_frame
    from ksgen_launch.readiness import DEFAULT_PRESET
    from ksgen_launch.show import imagining, write_imagination

    picture = read_frame(frame)
    with imagining(preset or DEFAULT_PRESET) as imagine_with_progress:
        imagination = imagine_with_progress(
            picture,
            task,
            seed=seed,
            candidates=candidates,
            least_trust=least_trust,
            allow_out_of_domain=allow_out_of_domain,
        )
    write_imagination(imagination, out)
