"""Key steps on their way out: which files ZeroMQ still reads from."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from mmap import mmap

_MOST_MAPPED = 512  # each holds a file open


class Outgoing:
    """The jobs whose files are being sent straight from where they lie.

    Such a file may be deleted, which leaves what is mapped as it is, but not overwritten.
    """

    def __init__(self) -> None:
        self._jobs: Counter[int] = Counter()
        self._mapped: set[weakref.ref[mmap]] = set()
        self._left: deque[tuple[int, weakref.ref[mmap]]] = deque()  # appended to by ZeroMQ's threads

    def note(self, job: int, body: mmap) -> None:
        """A mapped file of this job was given to ZeroMQ, which keeps it for as long as it reads from it."""
        self._jobs[job] += 1
        self._mapped.add(weakref.ref(body, lambda gone: self._left.append((job, gone))))

    def full(self) -> bool:
        """Whether no more files should be held open."""
        self._settle()
        return len(self._mapped) >= _MOST_MAPPED

    def jobs(self) -> set[int]:
        """The jobs that have files on their way."""
        self._settle()
        return set(self._jobs)

    def _settle(self) -> None:
        while self._left:
            job, gone = self._left.popleft()
            self._mapped.discard(gone)
            self._jobs[job] -= 1
            if not self._jobs[job]:
                del self._jobs[job]
