"""How well curation finds what is wrong: made videos with known faults, precision and recall of every filter.

``python -m ksgen_export.curation.bench --videos 100 --first-scene 1000000 --out out/curation-bench``

Demonstrations of Workbench scenes and the videos are made once and kept under ``--out``; a stopped run goes on. A
planted fault is found when a dropped part gives its reason and overlaps it; a dropped part is right when it overlaps a
planted fault of its reason. Cuts count to the frame, with a tolerance of one. Precision is the share of dropped parts
that are right, recall the share of planted faults that are found.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from ksgen_export.curation.job import curate
from ksgen_export.curation.maker import FAULTS, Fault, Scene, make_video
from ksgen_export.curation.manifest import KEPT, Row, read_manifest
from ksgen_export.curation.thresholds import Thresholds
from ksgen_export.disk import whole_file
from ksgen_models.demonstration import CLIP_FPS, load_demonstration, save_demonstration
from ksgen_models.video_io import write_video

KINDS = ("scene_cut", *FAULTS)
TRUTH = "truth.json"
"""Beside the made videos: what was planted in each."""
_SCENES = (2, 4)  # of a video
_CLEAN = 0.4  # of the scenes


@dataclass(frozen=True)
class Score:
    """Of one filter.

    Attributes:
        planted: faults there were.
        found: of them.
        dropped: parts dropped for this reason.
        right: of them.
    """

    planted: int
    found: int
    dropped: int
    right: int

    @property
    def recall(self) -> float:
        """In [0, 1]; 1 where nothing was planted."""
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """In [0, 1]; 1 where nothing was dropped."""
        return self.right / self.dropped if self.dropped else 1.0


def score(truth: dict[str, Sequence[Fault]], rows: Iterable[Row], fps: float) -> dict[str, Score]:
    """Score dropped parts against planted faults.

    Args:
        truth: video to its faults.
        rows: of the manifest.
        fps: frames a second of the made videos.
    """
    rows = list(rows)
    scores = {}
    for kind in KINDS:
        tolerance = 1 if kind == "scene_cut" else 0
        dropped: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row in rows:
            if kind in row.reasons:
                dropped[row.video].append((round(row.start * fps), round(row.stop * fps)))
        planted = {
            video: [(fault.start - tolerance, fault.stop + tolerance) for fault in faults if fault.kind == kind]
            for video, faults in truth.items()
        }
        scores[kind] = Score(
            planted=sum(map(len, planted.values())),
            found=sum(_overlaps(one, dropped[video]) for video, faults in planted.items() for one in faults),
            dropped=sum(map(len, dropped.values())),
            right=sum(_overlaps(one, planted.get(video, [])) for video, parts in dropped.items() for one in parts),
        )
    return scores


def clean_kept(truth: dict[str, Sequence[Fault]], rows: Iterable[Row], fps: float) -> tuple[float, float]:
    """Share of the frames without a fault that are kept, and share of the kept frames that are without one."""
    counts: Counter[tuple[bool, bool]] = Counter()
    for row in rows:
        faults = [fault for fault in truth[row.video] if fault.kind != "scene_cut"]
        for frame in range(round(row.start * fps), round(row.stop * fps)):
            counts[row.status == KEPT, not any(fault.start <= frame < fault.stop for fault in faults)] += 1
    clean, kept = counts[True, True] + counts[False, True], counts[True, True] + counts[True, False]
    return counts[True, True] / max(1, clean), counts[True, True] / max(1, kept)


def _overlaps(one: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    return any(one[0] < stop and start < one[1] for start, stop in others)


def load_scenes(folder: Path, seeds: range) -> list[Scene]:
    """A demonstration of each scene seed, the tasks in turn; those that are not in the folder yet are made."""
    from ksgen_envs import TASKS, demonstrate

    scenes = []
    for number, seed in enumerate(seeds):
        task = TASKS[number % len(TASKS)]
        path = folder / f"{task.rpartition('/')[2]}-{seed:04d}.npz"
        if not path.exists():
            save_demonstration(demonstrate(task, seed), path)
        shown = load_demonstration(path)
        scenes.append(Scene(np.concatenate([step.clip for step in shown.steps]), shown.goal))
    return scenes


def make_videos(scenes: Sequence[Scene], folder: Path, count: int, seed: int) -> dict[str, Sequence[Fault]]:
    """Write ``count`` videos with planted faults; video to faults. What is there already, whole, is left alone."""
    path = folder / TRUTH
    if path.exists():
        told = json.loads(path.read_text("utf-8"))
        return {video: [Fault(*fault) for fault in faults] for video, faults in told.items()}
    random = np.random.default_rng(seed)
    truth: dict[str, Sequence[Fault]] = {}
    for number in range(count):
        chosen = random.choice(len(scenes), int(random.integers(*_SCENES, endpoint=True)), replace=False)
        faults = ["" if random.random() < _CLEAN else str(random.choice(FAULTS)) for _ in chosen]
        made = make_video([_varied(scenes[index], random) for index in chosen], faults, random)
        name = f"made-{number:03d}"
        write_video(folder / f"{name}.mp4", made.frames, CLIP_FPS)
        truth[name] = made.faults
    with whole_file(path) as partial:
        partial.write_text(json.dumps({video: [astuple(fault) for fault in faults] for video, faults in truth.items()}))
    return truth


def _varied(scene: Scene, random: np.random.Generator) -> Scene:
    """The scene in another light, perhaps mirrored and cut shorter, so that no two videos share frames."""
    steps = len(scene.clip) // 16
    first = int(random.integers(0, max(1, steps - 1)))
    last = int(random.integers(first + 1, steps, endpoint=True))
    gain = random.uniform(0.75, 1.15, 3)
    mirrored = random.random() < 0.5

    def seen(pictures: np.ndarray) -> np.ndarray:
        turned = pictures[..., ::-1, :] if mirrored else pictures
        return (turned * gain).clip(0, 255).astype(np.uint8)

    return Scene(seen(scene.clip[16 * first : 16 * last]), seen(scene.empty))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the videos, curate them, and print precision and recall as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--videos", type=int, default=100, help="videos to make")
    parser.add_argument("--demonstrations", type=int, default=48, help="demonstrations they are made from")
    parser.add_argument("--first-scene", type=int, default=0, help="seed of the first demonstration's scene")
    parser.add_argument("--seed", type=int, default=0, help="of everything random about the videos")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("out/curation-bench"), help="folder for all of it")
    chosen = parser.parse_args(arguments)
    seeds = range(chosen.first_scene, chosen.first_scene + chosen.demonstrations)
    scenes = load_scenes(chosen.out / "demonstrations", seeds)
    videos = chosen.out / f"videos-{chosen.seed}-{chosen.videos}-{seeds.start}-{seeds.stop}"
    truth = make_videos(scenes, videos, chosen.videos, chosen.seed)
    # Mirrored and recoloured demonstrations of one scene are near-duplicates at times: that is not what is measured.
    limits = Thresholds(duplicate_share=2.0)
    summary = curate(videos, chosen.out / f"curated-{videos.name}", thresholds=limits, workers=chosen.workers)
    rows = list(read_manifest(summary.folder))
    scores = score(truth, rows, CLIP_FPS)
    clean, pure = clean_kept(truth, rows, CLIP_FPS)
    result = {
        kind: {"precision": one.precision, "recall": one.recall, "planted": one.planted, "dropped": one.dropped}
        for kind, one in scores.items()
    }
    result["all"] = {
        "precision": sum(one.right for one in scores.values()) / max(1, sum(one.dropped for one in scores.values())),
        "recall": sum(one.found for one in scores.values()) / max(1, sum(one.planted for one in scores.values())),
        "clean_frames_kept": clean,
        "kept_frames_clean": pure,
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
