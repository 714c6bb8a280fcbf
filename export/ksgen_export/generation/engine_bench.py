"""``python -m ksgen_export.generation.engine_bench --engine ray --items 10``: what a second worker is worth.

The same job (imaginations of the embedded preset from Workbench scenes, each worker with one thread) is done with one
worker and with two, from a cold start each time: starting the engine and loading the models count. The two data sets
must be equal byte by byte. Meaningful on two or more idle cores only.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ksgen_export.generation.items import scene_items
from ksgen_export.generation.job import generate
from ksgen_export.generation.options import GenerationOptions
from ksgen_export.generation.trees import differing_files
from ksgen_models.errors import KSGenError

_FIRST_SCENE = 1_000_000


@dataclass(frozen=True)
class EngineResult:
    """What was measured.

    Attributes:
        items: of the job.
        seconds: with one worker, and with two.
        lost: items that became no episode and were not rejected, of both jobs.
        differing: files that the two data sets do not have in common, byte by byte.
    """

    items: int
    seconds: tuple[float, float]
    lost: int
    differing: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many times as fast two workers are."""
        return self.seconds[0] / self.seconds[1]


def run(folder: Path, engine: str, count: int) -> EngineResult:
    """Do the bench in a folder."""
    from ksgen_envs import TASKS

    items = scene_items(TASKS, range(_FIRST_SCENE, _FIRST_SCENE + count), range(1))[:count]
    seconds, lost = [], 0
    for workers in (1, 2):
        began = time.perf_counter()
        summary = generate(folder / str(workers), items, GenerationOptions(), engine=engine, workers=workers)
        seconds.append(time.perf_counter() - began)
        lost += count - summary.written - summary.rejected
    one, two = (folder / str(workers) / "dataset" for workers in (1, 2))
    return EngineResult(count, (seconds[0], seconds[1]), lost, differing_files(one, two)[0])


def main(arguments: list[str] | None = None) -> None:
    """Do the bench and print what was found; exit code 1 where something was lost or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="ray", help="local or ray")
    parser.add_argument("--items", type=int, default=10, help="of the job")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ksgen-engine-bench-") as name:
        try:
            found = run(Path(name), asked.engine, asked.items)
        except KSGenError as exc:
            raise SystemExit(f"{type(exc).__name__}: {exc}") from exc
    one, two = found.seconds
    print(
        f"{found.items} items on {asked.engine}: {one:.1f} s with one worker, {two:.1f} s with two, {found.ratio:.2f} "
        f"times as fast; {found.lost} lost, {len(found.differing)} files differ"
    )
    if found.lost or found.differing:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
