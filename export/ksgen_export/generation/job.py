"""A generation job: items to a data set, with an account of every item; may be stopped at any time.

::

    job.json          what the job is; a run of another one in the same folder is refused
    imaginer.json     preset and models that the job was begun with
    items/            what has come of single items, see `ksgen_export.generation.parts`
    dataset/          the data set, joined from the items in their order when all have been done
    items.jsonl       the account: one line for each item
    summary.json      the account's sums

What a killed run had finished stays; the next run does the rest, and what failed. When no item has failed, the data set
is complete and ``items/`` is removed.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ksgen_export.disk import whole_file, writing
from ksgen_export.generation import parts
from ksgen_export.generation.frames import check_photos
from ksgen_export.generation.items import Item, digest
from ksgen_export.generation.options import GenerationOptions
from ksgen_export.generation.parts import FAILED, REJECTED, WRITTEN, Outcome
from ksgen_export.generation.worker import GenerationWork
from ksgen_export.jobs import Failure, check_engine, run_tasks
from ksgen_models.errors import DatasetError, InvalidInput

JOB, SUMMARY, ACCOUNT, DATASET = "job.json", "summary.json", "items.jsonl", "dataset"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class GenerationSummary:
    """What a job came to; ``written + rejected + failed == items``.

    Attributes:
        folder: the job's; the data set is in ``dataset`` in it, where anything was written.
        items: how many there are.
        written, rejected, failed: how many of them became an episode, were not good enough, and went wrong.
        frames: of all episodes.
        resumed: items that earlier runs had finished.
        failures: (id, error) of what failed.
        reasons: how many items were rejected for each kind of reason; one item may have several.
    """

    folder: Path
    items: int
    written: int
    rejected: int
    failed: int
    frames: int
    resumed: int
    failures: tuple[tuple[str, str], ...]
    reasons: dict[str, int]

    @property
    def dataset(self) -> Path:
        """Where the data set lies."""
        return self.folder / DATASET


def generate(
    out: str | Path,
    items: Sequence[Item],
    options: GenerationOptions | None = None,
    *,
    engine: str = "local",
    workers: int = 0,
    cores_per_worker: int = 1,
    progress: bool = True,
) -> GenerationSummary:
    """Make the episodes of all items and write them to one data set, or go on with a job that was stopped.

    An item that fails is named and does not stop the rest; the next run tries it again. The data set follows from items
    and options: neither the order in which workers finish nor how often the job was stopped changes a byte of it.

    Args:
        out: the job's folder; made when it is missing.
        items: of `ksgen_export.generation.items`.
        options: None takes the defaults.
        engine, workers, cores_per_worker: see `ksgen_export.jobs.run_tasks`.
        progress: show a progress bar on standard error.

    Raises:
        InvalidInput: items and options do not go together, or there is no such engine.
        DatasetError: the folder holds another job, another run is at work in it, or it cannot be written.
        KSGenError: the models cannot be loaded; what was finished before is kept.
    """
    told, wanted = options or GenerationOptions(), tuple(items)
    check_job(wanted, told)
    check_engine(engine, workers, cores_per_worker)
    folder = Path(out)
    with parts.locked(folder):
        _begin(folder, wanted, told)
        if (finished := _read_summary(folder)) is not None:
            parts.drop_episodes(folder)  # a run may have been killed before it could
            return replace(finished, resumed=len(wanted))
        with writing(folder):
            parts.drop_leftovers(folder)
        outcomes = {item: outcome for item in wanted if (outcome := parts.read_outcome(folder, item)) is not None}
        resumed = len(outcomes)
        todo = [item for item in wanted if item not in outcomes]
        answers = run_tasks(
            todo,
            GenerationWork(folder.resolve(), told),
            engine=engine,
            workers=workers,
            cores_per_worker=cores_per_worker,
        )
        for item, answer in _with_progress(answers, outcomes, len(wanted), progress):
            outcomes[item] = Outcome(FAILED, (answer.error,)) if isinstance(answer, Failure) else answer
        return _finish(folder, {item: outcomes[item] for item in wanted}, told.format, resumed)


def check_job(items: tuple[Item, ...], options: GenerationOptions) -> None:
    """Check everything about a job that can be known before it is begun.

    Raises:
        InvalidInput: it cannot be done.
        PresetError: there is no such preset.
    """
    from ksgen_agent.presets import find_preset
    from ksgen_agent.server.config import LOCAL_AGENT

    options.check_items(items)
    if len({item.slug for item in items}) < len(items):
        raise InvalidInput("two items have the same id; give every scene, photo, task and seed once")
    if options.imagines and options.imaginer == LOCAL_AGENT:
        find_preset(options.imaginer_options.get("preset", "mini"))
    check_photos(items, options.photo_size)


def _begin(folder: Path, items: tuple[Item, ...], options: GenerationOptions) -> None:
    """Write the job's record, or check that the folder's own is of the same items and options."""
    wanted = {"format_version": FORMAT_VERSION, "items": len(items), "digest": digest(items), **options.as_dict()}
    wanted = json.loads(json.dumps(wanted))  # tuples become the lists that are read back
    path = folder / JOB
    try:
        if path.exists():
            before = json.loads(path.read_text("utf-8"))
            changed = [name for name in wanted if before.get(name) != wanted[name]]
            if changed:
                names = ", ".join(name.replace("digest", "tasks, scenes, seeds or photos") for name in changed)
                raise DatasetError(f"{folder} holds a job with other {names}; choose another folder or delete this one")
            return
        if (folder / DATASET).exists():
            raise DatasetError(f"{folder} holds a dataset that is not of a job; choose another folder")
        with whole_file(path) as partial:
            partial.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except (OSError, ValueError, AttributeError) as exc:
        raise DatasetError(f"cannot use {folder} for a job ({exc}); choose another folder") from exc


def _read_summary(folder: Path) -> GenerationSummary | None:
    """The sums of a job that is complete; None where there is something left to do."""
    try:
        told = json.loads((folder / SUMMARY).read_text("utf-8"))
        failures = tuple((name, error) for name, error in told["failures"])
        summary = GenerationSummary(**{**told, "folder": folder, "failures": failures})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = (folder / DATASET).is_dir() or not summary.written
    return summary if there and not summary.failed else None


def _finish(folder: Path, outcomes: dict[Item, Outcome], format_name: str, resumed: int) -> GenerationSummary:
    """Join the data set and write the account."""
    outcomes = _of_one_schema(outcomes)
    chosen = [item for item, outcome in outcomes.items() if outcome.status == WRITTEN]
    place = folder / DATASET
    if chosen:
        schema = outcomes[chosen[0]].schema
        assert schema is not None
        partial = folder / f".{DATASET}.part"
        with writing(folder):
            shutil.rmtree(partial, ignore_errors=True)
            parts.join(folder, chosen, schema, format_name, partial)
        parts.put_dataset(partial, place)
    counts = Counter(outcome.status for outcome in outcomes.values())
    kinds = Counter(
        kind for outcome in outcomes.values() if outcome.status == REJECTED for kind in set(map(_kind, outcome.reasons))
    )
    summary = GenerationSummary(
        folder=folder,
        items=len(outcomes),
        written=counts[WRITTEN],
        rejected=counts[REJECTED],
        failed=counts[FAILED],
        frames=sum(outcomes[item].frames for item in chosen),
        resumed=resumed,
        failures=tuple(
            (item.slug, "; ".join(outcome.reasons)) for item, outcome in outcomes.items() if outcome.status == FAILED
        ),
        reasons=dict(sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))),
    )
    _write_account(folder, outcomes, {item: index for index, item in enumerate(chosen)}, summary)
    if not summary.failed:
        parts.drop_episodes(folder)
    return summary


def _of_one_schema(outcomes: dict[Item, Outcome]) -> dict[Item, Outcome]:
    """The outcomes; episodes of another size or rate than the first become failures."""
    first = next((outcome.schema for outcome in outcomes.values() if outcome.status == WRITTEN), None)
    return {
        item: outcome
        if outcome.status != WRITTEN or outcome.schema == first
        else Outcome(FAILED, (f"its schema {outcome.schema} is not that of the first episode, {first}",))
        for item, outcome in outcomes.items()
    }


def _write_account(
    folder: Path, outcomes: dict[Item, Outcome], places: dict[Item, int], summary: GenerationSummary
) -> None:
    told = {name: value for name, value in asdict(summary).items() if name != "folder"}
    with writing(folder):
        with whole_file(folder / ACCOUNT) as partial, partial.open("w", encoding="utf-8") as file:
            for item, outcome in outcomes.items():
                file.write(json.dumps(parts.as_line(item, outcome, places.get(item)), ensure_ascii=False) + "\n")
        with whole_file(folder / SUMMARY) as partial:
            partial.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _kind(reason: str) -> str:
    """A reason without its figures: the score's name, the error's, or the words before the colon."""
    if " is below " in reason or " is asked for" in reason:
        words = reason.split()
        return words[5].rstrip(",") if words[:2] == ["key", "step"] else words[0]
    return reason.partition(":")[0]


def _with_progress(
    answers: Iterator[tuple[Item, Outcome | Failure]], outcomes: dict[Item, Outcome], total: int, progress: bool
) -> Iterator[tuple[Item, Outcome | Failure]]:
    """Pass answers through under a bar with rate, time left and counts, which names failures as they happen."""
    from tqdm import tqdm

    counts = Counter(outcome.status for outcome in outcomes.values())
    with tqdm(total=total, initial=len(outcomes), unit="item", desc="generate", disable=not progress) as bar:
        for item, answer in answers:
            status = FAILED if isinstance(answer, Failure) else answer.status
            counts[status] += 1
            bar.set_postfix({name: counts[name] for name in (WRITTEN, REJECTED, FAILED)}, refresh=False)
            bar.update()
            if status == FAILED and progress:
                error = answer.error if isinstance(answer, Failure) else "; ".join(answer.reasons)
                bar.write(f"{item.slug}: {error}")
            yield item, answer
