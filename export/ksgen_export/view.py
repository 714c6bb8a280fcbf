"""Shows episodes in Rerun: frames, hand skeletons, regions of motion, scores and key steps along a timeline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ksgen_export.columns import fill_columns
from ksgen_export.disk import writing
from ksgen_export.episode import Episode
from ksgen_models.hands.drawing import FINGER_COLOURS
from ksgen_models.scores import SCORES
from ksgen_models.types import HAND_BONES

APPLICATION = "ksgen-agent view"
_REGION_COLOUR = (255, 120, 0, 110)


def view_episodes(episodes: Iterable[tuple[int, Episode]], save: str | Path | None = None) -> int:
    """Send episodes to Rerun's viewer, each as a recording of its own.

    Args:
        episodes: (index, episode) pairs.
        save: an ``.rrd`` file to write in place of opening the viewer.

    Returns:
        How many episodes were shown.

    Raises:
        DatasetError: the file cannot be written.
    """
    import rerun as rr

    shown = 0
    if save is None:
        rr.init(APPLICATION, spawn=True)
    else:
        path = Path(save)
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # Rerun's own thread would find out too late
        rr.init(APPLICATION)
        rr.save(str(path))
    rr.send_blueprint(_blueprint())
    for index, episode in episodes:
        _log_episode(rr, index, episode, first=shown == 0)
        shown += 1
    rr.disconnect()
    return shown


def _log_episode(rr: Any, index: int, episode: Episode, first: bool) -> None:
    columns = fill_columns(episode)
    height, width = episode.frames.shape[1:3]
    if first:
        rr.log("camera/frame/region", rr.AnnotationContext([(1, "RoM", _REGION_COLOUR)]), static=True)
    for number, step in enumerate(episode.key_steps):
        for place in range(step.start, step.stop):
            rr.set_time("frame", sequence=place)
            rr.set_time("time", duration=place / episode.fps)
            rr.set_time("episode", sequence=index)
            if place == step.start:
                text = f"{episode.task}\n\n**{number + 1}/{len(episode.key_steps)}** {step.description}"
                rr.log("key_step/text", rr.TextDocument(text, media_type="text/markdown"))
                rr.log("key_step/image", rr.Image(step.image).compress(jpeg_quality=90))
                rr.log("key_step/goal", rr.Image(step.goal).compress(jpeg_quality=90))
                predicted = (step.region_of_motion.predicted * 255).astype(np.uint8)
                rr.log("key_step/predicted_region", rr.Image(predicted, color_model="L"))
                rr.log("events", rr.TextLog(f"episode {index}, key step {number + 1}: {step.description}"))
                for spec, value in zip(SCORES, columns["scores"][place], strict=True):
                    share = (float(value) - spec.low) / (spec.high - spec.low)
                    rr.log(f"scores/{spec.name}", rr.Scalars(share))
            rr.log("camera/frame", rr.Image(episode.frames[place]).compress(jpeg_quality=90))
            mask = step.region_of_motion.per_frame[place - step.start].astype(np.uint8)
            rr.log("camera/frame/region", rr.SegmentationImage(mask))
            _log_hands(rr, step.hands.keypoints[place - step.start] * (width, height, 1))
            for side, name in enumerate(("left", "right")):
                rr.log(f"hands/{name}_confidence", rr.Scalars(float(columns["hands.confidence"][place, side])))
            for name, entity in (("observation.state", "robot/state"), ("action", "robot/action")):
                if name in columns:
                    rr.log(entity, rr.Scalars(columns[name][place].astype(float)))


def _log_hands(rr: Any, keypoints: np.ndarray) -> None:
    for name, points in zip(("left", "right"), keypoints[..., :2], strict=True):
        entity = f"camera/frame/hands/{name}"
        if not np.isfinite(points).all():
            rr.log(entity, rr.Clear(recursive=True))
            continue
        colours = [FINGER_COLOURS[0 if end == 0 else (end - 1) // 4 + 1] for _, end in HAND_BONES]
        rr.log(f"{entity}/bones", rr.LineStrips2D([points[list(bone)] for bone in HAND_BONES], colors=colours, radii=1))
        rr.log(f"{entity}/keypoints", rr.Points2D(points, colors=(255, 255, 255), radii=1.2))


def _blueprint() -> Any:
    import rerun.blueprint as rrb

    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(
                rrb.Spatial2DView(origin="camera/frame", name="Frame"),
                rrb.Horizontal(
                    rrb.Spatial2DView(origin="key_step/image", name="Key-step image"),
                    rrb.Spatial2DView(origin="key_step/goal", name="Goal"),
                    rrb.Spatial2DView(origin="key_step/predicted_region", name="Predicted RoM"),
                ),
                row_shares=[3, 1],
            ),
            rrb.Vertical(
                rrb.TextDocumentView(origin="key_step/text", name="Key step"),
                rrb.TimeSeriesView(origin="scores", name="Scores (share of their range)"),
                rrb.TimeSeriesView(origin="hands", name="Hand confidence"),
                rrb.TextLogView(origin="events", name="Key steps"),
            ),
            column_shares=[3, 2],
        ),
        collapse_panels=True,
    )
