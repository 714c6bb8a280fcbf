"""A preset small enough to reason about: a red block that a skin-coloured hand pushes to the right.

Every part does its job from its inputs alone: the generator finds the block in the picture, the tracker finds the hand
by its colour. Nothing is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ksgen_models.errors import UnknownTask
from ksgen_models.interfaces import Parts, RegionPrediction, never_cancelled
from ksgen_models.progress import StepVerdict
from ksgen_models.types import Evidence, HandTrack, Plan

TABLE, BLOCK, SKIN = (90, 110, 100), (200, 30, 30), (224, 172, 140)
FRAMES, FPS, SOLVER_STEPS, PUSH = 8, 8.0, 4, 14
FIRST = 16

# 21 landmarks in MediaPipe's order, in [0, 1]² of the hand's box: wrist at the bottom, five fingers upwards.
TEMPLATE = np.array(
    [[0.5, 1.0], *[[0.05 + 0.22 * finger, 0.75 - 0.25 * joint] for finger in range(5) for joint in range(4)]]
)


def make_frame(height=96, width=128, *, row=60, column=20):
    frame = np.full((height, width, 3), TABLE, np.uint8)
    frame[row : row + 12, column : column + 12] = BLOCK
    return frame


def find_colour(image, colour):
    rows, columns = np.nonzero((image == colour).all(axis=-1))
    return (rows, columns) if len(rows) else None


def move_block(image, distance):
    rows, columns = find_colour(image, BLOCK)
    moved = image.copy()
    moved[rows, columns] = TABLE
    moved[rows, np.clip(columns + distance, 0, image.shape[1] - 1)] = BLOCK
    return moved


def draw_hand(image, left, top, size=24):
    picture = image.copy()
    for x, y in TEMPLATE:
        column, row = round(left + x * size), round(top + y * size)
        picture[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = SKIN
    return picture


class ClausePlanner:
    """One key step for each clause of the task."""

    def plan(self, frame, task):
        if "taxes" in task:
            raise UnknownTask(task, (("push the block", 0.12),))
        steps = tuple(clause.strip() for clause in task.split(" then "))
        return Plan(task, steps, 0.9, "clauses", (Evidence("push the block", steps, 0.83, "blobs"),))


@dataclass
class PushImageGenerator:
    def draw(self, frame, steps, *, seed, check_cancelled=never_cancelled):
        images = [frame]
        for index, _ in enumerate(steps):
            check_cancelled()
            images.append(move_block(images[-1], PUSH + int(np.random.default_rng((seed, index)).integers(0, 4))))
        return np.stack(images)


class BoxRegions:
    """The box that block and hand sweep."""

    def predict(self, request, *, check_cancelled=never_cancelled):
        check_cancelled()
        motion = np.zeros(request.image.shape[:2], np.float32)
        change = motion.copy()
        rows, columns = find_colour(request.image, BLOCK)
        _, goals = find_colour(request.goal, BLOCK)
        motion[max(rows.min() - 28, 0) : rows.min(), max(columns.min() - 8, 0) : goals.max() + 20] = 1
        change[max(rows.min() - 32, 0) : rows.max() + 4, max(columns.min() - 12, 0) : goals.max() + 24] = 1
        return RegionPrediction(motion, change)


@dataclass
class PushVideo:
    """Moves the block and draws the hand above it; ``before`` is called with the request before each clip."""

    before: object = None
    fps: float = FPS
    solver_steps: list = field(default_factory=list)

    def generate(self, request, region, *, check_cancelled=never_cancelled):
        if self.before is not None:
            self.before(request)
        for solver_step in range(SOLVER_STEPS):
            check_cancelled()
            self.solver_steps.append((request.index, solver_step))
        rows, columns = find_colour(request.image, BLOCK)
        _, goals = find_colour(request.goal, BLOCK)
        frames = [request.image]
        for time in range(1, FRAMES):
            distance = round((goals.min() - columns.min()) * time / (FRAMES - 1))
            frames.append(draw_hand(move_block(request.image, distance), columns.min() + distance - 6, rows.min() - 26))
        return np.stack(frames)


@dataclass
class ColourTracker:
    """Finds the hand by its skin; ``before`` is called before each clip."""

    before: object = None
    closed: int = 0

    def track(self, clip, fps):
        if self.before is not None:
            self.before()
        length, height, width = clip.shape[:3]
        keypoints = np.full((length, 2, 21, 3), np.nan, np.float32)
        for time, frame in enumerate(clip):
            if (found := find_colour(frame, SKIN)) is not None:
                low = np.array([found[1].min(), found[0].min()])
                high = np.array([found[1].max(), found[0].max()])
                keypoints[time, 1, :, :2] = (low + TEMPLATE * (high - low)) / (width, height)
                keypoints[time, 1, :, 2] = 0
        valid = np.isfinite(keypoints).all(axis=(2, 3))
        return HandTrack(keypoints, keypoints * 0.2, valid.astype(np.float32), valid, np.zeros_like(valid))

    def close(self):
        self.closed += 1


@dataclass
class TableCheck:
    """Knows pictures that are mostly the colour of the table."""

    threshold: float = 0.5

    def score(self, frame):
        return float((frame == TABLE).all(axis=-1).mean())


class LetterEncoder:
    """Counts letters, three by three, in 384 bins."""

    dimension = 384

    def embed(self, sentences):
        counts = np.zeros((len(sentences), self.dimension), np.float32)
        for row, sentence in enumerate(sentences):
            for start in range(max(len(sentence) - 2, 1)):
                counts[row, sum(map(ord, sentence[start : start + 3])) % self.dimension] += 1
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


class Ruler:
    """A step is done for every ten pixels that the block is right of its start."""

    def verify(self, frame, steps):
        column = find_colour(frame, BLOCK)[1].min()
        pushes = (column - FIRST) // 10
        return tuple(StepVerdict.of(step, 0.98 if index < pushes else 0.2, 1.0) for index, step in enumerate(steps))


def make_parts(*, video=None, tracker=None, images=None, regions=None, batch=1, doubt=0.0):
    return Parts(
        planner=ClausePlanner(),
        image_generator=images or PushImageGenerator(),
        region_model=regions or BoxRegions(),
        video_generator=video or PushVideo(),
        tracker=tracker or ColourTracker(),
        sentence_encoder=LetterEncoder(),
        domain_check=TableCheck(),
        provenance={"models": {"blobs/push": "0" * 64}},
        batch=batch,
        doubt=doubt,
    )


TASK = "push the block then push it again then push it to the edge"
