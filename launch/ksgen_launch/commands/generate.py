"""``ksgen-agent generate``: imaginations, demonstrations or robot rollouts in bulk, as a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ksgen_export.generation.estimate import Estimate
    from ksgen_export.generation.items import Item
    from ksgen_export.generation.job import GenerationSummary

_GIGABYTE = 1e9


def generate(
    out: Annotated[Path, typer.Option("--out", help="Folder of the job; the dataset goes to OUT/dataset.")],
    format_name: Annotated[str, typer.Option("--format", help="lerobot, robomimic or minari.")] = "lerobot",
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas, of the Workbench.')] = "all",
    scenes: Annotated[
        str, typer.Option("--scenes", help="Scene seeds A:B, from A up to, not including, B. Below 1000000: training.")
    ] = "",
    seeds: Annotated[str, typer.Option("--seeds", help="A:B, of the imaginations of each scene or photo.")] = "0:1",
    photos: Annotated[
        Path | None, typer.Option("--photos", help="Folder of photos to imagine from, instead of scenes.")
    ] = None,
    task_list: Annotated[
        Path | None, typer.Option("--task-list", help="With --photos: a text file with a task in each line.")
    ] = None,
    photo_size: Annotated[
        str, typer.Option("--photo-size", help="WIDTHxHEIGHT that photos are cropped and brought to.")
    ] = "",
    episodes: Annotated[
        str,
        typer.Option(
            "--episodes",
            help="imagined; demonstration: the simulated person; and of the robot true: the scripted expert, "
            "retargeted: from imagined key steps, policy: a trained one.",
        ),
    ] = "imagined",
    policy: Annotated[Path | None, typer.Option("--policy", help="Folder of a trained policy.")] = None,
    subgoals: Annotated[str, typer.Option("--subgoals", help="Of the policy: none, imagined or true.")] = "none",
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, help="Drawn of each key step; the most trusted one is kept.")
    ] = 1,
    least_trust: Annotated[
        float,
        typer.Option("--least-trust", min=0, max=1, help="End an item whose best candidate of a key step is below."),
    ] = 0.0,
    min_score: Annotated[
        list[str] | None,
        typer.Option(
            "--min-score",
            help="NAME=NUMBER: reject episodes with a key step whose score is below; trust, hand_rate, ... "
            "Again for more.",
        ),
    ] = None,
    keep_failures: Annotated[
        bool, typer.Option("--keep-failures", help="Keep a robot's episodes although the task was not done.")
    ] = False,
    preset: Annotated[str, typer.Option("--preset", help="Who imagines.")] = "mini",
    imaginer: Annotated[
        str, typer.Option("--imaginer", help="module:function that makes an imaginer, instead of a preset.")
    ] = "",
    server: Annotated[str, typer.Option("--server", help="Imagine there, e.g. tcp://127.0.0.1:7447.")] = "",
    key: Annotated[Path | None, typer.Option("--key", help="With --server: the client's key file.")] = None,
    allow_out_of_domain: Annotated[
        bool, typer.Option("--allow-out-of-domain", help="Go on with frames that the models were not made for.")
    ] = False,
    image_size: Annotated[int, typer.Option("--image-size", help="Pixels of the Workbench's pictures.")] = 256,
    engine: Annotated[str, typer.Option("--engine", help="local, or ray: the cluster of RAY_ADDRESS.")] = "local",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes; 0 takes every core, or every GPU of the Ray cluster.")
    ] = 0,
    cores_per_worker: Annotated[int, typer.Option("--cores-per-worker", min=1, help="Threads of each.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make three items, write nothing to OUT, and tell hours and disk.")
    ] = False,
) -> None:
    """Generate a dataset: tasks × scenes × seeds, or photos × tasks × seeds.

    A job that was stopped, also by kill -9, goes on when it is run again with the same options; what failed is tried
    again then. OUT/items.jsonl tells of every item what became of it, and why.
    """
    from ksgen_agent.server.config import LOCAL_AGENT
    from ksgen_export.generation.options import GenerationOptions
    from ksgen_models.errors import InvalidInput

    if bool(imaginer) + bool(server) > 1:
        raise InvalidInput("--imaginer and --server both say who imagines; give one")
    if key and not server:
        raise InvalidInput("--key is for --server")
    if server:
        factory, options = "ksgen_agent:SubgoalClient", {"address": server, **({"key": str(key)} if key else {})}
    else:
        factory, options = imaginer or LOCAL_AGENT, {} if imaginer else {"preset": preset}
    told = GenerationOptions(
        format=format_name,
        episodes=episodes,
        imaginer=factory,
        imaginer_options=options,
        least_scores=_least_scores(min_score or []),
        keep_failures=keep_failures,
        allow_out_of_domain=allow_out_of_domain,
        candidates=candidates,
        least_trust=least_trust,
        policy=str(policy.resolve()) if policy else "",
        subgoals=subgoals,
        image_size=image_size,
        photo_size=_size(photo_size),
    )
    items = _items(tasks, scenes, seeds, photos, task_list)
    machine: dict[str, Any] = {"engine": engine, "workers": workers, "cores_per_worker": cores_per_worker}
    if dry_run:
        from ksgen_export.generation.estimate import estimate

        _tell_estimate(estimate(out, items, told, **machine))
        return
    from ksgen_export.generation.job import generate as run

    _tell(run(out, items, told, **machine))


def _items(tasks: str, scenes: str, seeds: str, photos: Path | None, task_list: Path | None) -> tuple[Item, ...]:
    from ksgen_export.generation.items import photo_items, read_task_list, scene_items
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_models.errors import InvalidInput

    if bool(photos) == bool(scenes):
        raise InvalidInput("give --scenes A:B for scenes of the Workbench, or --photos FOLDER with --task-list FILE")
    if bool(photos) != bool(task_list):
        raise InvalidInput("--photos and --task-list go together: each task is imagined from each photo")
    if photos and task_list:
        return photo_items(photos, read_task_list(task_list), parse_seeds(seeds))
    from ksgen_envs import TASKS

    return scene_items(parse_tasks(tasks, TASKS), parse_seeds(scenes), parse_seeds(seeds))


def _least_scores(given: list[str]) -> dict[str, float]:
    from ksgen_models.errors import InvalidInput

    limits = {}
    for word in given:
        name, _, value = word.partition("=")
        try:
            limits[name] = float(value)
        except ValueError as exc:
            raise InvalidInput(f'--min-score "{word}": give NAME=NUMBER, e.g. trust=0.5') from exc
    return limits


def _size(text: str) -> tuple[int, int] | None:
    from ksgen_models.errors import InvalidInput

    if not text:
        return None
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError as exc:
        raise InvalidInput(f'--photo-size "{text}": give WIDTHxHEIGHT, e.g. 640x480') from exc


def _tell(summary: GenerationSummary) -> None:
    typer.echo(
        f"{summary.items} items: {summary.written} written, {summary.rejected} rejected, {summary.failed} failed; "
        f"{summary.frames} frames"
    )
    for reason, count in summary.reasons.items():
        typer.echo(f"  rejected for {reason}: {count}")
    for name, error in summary.failures:
        typer.echo(f"failed: {name}: {error}", err=True)
    if summary.written:
        typer.echo(f"dataset: {summary.dataset.resolve()}")
    typer.echo(f"account: {(summary.folder / 'items.jsonl').resolve()}")
    if summary.failed:
        typer.echo("run it again to try what failed anew", err=True)
    if summary.failed or not summary.written:
        raise typer.Exit(1)


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(hours * 60, 0.1):.1f} minutes"


def _tell_estimate(found: Estimate) -> None:
    typer.echo(
        f"measured on {found.sampled} of {found.items} items with one worker: {found.loading:.1f} s to load, "
        f"{found.seconds:.2f} s an item, {found.episode_bytes / 1e6:.2f} MB an episode"
    )
    typer.echo(f"{found.passed} of {found.sampled} would pass the least scores")
    typer.echo(
        f"time: about {_duration(found.hours)} with {found.workers} workers, if each is as fast beside the others as "
        "alone"
    )
    typer.echo(
        f"disk: {found.dataset_bytes / _GIGABYTE:.2f} GB if every item is written, "
        f"{found.greatest_bytes / _GIGABYTE:.2f} GB while it is joined; {found.free_bytes / _GIGABYTE:.1f} GB are free"
    )
    if found.greatest_bytes > found.free_bytes:
        typer.echo("that is more than there is room for", err=True)
