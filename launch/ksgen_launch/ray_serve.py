"""Imagine on many machines: replicas in a Ray cluster, behind a subgoal server that speaks the usual protocol.

::

    clients ── ZeroMQ ──▶ ksgen-agent serve ── Ray ──▶ replica, replica, … (one a GPU, on any machine)

The replicas are a Ray Serve application, built by `app` and described in ``launch/ray-serve/ksgen-agent.yaml``; each
holds one imaginer, as a worker process of the server does. `imaginer` makes what stands in for them inside the server's
worker, so that queue, store, turns, deadlines, keys and the wire are the server's own. docs/operations.md shows it
running.

Frames and key steps travel between the machines by Ray's own means, which unpickle what they get: a Ray cluster
belongs in a network of its own. What clients send is checked by the server before it goes there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray
from ray import serve  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayActorError, RayError, TaskCancelledError, WorkerCrashedError  # pyright: ignore[reportMissingImports]
from ray.serve.exceptions import RayServeException, RequestCancelledError  # pyright: ignore[reportMissingImports]

from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import ImaginerSpec, StreamEnd, exhaust, further_options
from ksgen_agent.server.config import LOCAL_AGENT
from ksgen_agent.server.factories import make_imaginer
from ksgen_agent.server.logs import fields
from ksgen_agent.wire import failures
from ksgen_agent.wire.messages import Error
from ksgen_models.errors import Cancelled, PresetError, RemoteError
from ksgen_models.types import KeyStep, Plan

APPLICATION = "ksgen-agent"
ATTEMPTS = 3  # replicas that a job may cost before it is given up
_LOOK = 0.05  # seconds between two looks at a job's stop signal
_LOST = (RayActorError, WorkerCrashedError)
_log = logging.getLogger("ksgen_agent.ray")

Item = KeyStep | StreamEnd | Error


# A replica has one job at a time; the others wait where they can still go to another one.
@serve.deployment(name="imaginer", max_ongoing_requests=1, graceful_shutdown_timeout_s=60)
class ImaginerDeployment:
    """One imaginer in a process of the cluster.

    Args:
        factory: ``"module:function"``, see `ksgen_agent.server.factories`; importable on every machine.
        options: keyword arguments for it.
    """

    def __init__(self, factory: str, options: Mapping[str, Any]) -> None:
        self._imaginer = make_imaginer(factory, options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="imaginer")  # jobs never overlap, even when cancelled

    async def spec(self) -> ImaginerSpec:
        """What the imaginer is."""
        return self._imaginer.spec

    async def stream(
        self,
        frame: NDArray[np.uint8],
        task: str,
        seed: int,
        allow_out_of_domain: bool,
        candidates: int,
        least_trust: float,
        from_here: bool,
    ) -> AsyncIterator[Item]:
        """The key steps as they are made, then the `StreamEnd` where there is one, or the `Error` that ends it.

        Errors come as messages of the protocol, since exceptions do not survive the way through Ray as what they are.
        When Ray cancels the request, the imaginer stops between two solver steps.
        """
        stop = threading.Event()
        items = _items(
            self._imaginer, frame, task, seed, allow_out_of_domain, (stop, candidates, least_trust, from_here)
        )
        loop = asyncio.get_running_loop()
        try:
            while (item := await loop.run_in_executor(self._thread, next, items, None)) is not None:
                yield item
        finally:
            stop.set()
            self._thread.submit(items.close)


def app(arguments: dict[str, Any]) -> serve.Application:
    """The application, as ``serve run ksgen_launch.ray_serve:app preset=mini`` and configuration files name it.

    Args:
        arguments: ``imaginer`` (``module:function``), else ``preset``; ``device`` where one is to be named.
    """
    known = {"imaginer", "preset", "device"}
    if unknown := sorted(arguments.keys() - known):
        raise PresetError(f"unknown arguments {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    factory = arguments.get("imaginer", LOCAL_AGENT)
    options = {name: arguments[name] for name in ("preset", "device") if name in arguments}
    return ImaginerDeployment.bind(factory, options)  # type: ignore[attr-defined]


def imaginer() -> RayImaginer:
    """For ``ksgen-agent serve --imaginer ksgen_launch.ray_serve:imaginer``: the application in the running cluster.

    The cluster is the one that ``RAY_ADDRESS`` names, else the one that this machine is part of.

    Raises:
        PresetError: there is no cluster, or the application does not run in it.
    """
    try:
        if not ray.is_initialized():
            with _same_signal_handlers():
                ray.init(
                    address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False, logging_level=logging.WARNING
                )
        return RayImaginer(serve.get_app_handle(APPLICATION))
    except (ConnectionError, RuntimeError, RayError, RayServeException) as exc:
        raise PresetError(
            f'there is no Ray application "{APPLICATION}" to be reached ({exc}); start a cluster with '
            "`ray start --head` and the application with `serve run launch/ray-serve/ksgen-agent.yaml`"
        ) from exc


class RayImaginer:
    """Satisfies `ksgen_agent.Imaginer`; the work is done by whichever replica is free.

    A job whose replica is lost is run again on another one, and key steps that were made before do not come twice.

    Args:
        handle: of a running `ImaginerDeployment`.
        attempts: replicas that one job may cost.
    """

    def __init__(self, handle: Any, attempts: int = ATTEMPTS) -> None:
        self._handle, self._attempts = handle, attempts
        self._spec: ImaginerSpec = handle.spec.remote().result()

    @property
    def spec(self) -> ImaginerSpec:
        """What the replicas' imaginer is."""
        return self._spec

    def imagine(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Imagination:
        """Imagine the whole task; see `imagine_stream`."""
        steps, end = exhaust(self.imagine_stream(frame, task, seed=seed, allow_out_of_domain=allow_out_of_domain))
        plan = (
            end.plan if end else Plan(task, tuple(step.description for step in steps), 0.0, "the key steps themselves")
        )
        return Imagination(task, frame, plan, steps, dict(end.timings) if end else {})

    def imagine_stream(
        self,
        frame: NDArray[np.uint8],
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
        from_here: bool = True,
        cancel: threading.Event | None = None,
    ) -> Generator[KeyStep, None, StreamEnd | None]:
        """Yield each key step as soon as some replica has made it.

        Raises:
            Cancelled: ``cancel`` was set.
            RemoteError: too many replicas were lost.
            KSGenError: whatever the replicas' imaginer raised.
        """
        request = (frame, task, seed, allow_out_of_domain, candidates, least_trust, from_here)
        have = 0
        for attempt in range(1, self._attempts + 1):
            try:
                for item in self._follow(request, cancel):
                    if isinstance(item, Error):
                        raise failures.to_exception(item)
                    if isinstance(item, StreamEnd):
                        return item
                    if item.index >= have:
                        have = item.index + 1
                        yield item
                return None
            except _LOST as exc:
                _log.warning("a replica was lost; its job runs again", extra=fields(attempt=attempt, steps=have))
                if attempt == self._attempts:
                    raise RemoteError(f"{attempt} replicas were lost while on this task; it is given up") from exc
        return None

    def _follow(self, request: tuple[Any, ...], cancel: threading.Event | None) -> Iterator[Item]:
        """What one replica says to one request."""
        response = self._handle.options(stream=True).stream.remote(*request)
        try:
            with _cancelling(response, cancel):
                yield from response
        except (RequestCancelledError, TaskCancelledError, asyncio.CancelledError) as exc:
            raise Cancelled("the imagination was cancelled") from exc
        finally:
            response.cancel()  # of a request that has ended this does nothing


def _items(
    source: Any, frame: NDArray[np.uint8], task: str, seed: int, allow_out_of_domain: bool, further: tuple[Any, ...]
) -> Generator[Item, None, None]:
    try:
        more = further_options(source, *further)
        end = yield from source.imagine_stream(frame, task, seed=seed, allow_out_of_domain=allow_out_of_domain, **more)
        if end is not None:
            yield end
    except Exception as exc:
        yield failures.to_message("", exc)


@contextmanager
def _cancelling(response: Any, cancel: threading.Event | None) -> Iterator[None]:
    """Cancel a request when its stop signal is set; the thread that follows it waits for the next item meanwhile."""
    if cancel is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if cancel.wait(_LOOK):
                response.cancel()
                return

    thread = threading.Thread(target=watch, name="ray-cancel", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Ray takes SIGTERM for itself; whoever runs this process has decided already what it does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
