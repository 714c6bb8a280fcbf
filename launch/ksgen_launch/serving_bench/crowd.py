"""Many clients: 32 that ask all the time, next to other kinds of servers; and a thousand at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from ksgen_launch.serving_bench import baselines
from ksgen_launch.serving_bench.imaginer import MEGABYTE, SMALL, describe
from ksgen_launch.serving_bench.latency import connect, drive_ready
from ksgen_launch.serving_bench.processes import run_client, run_clients, server_of, subgoal_server
from ksgen_launch.serving_bench.throughput import FILLS, FRAME, STEPS, STORE

CLIENTS = 32
_IN_A_PROCESS = 250  # every client has open files, and a process may have about a thousand


def compare(folder: Path, *, rounds: int, requests: int) -> dict[str, Any]:
    """Answers of one 1 MB key step a second to 32 clients: this server, a blocking one and a websocket one, in turn.

    Args:
        folder: for the server's store.
        rounds: how often.
        requests: of all clients in a round.

    Returns:
        ``server``, ``blocking``, ``websocket``: answers a second, medians; ``over_blocking``, ``over_websocket``: the
        same of the rounds' ratios; ``cpu_ms``: of each of the three, CPU milliseconds of an answer, clients included.
    """
    task = describe(1, MEGABYTE)
    found: dict[str, list[dict[str, float]]] = {"server": [], "blocking": [], "websocket": []}
    with (
        subgoal_server(folder / "compare", "--jobs-per-worker", "2", *STORE) as server,
        server_of(baselines.serve_blocking) as blocking,
        server_of(baselines.serve_websocket) as websocket,
    ):
        run_client(drive_many, "server", server.address, task, FILLS * STEPS)
        for _ in range(rounds):
            for name, one in (("server", server), ("blocking", blocking), ("websocket", websocket)):
                before = one.cpu_seconds()
                result = run_client(drive_measured, name, one.address, task, requests)
                spent = one.cpu_seconds() - before + result["cpu"]
                found[name].append({"rate": result["rate"], "cpu": 1000 * spent / requests})
    results: dict[str, Any] = {name: statistics.median(one["rate"] for one in ones) for name, ones in found.items()}
    for name in ("blocking", "websocket"):
        pairs = zip(found["server"], found[name], strict=True)
        results[f"over_{name}"] = statistics.median(one["rate"] / other["rate"] for one, other in pairs)
    spent = {name: statistics.median(one["cpu"] for one in ones) for name, ones in found.items()}
    return results | {"cpu_ms": spent}


def drive_many(kind: str, address: str, task: str, requests: int, clients: int = CLIENTS) -> float:
    """Clients in threads that share the requests; answers a second."""
    return drive_measured(kind, address, task, requests, clients)["rate"]


def drive_measured(kind: str, address: str, task: str, requests: int, clients: int = CLIENTS) -> dict[str, float]:
    """The same; also the clients' CPU seconds."""
    left = iter(range(requests))
    guard = threading.Lock()
    ready = threading.Barrier(clients + 1)
    errors: list[BaseException] = []

    def work(ask: baselines.Ask) -> None:
        try:
            ask(FRAME, task)
            ready.wait(120)
            while True:
                with guard:
                    if next(left, None) is None:
                        return
                if ask(FRAME, task) != 1:
                    raise ValueError("an answer lacks its key step")
        except BaseException as exc:
            ready.abort()
            errors.append(exc)

    with contextlib.ExitStack() as stack:
        asks = [connect(kind, address, stack) for _ in range(clients)]
        threads = [threading.Thread(target=work, args=(ask,)) for ask in asks]
        for thread in threads:
            thread.start()
        with contextlib.suppress(threading.BrokenBarrierError):  # `errors` says why
            ready.wait(120)
        cpu, began = time.process_time(), time.perf_counter()
        for thread in threads:
            thread.join()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if errors:
        raise errors[0]
    return {"rate": requests / seconds, "cpu": cpu}


def gather(folder: Path, *, clients: int) -> dict[str, Any]:
    """So many clients, each with a connection and a job of its own at the same time.

    Returns:
        ``clients``, ``answered``, ``errors`` (by class), ``connections`` (that the server had open when all had theirs)
        and ``seconds`` from the first submission to the last answer.
    """
    with subgoal_server(folder / "crowd", "--jobs-per-worker", "2") as server:
        run_client(drive_ready, server.address)
        idle = server.open_files()
        shares = [min(_IN_A_PROCESS, clients - done) for done in range(0, clients, _IN_A_PROCESS)]
        peak = _Peak(server.open_files)
        with peak:
            results = run_clients(drive_crowd, [(server.address, share) for share in shares])
        errors: dict[str, int] = {}
        for result in results:
            for name, count in result["errors"].items():
                errors[name] = errors.get(name, 0) + count
        return {
            "clients": clients,
            "answered": sum(result["answered"] for result in results),
            "errors": errors,
            "connections": peak.highest - idle,
            "seconds": max(result["ended"] for result in results) - min(result["began"] for result in results),
        }


def drive_crowd(address: str, clients: int) -> dict[str, Any]:
    """Connect all, then have all imagine at once and stay until the last one has its answer."""
    return asyncio.run(_crowd(address, clients))


async def _crowd(address: str, count: int) -> dict[str, Any]:
    from ksgen_agent import AsyncSubgoalClient, Limits

    limits = Limits(connect=120, busy=120)
    clients = [AsyncSubgoalClient(address, limits=limits, name=f"crowd-{os.getpid()}-{n}") for n in range(count)]
    task = describe(1, SMALL)
    try:
        await asyncio.gather(*(client.spec() for client in clients))
        began = time.time()
        results = await asyncio.gather(
            *(client.imagine(FRAME, task, seed=1) for client in clients), return_exceptions=True
        )
        ended = time.time()
    finally:
        for client in clients:
            await client.close()
    errors: dict[str, int] = {}
    for result in results:
        if isinstance(result, BaseException):
            errors[type(result).__name__] = errors.get(type(result).__name__, 0) + 1
    answered = sum(not isinstance(result, BaseException) and len(result.steps) == 1 for result in results)
    return {"answered": answered, "errors": errors, "began": began, "ended": ended}


class _Peak:
    """The highest value of a figure while the block runs."""

    def __init__(self, look: Any) -> None:
        self._look, self.highest = look, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.highest = max(self.highest, self._look())
