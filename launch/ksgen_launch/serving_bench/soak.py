"""Mixed load for a long time, with the server's memory and open files watched."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ksgen_launch.serving_bench.hostile import drive_junk
from ksgen_launch.serving_bench.imaginer import MEGABYTE, SMALL, describe
from ksgen_launch.serving_bench.latency import drive_ready
from ksgen_launch.serving_bench.processes import Running, run_client, subgoal_server
from ksgen_launch.serving_bench.throughput import FRAME

_CLIENTS = 8
_SAMPLES = 240


def measure(folder: Path, *, minutes: float) -> dict[str, Any]:
    """Clients that stream, cancel, leave, come again and talk nonsense, for so long.

    Returns:
        ``minutes``, ``answered``, ``errors``, ``memory_mb`` (first and last quarter's median of the server's resident
        memory, the first tenth left out), ``mb_per_hour`` (slope of a line through the samples), ``open_files`` (the
        same two medians), ``samples`` (seconds, memory in MB, open files).
    """
    seconds = 60 * minutes
    with subgoal_server(folder / "soak", "--workers", "2", "--store-gb", "0.1") as server:
        run_client(drive_ready, server.address, 2)
        with ThreadPoolExecutor(1) as executor:
            began = time.monotonic()
            load = executor.submit(run_client, drive_mixed, server.address, seconds)
            samples = _watch(server, began, seconds)
            result = load.result()
    loaded = [sample for sample in samples if sample[2] > samples[0][2]]  # not before the first client connected
    settled = np.array(loaded[len(loaded) // 10 :] or samples)
    quarter = max(len(settled) // 4, 1)
    first, last = np.median(settled[:quarter], axis=0), np.median(settled[-quarter:], axis=0)
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) if len(settled) > 1 else 0.0
    return result | {
        "minutes": minutes,
        "memory_mb": [float(first[1]), float(last[1])],
        "mb_per_hour": 3600 * slope,
        "open_files": [float(first[2]), float(last[2])],
        "samples": samples,
    }


def drive_mixed(address: str, seconds: float) -> dict[str, Any]:
    """Eight threads, each doing one of many things again and again."""
    ends = time.monotonic() + seconds
    with ThreadPoolExecutor(_CLIENTS) as executor:
        results = list(executor.map(lambda number: _drive_one(address, ends, number), range(_CLIENTS)))
    errors = [error for _, bad in results for error in bad]
    return {"answered": sum(good for good, _ in results), "errors": errors}


def _drive_one(address: str, ends: float, number: int) -> tuple[int, list[str]]:
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
        time.sleep(0.01)
    client.close()
    return answered, errors


def _watch(server: Running, began: float, seconds: float) -> list[tuple[float, float, float]]:
    samples: list[tuple[float, float, float]] = []
    while (now := time.monotonic() - began) < seconds:
        samples.append((now, server.memory() / 2**20, float(server.open_files())))
        time.sleep(max(seconds / _SAMPLES, 0.1))
    return samples
