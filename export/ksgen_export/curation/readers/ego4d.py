"""Ego4D (Grauman et al., CVPR 2022): the goal-step and the hands-and-objects annotations. Videos are ``<uid>.mp4``.

* ``goalstep_train.json``, ``goalstep_valid.json`` (Song et al., NeurIPS 2023): ``{"videos": [{"video_uid": …,
  "goal_description": …, "segments": [{"start_time": …, "end_time": …, "step_description": …, "is_relevant":
  "essential", "segments": [substeps …]}, …]}, …]}``. Read are the substeps where there are some, else the step itself;
  what is marked irrelevant is left out.
* ``fho_main.json``: ``{"videos": [{"video_uid": …, "annotated_intervals": [{"narrated_actions": [{"start_sec": …,
  "end_sec": …, "narration_text": "#C C picks the knife", "is_valid_action": true, "is_rejected": false}, …]}, …]},
  …]}``. Rejected and invalid actions are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ksgen_export.curation.readers.parsing import UNREADABLE, Entries, problem
from ksgen_export.curation.segments import Annotations, StepSegment
from ksgen_models.errors import DatasetError
from ksgen_models.library.annotation_files import read_json

_WEARER = re.compile(r"^\s*#\s*c\s+c\s+", re.IGNORECASE)
_TAG = re.compile(r"#\w*")


def read_ego4d(path: str | Path) -> Annotations:
    """Read a goal-step or a hands-and-objects file.

    Raises:
        DatasetError: the file cannot be read or is neither.
    """
    videos = read_json(path, "Ego4D").get("videos")
    if not isinstance(videos, list):
        raise DatasetError(f'{path} has no list "videos"; expected goalstep_*.json or fho_main.json of Ego4D')
    found: Entries = []
    for number, entry in enumerate(videos):
        video = entry.get("video_uid", number) if isinstance(entry, dict) else number
        try:
            read = _goal_steps if "segments" in entry else _actions
            found += read(str(video), entry)
        except UNREADABLE as exc:
            found.append(problem(video, exc))
    return Annotations.collect(found)


def _goal_steps(video: str, entry: dict[str, Any]) -> Entries:
    found: Entries = []
    task = str(entry.get("goal_description") or "").strip().lower()
    for step in _innermost(entry["segments"]):
        try:
            start, stop = float(step["start_time"]), float(step["end_time"])
            found.append(StepSegment(video, start, stop, step["step_description"].strip(), task, "ego4d"))
        except UNREADABLE as exc:
            found.append(problem(video, exc))
    return found


def _innermost(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        if step.get("is_relevant") == "irrelevant":
            continue
        inner = step.get("segments")
        yield from _innermost(inner) if inner else [step]


def _actions(video: str, entry: dict[str, Any]) -> Entries:
    found: Entries = []
    for interval in entry["annotated_intervals"]:
        for action in interval["narrated_actions"]:
            if action.get("is_rejected") or not action.get("is_valid_action", True):
                continue
            try:
                start, stop = float(action["start_sec"]), float(action["end_sec"])
                found.append(StepSegment(video, start, stop, sentence(action["narration_text"]), "", "ego4d"))
            except UNREADABLE as exc:
                found.append(problem(video, exc))
    return found


def sentence(narration: str) -> str:
    """``#C C picks the knife`` → ``picks the knife``: the wearer of the camera is who acts, and goes unnamed."""
    return " ".join(_TAG.sub(" ", _WEARER.sub("", narration)).split())
