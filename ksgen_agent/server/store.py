"""What was accepted and what is finished, on disk: a SQLite table of jobs, one of key steps, and a file for each body.

Files have numbers, and a row says which file holds its body. A worker writes into a file that no row speaks of; the
row comes when it is whole. What a killed server or worker left half done is therefore never taken for a body, and is
swept away by the next start.

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
from collections.abc import Iterable, Set
from pathlib import Path

from ksgen_agent.server.jobs import Job, StoredStep
from ksgen_agent.wire import codec
from ksgen_agent.wire.messages import FROM_CLIENT, MOST_STEPS, Submit
from ksgen_models.errors import DatasetError

SCHEMA_VERSION = 2
_SPARES = 128
_ROOM = 64 * 2**20  # bytes
_FILES_A_START = 2**40  # numbers that one start of a server may give; those of two starts are never the same
_SOME_OLDER = "SELECT EXISTS (SELECT 1 FROM jobs WHERE finished > 0 AND finished <= ?)"
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    key INTEGER PRIMARY KEY, owner TEXT NOT NULL, id TEXT NOT NULL, share TEXT NOT NULL, state TEXT NOT NULL,
    request BLOB NOT NULL, end BLOB NOT NULL, created REAL NOT NULL, started REAL NOT NULL, finished REAL NOT NULL,
    deadline REAL NOT NULL, attempts INTEGER NOT NULL, bytes INTEGER NOT NULL, file INTEGER NOT NULL,
    UNIQUE (owner, id));
CREATE INDEX IF NOT EXISTS jobs_by_age ON jobs (finished) WHERE finished > 0;
CREATE TABLE IF NOT EXISTS steps (
    job INTEGER NOT NULL, step INTEGER NOT NULL, header BLOB NOT NULL, bytes INTEGER NOT NULL, file INTEGER NOT NULL,
    PRIMARY KEY (job, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS starts (number INTEGER PRIMARY KEY);
"""
_COLUMNS = "key, owner, share, state, request, end, created, started, finished, deadline, attempts, file"
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
        self._spares: deque[int] = deque()
        self._frame_spares: deque[int] = deque()
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
        # A worker of a killed server may still be writing for a moment, into a file that is nobody else's.
        self._next_file = self._count_start() * _FILES_A_START
        self.bytes = self._number(f"SELECT {_sum('jobs')} + {_sum('steps')}")
        self._sweep()

    def add(self, owner: str, share: str, request: Submit, created: float, deadline: float, frame: memoryview) -> Job:
        """Take a new job in.

        Raises:
            OSError: the disk is full or gone.
        """
        key = self._next_key
        self._next_key += 1
        file = self._frame_spares.popleft() if self._frame_spares else self._new_files(1)
        path = self.path(file)
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
            "INSERT INTO jobs VALUES (?, ?, ?, ?, 'queued', ?, x'', ?, 0, 0, ?, 0, ?, ?)",
            (key, owner, request.id, share, header, created, deadline, frame.nbytes, file),
        )
        self.bytes += frame.nbytes
        return Job(key, owner, share, request, created, deadline, file)

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

    def same_frame(self, job: Job, frame: memoryview) -> bool:
        """Whether this is the frame that the job was submitted with."""
        try:
            return Path(self.path(job.frame_file)).read_bytes() == frame
        except OSError:
            return False

    def update(self, job: Job) -> None:
        """Write a job's state and times."""
        self._database.execute(
            "UPDATE jobs SET state = ?, end = ?, started = ?, finished = ?, attempts = ? WHERE key = ?",
            (job.state, job.end, job.started, job.finished, job.attempts, job.key),
        )

    def add_step(self, key: int, step: int, made: StoredStep) -> None:
        """Note that a worker has written the body of a key step."""
        self._database.execute("INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?)", (key, step, *made))
        self.bytes += made.size

    def read(self, file: int, size: int) -> bytes:
        """The body that a file holds, ``size`` bytes.

        Raises:
            OSError: it is gone or cut short.
        """
        handle = self._open(file, size)
        try:
            return os.pread(handle, size, 0)
        finally:
            os.close(handle)

    def map(self, file: int, size: int) -> mmap.mmap:
        """The body that a file holds, where it lies, without reading it; ``size`` must not be 0.

        Until the map is gone, `forget` is to be told that the job is leaving.

        Raises:
            OSError: it is gone or cut short, or no more files may be open.
        """
        handle = self._open(file, size)
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
            "SELECT key, bytes, finished, file FROM jobs WHERE finished > 0 ORDER BY finished LIMIT 200"
        ).fetchall()
        files: list[tuple[int, deque[int] | None]] = []
        dropped: list[tuple[int]] = []
        for key, size, finished, frame in rows:
            if self.bytes <= target and finished > now - self._most_seconds:
                break
            if key in keep:
                continue
            steps = self._database.execute("SELECT file, bytes FROM steps WHERE job = ?", (key,)).fetchall()
            files += [(file, None if key in leaving else self._spares) for file, _ in steps]
            files.append((frame, self._frame_spares))
            self.bytes -= size + sum(step_size for _, step_size in steps)
            dropped.append((key,))
        self._database.executemany("DELETE FROM steps WHERE job = ?", dropped)
        self._database.executemany("DELETE FROM jobs WHERE key = ?", dropped)
        self.commit()  # before the files go: a killed server must not remember what is no more
        for file, spares in files:
            self._discard(file, spares)
        return len(dropped)

    def full(self) -> bool:
        """Whether what may not be forgotten fills the store."""
        return self.bytes > self._most_bytes

    def lend(self, count: int) -> tuple[tuple[int, ...], int]:
        """Files for the key steps of a job, to be given back with `take_back`.

        Returns:
            At most ``count`` that may be overwritten, and the first of as many numbers of new files as a job may have
            key steps.
        """
        spares = tuple(self._spares.popleft() for _ in range(min(count, len(self._spares))))
        return spares, self._new_files(MOST_STEPS)

    def take_back(self, spares: Iterable[int], used: Set[int]) -> None:
        """Take back what was lent, except the files that are ``used``: those that now hold a body."""
        self._spares.extend(file for file in spares if file not in used)

    def clear(self, new_files: int, used: Set[int]) -> None:
        """Delete what a job that did not end well wrote into new files and nobody could tell of any more."""
        unused = (file for file in range(new_files, new_files + MOST_STEPS) if file not in used)
        with contextlib.suppress(FileNotFoundError):
            for file in unused:  # made in this order, so the first that is not there is the last to be looked for
                os.unlink(self.path(file))

    def path(self, file: int | str) -> str:
        """Where a file is."""
        return f"{self._prefix}{file}"

    def close(self) -> None:
        """Write everything and let another server use the folder."""
        self.commit()
        self._database.close()
        os.close(self._lock)

    def _open(self, file: int, size: int) -> int:
        path = self.path(file)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(handle).st_size >= size:
            return handle
        os.close(handle)
        raise OSError(f"{path} is cut short")

    def _new_files(self, count: int) -> int:
        first = self._next_file
        self._next_file += count
        return first

    def _count_start(self) -> int:
        self._database.execute("INSERT INTO starts VALUES (NULL)")
        start = self._number("SELECT MAX(number) FROM starts")
        self._database.execute("DELETE FROM starts WHERE number < ?", (start,))
        self._database.commit()
        return start

    def _to_job(self, row: tuple) -> Job:
        key, owner, share, state, request, end, created, started, finished, deadline, attempts, file = row
        steps = self._database.execute("SELECT header, bytes, file FROM steps WHERE job = ? ORDER BY step", (key,))
        return Job(
            key=key,
            owner=owner,
            share=share,
            request=codec.decode(request, FROM_CLIENT),
            created=created,
            deadline=deadline,
            frame_file=file,
            state=state,
            steps=[StoredStep(*step) for step in steps.fetchall()],
            started=started,
            finished=finished,
            attempts=attempts,
            end=end,
        )

    def _discard(self, file: int, spares: deque[int] | None) -> None:
        if spares is not None and len(spares) < _SPARES:
            spares.append(file)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(file))

    def _sweep(self) -> None:
        """Delete the files that no row speaks of: what a killed server or worker left half done."""
        rows = self._database.execute("SELECT file FROM jobs UNION ALL SELECT file FROM steps")
        known = {str(file) for (file,) in rows}
        for path in self._files.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)

    def _number(self, query: str, *values: float) -> int:
        return int(self._database.execute(query, values).fetchone()[0])


def _sum(table: str) -> str:
    return f"(SELECT COALESCE(SUM(bytes), 0) FROM {table})"


def _open_database(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, check_same_thread=False)  # made by one thread, then used by one
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one server a store, so nobody need be asked each time
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
