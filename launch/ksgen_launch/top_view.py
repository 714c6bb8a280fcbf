"""The live view of ``ksgen-agent top``: a server's `ServerStatus` every second, and what changed since the last.

Counts only grow while a server runs, so every rate is the difference of two of them over the time between; a mean is
the difference of two totals of seconds over the number of jobs that ended.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ksgen_agent.wire.messages import ServerStatus
from ksgen_models.errors import ServerLost, SubgoalTimeout

if TYPE_CHECKING:
    from ksgen_agent import SubgoalClient

WINDOW_SECONDS = 10.0  # rates are means over so long
_MOST_JOBS = 20
_ENDED = ("done", "failed", "cancelled")
_COLOURS = {"serving": "green", "ready": "green", "busy": "cyan", "running": "cyan", "starting": "yellow"}


@dataclass(frozen=True)
class Rates:
    """What happened within a window of time.

    Attributes:
        jobs, steps: ended and made, a second.
        queued, running: mean seconds of the jobs that ended; None if none did.
    """

    jobs: float
    steps: float
    queued: float | None
    running: float | None


class Window:
    """The last few looks at a server."""

    def __init__(self, seconds: float = WINDOW_SECONDS) -> None:
        self._seconds = seconds
        self._looks: deque[ServerStatus] = deque()

    def add(self, status: ServerStatus) -> Rates | None:
        """Take a new look in; the rates since the oldest that still counts, None for the first.

        Time is the server's own uptime. A server that was started again begins anew.
        """
        looks = self._looks
        if looks and status.uptime < looks[-1].uptime:
            looks.clear()
        looks.append(status)
        while len(looks) > 2 and status.uptime - looks[0].uptime > self._seconds:
            looks.popleft()
        return rates_between(looks[0], status) if len(looks) > 1 else None


def rates_between(first: ServerStatus, last: ServerStatus) -> Rates | None:
    """What happened between two looks at one server; None if no time passed."""
    seconds = last.uptime - first.uptime
    if seconds <= 0:
        return None
    ended = sum(last.counts.get(state, 0) - first.counts.get(state, 0) for state in _ENDED)
    steps = last.counts.get("steps", 0) - first.counts.get("steps", 0)

    def mean(name: str) -> float | None:
        return (last.timings.get(name, 0.0) - first.timings.get(name, 0.0)) / ended if ended > 0 else None

    return Rates(ended / seconds, steps / seconds, mean("queued"), mean("running"))


def show_once(client: SubgoalClient, address: str) -> None:
    """Print how the server stands."""
    from rich.console import Console

    Console().print(view(client.server_status(), None, address))


def watch(client: SubgoalClient, address: str, interval: float) -> None:
    """Show how the server stands until Ctrl-C; one that does not answer is waited for.

    Raises:
        KSGenError: it cannot be asked at all, e.g. for want of a key.
    """
    from rich.live import Live

    window = Window()
    status = client.server_status()  # whatever is wrong from the start is an error, not a picture
    with Live(view(status, window.add(status), address), auto_refresh=False, screen=True) as live:
        try:
            while True:
                time.sleep(interval)
                try:
                    status = client.server_status()
                    live.update(view(status, window.add(status), address), refresh=True)
                except (ServerLost, SubgoalTimeout) as exc:
                    live.update(Text(f"{address}: {exc}", style="red"), refresh=True)
        except KeyboardInterrupt:
            return


def view(status: ServerStatus, rates: Rates | None, address: str) -> RenderableType:
    """One look as a picture for the terminal."""
    return Group(_head(status, address), _figures(status, rates), "", _workers(status), "", _jobs(status))


def _head(status: ServerStatus, address: str) -> Text:
    head = Text(f"{address}  ", style="bold")
    head.append(status.state, style=_COLOURS.get(status.state, "red"))
    return head.append(f"  up {_span(status.uptime)}", style="not bold")


def _figures(status: ServerStatus, rates: Rates | None) -> Table:
    counts = status.counts
    table = Table.grid(padding=(0, 3))
    mean = rates or Rates(0.0, 0.0, None, None)
    rows = (
        (f"queue {counts.get('queued', 0)}", f"running {counts.get('running', 0)}", *_each(counts, _ENDED)),
        (
            f"jobs {mean.jobs:.2f}/s" if rates else "jobs -",
            f"key steps {mean.steps:.2f}/s" if rates else "key steps -",
            f"waited {_seconds(mean.queued)}",
            f"ran {_seconds(mean.running)}",
            f"refused {counts.get('refused', 0)}",
        ),
        (
            f"store {counts.get('stored_bytes', 0) / 2**20:.1f} MiB",
            f"key steps sent {counts.get('steps_sent', 0)}",
            f"workers lost {counts.get('workers_lost', 0)}",
        ),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _each(counts: dict[str, int], names: tuple[str, ...]) -> list[str]:
    return [f"{name} {counts.get(name, 0)}" for name in names]


def _workers(status: ServerStatus) -> Table:
    table = _table("worker", "pid", "state", "device", "jobs", "memory", "up")
    for worker in status.workers:
        table.add_row(
            str(worker.get("number", "")),
            str(worker.get("pid", "")),
            _state(worker.get("state", "")),
            escape(str(worker.get("device") or "-")),
            str(worker.get("jobs", "")),
            f"{_number(worker.get('memory')) / 2**20:.0f} MiB",
            _span(_number(worker.get("uptime"))),
        )
    return table


def _jobs(status: ServerStatus) -> Table:
    table = _table("job", "client", "state", "key steps", "seconds", "worker")
    for job in status.jobs[:_MOST_JOBS]:
        table.add_row(
            _plain(job.get("id")),
            _plain(job.get("client")),
            _state(job.get("state", "")),
            str(job.get("steps", "")),
            f"{_number(job.get('seconds')):.1f}",
            str(job.get("worker") or "-"),
        )
    hidden = status.counts.get("queued", 0) + status.counts.get("running", 0) - min(len(status.jobs), _MOST_JOBS)
    if hidden > 0:
        table.caption = f"and {hidden} more"
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _state(name: object) -> Text:
    return Text(_printable(name), style=_COLOURS.get(str(name), ""))


def _plain(value: object) -> str:
    return escape(_printable(value)) or "-"


def _printable(value: object) -> str:
    """Text that others chose, without what would move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value or ""))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _span(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"
