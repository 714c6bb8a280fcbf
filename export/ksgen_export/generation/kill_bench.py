"""``python -m ksgen_export.generation.kill_bench --episodes 500 --kills 20``: is anything lost by ``kill -9``?

The same job is done twice: once without interruption, and once killed with SIGKILL at random moments (half of the time
the whole process group, half of the time the main process alone, whose workers must then end by themselves) and run
again until it is done. Then both data sets are compared byte by byte, and the accounts item by item.

Items are photos of noise × tasks × seeds, imagined by `ksgen_export.generation.drawn.DrawnImaginer`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ksgen_export.generation.items import Item, photo_items
from ksgen_export.generation.job import ACCOUNT, DATASET, generate
from ksgen_export.generation.options import GenerationOptions
from ksgen_export.generation.parts import ITEMS
from ksgen_export.generation.trees import differing_files

_TASKS = ("push the square", "push it again", "push it to the edge", "move it aside", "bring it back")
_SEEDS, _SIDE = 10, 64
_LEAST_HAND_RATE = 0.3


@dataclass(frozen=True)
class KillResult:
    """What was found.

    Attributes:
        items, written, rejected: of the job that was killed.
        failures: what went wrong with the rest, one line each.
        kills: how often.
        lost: items of the job that its account does not name, or episodes that its data set does not hold.
        double: items that it names twice, or episodes that stand for one that is there already.
        differing: files that the two data sets do not have in common, byte by byte.
        files: in the uninterrupted one.
        seconds: of the uninterrupted job, and of the other with all its runs.
    """

    items: int
    written: int
    rejected: int
    failures: tuple[str, ...]
    kills: int
    lost: int
    double: int
    differing: tuple[str, ...]
    files: int
    seconds: tuple[float, float]


def run(
    folder: Path, *, episodes: int, kills: int, seed: int = 0, workers: int = 1, format_name: str = "lerobot"
) -> KillResult:
    """Do the bench in a folder and return a `KillResult`."""
    items = _items(folder / "photos", episodes)
    chosen = random.Random(seed)
    began = time.perf_counter()
    _start(folder, "whole", episodes, workers, format_name).wait()
    whole = time.perf_counter() - began
    # A moment of each kill: so many items in place; the last comes while the data set is joined.
    moments = [*sorted(chosen.sample(range(episodes), min(kills - 1, episodes))), episodes]
    done, began = 0, time.perf_counter()
    for moment in moments[:kills]:
        job = _start(folder, "killed", episodes, workers, format_name)
        done += _kill(job, folder / "killed" / ITEMS, moment, chosen)
    if _start(folder, "killed", episodes, workers, format_name).wait():
        raise SystemExit("the job that was killed does not finish")
    return _compare(folder / "whole", folder / "killed", items, done, (whole, time.perf_counter() - began))


def _kill(job: subprocess.Popen[bytes], parts: Path, moment: int, chosen: random.Random) -> bool:
    """Kill a job a little after so many items are in place; False where it was done before."""
    while job.poll() is None and _count(parts) < moment:
        time.sleep(0.01)
    time.sleep(chosen.uniform(0.0, 0.3))
    if job.poll() is not None:
        return False
    if chosen.random() < 0.5:
        os.killpg(job.pid, signal.SIGKILL)
    else:
        job.kill()
    job.wait()
    return True


def _count(parts: Path) -> int:
    return sum(not name.startswith(".") for name in os.listdir(parts)) if parts.is_dir() else 0


def _compare(
    whole: Path, killed: Path, items: tuple[Item, ...], kills: int, seconds: tuple[float, float]
) -> KillResult:
    lines = [json.loads(line) for line in (killed / ACCOUNT).read_text("utf-8").splitlines()]
    named = Counter(line["id"] for line in lines)
    places = Counter(line["episode"] for line in lines if line["episode"] is not None)
    statuses = Counter(line["status"] for line in lines)
    rows = _episodes_of(killed / DATASET)
    differing, files = differing_files(whole / DATASET, killed / DATASET)
    return KillResult(
        items=len(items),
        written=statuses["written"],
        rejected=statuses["rejected"],
        failures=tuple(f"{line['id']}: {'; '.join(line['reasons'])}" for line in lines if line["status"] == "failed"),
        kills=kills,
        lost=sum(item.slug not in named for item in items) + max(0, len(places) - rows),
        double=sum(count - 1 for count in (named + places).values()) + max(0, rows - len(places)),
        differing=differing,
        files=files,
        seconds=seconds,
    )


def _episodes_of(dataset: Path) -> int:
    from ksgen_export.formats import open_source

    return len(open_source(dataset))


def _items(photos: Path, episodes: int) -> tuple[Item, ...]:
    """The first so many items; the photos they need are drawn where they are missing."""
    from PIL import Image

    photos.mkdir(parents=True, exist_ok=True)
    for index in range(math.ceil(episodes / (len(_TASKS) * _SEEDS))):
        path = photos / f"photo-{index:03d}.png"
        if not path.exists():
            noise = np.random.default_rng(index).integers(0, 256, (_SIDE // 8, _SIDE // 8, 3), np.uint8)
            Image.fromarray(noise).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(path)
    return photo_items(photos, _TASKS, range(_SEEDS))[:episodes]


def _start(folder: Path, name: str, episodes: int, workers: int, format_name: str) -> subprocess.Popen[bytes]:
    words = ["--episodes", episodes, "--workers", workers, "--format", format_name, "--job", folder / name]
    module = "ksgen_export.generation.kill_bench"
    return subprocess.Popen([sys.executable, "-m", module, *map(str, words)], start_new_session=True)


def main(arguments: list[str] | None = None) -> None:
    """Do the bench and print what was found; exit code 1 where anything was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=500, help="items of the job")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--format", default="lerobot", help="of the data set")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)  # do the job itself, to be killed
    asked = parser.parse_args(arguments)
    if asked.job:
        options = GenerationOptions(
            format=asked.format,
            imaginer="ksgen_export.generation.drawn:DrawnImaginer",
            imaginer_options={},
            least_scores={"hand_rate": _LEAST_HAND_RATE},
        )
        items = _items(asked.job.parent / "photos", asked.episodes)
        generate(asked.job, items, options, workers=asked.workers, progress=False)
        return
    with tempfile.TemporaryDirectory(prefix="ksgen-kill-bench-") as name:
        found = run(
            Path(name),
            episodes=asked.episodes,
            kills=asked.kills,
            seed=asked.seed,
            workers=asked.workers,
            format_name=asked.format,
        )
    print(
        f"{found.items} items ({found.written} written, {found.rejected} rejected, {len(found.failures)} failed), "
        f"{found.kills} kills: "
        f"{found.lost} lost, {found.double} double, {len(found.differing)} of {found.files} files differ; "
        f"{found.seconds[0]:.0f} s uninterrupted, {found.seconds[1]:.0f} s killed"
    )
    if found.lost or found.double or found.differing or found.failures:
        print("\n".join([*found.failures, *found.differing]))
        raise SystemExit(1)


if __name__ == "__main__":
    main()
