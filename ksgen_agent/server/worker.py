"""A worker process: loads one imaginer and imagines the jobs that the server hands it.

Started by `ksgen_agent.server.pool` as ``python -m ksgen_agent.server.worker``. Its standard input is a pipe from the
server that never carries anything: when it closes, the server is gone, and the worker goes too.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import chain, count
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from ksgen_agent.imaginer import Imaginer, StreamEnd, further_options
from ksgen_agent.server import work
from ksgen_agent.server.factories import make_imaginer
from ksgen_agent.server.logs import fields, set_up
from ksgen_agent.wire import codec, failures
from ksgen_agent.wire.blobs import view_array, view_bytes
from ksgen_agent.wire.key_steps import pack_key_step, pack_plan
from ksgen_agent.wire.messages import Done
from ksgen_models.errors import Cancelled, KSGenError, ProtocolError
from ksgen_models.types import KeyStep, Plan

BEAT_SECONDS = 1.0
_log = logging.getLogger("ksgen_agent.worker")


def main(arguments: list[str]) -> None:
    """Serve until the server goes away.

    Args:
        arguments: endpoint, number of this worker, factory path, its options as JSON, number of job slots, format of
            the log.
    """
    endpoint, number, factory, options, slots, log_format = arguments
    set_up(log_format)
    for ignored in (signal.SIGINT, signal.SIGTERM):  # they may reach the whole group, and the server decides
        signal.signal(ignored, signal.SIG_IGN)
    threading.Thread(target=_end_with_server, daemon=True).start()
    context = zmq.Context()
    control = _connect(context, endpoint, number)
    try:
        imaginer = make_imaginer(factory, json.loads(options))
        spec = {**asdict(imaginer.spec), "score_names": list(imaginer.spec.score_names)}
        ready = codec.encode(work.Ready(spec))
    except KSGenError as exc:
        control.send_multipart([codec.encode(work.Unready()), codec.encode(failures.to_message("", exc))])
        control.close(linger=2000)
        context.term()
        sys.exit(3)
    stops = Stops()
    control.send(ready)
    for slot in range(int(slots)):
        name = f"{number}/{slot}"
        threading.Thread(target=_work, args=(context, endpoint, name, imaginer, stops), daemon=True).start()
    while True:
        if control.poll(round(1000 * BEAT_SECONDS)):
            stops.stop(codec.decode(control.recv(), work.FROM_SERVER).key)
        else:
            control.send(codec.encode(work.Beat()))


class Stops:
    """The stop signals of the jobs that are under way."""

    def __init__(self) -> None:
        self._events: dict[int, threading.Event] = {}
        self._guard = threading.Lock()

    def open(self, key: int) -> threading.Event:
        """The signal of a job that begins."""
        with self._guard:
            return self._events.setdefault(key, threading.Event())

    def stop(self, key: int) -> None:
        """Ask a job to stop; one that has ended already is left alone."""
        with self._guard:
            if key in self._events:
                self._events[key].set()

    def close(self, key: int) -> None:
        """Forget a job."""
        with self._guard:
            self._events.pop(key, None)


def _work(context: zmq.Context[Any], endpoint: str, name: str, imaginer: Imaginer, stops: Stops) -> None:
    """One slot: take jobs and imagine them, one after the other."""
    try:
        socket = _connect(context, endpoint, name)
        socket.send(codec.encode(work.Idle()))
        while True:
            run = codec.decode(socket.recv(), work.FROM_SERVER)
            stop = stops.open(run.key)
            began = time.perf_counter()
            try:
                done = _imagine(imaginer, run, stop, socket.send_multipart)
                reply = [codec.encode(work.Finished(run.key)), done]
            except Exception as exc:
                if not isinstance(exc, KSGenError):
                    _log.exception("the imaginer failed", extra=fields(job=run.id, slot=name))
                timings = {"queued": run.queued, "running": time.perf_counter() - began}
                error = replace(failures.to_message(run.id, exc), timings=timings)
                reply = [codec.encode(work.Failed(run.key)), codec.encode(error)]
            finally:
                stops.close(run.key)
            socket.send_multipart(reply)
    except BaseException:
        _log.exception("the worker ends", extra=fields(slot=name))
        os._exit(4)  # the server starts another and has the job run again


def _imagine(
    imaginer: Imaginer,
    run: work.Run,
    stop: threading.Event,
    send: Callable[[list[bytes]], Any],
) -> bytes:
    """Imagine one job, announcing each key step; returns the header of its `Done`."""
    began = last = time.perf_counter()
    more = further_options(imaginer, stop, run.candidates, run.least_trust, run.from_here)
    stream = imaginer.imagine_stream(
        _load_frame(run), run.task, seed=run.seed, allow_out_of_domain=run.allow_out_of_domain, **more
    )
    files = chain(run.spares, count(run.new_files))
    sentences: list[str] = []
    end: StreamEnd | None = None
    try:
        while True:
            if stop.is_set():
                raise Cancelled("the imagination was cancelled")
            try:
                step = next(stream)
            except StopIteration as stopped:
                if stop.is_set():  # an imaginer may heed it by ending early, and what it left out is not to be missed
                    continue
                end = stopped.value
                break
            if step.index != len(sentences):
                raise ProtocolError(f"the imaginer's key step {len(sentences)} says that it is number {step.index}")
            sentences.append(step.description)
            now = time.perf_counter()
            if step.index >= run.have:
                timings = {"queued": run.queued, "since_start": now - began, "imagining": now - last}
                send(_store_step(run, step, next(files), timings))
            last = time.perf_counter()
    finally:
        stream.close()
    seconds = dict(end.timings) if end else {}
    seconds |= {"server/queued": run.queued, "server/running": time.perf_counter() - began}
    plan = end.plan if end else Plan(run.task, tuple(sentences), 0.0, "the key steps themselves")
    return codec.encode(Done(run.id, len(sentences), pack_plan(plan), seconds))


def _store_step(run: work.Run, step: KeyStep, file: int, timings: dict[str, float]) -> list[bytes]:
    """Write a key step's body to this file, and return what the server is told of it."""
    began = time.perf_counter()
    message, pieces = pack_key_step(run.id, step, images=run.images, clip=run.clip, timings=timings)
    handle = os.open(f"{run.folder}{file}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = write_pieces(handle, pieces)
        if os.fstat(handle).st_size > size:
            os.ftruncate(handle, size)
    finally:
        os.close(handle)
    message.timings["packing"] = time.perf_counter() - began
    return [codec.encode(work.Made(run.key, step.index, size, file)), codec.encode(message)]


def write_pieces(handle: int, pieces: list[memoryview]) -> int:
    """Write buffers one behind the other without joining them; returns the bytes written.

    Raises:
        OSError: the disk is full or gone.
    """
    waiting = [piece for piece in pieces if piece.nbytes]
    total = 0
    while waiting:
        written = os.writev(handle, waiting[:1024])
        total += written
        while waiting and written >= waiting[0].nbytes:
            written -= waiting.pop(0).nbytes
        if written:
            waiting[0] = waiting[0].cast("B")[written:]
    return total


def _load_frame(run: work.Run) -> NDArray[np.uint8]:
    with open(run.frame_path, "rb", buffering=0) as file:
        body = memoryview(file.readall() or b"")
    if run.frame.encoding == "raw":
        return view_array(run.frame, body)
    from ksgen_agent.wire.pictures import decode_picture

    return decode_picture(view_bytes(run.frame, body), run.frame.encoding, None)


def _connect(context: zmq.Context[Any], endpoint: str, name: str) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, name.encode())
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.connect(endpoint)
    return socket


def _end_with_server() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
