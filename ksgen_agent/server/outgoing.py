"""Key steps on their way out: which files ZeroMQ still reads from."""

from __future__ import annotations

from collections import Counter, deque

import zmq

_MOST_MAPPED = 512  # each holds a file open


class Outgoing:
    """The jobs whose files are being sent straight from where they lie.

    Such a file may be deleted, which leaves what is mapped as it is, but not overwritten.
    """

    def __init__(self) -> None:
        self._leaving: deque[tuple[int, zmq.MessageTracker]] = deque()
        self._jobs: Counter[int] = Counter()

    def note(self, job: int, tracker: zmq.MessageTracker | None) -> None:
        """A mapped file of this job is being sent; the tracker knows when that is over."""
        if tracker is None or tracker.done:
            return
        self._leaving.append((job, tracker))
        self._jobs[job] += 1
        if len(self._leaving) > 2 * len(self._jobs):
            self._tidy_front()

    def full(self) -> bool:
        """Whether no more files should be held open."""
        if len(self._leaving) >= _MOST_MAPPED:
            self._tidy()
        return len(self._leaving) >= _MOST_MAPPED

    def jobs(self) -> set[int]:
        """The jobs that have files on their way."""
        self._tidy()
        return set(self._jobs)

    def _tidy_front(self) -> None:
        while self._leaving and self._leaving[0][1].done:
            self._drop(self._leaving.popleft()[0])

    def _tidy(self) -> None:
        for _ in range(len(self._leaving)):
            job, tracker = self._leaving.popleft()
            if tracker.done:
                self._drop(job)
            else:
                self._leaving.append((job, tracker))

    def _drop(self, job: int) -> None:
        self._jobs[job] -= 1
        if not self._jobs[job]:
            del self._jobs[job]
