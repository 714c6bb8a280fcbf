"""Servers and clients in processes of their own, and what each of them costs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ksgen_launch.serving_bench.imaginer import FACTORY
from ksgen_models.errors import ServerLost

ANYWHERE = "tcp://127.0.0.1:*"
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Running:
    """A server that runs: where it listens and what it is."""

    address: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """User and system time of it and its workers so far."""
        total = 0.0
        for process in self._family():
            try:
                times = process.cpu_times()
            except psutil.Error:  # a worker that has just ended
                continue
            total += times.user + times.system
        return total

    def memory(self) -> int:
        """Resident bytes of the process that holds the sockets."""
        return int(self.process.memory_info().rss)

    def open_files(self) -> int:
        """File descriptors of the process that holds the sockets."""
        return int(self.process.num_fds())

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        return self.process.children()

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def subgoal_server(
    store: Path, *options: str, bind: str = ANYWHERE, imaginer: str | None = FACTORY
) -> Iterator[Running]:
    """``ksgen-agent serve`` as a user starts it.

    Args:
        store: its folder; what it logs goes to ``<store>.log``.
        options: more words of the command line.
        bind: where it listens.
        imaginer: the fake one unless told otherwise; None for the server's own choice, a preset.

    Raises:
        ServerLost: it did not start.
    """
    words = [sys.executable, "-m", "ksgen_launch", "serve", "--store", str(store)]
    if imaginer:
        words += ["--imaginer", imaginer]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    with open(f"{store}.log", "ab") as log:
        process = subprocess.Popen(
            [*words, "--bind", bind, *options], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("listening on "):
            raise ServerLost(f"the server did not start; see {store}.log")
        yield Running(line.split()[2], psutil.Process(process.pid))
    finally:
        end(process)
        if process.stdout:
            process.stdout.close()


def end(process: subprocess.Popen[str]) -> None:
    """Ask a server to end, make it end, and collect it."""
    if process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGTERM):  # the second one does not wait for running jobs
            process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@contextmanager
def server_of(serve: Callable[..., None], *arguments: Any) -> Iterator[Running]:
    """A server that is a function: it gets a queue for its address, then ``arguments``, and is ended by force."""
    addresses: Any = _spawn.Queue()
    process = _spawn.Process(target=serve, args=(addresses, *arguments), daemon=True)
    process.start()
    try:
        yield Running(addresses.get(timeout=60), psutil.Process(process.pid))
    finally:
        process.kill()
        process.join()


def run_client(drive: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``drive(*arguments)`` in a process of its own and return what it returns, which must be plain data."""
    return run_clients(drive, [arguments])[0]


def run_clients(drive: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """Run ``drive`` once for each tuple of arguments, each in a process of its own, all at the same time.

    Raises:
        Exception: whatever one of them raised.
    """
    with _spawn.Pool(len(calls)) as pool:
        return pool.starmap(drive, calls, chunksize=1)
