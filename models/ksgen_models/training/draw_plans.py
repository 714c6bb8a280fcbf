"""Episodes as they are in an imagination: the same hands, between key-step images that the KIG draws.

::

    python -m ksgen_models.training.draw_plans --data data/stills --out data/drawn

What expects a hand track has the KIG's pictures before it, which are not quite true, and should learn from them too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ksgen_models.demonstration import Demonstration, list_episodes, load_demonstration, save_demonstration
from ksgen_models.errors import DatasetError
from ksgen_models.mini.generate import QUALITIES, MiniKIG
from ksgen_models.mini.networks import load_networks


def draw_plans(
    episodes: Sequence[Path], out: str | Path, weights: str | Path | None = None, *, quality: str = "balanced"
) -> Path:
    """Draw the plans of episodes, each from its frame with its own seed; what is there already is kept.

    Args:
        episodes: files of demonstrations or stills, as `list_episodes` names them.
        out: folder of a data set of stills, under whose tasks are the same files. Keypoints of demonstrations become
            ways there.
        weights: of the mini models; None takes the package's own.
        quality: how hard the KIG tries, one of `ksgen_models.mini.generate.QUALITIES`.

    Returns:
        ``out``.

    Raises:
        DatasetError: an episode cannot be read, or two of them would be drawn into the same file.
        WeightsMissing: weights or the sentence encoder are not on this machine.
    """
    sources: dict[Path, Path] = {}
    for path in sorted(episodes, key=lambda path: path.name):  # a run that is stopped has drawn some of every task
        other = sources.setdefault(Path(out) / path.parent.name / path.name, path)
        if other != path:
            raise DatasetError(f"{other} and {path} have one name; draw their data sets into folders of their own")
    kig = MiniKIG(load_networks(weights), QUALITIES[quality])
    for drawn, path in tqdm(sources.items(), desc="plans", unit="plan"):
        if not drawn.exists():
            save_demonstration(_as_drawn(load_demonstration(path), kig), drawn)
    return Path(out)


def _as_drawn(true: Demonstration, kig: MiniKIG) -> Demonstration:
    """The stills of a demonstration, their pictures the KIG's."""
    pictures = kig.draw(true.frame, tuple(step.description for step in true.steps), seed=true.seed)
    steps = []
    for step, picture in zip(true.steps, pictures, strict=False):
        ways = [] if step.ways is None else list(step.ways)
        if len(step.keypoints):
            ways.append(step.keypoints)
        steps.append(
            replace(
                step,
                image=picture,
                clip=step.clip[:0],
                keypoints=step.keypoints[:0],
                visible=step.visible[:0],
                region_of_motion=np.zeros_like(step.region_of_motion),
                region_of_change=np.zeros_like(step.region_of_change),
                ways=np.stack(ways) if ways else None,
            )
        )
    return replace(true, goal=pictures[-1], steps=tuple(steps))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="demonstrations or stills")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--weights", type=Path, help="of the mini models; else the package's")
    parser.add_argument("--quality", choices=QUALITIES, default="balanced", help="how hard the KIG tries")
    given = parser.parse_args(arguments)
    episodes = [path for folder in given.data for path in list_episodes(folder)]
    draw_plans(episodes, given.out, given.weights, quality=given.quality)


if __name__ == "__main__":
    main()
