"""``ksgen-agent top``: what a server is doing, live in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def top(
    address: Annotated[str, typer.Argument(help="The server's address.")] = "tcp://127.0.0.1:7447",
    key: Annotated[Path | None, typer.Option("--key", help="Your key file, where the server has keys.")] = None,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, print, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's status as JSON, once.")] = False,
) -> None:
    """Show a server's workers, jobs, queue and rates until Ctrl-C.

    With keys, the jobs of other clients are counted but not named.
    """
    import json
    from dataclasses import asdict

    from ksgen_agent import SubgoalClient
    from ksgen_launch import top_view

    with SubgoalClient(address, key=key) as client:
        if as_json:
            typer.echo(json.dumps(asdict(client.server_status()), indent=1))
        elif once:
            top_view.show_once(client, address)
        else:
            top_view.watch(client, address, interval)
