"""What measuring retargeted key steps came to: lines of JSON in files, and a table of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ksgen_envs.executors.expert import wilson
from ksgen_envs.tasks import TASKS, task_slug

PARTS = ("single", "whole")


@dataclass(frozen=True)
class Attempt:
    """One key step that the robot did, or was to do.

    Attributes:
        sentence: as it was asked for.
        success: whether its result was there, let go of and at rest, when the robot had left.
        error: why the robot did not begin, "" where it did.
        trust: in [0, 1], of what was imagined (`ksgen_models.scores.trust`); None of true demonstrations.
        scores: that it rests on.
    """

    sentence: str
    success: bool
    error: str = ""
    trust: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SceneResult:
    """One scene.

    Attributes:
        env_id, seed: the scene.
        single: each key step alone; empty if only the whole task was done.
        whole: the key steps of the whole task as they were done one after the other; empty if each was done alone.
        task_done: whether the whole task was done, all of it at the end; None if it was not tried.
        broken_off: why the whole task was broken off, "" where it was not.
    """

    env_id: str
    seed: int
    single: tuple[Attempt, ...] = ()
    whole: tuple[Attempt, ...] = ()
    task_done: bool | None = None
    broken_off: str = ""


def table(results: Iterable[SceneResult]) -> str:
    """Markdown: for each task and for all, key steps and whole tasks done, with Wilson's 95 % intervals."""
    found = list(results)
    lines = ["| task | single key steps | | whole tasks | |", "|---|---|---|---|---|"]
    for name in [*TASKS, "all"]:
        group = [result for result in found if name in (result.env_id, "all")]
        if group:
            single = [attempt.success for result in group for attempt in result.single]
            whole = [result.task_done for result in group if result.task_done is not None]
            label = name if name == "all" else task_slug(name)
            lines.append(f"| {label} | {_share(single)} | {_share(whole)} |")
    return "\n".join(lines)


def _share(done: list[bool]) -> str:
    if not done:
        return "– | –"
    low, high = wilson(sum(done), len(done))
    return f"{sum(done)}/{len(done)} = {sum(done) / len(done):.0%} | {low:.0%} to {high:.0%}"


def read_results(paths: Iterable[Path]) -> Iterator[SceneResult]:
    """The results in files of lines of JSON, each part of a scene once."""
    seen: set[tuple[str, int, bool, bool]] = set()
    for path in paths:
        for line in path.read_text().splitlines():
            fields: dict[str, Any] = json.loads(line)
            for name in PARTS:
                fields[name] = tuple(Attempt(**attempt) for attempt in fields[name])
            result = SceneResult(**fields)
            key = (result.env_id, result.seed, bool(result.single), result.task_done is not None)
            if key not in seen:
                seen.add(key)
                yield result
