"""A network that means harm: messages that are none, beside a client that must still be served; and keys."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from ksgen_launch.serving_bench.imaginer import SMALL, describe
from ksgen_launch.serving_bench.latency import drive_ready
from ksgen_launch.serving_bench.processes import run_client, subgoal_server
from ksgen_launch.serving_bench.throughput import FRAME

_AT_ONCE = 32  # messages that are sent before their answers are read
_NOISE = 200  # one in so many is no ZeroMQ at all, but bytes on a connection of its own


def measure(folder: Path, *, messages: int, seed: int = 0) -> dict[str, Any]:
    """Send so many messages that are broken in one way or another.

    Returns:
        ``messages``, ``refused`` (those that the server answered with an error), ``alive`` (it is the same process, and
        lost no worker), ``growth_mb`` (of its memory, after a tenth of the messages until the end), and what an honest
        client saw meanwhile: ``honest`` and ``honest_errors``.
    """
    with subgoal_server(folder / "hostile", "--store-gb", "0.05") as server:
        run_client(drive_ready, server.address)
        worker = server.workers()[0].pid
        with _Honest(server.address) as honest:
            first = run_client(drive_junk, server.address, messages // 10, seed)
            before = server.memory()
            second = run_client(drive_junk, server.address, messages - messages // 10, seed + 1)
            after = server.memory()
        alive = server.process.is_running() and [one.pid for one in server.workers()] == [worker]
    return {
        "messages": messages,
        "refused": first + second,
        "alive": alive,
        "growth_mb": (after - before) / 2**20,
        "honest": honest.answered,
        "honest_errors": dict(honest.errors),
    }


def drive_junk(address: str, count: int, seed: int) -> int:
    """Send broken messages and read what comes back; how many errors the server answered with."""
    import zmq

    from ksgen_agent.wire import codec
    from ksgen_agent.wire import messages as wire

    chance = random.Random(seed)
    context: zmq.Context[Any] = zmq.Context()
    connection = context.socket(zmq.DEALER)
    connection.connect(address)
    refused = 0
    for place in range(count):
        if place % _NOISE == 0:
            _make_noise(address, chance)
        connection.send_multipart(broken_message(chance))
        if place % _AT_ONCE == _AT_ONCE - 1 or place == count - 1:
            # What is answered last is a ping's pong, so nothing is left on its way.
            connection.send(codec.encode(wire.Ping(place)))
            refused += _read_until_pong(connection, place)
    context.destroy(0)
    return refused


def broken_message(chance: random.Random) -> list[bytes]:
    """A message that is truncated, oversized, of wrong types, of a wrong version, or random bytes."""
    import msgpack

    header, body = honest_header(chance), FRAME.tobytes()
    kind = chance.randrange(7)
    if kind == 0:
        return [chance.randbytes(chance.randrange(400))]
    if kind == 1:  # other values
        for name in chance.sample(sorted(header), min(2, len(header))):
            header[name] = _odd_value(chance)
    elif kind == 2:
        header["v"] = chance.choice([0, 2, -1, 2**63, "1", None, True, 1.5])
    elif kind == 3 and "frame" in header:  # a frame that is not what the header says
        header["frame"] = chance.choice([["raw", "uint8", [2**20, 2**20, 3], 0, 3 * 2**40], ["raw", "O", [1], 0, 1]])
    packed = bytes(msgpack.packb(header) or b"")
    if kind == 4:
        packed = packed[: chance.randrange(len(packed))]
    elif kind == 5:  # bits that fell over
        spoiled = bytearray(packed)
        for _ in range(chance.randrange(1, 6)):
            spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
        packed = bytes(spoiled)
    elif kind == 6:  # too long, or in pieces
        return chance.choice([[packed + bytes(300_000)], [packed, body, body], [packed, body[:100]], [b""]])
    return [packed, body] if chance.random() < 0.5 else [packed]


def honest_header(chance: random.Random) -> dict[str, Any]:
    """The header of a message that a client could send, as plain data."""
    name = f"{chance.randrange(1000)}"
    return dict(
        chance.choice(
            [
                {"v": 1, "type": "hello"},
                {"v": 1, "type": "ping", "number": chance.randrange(2**63)},
                {"v": 1, "type": "status", "id": name},
                {"v": 1, "type": "cancel", "id": name},
                {"v": 1, "type": "fetch", "id": name, "start": chance.randrange(3)},
                {
                    "v": 1,
                    "type": "submit",
                    "id": name,
                    "task": describe(1, SMALL),
                    "frame": ["raw", "uint8", list(FRAME.shape), 0, FRAME.nbytes],
                    "seed": chance.randrange(10),
                },
            ]
        )
    )


def measure_keys(folder: Path) -> dict[str, str]:
    """What a client with a good key, a wrong one, a revoked one and none gets: ``served``, or the error's name."""
    keys = folder / "keys"
    good, revoked = folder / "good.key", folder / "revoked.key"
    _command("keys", "new", "good", "--keys", str(keys), "--out", str(good))
    _command("keys", "new", "revoked", "--keys", str(keys), "--out", str(revoked))
    _command("keys", "new", "stranger", "--keys", str(folder / "other"), "--out", str(folder / "stranger.key"))
    with subgoal_server(folder / "guarded", "--keys", str(keys)) as server:
        _command("keys", "revoke", "revoked", "--keys", str(keys))
        cases = {"good": good, "wrong": folder / "stranger.key", "revoked": revoked, "none": None}
        return {name: run_client(drive_key, server.address, key and str(key)) for name, key in cases.items()}


def drive_key(address: str, key: str | None) -> str:
    """``served``, or the class of the error that the client got."""
    from ksgen_agent import SubgoalClient
    from ksgen_models.errors import KSGenError

    try:
        with SubgoalClient(address, key=key) as client:
            client.imagine(FRAME, describe(1, SMALL))
    except KSGenError as exc:
        return type(exc).__name__
    return "served"


class _Honest:
    """A client that asks all the time, and what it got."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ended = threading.Event()
        self.answered = 0
        self.errors: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> _Honest:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        from ksgen_agent import Limits, SubgoalClient

        with SubgoalClient(self._address, limits=Limits(connect=60)) as client:
            while not self._ended.wait(0.01):
                try:
                    client.imagine(FRAME, describe(1, SMALL))
                    self.answered += 1
                except Exception as exc:
                    self.errors[type(exc).__name__] += 1


def _odd_value(chance: random.Random) -> Any:
    deep: Any = []
    for _ in range(20):
        deep = [deep]
    odd = [None, True, -1, 2**63, 1e308, float("nan"), "", "x" * 5000, b"bytes", [], {}, deep, ["raw"] * 5, {"a": 1}]
    return chance.choice(odd)


def _make_noise(address: str, chance: random.Random) -> None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(chance.choice([b"GET / HTTP/1.1\r\n\r\n", chance.randbytes(200), b"\xff" + bytes(300)]))


def _read_until_pong(connection: Any, number: int) -> int:
    import msgpack

    refused = 0
    while True:
        if not connection.poll(60_000):
            raise TimeoutError("the server did not answer a ping in 60 s")
        answer = msgpack.unpackb(connection.recv_multipart()[0])
        if answer["type"] == "pong" and answer["number"] == number:
            return refused
        refused += answer["type"] == "error"


def _command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "ksgen_launch", *words], check=True, stdout=subprocess.DEVNULL)
