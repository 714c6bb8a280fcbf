"""``ksgen-agent evaluate ablation``: the table of what masks and hand structure loss are worth (IVG, Table 2)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ksgen_envs.ablation import AblationRow, StepFigures

_STRIP_FRAMES = (0, 3, 5, 7, 9, 11, 13, 15)


def ablation(
    data: Annotated[
        Path | None, typer.Option("--data", help="Training demonstrations, for the prior mask; no other needs them.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", help="NAME=DIR, repeatable; every mask is tried with the first. Else the package's."),
    ] = None,
    qualities: Annotated[
        str, typer.Option("--qualities", help="Settings to draw with, joined by commas; every mask with the first.")
    ] = "balanced",
    masks: Annotated[str, typer.Option("--masks", help="Masks to draw along, joined by commas.")] = (
        "white,true,prior,stage 1,stage 1 untracked"
    ),
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas.')] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Scenes of each task, A:B.")] = "1000300:1000304",
    out: Annotated[Path, typer.Option("--out", help="Folder for figures and pictures.")] = Path("out/ablation"),
) -> None:
    """Draw the steps of demonstrations along white, true, prior and predicted masks, by one set of weights or several.

    The first row is the floor: the same person doing the same step another time. A stopped run goes on where it was.
    """
    from tqdm import tqdm

    from ksgen_envs.ablation import StepFigures, evaluate_ablation, prior_regions, summary
    from ksgen_envs.datasets import check_seeds
    from ksgen_envs.tasks import TASKS, task_slug
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_models.hands.tracker import HandTracker

    chosen, scene_seeds = parse_tasks(tasks, TASKS), parse_seeds(seeds)
    check_seeds(scene_seeds, False)
    rows = _rows(weights or [], qualities, masks)
    out.mkdir(parents=True, exist_ok=True)
    log = out / "figures.jsonl"
    figures = [StepFigures(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(figure.env_id, figure.seed) for figure in figures}
    scenes = [(env_id, seed) for seed in scene_seeds for env_id in chosen if (env_id, seed) not in done]
    with HandTracker() as tracker:
        for env_id, seed in tqdm(scenes, desc="scenes", unit="scene"):
            strips = _Strips(out / "pictures")
            prior = prior_regions(data, task_slug(env_id)) if data else None
            scene = list(evaluate_ablation(rows, tracker, env_id, seed, prior, see=strips.see))
            strips.save()
            figures += scene
            with log.open("a") as file:
                file.writelines(json.dumps(asdict(figure)) + "\n" for figure in scene)
    table = summary(figures)
    (out / "table.json").write_text(json.dumps(table, indent=1) + "\n")
    for line in as_lines(table):
        typer.echo(line)


def as_lines(table: dict[str, dict[str, float]]) -> list[str]:
    """A table in Markdown, one row a line."""
    keys = list(next(iter(table.values()), {}))
    body = [
        [name, *(f"{row[key]:.0f}" if key == "steps" else f"{row[key]:.3f}" for key in keys)]
        for name, row in table.items()
    ]
    return [f"| {' | '.join(cells)} |" for cells in [["row", *keys], ["---"] * (len(keys) + 1), *body]]


def _rows(weights: list[str], qualities: str, masks: str) -> list[AblationRow]:
    """All masks with the first weights and quality; the true and the predicted ones with the other weights, the
    predicted ones with the other qualities."""
    from ksgen_envs.ablation import MASKS, PRIOR, STAGE_1, WHITE, AblationRow
    from ksgen_launch.clip_evaluation import named_folders
    from ksgen_models.mini.generate import QUALITIES
    from ksgen_models.mini.networks import load_networks

    drawn = _chosen(masks, MASKS, "mask")
    wanted = _chosen(qualities, tuple(QUALITIES), "quality")
    named = {name: load_networks(path) for name, path in named_folders(weights, "--weights").items()}
    named = named or {"": load_networks()}
    first = next(iter(named))
    rows = [
        AblationRow(f"{mask} mask, {name}" if name else f"{mask} mask", mask, networks, QUALITIES[wanted[0]])
        for name, networks in named.items()
        for mask in drawn
        if name == first or mask not in (WHITE, PRIOR)
    ]
    return rows + [
        AblationRow(f"{STAGE_1} mask, {quality}", STAGE_1, named[first], QUALITIES[quality]) for quality in wanted[1:]
    ]


def _chosen(words: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    from ksgen_models.errors import InvalidInput

    chosen = tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    if not chosen or not set(chosen) <= set(known):
        raise InvalidInput(f"{words!r} names no {what}; there are {', '.join(known)}")
    return chosen


class _Strips:
    """Pictures of a scene's steps: true clip above, then a strip a row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._strips: dict[str, list[NDArray[np.uint8]]] = {}

    def see(self, figures: StepFigures, clip: NDArray[np.uint8], true: NDArray[np.uint8]) -> None:
        """Remember a row's clip."""
        from ksgen_launch.choices import short_name

        name = f"{short_name(figures.env_id)}-{figures.seed}-{figures.step}"
        self._strips.setdefault(name, [_strip(true)]).append(_strip(clip))

    def save(self) -> None:
        """Write what was seen."""
        import cv2
        import numpy as np

        self._folder.mkdir(parents=True, exist_ok=True)
        for name, strips in self._strips.items():
            cv2.imwrite(str(self._folder / f"{name}.png"), cv2.cvtColor(np.concatenate(strips), cv2.COLOR_RGB2BGR))


def _strip(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np

    return np.concatenate([clip[time] for time in _STRIP_FRAMES if time < len(clip)], axis=1)
