"""Data sets of demonstrations on disk: one file an episode, written on all cores, resumable.

::

    <out>/dataset.json                    format version, tasks, seeds, image size
    <out>/<task>/<seed:07d>.npz           one episode, see `ksgen_models.demonstration`
    <out>/<task>/<seed:07d>-stills.npz    one of stills, see `ksgen_envs.stills`
"""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksgen_envs.tasks import TASK_MODULES, TASKS, task_slug
from ksgen_models.demonstration import FORMAT_VERSION
from ksgen_models.errors import DatasetError, InvalidInput, UnknownTask
from ksgen_models.processes import core_count, environment

DEVELOPMENT_SEEDS = 1_000_000
"""Seeds from here on are for development, those below for training."""
EVALUATION_SEEDS = 2_000_000
"""Seeds from here on are for final evaluation: never trained, tuned or selected on."""
MANIFEST = "dataset.json"
_WORKER_ENVIRONMENT = {"MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
_EPISODES_A_PROCESS = 400
"""A worker is replaced after so many episodes, so that what the renderer leaks stays small."""


@dataclass(frozen=True)
class Episode:
    """One episode to be made.

    Attributes:
        env_id: the task.
        seed: scene seed.
        path: where it is written.
        image_size: pixels.
        stills: leave out hands and clips.
        ways: of doing each step of stills, for its regions of motion.
    """

    env_id: str
    seed: int
    path: Path
    image_size: int
    stills: bool
    ways: int

    @property
    def name(self) -> str:
        """``stack_blocks/0000007``."""
        return f"{self.path.parent.name}/{self.path.stem}"


@dataclass(frozen=True)
class DatasetSummary:
    """What a run of `generate_demonstrations` did.

    Attributes:
        folder: of the data set.
        written: episodes written by this run.
        skipped: episodes that were there already.
        failed: (episode name, error) pairs of episodes that could not be made.
    """

    folder: Path
    written: int
    skipped: int
    failed: tuple[tuple[str, str], ...]


def generate_demonstrations(
    out: str | Path,
    tasks: Sequence[str] = TASKS,
    seeds: range = range(100),
    *,
    workers: int | None = None,
    image_size: int = 256,
    stills: bool = False,
    ways: int = 0,
    progress: bool = True,
    final_evaluation: bool = False,
) -> DatasetSummary:
    """Write one episode for every task and seed; what exists already is kept.

    An episode that fails is reported in the summary and does not stop the rest. Every file appears whole or not at
    all, so a run that was stopped is continued by calling again with the same arguments.

    Args:
        out: folder of the data set.
        tasks: env ids.
        seeds: scene seeds; the motion seeds follow from them.
        workers: processes; by default one a core.
        image_size: width and height of the pictures, pixels.
        stills: write only what the camera sees before and after every step, without hands and clips, of one of the
            scene's instructions: ten times faster, see `ksgen_envs.stills`.
        ways: with ``stills``, in how many ways each step is done, for its regions of motion.
        progress: show a progress bar on stderr.
        final_evaluation: allow seeds of `EVALUATION_SEEDS` and above.

    Raises:
        UnknownTask: a task is not one of `TASKS`.
        InvalidInput: seeds, workers or image size cannot be used.
        DatasetError: the folder holds a data set of another format or image size, or cannot be written.
    """
    _check(tasks, seeds, workers, image_size, final_evaluation)
    if ways < 0 or (ways and not stills):
        raise InvalidInput(f"ways is {ways}; give 0 or more, and stills=True with it")
    folder = Path(out)
    _write_manifest(folder, tasks, seeds, image_size, stills, ways)
    suffix = "-stills" if stills else ""
    episodes = [
        Episode(task, seed, folder / task_slug(task) / f"{seed:07d}{suffix}.npz", image_size, stills, ways)
        for seed in seeds
        for task in tasks
    ]
    missing = [episode for episode in episodes if not episode.path.exists()]
    failed: list[tuple[str, str]] = []
    for episode, error in _with_progress(_run(missing, workers or core_count()), len(missing), progress):
        if error:
            failed.append((episode.name, error))
    return DatasetSummary(folder, len(missing) - len(failed), len(episodes) - len(missing), tuple(sorted(failed)))


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The data set's ``dataset.json``.

    Raises:
        DatasetError: there is none, or it is of another format.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        found = manifest["format"]
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise DatasetError(f"{path} is not the manifest of a data set ({exc}); generate the data set anew") from exc
    if found != FORMAT_VERSION:
        raise DatasetError(f"{path}: format {found}, this version reads {FORMAT_VERSION}; generate it anew")
    return manifest


def _check(tasks: Sequence[str], seeds: range, workers: int | None, image_size: int, final_evaluation: bool) -> None:
    for task in tasks:
        if task not in TASK_MODULES:
            from ksgen_envs.workbench import nearest_tasks

            raise UnknownTask(str(task), nearest_tasks(str(task)))
    if not tasks:
        raise InvalidInput("no tasks were given; give some of ksgen_envs.TASKS")
    if not len(seeds) or min(seeds) < 0:
        raise InvalidInput(f"seeds are {seeds}; give at least one, 0 or more")
    if max(seeds) >= EVALUATION_SEEDS and not final_evaluation:
        raise InvalidInput(
            f"seed {max(seeds)} is reserved for final evaluation ({EVALUATION_SEEDS} and above); use lower seeds, or "
            "pass final_evaluation=True if nothing will be trained, tuned or selected on these episodes"
        )
    if workers is not None and workers < 1:
        raise InvalidInput(f"workers is {workers}; give 1 or more")
    if image_size < 16:
        raise InvalidInput(f"image_size is {image_size}; give at least 16 pixels")


def _write_manifest(folder: Path, tasks: Sequence[str], seeds: range, image_size: int, stills: bool, ways: int) -> None:
    """Write or widen the manifest; runs over other tasks and seeds may share a folder, other image sizes may not."""
    path = folder / MANIFEST
    runs: list[dict[str, Any]] = []
    known: list[str] = []
    if path.exists():
        before = read_manifest(folder)
        if before["image_size"] != image_size:
            raise DatasetError(
                f"{folder} holds pictures of {before['image_size']} pixels, not {image_size}; choose another folder"
            )
        runs, known = before["seeds"], before["tasks"]
    run = {"start": seeds.start, "stop": seeds.stop, "step": seeds.step} | ({"stills": True} if stills else {})
    run |= {"ways": ways} if ways else {}
    manifest = {
        "format": FORMAT_VERSION,
        "tasks": [task for task in TASKS if task in {*known, *tasks}],
        "seeds": runs if run in runs else [*runs, run],
        "image_size": image_size,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{MANIFEST}.{os.getpid()}.part"
        partial.write_text(json.dumps(manifest, indent=2) + "\n")
        partial.replace(path)
    except OSError as exc:
        raise DatasetError(f"cannot write to {folder} ({exc}); choose another folder") from exc


def _run(episodes: list[Episode], workers: int) -> Iterator[tuple[Episode, str]]:
    """Make the episodes in worker processes; yield each with its error, empty if all went well, as they finish."""
    if not episodes:
        return
    context = multiprocessing.get_context("spawn")
    with (
        environment(_WORKER_ENVIRONMENT),
        context.Pool(min(workers, len(episodes)), maxtasksperchild=_EPISODES_A_PROCESS) as pool,
    ):
        yield from pool.imap_unordered(_make, episodes)


def _make(episode: Episode) -> tuple[Episode, str]:
    """Make and write one episode; runs in a worker, which keeps what the demonstrator caches between episodes."""
    try:
        from ksgen_envs.demonstrator import demonstrate
        from ksgen_envs.stills import demonstrate_stills
        from ksgen_models.demonstration import save_demonstration

        if episode.stills:
            made = demonstrate_stills(episode.env_id, episode.seed, image_size=episode.image_size, ways=episode.ways)
        else:
            made = demonstrate(episode.env_id, episode.seed, image_size=episode.image_size)
        save_demonstration(made, episode.path)
    except Exception as exc:
        where = traceback.extract_tb(exc.__traceback__)[-1]
        return episode, f"{type(exc).__name__}: {exc} ({Path(where.filename).name}:{where.lineno})"
    return episode, ""


def _with_progress(results: Iterator[tuple[Episode, str]], total: int, progress: bool) -> Iterator[tuple[Episode, str]]:
    """Pass results through under a progress bar that names failures as they happen."""
    from tqdm import tqdm

    with tqdm(total=total, unit="episode", desc="demonstrations", disable=not progress or not total) as bar:
        for episode, error in results:
            bar.update()
            if error and progress:
                bar.write(f"{episode.name}: {error}")
            yield episode, error


def check_seeds(seeds: range, final_evaluation: bool) -> None:
    """Raise `InvalidInput` where a seed is reserved for the final evaluation and that was not asked for."""
    if not final_evaluation and len(seeds) and max(seeds) >= EVALUATION_SEEDS:
        raise InvalidInput(
            f"seed {max(seeds)} is reserved for the final evaluation (seeds of {EVALUATION_SEEDS:,} and more); "
            "use development seeds from 1,000,000 on"
        )
