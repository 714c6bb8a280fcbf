"""Servers for the tests: one in a thread with real worker processes, and one in a process of its own to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.keys import KeyFolder
from ksgen_agent.server.loop import Server

HERE = str(Path(__file__).parent)
WAIT = 60  # seconds after which a test that would hang fails instead


class Stage:
    """The folder through which a test tells `served_parts.Staged` what to do, and sees what it did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def say(self, order: str, text: str = "") -> None:
        (self.folder / order).write_text(text)

    def unsay(self, order: str) -> None:
        (self.folder / order).unlink()

    def began(self, step: int | str = "*") -> list[str]:
        return sorted(path.name for path in self.folder.glob(f"began-{step}-*"))

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


def two_clients(folder: Path) -> KeyFolder:
    """A server's keys, with those of alice and bob beside them."""
    keys = KeyFolder(folder)
    for name in ("alice", "bob"):
        keys.new_client(name, folder / f"{name}.key")
    return keys


def until(happened: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + WAIT
    while not happened():
        assert time.monotonic() < ends, f"waited in vain for: {what}"
        time.sleep(0.01)


@contextmanager
def running(store: Path, **settings) -> Iterator[Server]:
    server = Server(ServerConfig(store=store, **{"address": "tcp://127.0.0.1:*", **settings}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(WAIT)
        assert not thread.is_alive()


@contextmanager
def serve_process(store: Path, stage: Path, bind: str = "tcp://127.0.0.1:*") -> Iterator[tuple[subprocess.Popen, str]]:
    """`ksgen-agent serve` as a user starts it; yields the process and its address."""
    imaginer = "served_parts:staged_by_environment"
    command = [sys.executable, "-m", "ksgen_launch", "serve", "--bind", bind, "--store", str(store)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([HERE, *filter(None, sys.path)]),
        "KSGEN_TEST_STAGE": str(stage),
        "XDG_CONFIG_HOME": str(store / "no-keys-here"),
    }
    process = subprocess.Popen([*command, "--imaginer", imaginer], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield process, line.split()[2]
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
