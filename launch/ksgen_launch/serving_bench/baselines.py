"""How policies are served elsewhere: a blocking REQ/REP loop and a websocket, both with arrays inside msgpack.

Both answer one request at a time with the key steps that it names, and put every array into the message with its dtype
and shape, as the usual policy servers do. Their clients make arrays of them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgpack
import numpy as np

from ksgen_launch.serving_bench.imaginer import draw, read

_ARRAY = "__ndarray__"
_MOST_MESSAGE = 2**28  # bytes

Ask = Callable[[np.ndarray, str], int]


def pack(value: Any) -> bytes:
    """msgpack, arrays as maps of their bytes, dtype and shape."""
    return bytes(msgpack.packb(value, default=_to_map) or b"")


def unpack(data: bytes) -> Any:
    """The inverse of `pack`."""
    return msgpack.unpackb(data, object_hook=_from_map)


def serve_blocking(addresses: Any) -> None:
    """A REP socket: receive, imagine, answer."""
    import zmq

    socket = zmq.Context().socket(zmq.REP)
    socket.bind("tcp://127.0.0.1:*")
    addresses.put(socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    while True:
        socket.send(_answer(socket.recv()))


def serve_websocket(addresses: Any) -> None:
    """A websocket server that imagines in its event loop."""
    import asyncio

    from websockets.asyncio.server import serve

    async def handle(connection: Any) -> None:
        async for message in connection:
            await connection.send(_answer(message))

    async def run() -> None:
        async with serve(handle, "127.0.0.1", 0, compression=None, max_size=_MOST_MESSAGE) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            addresses.put(f"ws://127.0.0.1:{port}")
            await server.serve_forever()

    asyncio.run(run())


def connect_blocking(address: str, stack: ExitStack) -> Ask:
    """A REQ client, closed with the stack; asks for a task and counts the key steps of the answer."""
    import zmq

    socket = stack.enter_context(zmq.Context.instance().socket(zmq.REQ))
    socket.linger = 0
    socket.connect(address)

    def ask(frame: np.ndarray, task: str) -> int:
        socket.send(pack({"frame": frame, "task": task}))
        return len(unpack(socket.recv()))

    return ask


def connect_websocket(address: str, stack: ExitStack) -> Ask:
    """A websocket client, closed with the stack; asks for a task and counts the key steps of the answer."""
    from websockets.sync.client import connect

    connection = stack.enter_context(connect(address, compression=None, max_size=_MOST_MESSAGE, proxy=None))

    def ask(frame: np.ndarray, task: str) -> int:
        connection.send(pack({"frame": frame, "task": task}))
        data = connection.recv(decode=False)
        return len(unpack(bytes(data)))

    return ask


def _answer(message: Any) -> bytes:
    count, side, frames, seconds = read(unpack(message)["task"])
    time.sleep(count * seconds)
    return pack([_to_plain(draw(side, frames, 0, index)) for index in range(count)])


def _to_plain(step: Any) -> dict[str, Any]:
    arrays = {name: getattr(step, name) for name in ("image", "goal", "clip", "embedding")}
    arrays |= vars(step.hands) | vars(step.region_of_motion)
    return {"description": step.description, "fps": step.fps, "scores": dict(step.scores), **arrays}


def _to_map(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {_ARRAY: value.tobytes(), "dtype": value.dtype.str, "shape": value.shape}
    raise TypeError(f"{type(value).__qualname__} cannot be packed")


def _from_map(value: dict[str, Any]) -> Any:
    if _ARRAY in value:
        return np.frombuffer(value[_ARRAY], value["dtype"]).reshape(value["shape"])
    return value
