"""What was accepted and what is finished, on disk: a SQLite table of jobs, one of key steps, and a file for each body.

A job is in the store before its client hears that it was accepted, and a key step before anybody is sent it, so a
server that is killed loses nothing that it has said. (Against the loss of power there is no promise: nothing is
fsynced.)

Files of forgotten key steps are not deleted but kept as spares up to a limit, and overwritten by later ones: writing
into pages that a file has already is many times faster than having a file system find new ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sqlite3
from collections import deque
from collections.abc import Set
from pathlib import Path

from ksgen_agent.server.jobs import Job
from ksgen_agent.wire import codec
from ksgen_agent.wire.messages import FROM_CLIENT
from ksgen_models.errors import DatasetError

SCHEMA_VERSION = 1
_SPARES = 128
_ROOM = 64 * 2**20  # bytes
_SOME_OLDER = "SELECT EXISTS (SELECT 1 FROM jobs WHERE finished > 0 AND finished <= ?)"
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    key INTEGER PRIMARY KEY, owner TEXT NOT NULL, id TEXT NOT NULL, share TEXT NOT NULL, state TEXT NOT NULL,
    request BLOB NOT NULL, end BLOB NOT NULL, created REAL NOT NULL, started REAL NOT NULL, finished REAL NOT NULL,
    deadline REAL NOT NULL, attempts INTEGER NOT NULL, bytes INTEGER NOT NULL, UNIQUE (owner, id));
CREATE INDEX IF NOT EXISTS jobs_by_age ON jobs (finished) WHERE finished > 0;
CREATE TABLE IF NOT EXISTS steps (
    job INTEGER NOT NULL, step INTEGER NOT NULL, header BLOB NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (job, step)) WITHOUT ROWID;
"""
_COLUMNS = "key, owner, share, state, request, end, created, started, finished, deadline, attempts"
_OPEN_STATES = "('queued', 'running')"


