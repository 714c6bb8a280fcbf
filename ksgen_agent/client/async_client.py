"""`AsyncSubgoalClient`: the same as `SubgoalClient` for asyncio."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from ksgen_agent.client import requests
from ksgen_agent.client.client import DEFAULT_ADDRESS
from ksgen_agent.client.connection import Connection, Connections
from ksgen_agent.client.exchange import Exchange, Imagining, check_reply
from ksgen_agent.client.limits import Limits
from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import ImaginerSpec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.keys import ClientKey
from ksgen_models.errors import RemoteError
from ksgen_models.types import KeyStep


class AsyncSubgoalClient:
    """Imagines on a server from a coroutine. Arguments, results and errors are those of `SubgoalClient`; cancelling the
    task, or closing the stream, cancels the job. Use it as an asynchronous context manager or call `close`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        key: str | Path | ClientKey | None = None,
        limits: Limits | None = None,
        name: str | None = None,
        frames: str = "raw",
        images: str = "raw",
        clip: str = "raw",
    ) -> None:
        self._settings = requests.make_settings(address, key, limits, name, frames, images, clip)
        self._connections = Connections(self._settings)
        self._server: wire.Spec | None = None
        self._spec: ImaginerSpec | None = None

    async def spec(self) -> ImaginerSpec:
        """What the server's imaginer is; see `SubgoalClient.spec`."""
        if self._spec is None:
            await self._hello()
            question = requests.ask_spec(self._settings.limits.first_step, ready=True)
            self._spec = requests.read_spec(await self._answer(question, wire.Spec))
        return self._spec

    async def imagine(
        self,
        frame: Any,
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
        from_here: bool = True,
        deadline: float | None = None,
        request_id: str | None = None,
        topic: str = "",
    ) -> Imagination:
        """Imagine the whole task; see `SubgoalClient.imagine_stream` for arguments and errors."""
        asked = await self._ask(
            frame,
            task,
            seed=seed,
            allow_out_of_domain=allow_out_of_domain,
            candidates=candidates,
            least_trust=least_trust,
            from_here=from_here,
            deadline=deadline,
            request_id=request_id,
            topic=topic,
        )
        steps = [step async for step in self._drive(asked.exchange)]
        return asked.imagination(steps, asked.exchange.result)

    async def imagine_stream(
        self,
        frame: Any,
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
        from_here: bool = True,
        deadline: float | None = None,
        request_id: str | None = None,
        topic: str = "",
    ) -> AsyncGenerator[KeyStep, None]:
        """Yield each key step as soon as the server has made it; see `SubgoalClient.imagine_stream`."""
        asked = await self._ask(
            frame,
            task,
            seed=seed,
            allow_out_of_domain=allow_out_of_domain,
            candidates=candidates,
            least_trust=least_trust,
            from_here=from_here,
            deadline=deadline,
            request_id=request_id,
            topic=topic,
        )
        async for step in self._drive(asked.exchange):
            yield step

    async def take_up(self, request_id: str) -> AsyncGenerator[KeyStep, None]:
        """Yield the key steps of a job that was submitted before; see `SubgoalClient.take_up`."""
        exchange = Imagining(None, None, requests.check_id(request_id), self._settings.limits)
        async for step in self._drive(exchange):
            yield step

    async def status(self, request_id: str) -> wire.JobStatus:
        """How a job stands."""
        question = requests.ask_job(wire.Status(requests.check_id(request_id)), self._settings.limits.connect)
        return await self._answer(question, wire.JobStatus)

    async def cancel(self, request_id: str) -> wire.JobStatus:
        """Stop a job, whoever listens to it."""
        question = requests.ask_job(wire.Cancel(requests.check_id(request_id)), self._settings.limits.connect)
        return await self._answer(question, wire.JobStatus)

    async def server_status(self) -> wire.ServerStatus:
        """How the server stands: queue, jobs, workers, bytes stored."""
        return await self._answer(requests.ask_server(self._settings.limits.connect), wire.ServerStatus)

    async def close(self) -> None:
        """Close all connections; those in use close when their stream ends. A second call does nothing."""
        self._connections.close()

    async def __aenter__(self) -> AsyncSubgoalClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _hello(self) -> wire.Spec:
        server = self._server
        if server is None:
            question = requests.ask_spec(self._settings.limits.connect, ready=False)
            server = self._server = await self._answer(question, wire.Spec)
        return server

    async def _ask(self, frame: Any, task: str, **choice: Any) -> requests.Asked:
        return requests.ask(self._settings, await self._hello(), frame, task, **choice)

    async def _answer(self, question: Exchange, kind: type[Any]) -> Any:
        async for _ in self._drive(question):
            raise RemoteError("a question has no key steps")
        return check_reply(question.result, kind)

    async def _drive(self, exchange: Exchange) -> AsyncGenerator[KeyStep, None]:
        """Run an exchange on a connection; the clock stands still while the caller has a key step."""
        connection = self._connections.borrow()
        paused, received, sent, clean = 0.0, None, 0, False
        try:
            while True:
                turn = exchange.advance(time.monotonic() - paused, received)
                for message in turn.send:
                    connection.send(message)
                sent += len(turn.send)
                for step in turn.steps:
                    left = time.monotonic()
                    yield step
                    paused += time.monotonic() - left
                if turn.ended:
                    # Only then can nothing of this exchange still be on its way.
                    clean = sent == 1
                    return
                received = await _receive(connection, turn.wait)
        finally:
            for message in exchange.abandon():
                connection.send(message)
            self._connections.give_back(connection, clean=clean)


async def _receive(connection: Connection, wait: float) -> list[memoryview] | None:
    """Wait for a message at most so long, letting other coroutines run."""
    received = connection.take()
    if received is not None:
        return received
    poller = zmq.asyncio.Poller()
    poller.register(connection.socket, zmq.POLLIN)
    poller.register(connection.monitor, zmq.POLLIN)
    if connection.monitor in dict(await poller.poll(int(1000 * wait) + 1)):
        connection.check_refusals()
    return connection.take()
