"""What has come of single items, on disk: complete or not there at all.

::

    items/<slug>/outcome.json         `Outcome`, and the schema of the episode where there is one
    items/<slug>/000000/              the episode, as `ksgen_export.lerobot.staging` has it; or
    items/<slug>/episode/             the same for the other formats: a robomimic data set of one episode
    items/.<slug>.<random>.part/      under way, or left by a worker that was killed
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ksgen_export.disk import writing
from ksgen_export.episode import Episode, EpisodeSchema
from ksgen_export.generation.items import Item
from ksgen_export.hdf5 import read_schema
from ksgen_models.errors import DatasetError

WRITTEN, REJECTED, FAILED = "written", "rejected", "failed"
ITEMS = "items"
_OUTCOME, _HDF5 = "outcome.json", "episode"


@dataclass(frozen=True)
class Outcome:
    """What came of one item.

    Attributes:
        status: ``written``, ``rejected`` or ``failed``.
        reasons: why it was rejected or failed, one sentence each.
        frames: of the episode.
        seconds: that making it took; writing it is not part of them.
        scores: the least of each score over the episode's key steps.
        schema: of the episode; None where there is none.
    """

    status: str
    reasons: tuple[str, ...] = ()
    frames: int = 0
    seconds: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    schema: EpisodeSchema | None = None


def put_outcome(folder: Path, item: Item, outcome: Outcome, episode: Episode | None, format_name: str) -> Outcome:
    """Put an item's outcome, and its episode where there is one, in place in the job's folder.

    Returns:
        What is there now: of an item that somebody else finished meanwhile, theirs.

    Raises:
        DatasetError: it cannot be written.
    """
    place = folder / ITEMS / item.slug
    partial = place.with_name(f".{item.slug}.{uuid.uuid4().hex}.part")
    with writing(folder):
        partial.mkdir(parents=True)
        try:
            if episode is not None:
                outcome = replace(outcome, frames=len(episode), schema=episode.schema)
                _stage(partial, episode, format_name)
            (partial / _OUTCOME).write_text(json.dumps(asdict(outcome), ensure_ascii=False), "utf-8")
            if (there := read_outcome(folder, item)) is not None:
                return there
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return outcome


def read_outcome(folder: Path, item: Item) -> Outcome | None:
    """An item's outcome; None where it has none that is whole."""
    place = folder / ITEMS / item.slug
    try:
        told = json.loads((place / _OUTCOME).read_text("utf-8"))
        schema = read_schema(told["schema"]) if told["schema"] else None
        outcome = Outcome(**{**told, "reasons": tuple(told["reasons"]), "schema": schema})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = outcome.status == REJECTED or any((place / name).is_dir() for name in (_HDF5, "000000"))
    return outcome if whole else None


def drop_leftovers(folder: Path) -> None:
    """Remove what killed workers left."""
    for path in (folder / ITEMS).glob(".*.part"):
        shutil.rmtree(path, ignore_errors=True)


def drop_episodes(folder: Path) -> None:
    """Remove all parts, once the data set is complete."""
    shutil.rmtree(folder / ITEMS, ignore_errors=True)


def join(folder: Path, items: Iterable[Item], schema: EpisodeSchema, format_name: str, target: Path) -> None:
    """Write the data set of the items' episodes, in this order.

    Args:
        folder: the job's.
        items: that have an episode of this schema, one at least.
        schema: of all.
        format_name: of the data set.
        target: a folder that is not there yet.

    Raises:
        DatasetError: an episode is damaged, or it cannot be written.
    """
    if format_name == "lerobot":
        from ksgen_export.lerobot.staging import staged_episodes
        from ksgen_export.lerobot.writer import write_staged

        staged = [
            replace(staged_episodes(folder / ITEMS / item.slug, 0)[0], index=index) for index, item in enumerate(items)
        ]
        write_staged(target, schema, staged)
        return
    from ksgen_export.formats import open_writer
    from ksgen_export.robomimic import RobomimicReader

    with contextlib.closing(open_writer(format_name, target)) as writer:
        for item in items:
            writer.add(RobomimicReader(folder / ITEMS / item.slug / _HDF5)[0])


def put_dataset(partial: Path, place: Path) -> None:
    """Let a finished data set take its place; what was there is removed.

    Between the two renames there is none for a moment: the next run of a job that is killed then joins it again.
    """
    old = place.with_name(f".{place.name}.old")
    with writing(place):
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            place.rename(old)
        partial.rename(place)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The job's folder for one run alone.

    Raises:
        DatasetError: another run is at work in it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as exc:
        raise DatasetError(f"cannot use {folder} for a job ({exc}); choose another folder") from exc
    with file:
        try:
            import fcntl
        except ModuleNotFoundError:  # not a Unix: nobody watches
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DatasetError(f"another run is at work in {folder}; wait for it, or choose another folder") from exc
        except OSError:  # a network file system without locks
            pass
        yield


def _stage(partial: Path, episode: Episode, format_name: str) -> None:
    if format_name == "lerobot":
        from ksgen_export.lerobot.staging import stage_episode
        from ksgen_export.video import VideoOptions

        stage_episode(episode, 0, partial, VideoOptions())
        return
    from ksgen_export.robomimic import RobomimicWriter

    with RobomimicWriter(partial / _HDF5) as writer:
        writer.add(episode)


def as_line(item: Item, outcome: Outcome, index: int | None) -> dict[str, Any]:
    """One line of the job's accounts.

    Args:
        item, outcome: of the line.
        index: of the episode in the data set; None where there is none.
    """
    return {
        "id": item.slug,
        **item.as_dict(),
        "status": outcome.status,
        "reasons": list(outcome.reasons),
        "episode": index,
        "frames": outcome.frames,
        "seconds": round(outcome.seconds, 3),
        "scores": {name: round(value, 4) for name, value in outcome.scores.items()},
    }