class Store:
    """The folder of one server.

    Args:
        folder: made where it is missing.
        most_bytes, most_seconds: finished jobs beyond this are forgotten, oldest first.

    Raises:
        DatasetError: another server uses the folder, or it holds something else.
    """

    def __init__(self, folder: Path, most_bytes: int, most_seconds: float) -> None:
        self._most_bytes, self._most_seconds = most_bytes, most_seconds
        self._files = folder / "files"
        self._prefix = f"{self._files}{os.sep}"
        self._spares: deque[str] = deque()
        self._frame_spares: deque[str] = deque()
        try:
            self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise DatasetError(f"the store {folder} cannot be used ({exc}); name another with --store") from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._lock)
            raise DatasetError(f"another server uses the store {folder}; stop it or name another with --store") from exc
        self._database = _open_database(folder / "jobs.sqlite")
        self._next_key = self._number("SELECT COALESCE(MAX(key), 0) FROM jobs") + 1
        self.bytes = self._number(f"SELECT {_sum('jobs')} + {_sum('steps')}")
        self._sweep()

    def add(self, owner: str, share: str, request: object, created: float, deadline: float, frame: memoryview) -> Job:
        """Take a new job in.

        Raises:
            OSError: the disk is full or gone.
        """
        key = self._next_key
        self._next_key += 1
        path = f"{self._prefix}{key}.frame"
        if self._frame_spares:
            os.rename(self._frame_spares.popleft(), path)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(handle, frame)
            os.truncate(handle, written)
        finally:
            os.close(handle)
        if written != frame.nbytes:
            raise OSError(f"{path} took {written} of {frame.nbytes} bytes; the disk is full")
        header = codec.encode(request)
        self._database.execute(
            "INSERT INTO jobs VALUES (?, ?, ?, ?, 'queued', ?, x'', ?, 0, 0, ?, 0, ?)",
            (key, owner, request.id, share, header, created, deadline, frame.nbytes),  # type: ignore[attr-defined]
        )
        self.bytes += frame.nbytes
        return Job(key, owner, share, codec.decode(header, FROM_CLIENT), created, deadline)

    def find(self, owner: str, request: str) -> Job | None:
        """The job of this name, finished or not."""
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM jobs WHERE owner = ? AND id = ?", (owner, request)
        ).fetchone()
        return row and self._to_job(row)

    def unfinished(self) -> list[Job]:
        """Jobs that were accepted and have not ended, oldest first."""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM jobs WHERE state IN {_OPEN_STATES} ORDER BY key")
        return [self._to_job(row) for row in rows.fetchall()]

    def same_frame(self, key: int, frame: memoryview) -> bool:
        """Whether this is the frame that the job was submitted with."""
        try:
            return self.frame_path(key).read_bytes() == frame
        except OSError:
            return False

    def update(self, job: Job) -> None:
        """Write a job's state and times."""
        self._database.execute(
            "UPDATE jobs SET state = ?, end = ?, started = ?, finished = ?, attempts = ? WHERE key = ?",
            (job.state, job.end, job.started, job.finished, job.attempts, job.key),
        )

    def add_step(self, key: int, step: int, header: bytes, size: int) -> None:
        """Note that a worker has written the body of a key step."""
        self._database.execute("INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?)", (key, step, header, size))
        self.bytes += size

    def read_step(self, key: int, step: int, size: int) -> bytes:
        """The body of a finished key step, ``size`` bytes.

        Raises:
            OSError: its file is gone or cut short.
        """
        handle = self._open_step(key, step, size)
        try:
            return os.pread(handle, size, 0)
        finally:
            os.close(handle)

    def map_step(self, key: int, step: int, size: int) -> mmap.mmap:
        """The body of a finished key step where it lies, without reading it; ``size`` must not be 0.

        Until the map is gone, `forget` is to be told that the job is leaving.

        Raises:
            OSError: its file is gone or cut short, or no more files may be open.
        """
        handle = self._open_step(key, step, size)
        try:
            return mmap.mmap(handle, size, access=mmap.ACCESS_READ)
        finally:
            os.close(handle)

    def commit(self) -> None:
        """Make what was written since the last call survive the process."""
        if self._database.in_transaction:
            self._database.commit()

    def forget(self, now: float, keep: set[int], leaving: Set[int] = frozenset()) -> int:
        """Drop finished jobs beyond the limits, oldest first, except ``keep``; how many were dropped.

        What is dropped for its size makes room for a while, so that this is not done for each job anew.

        Args:
            now: wall-clock seconds.
            keep: jobs that stay whatever the limits.
            leaving: jobs whose files are still being read, so that they are deleted instead of overwritten later.
        """
        if self.bytes <= self._most_bytes and not self._number(_SOME_OLDER, now - self._most_seconds):
            return 0
        target = self._most_bytes
        if self.bytes > target:
            target -= min(target // 20, _ROOM)
        rows = self._database.execute(
            "SELECT key, bytes, finished FROM jobs WHERE finished > 0 ORDER BY finished LIMIT 200"
        ).fetchall()
        files: list[tuple[str, bool]] = []
        dropped: list[tuple[int]] = []
        for key, size, finished in rows:
            if self.bytes <= target and finished > now - self._most_seconds:
                break
            if key in keep:
                continue
            steps = self._database.execute("SELECT step, bytes FROM steps WHERE job = ?", (key,)).fetchall()
            files += [(f"{self._prefix}{key}.{step}", key in leaving) for step, _ in steps]
            self.bytes -= size + sum(step_size for _, step_size in steps)
            dropped.append((key,))
        self._database.executemany("DELETE FROM steps WHERE job = ?", dropped)
        self._database.executemany("DELETE FROM jobs WHERE key = ?", dropped)
        self.commit()  # before the files go: a killed server must not remember what is no more
        for path, in_use in files:
            self._discard(path, None if in_use else self._spares)
        for (key,) in dropped:
            self._discard(f"{self._prefix}{key}.frame", self._frame_spares)
        return len(dropped)

    def full(self) -> bool:
        """Whether what may not be forgotten fills the store."""
        return self.bytes > self._most_bytes

    def lend_spares(self, count: int) -> tuple[str, ...]:
        """Files that may be overwritten; give back with `return_spares` what was not used."""
        return tuple(self._spares.popleft() for _ in range(min(count, len(self._spares))))

    def return_spares(self, names: tuple[str, ...]) -> None:
        """Take back spares; those that became key steps are no longer there."""
        self._spares.extend(name for name in names if os.path.exists(name))

    def frame_path(self, key: int) -> Path:
        """File of a job's frame."""
        return self._files / f"{key}.frame"

    def step_path(self, key: int, step: int | str) -> Path:
        """File of a key step's body."""
        return self._files / f"{key}.{step}"

    def close(self) -> None:
        """Write everything and let another server use the folder."""
        self.commit()
        self._database.close()
        os.close(self._lock)

    def _open_step(self, key: int, step: int, size: int) -> int:
        path = f"{self._prefix}{key}.{step}"
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(handle).st_size >= size:
            return handle
        os.close(handle)
        raise OSError(f"{path} is cut short")

    def _to_job(self, row: tuple) -> Job:
        key, owner, share, state, request, end, created, started, finished, deadline, attempts = row
        steps = self._database.execute("SELECT header, bytes FROM steps WHERE job = ? ORDER BY step", (key,)).fetchall()
        return Job(
            key=key,
            owner=owner,
            share=share,
            request=codec.decode(request, FROM_CLIENT),
            created=created,
            deadline=deadline,
            state=state,
            steps=steps,
            started=started,
            finished=finished,
            attempts=attempts,
            end=end,
        )

    def _discard(self, path: str, spares: deque[str] | None) -> None:
        with contextlib.suppress(FileNotFoundError):
            if spares is None or len(spares) >= _SPARES:
                os.unlink(path)
                return
            spare = f"{self._prefix}spare.{path[len(self._prefix) :]}"
            os.rename(path, spare)
            spares.append(spare)

    def _sweep(self) -> None:
        """Delete the files that no row speaks of: what a killed server or worker left half done."""
        frames = {f"{key}.frame" for (key,) in self._database.execute("SELECT key FROM jobs")}
        steps = {f"{key}.{step}" for key, step in self._database.execute("SELECT job, step FROM steps")}
        for path in self._files.iterdir():
            if path.name not in frames and path.name not in steps:
                path.unlink(missing_ok=True)

    def _number(self, query: str, *values: float) -> int:
        return int(self._database.execute(query, values).fetchone()[0])


def _sum(table: str) -> str:
    return f"(SELECT COALESCE(SUM(bytes), 0) FROM {table})"


def _open_database(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, check_same_thread=False)  # made by one thread, then used by one
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise DatasetError(f"{path} has format {version}, this release reads {SCHEMA_VERSION}; name another store")
        database.executescript(_TABLES)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.commit()
        return database
    except sqlite3.Error as exc:
        raise DatasetError(f"{path} is no job table of a server ({exc}); name another store with --store") from exc
