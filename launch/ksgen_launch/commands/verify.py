"""``ksgen-agent verify``: do the formats' own libraries read what was written?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ksgen_export.formats import EpisodeSource
    from ksgen_export.verify import Verdict


def verify(
    source: Annotated[
        Path, typer.Argument(help="A dataset; or imaginations or demonstrations, which are exported for it first.")
    ],
    library: Annotated[
        list[str] | None,
        typer.Option("--library", help="lerobot, lerobot-dataset, robomimic or minari. Again for more; else all."),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option("--python", help="LIBRARY=PATH of a Python that has it already. Again for more."),
    ] = None,
    environments: Annotated[
        Path, typer.Option("--environments", help="Where environments are made for libraries without --python.")
    ] = Path("out/libraries"),
    limit: Annotated[int, typer.Option("--limit", min=1, help="Episodes to export at most.")] = 50,
) -> None:
    """Read datasets with the formats' own libraries, each in an environment of its own, and compare with the source.

    Exit code 1 if something differs.
    """
    import tempfile

    from ksgen_export.formats import open_source
    from ksgen_export.outside import LIBRARIES, environment, find_library
    from ksgen_export.verify import format_of, verify_dataset

    there = format_of(source)
    episodes = open_source(source)
    given = _pythons(python or [])
    chosen = library or [name for name in LIBRARIES if there in (None, LIBRARIES[name].format)]
    formats = {name: find_library(name).format for name in [*chosen, *given]}
    differ = False
    with tempfile.TemporaryDirectory(prefix="ksgen-verify-") as scratch:
        for name in chosen:
            kind = formats[name]
            typer.echo(f"{name} …", err=True)
            interpreter = given.get(name) or environment(name, environments)
            folder = source if there == kind else _export(episodes, limit, kind, Path(scratch) / kind)
            verdict = verify_dataset(folder, interpreter, None if folder == source else episodes)
            _tell(verdict)
            differ = differ or bool(verdict.different)
    if differ:
        raise typer.Exit(1)


def _export(episodes: EpisodeSource, limit: int, kind: str, folder: Path) -> Path:
    from ksgen_export.formats import open_writer

    if not folder.exists():
        writer = open_writer(kind, folder)
        for index in range(min(limit, len(episodes))):
            writer.add(episodes[index])
        writer.close()
    return folder


def _pythons(given: list[str]) -> dict[str, Path]:
    from ksgen_models.errors import InvalidInput

    found = {}
    for word in given:
        name, sign, path = word.partition("=")
        if not sign or not Path(path).exists():
            raise InvalidInput(f'--python "{word}": give LIBRARY=PATH of an interpreter')
        found[name] = Path(path)
    return found


def _tell(verdict: Verdict) -> None:
    typer.echo(verdict.library)
    for line in verdict.equal:
        typer.echo(f"  equal: {line}")
    for line in verdict.different:
        typer.echo(f"  DIFFERENT: {line}")
