"""What every message of a client means: the table of jobs, and the rules by which they come and go."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from ksgen_agent.frames import GREATEST_SIDE, GREATEST_TASK, LEAST_SIDE, check_task
from ksgen_agent.server import work
from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.delivery import Delivery
from ksgen_agent.server.jobs import FairQueue, Job, StoredStep
from ksgen_agent.server.logs import fields
from ksgen_agent.server.pool import WorkerPool
from ksgen_agent.server.store import Store
from ksgen_agent.wire import codec, failures
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import view_bytes
from ksgen_models.errors import InvalidFrame, InvalidInput, KSGenError, ServerBusy

if TYPE_CHECKING:
    from ksgen_agent.server.metrics import Metrics

_log = logging.getLogger("ksgen_agent.server")
_SPARES = 16  # files lent to a job
_SHORTEST_HINT, _LONGEST_HINT = 0.05, 60.0  # seconds
_MOST_SHOWN = 64  # jobs named in the server's status
_SHOWN_ID = 8  # characters: to tell jobs apart, not to fetch them by


class Desk:
    """The jobs of one server. Its methods are called by the socket loop alone.

    Args:
        config, store, pool, delivery: of the server.
        publish: called with topic, header and body of what is broadcast.
        metrics: told how long jobs and key steps took.
        turned_away: connections that were refused, by reason, as the gate counts them.
    """

    def __init__(
        self,
        config: ServerConfig,
        store: Store,
        pool: WorkerPool,
        delivery: Delivery,
        publish: Callable[[str, bytes, bytes | memoryview], None] | None = None,
        metrics: Metrics | None = None,
        turned_away: Mapping[str, int] | None = None,
    ) -> None:
        self._config, self._store, self._pool, self._delivery = config, store, pool, delivery
        self._publish, self._metrics = publish, metrics
        self._turned_away = {} if turned_away is None else turned_away
        self._queue = FairQueue(config.queue, config.queue_per_client)
        self._open: dict[int, Job] = {}
        self._by_name: dict[tuple[str, str], Job] = {}
        self._name = uuid.uuid4().hex
        self._began = time.monotonic()
        self._usual_seconds = 1.0
        self.draining = False
        self.imaginer: dict[str, Any] | None = None
        self.counts: dict[str, int] = dict.fromkeys(("accepted", "refused", "done", "failed", "cancelled", "steps"), 0)
        self.refusals: Counter[str] = Counter()
        self._spent = {"queued": 0.0, "running": 0.0}
        for job in store.unfinished():
            self._take_up(job)
            job.state = "queued"
            self._queue.put(job.share, job.key)

    # What clients say.

    def answer(self, peer: bytes, owner: str, message: Any, body: memoryview | None) -> None:
        """Do what a client asks and tell it so; `KSGenError` becomes an error message."""
        try:
            if isinstance(message, wire.Submit):
                reply = self._submit(peer, owner, message, body)
            elif isinstance(message, wire.Fetch):
                reply = self._fetch(peer, owner, message)
            elif isinstance(message, wire.Cancel):
                reply = self._cancel(owner, message.id)
            elif isinstance(message, wire.Status):
                reply = self._job_status(owner, message.id) if message.id else self.server_status(owner)
            elif isinstance(message, wire.Ping):
                reply = wire.Pong(message.number)
            else:
                reply = self._spec()
        except KSGenError as exc:
            reply = failures.to_message(getattr(message, "id", ""), exc)
            self.count_refusal(reply.code)
        self._delivery.tell(peer, codec.encode(reply))

    def _submit(self, peer: bytes, owner: str, asked: wire.Submit, body: memoryview | None) -> Any:
        frame = self._check_frame(asked, body)
        job = self._find(owner, asked.id)
        if job is not None:
            if not (_same_request(job.request, asked) and self._store.same_frame(job, frame)):
                text = f"the id {asked.id!r} belongs to another request; choose a new id for every request"
                return wire.Error(asked.id, "conflict", text)
        else:
            check_task(asked.task)
            if asked.candidates > (most := self._config.most_candidates):
                raise InvalidInput(f"candidates is {asked.candidates}, this server draws at most {most}; ask for fewer")
            job = self._accept(peer, owner, asked, frame)
        self._delivery.follow(peer, job, asked.start)
        return self._status_of(job)

    def _accept(self, peer: bytes, owner: str, asked: wire.Submit, frame: memoryview) -> Job:
        share = owner or asked.client or peer.hex()
        refusal = "the server is about to stop" if self.draining else self._queue.refusal(share)
        if not refusal and self._store.full() and not self._forget():
            refusal = "the store is full of jobs that are not finished"
        if refusal:
            raise ServerBusy(f"{refusal}; try again later", retry_after=self._hint())
        now = time.time()
        allowed = self._config.longest_job
        deadline = now + (min(asked.deadline, allowed) if asked.deadline is not None else allowed)
        try:
            job = self._store.add(owner, share, asked, now, deadline, frame)
        except OSError as exc:
            _log.error("the store cannot be written", extra=fields(job=asked.id, client=share, error=str(exc)))
            raise ServerBusy("the store cannot be written; try again later", retry_after=_LONGEST_HINT) from exc
        self._take_up(job)
        self._queue.put(share, job.key)
        self.counts["accepted"] += 1
        _log.debug("a job is accepted", extra=fields(job=job.id, client=share, bytes=frame.nbytes))
        return job

    def _fetch(self, peer: bytes, owner: str, asked: wire.Fetch) -> Any:
        job = self._find(owner, asked.id)
        if job is None:
            return _unknown(asked.id)
        self._delivery.follow(peer, job, asked.start)
        return self._status_of(job)

    def _job_status(self, owner: str, name: str) -> Any:
        job = self._find(owner, name)
        return _unknown(name) if job is None else self._status_of(job)

    def _cancel(self, owner: str, name: str) -> Any:
        job = self._find(owner, name)
        if job is None:
            return _unknown(name)
        self._stop(job, "cancelled")
        return self._status_of(job)

    def _spec(self) -> wire.Spec:
        limits = {
            "frame_bytes": self._config.most_frame_bytes,
            "frame_side": GREATEST_SIDE,
            "least_frame_side": LEAST_SIDE,
            "task_characters": GREATEST_TASK,
            "header_bytes": codec.MOST_HEADER_BYTES,
            "steps": wire.MOST_STEPS,
            "candidates": self._config.most_candidates,
            "queue": self._config.queue,
            "queue_per_client": self._config.queue_per_client,
            "job_seconds": int(self._config.longest_job),
        }
        return wire.Spec(self._name, _package_version(), self.state, limits, self.imaginer)

    @property
    def state(self) -> str:
        """``starting``, ``serving`` or ``draining``."""
        return "draining" if self.draining else "serving" if self.imaginer else "starting"

    def count_refusal(self, code: str) -> None:
        """Note that a message was answered with an error."""
        self.counts["refused"] += 1
        self.refusals[code] += 1

    def server_status(self, owner: str = "") -> wire.ServerStatus:
        """How the server stands; everything that operations want to see.

        Args:
            owner: whose jobs are named; with keys, those of others only count.
        """
        running = sum(job.state == "running" for job in self._open.values())
        counts = self.counts | {
            "queued": len(self._queue),
            "running": running,
            "stored_bytes": self._store.bytes,
            "steps_sent": self._delivery.sent,
            "workers_lost": self._pool.lost,
        }
        counts |= {f"refused/{code}": number for code, number in {**self.refusals, **self._turned_away}.items()}
        uptime = time.monotonic() - self._began
        return wire.ServerStatus(
            self.state, uptime, counts, self._pool.describe(), self._shown(owner), dict(self._spent)
        )

    def _shown(self, owner: str) -> tuple[dict[str, Any], ...]:
        """The oldest running, then the oldest waiting jobs of this owner."""
        now = time.time()
        jobs = [job for state in ("running", "queued") for job in islice(self._of(owner, state), _MOST_SHOWN)][
            :_MOST_SHOWN
        ]
        return tuple(
            {
                "id": job.id[:_SHOWN_ID],
                "client": job.share,
                "state": job.state,
                "steps": len(job.steps),
                "seconds": max(now - (job.started or job.created), 0.0),
                "worker": job.worker,
            }
            for job in jobs
        )

    def _of(self, owner: str, state: str) -> Iterator[Job]:
        return (job for job in self._open.values() if job.owner == owner and job.state == state)

    # What workers say.

    def hear(self, peer: bytes, message: Any, body: bytes, now: float) -> KSGenError | None:
        """Take note of what a worker says; returns its error when no worker can load the imaginer at all."""
        if not self._pool.hear(peer, message, now):
            return None
        if isinstance(message, work.Unready):
            error = failures.to_exception(codec.decode(body, wire.FROM_SERVER))
            _log.error("a worker cannot start", extra=fields(error=f"{type(error).__name__}: {error}"))
            return None if self._pool.was_ready else error
        if isinstance(message, work.Ready):
            self.imaginer = message.imaginer
        job = self._open.get(message.key) if isinstance(message, work.Made | work.Finished | work.Failed) else None
        if job is None:
            return None
        if isinstance(message, work.Made):
            self._step_made(job, message, body)
        elif isinstance(message, work.Finished):
            self._end(job, "done", body)
        elif job.stop:
            self._end_stopped(job)
        else:
            self._end(job, "failed", body)
        return None

    def _step_made(self, job: Job, made: work.Made, header: bytes) -> None:
        if made.index != len(job.steps):  # it was there already, from a worker that died
            return
        step = StoredStep(header, made.size, made.file)
        self._store.add_step(job.key, made.index, step)
        job.steps.append(step)
        self.counts["steps"] += 1
        if self._metrics:
            self._metrics.step_made(codec.decode(header, wire.FROM_SERVER))
        self._delivery.wake(job.key)
        if job.request.topic and self._publish:
            self._publish(job.request.topic, header, self._store.read(made.file, made.size))

    # What time brings.

    def tick(self) -> None:
        """Hold jobs to their deadlines, and deal with workers that died or do not stop."""
        now = time.time()
        for key in self._pool.tend(time.monotonic()):
            if key in self._open:
                self._lose_worker(self._open[key])
        for job in list(self._open.values()):
            if now > job.deadline:
                self._stop(job, "timeout")
            if job.stop and now > job.stop_by:
                self._pool.kill(job.key)
        self._forget()

    def assign(self) -> None:
        """Hand waiting jobs to idle workers."""
        while not self.draining and len(self._queue) and self._pool.idle():
            key = self._queue.pop()
            if key is None:
                return
            job = self._open[key]
            job.state, job.started = "running", time.time()
            job.spares, job.new_files = self._store.lend(_SPARES)
            job.worker = self._pool.assign(self._order(job))

    def busy(self) -> bool:
        """Whether a job is running."""
        return any(job.state == "running" for job in self._open.values())

    # How jobs begin and end.

    def _order(self, job: Job) -> work.Run:
        asked = job.request
        return work.Run(
            key=job.key,
            id=asked.id,
            task=asked.task,
            seed=asked.seed,
            allow_out_of_domain=asked.allow_out_of_domain,
            candidates=asked.candidates,
            least_trust=asked.least_trust,
            from_here=asked.from_here,
            frame=asked.frame,
            frame_path=self._store.path(job.frame_file),
            folder=self._store.path(""),
            new_files=job.new_files,
            images=asked.images,
            clip=asked.clip,
            have=len(job.steps),
            queued=max(job.started - job.created, 0.0),
            spares=job.spares,
        )

    def _take_up(self, job: Job) -> None:
        self._open[job.key] = job
        self._by_name[job.owner, job.id] = job

    def _find(self, owner: str, name: str) -> Job | None:
        job = self._by_name.get((owner, name)) or self._store.find(owner, name)
        return job and (self._delivery.find(job.key) or job)

    def _status_of(self, job: Job) -> wire.JobStatus:
        return job.status(time.time(), self._queue.position(job.key))

    def _stop(self, job: Job, why: str) -> None:
        if job.end or job.stop:
            return
        job.stop = why
        if job.state == "queued":
            self._queue.remove(job.key)
            self._end_stopped(job)
        else:
            job.stop_by = time.time() + self._config.stop_seconds
            self._pool.stop(job.key)

    def _lose_worker(self, job: Job) -> None:
        self._take_back_files(job)
        if job.stop:
            self._end_stopped(job)
            return
        job.attempts += 1
        if job.attempts >= self._config.attempts:
            text = f"{job.attempts} workers died while on this task; it is given up. The server's log says how"
            self._end_with(job, "failed", "worker_lost", text)
            return
        more = fields(job=job.id, client=job.share, worker=job.worker, steps=len(job.steps), attempts=job.attempts)
        _log.warning("a job lost its worker and runs again", extra=more)
        job.state, job.started, job.worker = "queued", 0.0, 0
        self._store.update(job)
        self._queue.put(job.share, job.key, first=True)

    def _end_stopped(self, job: Job) -> None:
        if job.stop == "timeout":
            text = f"the job was not done {job.deadline - job.created:g} s after it was accepted; allow more time"
            self._end_with(job, "failed", "timeout", text)
        else:
            self._end_with(job, "cancelled", "cancelled", "the imagination was cancelled")

    def _end_with(self, job: Job, state: str, code: str, text: str) -> None:
        self._end(job, state, codec.encode(wire.Error(job.id, code, text, timings=job.timings(time.time()))))

    def _end(self, job: Job, state: str, end: bytes) -> None:
        job.state, job.end, job.finished = state, end, time.time()
        self._store.update(job)
        self._take_back_files(job)
        del self._open[job.key], self._by_name[job.owner, job.id]
        self.counts[state] += 1
        if self._store.full():
            self._forget()
        if state == "done":
            self._usual_seconds += 0.1 * (job.finished - job.started - self._usual_seconds)
        self._delivery.wake(job.key)
        if job.request.topic and self._publish:
            self._publish(job.request.topic, end, b"")
        timings = job.timings(job.finished)
        for name, seconds in timings.items():
            self._spent[name] += seconds
        if self._metrics:
            self._metrics.job_ended(state, timings)
        code = codec.decode(end, wire.FROM_SERVER).code if state == "failed" else None
        who = {"job": job.id, "client": job.share, "worker": job.worker or None}
        _log.info("a job ended", extra=fields(**who, state=state, code=code, steps=len(job.steps), **timings))

    def _take_back_files(self, job: Job) -> None:
        used = {step.file for step in job.steps}
        self._store.take_back(job.spares, used)
        if job.new_files and job.state != "done":
            self._store.clear(job.new_files, used)
        job.spares, job.new_files = (), 0

    def _forget(self) -> int:
        return self._store.forget(time.time(), set(self._delivery.keys()), self._delivery.leaving())

    def _hint(self) -> float:
        slots = self._config.workers * self._config.jobs_per_worker
        usual = max(len(self._queue), 1) * self._usual_seconds / slots / 2
        return min(max(usual, _SHORTEST_HINT), _LONGEST_HINT)

    def _check_frame(self, asked: wire.Submit, body: memoryview | None) -> memoryview:
        blob = asked.frame
        if blob.size > self._config.most_frame_bytes:
            raise InvalidFrame(
                f"the frame has {blob.size} bytes, this server takes {self._config.most_frame_bytes}; "
                "send a smaller picture, or a JPEG"
            )
        view_bytes(blob, body)
        if blob.offset or blob.encoding == "mp4" or blob.dtype != "uint8":
            raise InvalidFrame("the frame is one uint8 picture, raw, JPEG or PNG, at the start of the body")
        if blob.encoding == "raw":
            sides = blob.shape[:2]
            if len(blob.shape) != 3 or blob.shape[2] != 3 or min(sides) < LEAST_SIDE or max(sides) > GREATEST_SIDE:
                raise InvalidFrame(f"the frame has shape {blob.shape}; send (H, W, 3) of sides 32 to {GREATEST_SIDE}")
        return view_bytes(blob, body)


@cache
def _package_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ksgen-agent")
    except PackageNotFoundError:
        return "unknown"


def _same_request(first: wire.Submit, second: wire.Submit) -> bool:
    choices = ("seed", "allow_out_of_domain", "candidates", "least_trust", "from_here")
    return all(getattr(first, name) == getattr(second, name) for name in ("task", "frame", *choices, "images", "clip"))


def _unknown(name: str) -> wire.Error:
    return wire.Error(name, "unknown_job", f"there is no job {name!r} here; submit it (again)")
