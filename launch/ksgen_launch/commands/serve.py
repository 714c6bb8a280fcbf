"""``ksgen-agent serve``: imagine for clients over the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_GIB = 2**30


def serve(
    bind: Annotated[str, typer.Option("--bind", help="Where to listen; this machine alone unless told otherwise.")] = (
        "tcp://127.0.0.1:7447"
    ),
    publish: Annotated[str | None, typer.Option("--publish", help="Where to broadcast jobs that name a topic.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="Which models; `doctor` lists them.")] = "mini",
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Device of a worker; again for each further one.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 for one a device named.")] = 0,
    jobs_per_worker: Annotated[
        int, typer.Option("--jobs-per-worker", min=1, help="Jobs that a worker has under way at the same time.")
    ] = 1,
    imaginer: Annotated[
        str | None, typer.Option("--imaginer", help="module:function that makes an imaginer, instead of a preset.")
    ] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Folder of jobs and finished key steps.")] = None,
    store_gb: Annotated[float, typer.Option("--store-gb", min=0.01, help="Finished jobs beyond go.")] = 10.0,
    store_days: Annotated[float, typer.Option("--store-days", min=0.0, help="Finished jobs older than this go.")] = 7.0,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Folder of keys; where `keys new` makes them, if there are any.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No keys: anybody who reaches the address may use the server.")
    ] = False,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Jobs that may wait.")] = 4096,
    queue_per_client: Annotated[int, typer.Option("--queue-per-client", min=1, help="Of one client.")] = 1024,
    most_candidates: Annotated[
        int, typer.Option("--most-candidates", min=1, max=64, help="Clips of a key step that a job may ask for.")
    ] = 16,
    drain_seconds: Annotated[
        float, typer.Option("--drain-seconds", min=0.0, help="What running jobs get to finish on SIGTERM.")
    ] = 60.0,
    http_port: Annotated[
        int | None,
        typer.Option("--http-port", min=0, max=65535, help="For /metrics and /healthz; 0 for a free one."),
    ] = None,
    http_host: Annotated[
        str, typer.Option("--http-host", help="Where; it has no keys, and says nothing of what jobs are about.")
    ] = "127.0.0.1",
    log_format: Annotated[
        str, typer.Option("--log-format", envvar="KSGEN_LOG_FORMAT", help="text, or json: an object a line.")
    ] = "text",
    log_level: Annotated[
        str, typer.Option("--log-level", envvar="KSGEN_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Imagine for clients over the network, until SIGTERM or Ctrl-C.

    The first signal lets running jobs finish, the second ends at once. Jobs that are not finished are taken up by the
    next start.
    """
    from ksgen_agent.presets import find_preset
    from ksgen_agent.server.config import LOCAL_AGENT, ServerConfig, default_store
    from ksgen_agent.server.logs import level_of, set_up
    from ksgen_agent.server.loop import Server

    set_up(log_format, level_of(log_level))
    if imaginer is None:
        find_preset(preset)
    devices = tuple(device or ())
    config = ServerConfig(
        store=store or default_store(),
        address=bind,
        publish=publish,
        keys=_find_keys(keys, insecure),
        insecure=insecure,
        imaginer=imaginer or LOCAL_AGENT,
        options={} if imaginer else {"preset": preset},
        workers=workers or max(len(devices), 1),
        devices=devices,
        jobs_per_worker=jobs_per_worker,
        queue=queue,
        queue_per_client=min(queue_per_client, queue),
        store_bytes=int(store_gb * _GIB),
        store_seconds=store_days * 86400,
        most_candidates=most_candidates,
        drain_seconds=drain_seconds,
        http_port=http_port,
        http_host=http_host,
        log_format=log_format,
    )
    _allow_many_connections()
    server = Server(config)
    _drain_on_signals(server)
    typer.echo(f"listening on {server.address} ({'with keys' if config.keys else 'without keys'})")
    if server.publish_address:
        typer.echo(f"publishing on {server.publish_address}")
    if server.http_address:
        typer.echo(f"metrics on {server.http_address}/metrics")
    server.run()


def _find_keys(folder: Path | None, insecure: bool) -> Path | None:
    """The keys to use: those that were named, else those that `keys new` made, else none."""
    from ksgen_agent.server.config import default_keys
    from ksgen_agent.server.keys import KeyFolder

    if insecure:
        return None
    return folder or (default_keys() if KeyFolder(default_keys()).exists() else None)


def _drain_on_signals(server) -> None:
    import signal

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.drain())


def _allow_many_connections() -> None:
    """Each connection takes a file; the usual limit of 1,024 is for programs that have few."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
