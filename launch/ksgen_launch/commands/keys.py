"""``ksgen-agent keys``: who may use a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make, list and revoke the keys of a server's clients.", no_args_is_help=True)
_Folder = Annotated[Path | None, typer.Option("--keys", help="The server's folder of keys.")]


@app.callback()
def keys() -> None:
    """Make, list and revoke the keys of a server's clients."""


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What the server calls this client.")],
    out: Annotated[Path | None, typer.Option("--out", help="The key file for the client; NAME.key here.")] = None,
    folder: _Folder = None,
) -> None:
    """Let a client in: write the key file that it needs. A running server knows it at once."""
    file = out or Path(f"{name}.key")
    _folder(folder).new_client(name, file)
    typer.echo(f"{file}: give it to the client by a safe way, and delete it here")


@app.command("list")
def list_(folder: _Folder = None) -> None:
    """Show the clients that are let in."""
    for client in _folder(folder).clients():
        typer.echo(f"{client.name}  {client.public}  {client.created}")


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="As given to `keys new`.")],
    folder: _Folder = None,
) -> None:
    """Let a client in no more. A running server heeds it with the client's next message."""
    _folder(folder).revoke(name)
    typer.echo(f"{name}: revoked")


def _folder(folder: Path | None):
    from ksgen_agent.server.config import default_keys
    from ksgen_agent.server.keys import KeyFolder

    return KeyFolder(folder or default_keys())
