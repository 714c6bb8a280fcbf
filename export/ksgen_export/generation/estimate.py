"""What a job would take, measured on a few of its items."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ksgen_export.generation import parts
from ksgen_export.generation.items import Item
from ksgen_export.generation.job import DATASET, check_job
from ksgen_export.generation.options import ROLLOUTS, GenerationOptions
from ksgen_export.generation.parts import FAILED, WRITTEN, Outcome
from ksgen_export.generation.worker import GenerationWork
from ksgen_export.jobs import Failure, check_engine, run_tasks
from ksgen_models.errors import InvalidInput, KSGenError
from ksgen_models.processes import core_count

_SAMPLE = 3


@dataclass(frozen=True)
class Estimate:
    """What a job would take.

    Attributes:
        items: of the job.
        workers: that were reckoned with.
        sampled: items that were made and measured; the first also shows what loading takes.
        passed: how many of them the least scores would let through.
        loading: seconds until a worker can begin.
        seconds: that one worker needs for an item.
        joining: seconds an episode, when the data set is put together.
        episode_bytes: of an episode in the data set.
        part_bytes: of an episode that waits for it.
        free_bytes: on the disk that the job would lie on.
    """

    items: int
    workers: int
    sampled: int
    passed: int
    loading: float
    seconds: float
    joining: float
    episode_bytes: float
    part_bytes: float
    free_bytes: int

    @property
    def hours(self) -> float:
        """From beginning to end, if every worker is as fast beside the others as alone."""
        turns = math.ceil(self.items / self.workers)
        return (self.loading + turns * self.seconds + self.items * self.joining) / 3600

    @property
    def dataset_bytes(self) -> float:
        """Of the data set, if every item becomes an episode."""
        return self.items * self.episode_bytes

    @property
    def greatest_bytes(self) -> float:
        """The most that lies on disk at one time: data set and parts, while it is joined."""
        return self.items * (self.episode_bytes + self.part_bytes)


def estimate(
    out: str | Path,
    items: Sequence[Item],
    options: GenerationOptions | None = None,
    *,
    engine: str = "local",
    workers: int = 0,
    cores_per_worker: int = 1,
) -> Estimate:
    """Make three of a job's items (evenly spread over it) in a temporary folder, with one worker of this machine.

    Nothing is written to ``out``. Arguments are those of `ksgen_export.generation.job.generate`.

    Raises:
        InvalidInput: the job cannot be done, or with Ray the number of workers is not given.
        KSGenError: models cannot be loaded, or none of the items could be made.
    """
    told, wanted = options or GenerationOptions(), tuple(items)
    check_job(wanted, told)
    if engine == "ray" and not workers:
        raise InvalidInput("an estimate for a Ray cluster needs the number of workers; give it")
    check_engine(engine, workers, cores_per_worker)
    count = min(_SAMPLE, len(wanted))
    sample = [wanted[place * len(wanted) // count] for place in range(count)]
    kept = replace(told, least_scores={}, keep_failures=told.episodes in ROLLOUTS)  # sizes, whatever the scores
    with tempfile.TemporaryDirectory(prefix="ksgen-estimate-") as name:
        folder = Path(name)
        moments, outcomes = [time.perf_counter()], {}
        for item, answer in run_tasks(
            sample, GenerationWork(folder, kept), workers=1, cores_per_worker=cores_per_worker
        ):
            moments.append(time.perf_counter())
            outcomes[item] = Outcome(FAILED, (answer.error,)) if isinstance(answer, Failure) else answer
        made = [item for item in sample if outcomes[item].status == WRITTEN]
        if not made:
            reasons = "; ".join(f"{item.slug}: {', '.join(outcomes[item].reasons)}" for item in sample)
            raise KSGenError(f"none of {count} items became an episode, so nothing can be estimated: {reasons}")
        schema = outcomes[made[0]].schema
        assert schema is not None
        part_bytes = _size(folder / parts.ITEMS)
        began = time.perf_counter()
        parts.join(folder, made, schema, told.format, folder / DATASET)
        joining = time.perf_counter() - began
        seconds = (moments[-1] - moments[1]) / (count - 1) if count > 1 else moments[1] - moments[0]
        return Estimate(
            items=len(wanted),
            workers=min(len(wanted), workers or max(1, core_count() // cores_per_worker)),
            sampled=count,
            passed=sum(_passes(outcomes[item], told) for item in sample),
            loading=max(moments[1] - moments[0] - seconds, 0.0),
            seconds=seconds,
            joining=joining / len(made),
            episode_bytes=_size(folder / DATASET) / len(made),
            part_bytes=part_bytes / len(made),
            free_bytes=_free(Path(out)),
        )


def _passes(outcome: Outcome, options: GenerationOptions) -> bool:
    scores = outcome.scores
    return outcome.status == WRITTEN and all(
        name in scores and scores[name] >= limit for name, limit in options.least_scores.items()
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _free(path: Path) -> int:
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
