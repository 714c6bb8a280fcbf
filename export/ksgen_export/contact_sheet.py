"""A static page of a dataset: every episode's key steps at one glance, in one HTML file without scripts."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_export.disk import whole_file, writing
from ksgen_export.episode import Episode, EpisodeKeyStep
from ksgen_models.hands.drawing import draw_hands
from ksgen_models.page import render_page
from ksgen_models.scores import SCORES

_SIDE = 160  # pixels of a picture on the page
_FRAMES = 4  # of a key step
_REGION_COLOUR = (255, 120, 0)


def write_contact_sheet(episodes: Iterable[tuple[int, Episode]], path: str | Path, title: str) -> Path:
    """Write the page; the file appears whole or not at all.

    Args:
        episodes: (index, episode) pairs.
        path: the ``.html`` file.
        title: of the page.

    Raises:
        DatasetError: the file cannot be written.
    """
    path = Path(path)
    views = [_view_episode(index, episode) for index, episode in episodes]
    page = render_page(Path(__file__).with_name("contact_sheet.html"), title=title, episodes=views, side=_SIDE)
    with writing(path.parent), whole_file(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def _view_episode(index: int, episode: Episode) -> dict[str, Any]:
    told = episode.key_steps[0].frame_provenance
    facts = [
        episode.kind,
        f"{len(episode)} frames",
        f"{episode.fps:g} fps",
        "generated" if told.generated else "camera",
    ]
    facts += [f"preset {told.preset}"] if told.preset else []
    return {
        "index": index,
        "task": episode.task,
        "facts": " · ".join([*facts, f"seed {told.seed}"]),
        "key_steps": [_view_key_step(episode, step) for step in episode.key_steps],
    }


def _view_key_step(episode: Episode, step: EpisodeKeyStep) -> dict[str, Any]:
    # Without the first frame: it is the key-step image in a clip.
    places = np.unique(np.linspace(0, step.stop - step.start - 1, _FRAMES + 1).astype(int)[1:])
    found, count = int(step.hands.valid.any(axis=1).sum()), step.stop - step.start
    return {
        "description": step.description,
        "image": _picture(step.image),
        "frames": [_picture(_drawn(episode, step, int(place))) for place in places],
        "goal": _picture(step.goal),
        "hands": f"hands in {found} of {count} frames" if episode.robot is None else f"{count} frames of a robot",
        "scores": [
            (spec.label, f"{step.scores[spec.name]:.1f} {spec.unit}" if spec.unit else f"{step.scores[spec.name]:.2f}")
            for spec in SCORES
            if spec.name in step.scores
        ],
    }


def _drawn(episode: Episode, step: EpisodeKeyStep, place: int) -> NDArray[np.uint8]:
    """A frame with its region of motion tinted and its hands on top."""
    frame = episode.frames[step.start + place]
    mask = step.region_of_motion.per_frame[place][..., None]
    tinted = np.where(mask, frame * 0.65 + np.array(_REGION_COLOUR) * 0.35, frame).astype(np.uint8)
    return draw_hands(tinted, step.hands.keypoints[place])


def _picture(image: NDArray[np.uint8]) -> str:
    """As a ``data:`` address."""
    import cv2

    height, width = image.shape[:2]
    scale = 2 * _SIDE / max(height, width)  # twice, for fine screens
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    _, blob = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(blob.tobytes()).decode()
