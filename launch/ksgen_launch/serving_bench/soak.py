"""Mixed load for a long time, with the memory and the open files of server, workers and clients watched."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ksgen_launch.serving_bench.hostile import drive_junk
from ksgen_launch.serving_bench.imaginer import MEGABYTE, SMALL, describe
from ksgen_launch.serving_bench.latency import drive_ready
from ksgen_launch.serving_bench.processes import Running, run_client, subgoal_server
from ksgen_launch.serving_bench.throughput import FRAME

_CLIENTS = 8
_SAMPLES = 240
_LONGEST = 15.0  # seconds between two samples
_STORE_GB = 0.1

Sample = dict[str, float]


def measure(folder: Path, *, minutes: float, pause: float = 0.01, log: Path | None = None) -> dict[str, Any]:
    """Clients that stream, cancel, leave, come again and talk nonsense, for so long.

    Args:
        folder: for the server's store.
        minutes: how long.
        pause: seconds that each client waits between two things that it does; more is a lighter load.
        log: a file to which each sample is appended at once, as a line of JSON.

    Returns:
        ``minutes``, ``answered``, ``errors``, ``memory_mb`` (medians of the first and the last quarter of the server's
        own memory, without the files of its store that it has mapped; the first tenth left out),
        ``workers_memory_mb``, ``open_files``, ``workers_open_files`` (the same two medians), ``mb_per_hour`` (slope of
        a line through the server's samples), ``samples``.
    """
    seconds = 60 * minutes
    options = ("--workers", "2", "--store-gb", str(_STORE_GB))
    with subgoal_server(folder / "soak", *options) as server:
        run_client(drive_ready, server.address, 2)
        with ThreadPoolExecutor(1) as executor:
            load = executor.submit(run_client, drive_mixed, server.address, seconds, pause)
            samples = _watch(server, seconds, log)
            result = load.result()
    loaded = [sample for sample in samples if sample["open_files"] > samples[0]["open_files"]]
    settled = loaded[len(loaded) // 10 :] or samples  # not before the first client connected
    times = [sample["seconds"] for sample in settled]
    memory = [sample["memory_mb"] for sample in settled]
    slope = float(np.polyfit(times, memory, 1)[0]) if len(settled) > 1 else 0.0
    names = ("memory_mb", "workers_memory_mb", "open_files", "workers_open_files")
    ends = {name: _ends([sample[name] for sample in settled]) for name in names}
    return result | ends | {"minutes": minutes, "mb_per_hour": 3600 * slope, "samples": samples}


def drive_mixed(address: str, seconds: float, pause: float) -> dict[str, Any]:
    """Eight threads, each doing one of many things again and again."""
    ends = time.monotonic() + seconds
    with ThreadPoolExecutor(_CLIENTS) as executor:
        results = list(executor.map(lambda number: _drive_one(address, ends, pause, number), range(_CLIENTS)))
    errors = [error for _, bad in results for error in bad]
    return {"answered": sum(good for good, _ in results), "errors": errors}


def _drive_one(address: str, ends: float, pause: float, number: int) -> tuple[int, list[str]]:
    from ksgen_agent import Limits, SubgoalClient

    chance = random.Random(number)
    answered, errors = 0, []
    client = SubgoalClient(address, limits=Limits(connect=60, busy=60))
    while time.monotonic() < ends:
        try:
            kind = chance.randrange(8)
            if kind == 0:  # come again
                client.close()
                client = SubgoalClient(address, limits=Limits(connect=60, busy=60))
            elif kind == 1:  # leave after the first key step, which cancels the job
                stream = client.imagine_stream(FRAME, describe(8, MEGABYTE, 0.01))
                next(stream)
                stream.close()
            elif kind == 2:
                drive_junk(address, 20, chance.randrange(2**32))
            elif kind == 3:
                client.server_status()
            else:
                task = describe(chance.randrange(1, 5), chance.choice([SMALL, MEGABYTE]), chance.choice([0, 0.005]))
                answered += bool(client.imagine(FRAME, task, seed=chance.randrange(4)).steps)
        except Exception as exc:
            errors.append(f"{type(exc).__name__}: {exc}")
        time.sleep(pause)
    client.close()
    return answered, errors


def _watch(server: Running, seconds: float, log: Path | None) -> list[Sample]:
    samples: list[Sample] = []
    began = time.monotonic()
    step = min(max(seconds / _SAMPLES, 0.1), _LONGEST)
    while (now := time.monotonic() - began) < seconds:
        samples.append({"seconds": now} | look(server))
        if log:
            with open(log, "a") as file:
                file.write(json.dumps(samples[-1]) + "\n")
        time.sleep(step)
    return samples


def look(server: Running) -> Sample:
    """Memory and open files of a server's own process, and of its workers together."""
    workers = [found for found in map(_facts, server.workers()) if found]
    own = _facts(server.process)
    return {
        "memory_mb": own.get("memory", 0.0),
        "workers_memory_mb": sum(found["memory"] for found in workers),
        "open_files": own.get("files", 0.0),
        "workers_open_files": sum(found["files"] for found in workers),
        "workers": float(len(workers)),
    }


def _facts(process: psutil.Process) -> dict[str, float]:
    """Nothing of a process that has just ended."""
    try:
        memory = process.memory_info()
        return {"memory": (memory.rss - memory.shared) / 2**20, "files": float(process.num_fds())}
    except psutil.Error:
        return {}


def _ends(values: list[float]) -> list[float]:
    """The medians of the first and of the last quarter."""
    quarter = max(len(values) // 4, 1)
    return [float(np.median(values[:quarter])), float(np.median(values[-quarter:]))]
