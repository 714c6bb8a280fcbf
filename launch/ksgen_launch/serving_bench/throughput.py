"""1 MB subgoals over loopback: the server against a bare ROUTER/DEALER pair that moves the same bytes.

Both move the same messages (header, body), answer the same requests (a camera frame as body), and have the same number
of requests in flight; servers and clients have processes of their own. The server's store is at its limit, as one that
has served for a while is, so that files of forgotten key steps are overwritten. The two take turns in short rounds, and
the ratio is the median of the rounds' ratios, so that what else the machine does weighs on both.
"""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from ksgen_launch.serving_bench.imaginer import MEGABYTE, describe, draw, read
from ksgen_launch.serving_bench.processes import Running, run_client, server_of, subgoal_server

STEPS, IN_FLIGHT = 8, 4  # key steps of a request, requests in flight
STORE = ("--store-gb", "0.125")  # 128 subgoals of 1 MB
FILLS = 256 // STEPS  # requests after which every file is one that has been used before
FRAME = np.full((128, 128, 3), 128, np.uint8)


def measure(folder: Path, *, rounds: int, requests: int) -> dict[str, Any]:
    """Run both, in turn.

    Args:
        folder: for the server's store.
        rounds: how often.
        requests: of a round.

    Returns:
        ``subgoals_per_second``, ``bare_per_second`` (medians), ``ratio`` (median of the rounds' ratios), and the CPU
        milliseconds that each subgoal cost ``server`` (workers included), ``client`` and both of the bare pair.
    """
    task = describe(STEPS, MEGABYTE)
    ours: list[dict[str, float]] = []
    bare: list[dict[str, float]] = []
    options = ("--jobs-per-worker", str(IN_FLIGHT), *STORE)
    with subgoal_server(folder / "throughput", *options) as server, server_of(serve_bare, task) as pair:
        run_client(drive_subgoals, server.address, task, FILLS)
        for _ in range(rounds):
            bare.append(_round(pair, drive_bare, task, requests))
            ours.append(_round(server, drive_subgoals, task, requests))
    ratios = [one["rate"] / other["rate"] for one, other in zip(ours, bare, strict=True)]
    middle = statistics.median
    return {
        "subgoals_per_second": middle(item["rate"] for item in ours),
        "bare_per_second": middle(item["rate"] for item in bare),
        "ratio": middle(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "bytes": len(_messages(task)[0][1]),
        "cpu_ms": {
            "server": middle(item["server"] for item in ours),
            "client": middle(item["client"] for item in ours),
            "bare_server": middle(item["server"] for item in bare),
            "bare_client": middle(item["client"] for item in bare),
        },
    }


def drive_subgoals(address: str, task: str, requests: int) -> dict[str, float]:
    """Clients that read key steps as fast as they come; subgoals per second and CPU seconds."""
    from ksgen_agent import SubgoalClient

    left = iter(range(requests))
    guard = threading.Lock()
    received: list[int] = []

    def work() -> None:
        while True:
            with guard:
                if next(left, None) is None:
                    return
            received.append(sum(1 for _ in client.imagine_stream(FRAME, task)))

    with SubgoalClient(address) as client:
        client.imagine(FRAME, task)
        threads = [threading.Thread(target=work) for _ in range(IN_FLIGHT)]
        return _timed(threads, lambda: sum(received))


def drive_bare(address: str, task: str, requests: int) -> dict[str, float]:
    """A DEALER for each request in flight, each in a thread of its own, without any further code."""
    import zmq

    steps = read(task)[0]
    context: zmq.Context[Any] = zmq.Context()
    left = iter(range(requests))
    guard = threading.Lock()
    received: list[int] = []

    def work() -> None:
        socket = context.socket(zmq.DEALER)
        socket.connect(address)
        while True:
            with guard:
                if next(left, None) is None:
                    break
            socket.send_multipart([b"go", FRAME.data], copy=False)
            for _ in range(steps):
                socket.recv_multipart(copy=False)
            received.append(steps)
        socket.close(0)

    return _timed([threading.Thread(target=work) for _ in range(IN_FLIGHT)], lambda: sum(received))


def serve_bare(addresses: Any, task: str) -> None:
    """A ROUTER that answers each request with the messages of a job, made beforehand."""
    import zmq

    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.bind("tcp://127.0.0.1:*")
    addresses.put(socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    messages = _messages(task)
    while True:
        peer = socket.recv_multipart(copy=False)[0].bytes
        for header, body in messages:
            socket.send(peer, zmq.SNDMORE)
            socket.send(header, zmq.SNDMORE)
            socket.send(body, copy=False)


def _messages(task: str) -> list[tuple[bytes, bytes]]:
    """Header and body of each key step, as the server sends them."""
    from ksgen_agent.wire import codec
    from ksgen_agent.wire.key_steps import pack_key_step

    steps, side, frames, _ = read(task)
    packed = [pack_key_step("0" * 32, draw(side, frames, 0, index)) for index in range(steps)]
    return [(codec.encode(message), b"".join(pieces)) for message, pieces in packed]


def _round(server: Running, drive: Any, task: str, requests: int) -> dict[str, float]:
    before = server.cpu_seconds()
    result = run_client(drive, server.address, task, requests)
    spent = server.cpu_seconds() - before
    count = result["count"]
    return {"rate": result["rate"], "client": 1000 * result["cpu"] / count, "server": 1000 * spent / count}


def _timed(threads: list[threading.Thread], count: Any) -> dict[str, float]:
    cpu, began = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    return {"rate": count() / seconds, "count": count(), "cpu": time.process_time() - cpu}
