"""Real imaginations, several at a time in one worker: jobs a minute with and without shared calls of the models."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ksgen_launch.scenes import camera_frame
from ksgen_launch.serving_bench.processes import subgoal_server

AT_ONCE = 4
_SCENE, _SEED, _TASK = "KSGen/SwitchOnLamp-v0", 1_000_400, "switch on the lamp"  # a development scene of few key steps


def measure(folder: Path, *, rounds: int, preset: str = "mini") -> dict[str, Any]:
    """Four jobs at the same time on a server whose worker does one at a time, and on one whose worker does four.

    Args:
        folder: for the servers' stores.
        rounds: how often, in turn, the order changing.
        preset: which models.

    Returns:
        ``one`` and ``four``, jobs a minute (medians); ``first_one``, ``first_four``: seconds until each of the four had
        its first key step (medians); ``ratio`` of the rates, the median of the rounds'; ``ratios``; ``equal``: whether
        every array of every key step is the same, bit by bit.
    """
    from ksgen_agent import Limits, SubgoalClient

    limits = Limits(connect=120, first_step=1800, job=1800)
    frame = camera_frame(_SCENE, _SEED)
    rates: dict[str, list[float]] = {"one": [], "four": []}
    firsts: dict[str, list[float]] = {"one": [], "four": []}
    equal = True
    options = ("--preset", preset, "--insecure")
    with (
        subgoal_server(folder / "one", *options, "--jobs-per-worker", "1", imaginer=None) as one,
        subgoal_server(folder / "four", *options, "--jobs-per-worker", str(AT_ONCE), imaginer=None) as four,
        SubgoalClient(one.address, limits=limits) as client_one,
        SubgoalClient(four.address, limits=limits) as client_four,
    ):
        clients = {"one": client_one, "four": client_four}
        for client in clients.values():
            client.imagine(frame, _TASK, seed=rounds * AT_ONCE)
        for turn in range(rounds):
            seeds = range(turn * AT_ONCE, (turn + 1) * AT_ONCE)
            drawn = {}
            for name in sorted(clients, reverse=bool(turn % 2)):
                seconds, drawn[name] = _ask(clients[name], frame, seeds)
                rates[name].append(60 * AT_ONCE / seconds)
                firsts[name] += [first for first, _ in drawn[name]]
            equal = equal and all(_same(a, b) for (_, a), (_, b) in zip(drawn["one"], drawn["four"], strict=True))
    ratios = [many / single for single, many in zip(rates["one"], rates["four"], strict=True)]
    found: dict[str, Any] = {name: statistics.median(rate) for name, rate in rates.items()}
    found |= {f"first_{name}": statistics.median(seconds) for name, seconds in firsts.items()}
    return found | {"ratio": statistics.median(ratios), "ratios": ratios, "equal": equal}


def _ask(client: Any, frame: np.ndarray, seeds: range) -> tuple[float, list[tuple[float, list[Any]]]]:
    """Seconds that all took, and of each when its first key step came, and its key steps."""
    began = time.perf_counter()

    def one(seed: int) -> tuple[float, list[Any]]:
        stream = client.imagine_stream(frame, _TASK, seed=seed)
        steps = [next(stream)]
        first = time.perf_counter() - began
        return first, [*steps, *stream]

    with ThreadPoolExecutor(len(seeds)) as pool:
        results = list(pool.map(one, seeds))
    return time.perf_counter() - began, results


def _same(first: list[Any], second: list[Any]) -> bool:
    def arrays(step: Any) -> list[np.ndarray]:
        own = [step.image, step.goal, step.clip, step.embedding]
        return [*own, *vars(step.hands).values(), *vars(step.region_of_motion).values()]

    pairs = [pair for a, b in zip(first, second, strict=True) for pair in zip(arrays(a), arrays(b), strict=True)]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)
