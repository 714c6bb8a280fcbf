"""What a generation job consists of: one item for each episode that it asks for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ksgen_models.errors import DatasetError, InvalidInput, InvalidTask, UnknownTask

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Files that count as photos."""
_NO_WORD = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True)
class Item:
    """One episode that is asked for.

    Attributes:
        slug: the item's stable id, which is a folder's name; it follows from what the item is and from nothing else.
        task: an env id, or with a photo what is to be done, in words.
        seed: of the imagination, or of the motion of a demonstration.
        scene: the Workbench scene's seed; None with a photo.
        photo: of the file, relative to the folder of photos; empty with a scene.
        folder: of photos; empty with a scene.
    """

    slug: str
    task: str
    seed: int
    scene: int | None = None
    photo: str = ""
    folder: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What the item is, plain data; where the photos lie is not part of it."""
        told = asdict(self)
        del told["slug"], told["folder"]
        return {name: value for name, value in told.items() if value not in (None, "")}


def scene_items(tasks: Sequence[str], scenes: range, seeds: range) -> tuple[Item, ...]:
    """Tasks × scenes × seeds; scene by scene, so that the first part of a job has all tasks.

    Args:
        tasks: of `ksgen_envs.TASKS`.
        scenes: scene seeds, below those that are kept for the final evaluation.
        seeds: of each scene's imaginations or motions.

    Raises:
        UnknownTask: a task is not one of the Workbench.
        InvalidInput: a range is empty, negative, or names scenes of the final evaluation.
    """
    from ksgen_envs.datasets import EVALUATION_SEEDS
    from ksgen_envs.tasks import TASKS

    for task in tasks:
        if task not in TASKS:
            raise UnknownTask(task, tuple((known, 0.0) for known in TASKS[:3]))
    if not tasks:
        raise InvalidInput("no tasks were given; give some of ksgen_envs.TASKS")
    _check_range("scenes", scenes)
    _check_range("seeds", seeds)
    if max(scenes) >= EVALUATION_SEEDS:
        raise InvalidInput(
            f"scene {max(scenes)} is kept for the final evaluation ({EVALUATION_SEEDS:,} and above), of which no data "
            "set is made; use lower ones"
        )
    names = {task: task.rpartition("/")[2].partition("-")[0] for task in tasks}
    return tuple(
        Item(f"{names[task]}-{scene:07d}-{seed:04d}", task, seed, scene=scene)
        for scene in scenes
        for task in dict.fromkeys(tasks)
        for seed in seeds
    )


def photo_items(folder: str | Path, tasks: Sequence[str], seeds: range) -> tuple[Item, ...]:
    """Photos × tasks × seeds.

    Args:
        folder: of photos, searched with its subfolders.
        tasks: in words.
        seeds: of the imaginations.

    Raises:
        DatasetError: there are no photos in the folder.
        InvalidInput: there are no tasks, or the range is empty or negative.
        InvalidTask: a task is no text that can be planned.
    """
    from ksgen_agent.frames import check_task

    _check_range("seeds", seeds)
    if not tasks:
        raise InvalidInput("no tasks were given; give a file with one in each line")
    wanted = tuple(dict.fromkeys(check_task(task) for task in tasks))
    root = Path(folder).resolve()
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
    if not paths:
        raise DatasetError(f"no photos under {folder}; known endings are {', '.join(sorted(PHOTO_SUFFIXES))}")
    names = [path.relative_to(root).as_posix() for path in paths]
    return tuple(
        Item(_photo_slug(name, task, seed), task, seed, photo=name, folder=str(root))
        for name in names
        for task in wanted
        for seed in seeds
    )


def read_task_list(path: str | Path) -> tuple[str, ...]:
    """The tasks of a text file, one a line; empty lines and those that begin with ``#`` are passed over.

    Raises:
        InvalidTask: it cannot be read, or holds no task.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidTask(
            f"the task list {path} cannot be read ({exc}); give a text file with a task in each line"
        ) from (exc)
    tasks = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not tasks:
        raise InvalidTask(f"the task list {path} holds no task; write one in each line")
    return tasks


def digest(items: Sequence[Item]) -> str:
    """SHA-256 that tells lists of items apart."""
    return hashlib.sha256("\n".join(item.slug for item in items).encode()).hexdigest()


def _photo_slug(name: str, task: str, seed: int) -> str:
    stem = _NO_WORD.sub("-", Path(name).stem).strip("-")[:40] or "photo"
    mark = hashlib.sha256("\n".join((name, task)).encode()).hexdigest()[:12]
    return f"{stem}-{mark}-{seed:04d}"


def _check_range(name: str, numbers: range) -> None:
    if not len(numbers) or min(numbers) < 0:
        raise InvalidInput(f"{name} are {numbers}; give at least one, 0 or more")
