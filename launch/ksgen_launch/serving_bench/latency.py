"""What the server adds to a small request, and what a slow job does to everybody else."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ksgen_launch.serving_bench import baselines
from ksgen_launch.serving_bench.imaginer import SMALL, describe
from ksgen_launch.serving_bench.processes import run_client, server_of, subgoal_server

_FRAME = np.full((32, 32, 3), 128, np.uint8)
_ROUNDS = 5
_TURNS = 10  # alone and beside a slow job
_UNDER_WAY = 0.05  # seconds after which a slow job is; on a server that it blocks, the others are measured from then on


def measure(folder: Path, *, requests: int) -> dict[str, float]:
    """A ping through server and client against an echo between bare sockets, in turn; milliseconds.

    Args:
        folder: for the server's store.
        requests: of each.
    """
    with subgoal_server(folder / "latency") as server, server_of(serve_echo) as echo:
        run_client(drive_ready, server.address)
        ours: list[float] = []
        bare: list[float] = []
        for _ in range(_ROUNDS):
            bare += run_client(drive_echo, echo.address, requests // _ROUNDS)
            ours += run_client(drive_pings, server.address, requests // _ROUNDS)
    figures = {"p50": _percentile(ours, 50), "p99": _percentile(ours, 99)}
    figures |= {"bare_p50": _percentile(bare, 50), "bare_p99": _percentile(bare, 99)}
    return figures | {f"added_{name}": figures[name] - figures[f"bare_{name}"] for name in ("p50", "p99")}


def measure_slow_job(folder: Path, *, requests: int, seconds: float) -> dict[str, Any]:
    """How long small jobs take alone and while a slow job runs; milliseconds, for all three servers.

    The server has two workers; the two others have one loop, which is how they are. Alone and beside take turns.

    Args:
        folder: for the server's store.
        requests: small jobs of each kind, for the server; the others get a few.
        seconds: of all slow jobs together.
    """
    task, slow = describe(1, SMALL), describe(1, SMALL, seconds / _TURNS)
    results: dict[str, Any] = {}
    with subgoal_server(folder / "slow", "--workers", "2") as server:
        run_client(drive_ready, server.address, 2)
        results["server"] = run_client(drive_beside_slow, "server", server.address, task, slow, requests)
    for name, serve in (("blocking", baselines.serve_blocking), ("websocket", baselines.serve_websocket)):
        with server_of(serve) as other:
            results[name] = run_client(drive_beside_slow, name, other.address, task, slow, min(requests, 20))
    return results


def drive_ready(address: str, workers: int = 1) -> None:
    """Return when the server has so many workers that are ready."""
    from ksgen_agent import Limits, SubgoalClient

    with SubgoalClient(address, limits=Limits(connect=60)) as client:
        _ = client.spec
        while sum(worker["state"] != "starting" for worker in client.server_status().workers) < workers:
            time.sleep(0.02)


def drive_pings(address: str, count: int) -> list[float]:
    """Milliseconds of each ping."""
    from ksgen_agent import SubgoalClient

    with SubgoalClient(address) as client:
        for _ in range(20):
            client.ping()
        return [1000 * client.ping() for _ in range(count)]


def drive_echo(address: str, count: int) -> list[float]:
    """Milliseconds of each round trip of a message of a ping's size."""
    import zmq

    message = b"p" * 32
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(address)
    times: list[float] = []
    for _ in range(20 + count):
        began = time.perf_counter()
        socket.send(message)
        socket.recv()
        times.append(1000 * (time.perf_counter() - began))
    socket.close(0)
    return times[20:]


def serve_echo(addresses: Any) -> None:
    """A ROUTER that sends everything back."""
    import zmq

    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind("tcp://127.0.0.1:*")
    addresses.put(socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    while True:
        socket.send_multipart(socket.recv_multipart())


def drive_beside_slow(kind: str, address: str, task: str, slow: str, requests: int) -> dict[str, float]:
    """Small jobs one after the other, alone and then beside a slow one, in turn.

    Returns:
        Milliseconds ``alone_10``, ``alone_50``, ``alone_99``, and ``beside_…``, percentiles of all; ``ratio``, the
        median over the turns of the ratio of their medians.
    """
    turns: list[tuple[list[float], list[float]]] = []
    with contextlib.ExitStack() as stack:
        ask, ask_slow = connect(kind, address, stack), connect(kind, address, stack)
        for turn in range(1 + _TURNS):  # the first is for every worker to have done something before
            alone = [_timed(ask, task) for _ in range(requests // _TURNS)]
            thread = threading.Thread(target=ask_slow, args=(_FRAME, slow))
            thread.start()
            time.sleep(_UNDER_WAY)
            beside = [_timed(ask, task) for _ in alone if thread.is_alive()]
            thread.join()
            if turn and beside:
                turns.append((alone, beside))
    ratios = [_percentile(beside, 50) / _percentile(alone, 50) for alone, beside in turns]
    found = {"ratio": statistics.median(ratios)}
    for name, times in zip(("alone", "beside"), zip(*turns, strict=True), strict=True):
        together = list(chain.from_iterable(times))
        found |= {f"{name}_{part}": _percentile(together, part) for part in (10, 50, 99)}
    return found


def connect(kind: str, address: str, stack: contextlib.ExitStack) -> baselines.Ask:
    """A client of ``"server"``, ``"blocking"`` or ``"websocket"``, as a function that counts the key steps it gets."""
    if kind == "blocking":
        return baselines.connect_blocking(address, stack)
    if kind == "websocket":
        return baselines.connect_websocket(address, stack)
    from ksgen_agent import Limits, SubgoalClient

    client = stack.enter_context(SubgoalClient(address, limits=Limits(connect=60)))
    return lambda frame, task: sum(1 for _ in client.imagine_stream(frame, task))


def _timed(ask: baselines.Ask, task: str) -> float:
    began = time.perf_counter()
    ask(_FRAME, task)
    return 1000 * (time.perf_counter() - began)


def _percentile(times: list[float], part: float) -> float:
    return float(np.percentile(times, part))
