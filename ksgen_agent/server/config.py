"""How a server is set up, and the rule about where it may listen."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ksgen_models.errors import InvalidInput

DEFAULT_ADDRESS = "tcp://127.0.0.1:7447"
LOCAL_AGENT = "ksgen_agent.server.factories:local_agent"
_COUNTS = ("workers", "jobs_per_worker", "queue", "queue_per_client")


def default_store() -> Path:
    """Where finished key steps are kept unless told otherwise: ``server`` in the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "ksgen-agent" / "server"


def default_keys() -> Path:
    """Where keys are kept unless told otherwise: ``keys`` in the user's configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "ksgen-agent" / "keys"


@dataclass(frozen=True)
class ServerConfig:
    """Everything that can be chosen about a server.

    Attributes:
        address: where to listen, ``tcp://host:port`` (port ``*`` for any free one) or ``ipc://path``.
        publish: where to broadcast key steps of jobs that name a topic; None for nowhere.
        store: folder of what is accepted and finished; one server at a time.
        keys: folder with the server's CURVE key and the allow-list; None for no encryption.
        insecure: listen beyond loopback although there are no keys.
        imaginer: ``"module:function"``; workers call it with ``options`` (and ``device`` where one is named) and get an
            `ksgen_agent.Imaginer`.
        options: keyword arguments for it, plain data.
        workers: number of processes.
        devices: handed to the workers in turn, e.g. ``("cuda:0", "cuda:1")``; empty for the imaginer's own choice.
        jobs_per_worker: jobs that one worker has under way at the same time, each in a thread of its own.
        queue, queue_per_client: jobs that may wait, in all and of one client.
        most_candidates: clips of a key step that a job may ask for; each costs its time.
        most_frame_bytes: of a submitted frame, as it travels.
        store_bytes, store_seconds: finished jobs beyond this size or age are forgotten, oldest first.
        attempts: how often a job may cost a worker its life before it is given up.
        longest_job: seconds that a job may take from its acceptance, whatever deadline it asks for.
        start_seconds: a worker that is not ready by then is replaced.
        silence_seconds: a worker that says nothing for so long is replaced.
        stop_seconds: a worker whose imaginer does not heed a cancellation for so long is replaced.
        drain_seconds: what running jobs get to finish on SIGTERM.
        http_port, http_host: where ``/metrics`` and ``/healthz`` are; no port for nowhere, 0 for any free one. They
            have no keys, and tell nothing of what jobs are about.
        log_format: of the workers' logs, see `ksgen_agent.server.logs`.

    Raises:
        InvalidInput: it may not listen there, or a number makes no sense.
    """

    store: Path
    address: str = DEFAULT_ADDRESS
    publish: str | None = None
    keys: Path | None = None
    insecure: bool = False
    imaginer: str = LOCAL_AGENT
    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    devices: tuple[str, ...] = ()
    jobs_per_worker: int = 1
    queue: int = 4096
    queue_per_client: int = 1024
    most_candidates: int = 16
    most_frame_bytes: int = 64 * 2**20
    store_bytes: int = 10 * 2**30
    store_seconds: float = 7 * 86400.0
    attempts: int = 3
    longest_job: float = 3600.0
    start_seconds: float = 600.0
    silence_seconds: float = 60.0
    stop_seconds: float = 10.0
    drain_seconds: float = 60.0
    http_port: int | None = None
    http_host: str = "127.0.0.1"
    log_format: str = "text"

    def __post_init__(self) -> None:
        for name in (*_COUNTS, "attempts", "store_bytes", "most_candidates"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be at least 1")
        module, _, function = self.imaginer.partition(":")
        if not module or not function:
            raise InvalidInput(f'the imaginer is {self.imaginer!r}; name it as "module:function"')
        if self.http_port is not None and not 0 <= self.http_port < 2**16:
            raise InvalidInput(f"http_port is {self.http_port}; it must be in [0, 65535]")
        for address in filter(None, (self.address, self.publish)):
            check_reach(address, has_keys=self.keys is not None, insecure=self.insecure)


def check_reach(address: str, *, has_keys: bool, insecure: bool) -> None:
    """Refuse to be reachable from other machines without keys.

    Raises:
        InvalidInput: no address, or one beyond loopback with neither keys nor ``insecure``.
    """
    if has_keys or insecure or is_local(address):
        return
    raise InvalidInput(
        f"{address} can be reached from other machines and there are no keys: make some with "
        "`ksgen-agent keys new NAME`, or say --insecure if anybody on that network may use this server"
    )


def is_local(address: str) -> bool:
    """Whether only this machine can reach the address.

    Raises:
        InvalidInput: neither ``tcp://host:port`` nor ``ipc://path``.
    """
    transport, _, rest = address.partition("://")
    if transport == "ipc" and rest:
        return True
    host, colon, port = rest.rpartition(":")
    if transport != "tcp" or not colon or not host or not (port == "*" or port.isdigit()):
        raise InvalidInput(f"{address!r} is no address; give tcp://127.0.0.1:7447 or ipc:///path/to/socket")
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
