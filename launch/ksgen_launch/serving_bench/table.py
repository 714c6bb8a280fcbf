"""All measurements of the server in one run, as rows: what, measured, what it must reach, and whether it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ksgen_launch.serving_bench import chaos, crowd, hostile, latency, soak, throughput, together

PARTS = ("throughput", "latency", "compare", "slow", "together", "crowd", "chaos", "fuzz", "keys", "soak")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: in words.
        measured: in words.
        bar: what it must reach, in words.
        reached: whether it does.
        figures: everything that was measured, as plain data.
    """

    what: str
    measured: str
    bar: str
    reached: bool
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How much of everything is done."""

    rounds: int = 7
    requests: int = 250
    pings: int = 10_000
    small_jobs: int = 1000
    slow_seconds: float = 10.0
    together_rounds: int = 2
    compare_requests: int = 2000
    clients: int = 1000
    jobs: int = 10_000
    restarts: int = 5
    messages: int = 100_000
    soak_minutes: float = 60.0


QUICK = Scale(3, 40, 500, 40, 3.0, 1, 160, 100, 300, 1, 5000, 0.5)


def measure(folder: Path, scale: Scale, parts: tuple[str, ...] = PARTS) -> Iterator[Row]:
    """Run the named parts, one after the other; a row as soon as it is measured.

    Args:
        folder: for stores and logs; an empty one.
        scale: how much.
        parts: some of `PARTS`, in any order.
    """
    makers: dict[str, Callable[[], list[Row]]] = {
        "throughput": lambda: _throughput(throughput.measure(folder, rounds=scale.rounds, requests=scale.requests)),
        "latency": lambda: _latency(latency.measure(folder, requests=scale.pings)),
        "compare": lambda: _compare(crowd.compare(folder, rounds=scale.rounds, requests=scale.compare_requests)),
        "slow": lambda: _slow(latency.measure_slow_job(folder, requests=scale.small_jobs, seconds=scale.slow_seconds)),
        "together": lambda: _together(together.measure(folder, rounds=scale.together_rounds)),
        "crowd": lambda: _crowd(crowd.gather(folder, clients=scale.clients)),
        "chaos": lambda: _chaos(chaos.measure(folder, jobs=scale.jobs, restarts=scale.restarts)),
        "fuzz": lambda: _fuzz(hostile.measure(folder, messages=scale.messages)),
        "keys": lambda: _keys(hostile.measure_keys(folder)),
        "soak": lambda: _soak(soak.measure(folder, minutes=scale.soak_minutes)),
    }
    for part in PARTS:
        if part in parts:
            yield from makers[part]()


def _throughput(found: dict[str, Any]) -> list[Row]:
    cpu = found["cpu_ms"]
    spent = f"{cpu['server'] + cpu['client']:.2f} ms CPU each, bare {cpu['bare_server'] + cpu['bare_client']:.2f}"
    measured = f"{found['ratio']:.2f} ({found['subgoals_per_second']:,.0f}/s, {spent})"
    return [Row("1 MB subgoals, over bare ROUTER/DEALER", measured, "0.85", found["ratio"] >= 0.85, found)]


def _latency(found: dict[str, Any]) -> list[Row]:
    measured = f"{found['added_p50']:.2f} ms / {found['added_p99']:.2f} ms"
    reached = found["added_p50"] <= 0.3 and found["added_p99"] <= 2
    return [Row("small request, added to bare pyzmq, p50 / p99", measured, "0.3 ms / 2 ms", reached, found)]


def _compare(found: dict[str, Any]) -> list[Row]:
    return [
        Row(
            f"32 clients, over {words}",
            f"{found[f'over_{name}']:.2f} ({found['server']:,.0f}/s against {found[name]:,.0f}/s; "
            f"{found['cpu_ms']['server']:.1f} ms CPU each against {found['cpu_ms'][name]:.1f})",
            "above 1",
            found[f"over_{name}"] > 1,
            found,
        )
        for name, words in (("blocking", "a blocking REQ/REP server"), ("websocket", "a websocket server"))
    ]


def _slow(found: dict[str, Any]) -> list[Row]:
    rows = []
    for name, times in found.items():
        measured = f"{times['ratio']:.2f} ({times['alone_50']:.1f} → {times['beside_50']:.1f} ms)"
        bar = "at most 1.25 times" if name == "server" else ""
        reached = name != "server" or times["ratio"] <= 1.25
        rows.append(Row(f"others' p50 beside a slow job: {name}", measured, bar, reached, times))
    return rows


def _together(found: dict[str, Any]) -> list[Row]:
    words = f"{found['one']:.2f} → {found['four']:.2f} jobs a minute, {'same bits' if found['equal'] else 'OTHER BITS'}"
    measured = f"{found['ratio']:.2f} ({words})"
    return [Row("4 real jobs in a worker at once, over one by one", measured, "same bits", found["equal"], found)]


def _crowd(found: dict[str, Any]) -> list[Row]:
    reached = found["answered"] == found["clients"] and not found["errors"]
    measured = f"{found['answered']:,} answered in {found['seconds']:.1f} s, {_count(found['errors'])} errors"
    return [Row(f"{found['clients']:,} clients at once", measured, "no error", reached, found)]


def _chaos(found: dict[str, Any]) -> list[Row]:
    reached = not (found["lost"] or found["twice"] or found["wrong"] or found["errors"])
    measured = f"{found['lost']} lost, {found['twice']} twice, {found['wrong']} wrong in {found['seconds']:.0f} s"
    fire = f"{found['workers_killed']} workers and {found['servers_killed']} servers killed"
    return [Row(f"{found['jobs']:,} jobs, {fire}", measured, "0 lost, 0 twice, 0 wrong", reached, found)]


def _fuzz(found: dict[str, Any]) -> list[Row]:
    reached = found["alive"] and not found["honest_errors"] and found["growth_mb"] < 16
    honest = f"{found['honest']:,} honest jobs served, {_count(found['honest_errors'])} not"
    measured = f"{'alive' if found['alive'] else 'DEAD'}, {found['growth_mb']:+.1f} MB, {honest}"
    return [Row(f"{found['messages']:,} broken messages", measured, "no crash, no growth, all served", reached, found)]


def _keys(found: dict[str, Any]) -> list[Row]:
    expected = {"good": "served"} | dict.fromkeys(("wrong", "revoked", "none"), "AuthenticationFailed")
    refused = ", ".join(name for name in ("wrong", "revoked", "none") if found[name] == expected[name])
    return [Row("wrong, revoked, no key", f"refused: {refused}", "refused", found == expected, found)]


def _soak(found: dict[str, Any]) -> list[Row]:
    (first, last), (files, files_last) = found["memory_mb"], found["open_files"]
    (workers, workers_last), (held, held_last) = found["workers_memory_mb"], found["workers_open_files"]
    flat = last - first < 0.1 * first and workers_last - workers < 0.1 * workers
    reached = flat and files_last - files < 10 and held_last - held < 10 and not found["errors"]
    memory = f"{first:.0f} → {last:.0f} MB, workers {workers:.0f} → {workers_last:.0f} MB"
    measured = f"{memory}, {files:.0f} → {files_last:.0f} files, {len(found['errors'])} errors"
    return [Row(f"{found['minutes']:g} minutes of mixed load", measured, "flat", reached, found)]


def _count(errors: dict[str, int]) -> int:
    return sum(errors.values())


def print_rows(rows: Iterable[Row]) -> bool:
    """Print the table, line by line as it comes; whether everything is reached."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    table = Table("what", "measured", "must reach", "", title="ksgen-agent bench serve")
    reached = True
    with Live(table, console=Console(), refresh_per_second=2):
        for row in rows:
            table.add_row(row.what, row.measured, row.bar, "[green]yes[/]" if row.reached else "[red]no[/]")
            reached &= row.reached
    return reached
