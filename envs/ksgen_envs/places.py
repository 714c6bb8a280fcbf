"""Where things are in a picture that was drawn, against where they truly are.

The simulator renders the true state and says which of its pixels show a thing. That patch is looked for in the drawn
picture near its true place; how far it has to be shifted, times the depth over the camera's focal length, is how many
metres the drawn thing is off, across the line of sight. On true pictures with the thing moved by a known way this is
right to a millimetre or two (``python -m ksgen_envs.places``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goals import StepGoal
from ksgen_envs.offscreen import Pictures
from ksgen_envs.workbench import Workbench, set_goal

REACH = 0.06
"""Metres around its true place within which a thing is looked for."""
LANDED = 0.02
"""Metres; a thing that is no farther off is where it belongs."""
_LEAST_PIXELS = 24  # of a thing that can be found
_UNLIKE = 45.0  # levels, root mean square; a patch that fits worse is something else
_AWAY = 5.0  # metres, out of the picture
_CONTRAST = 0.6  # of what the picture without the thing differs by: a red ball in a red bin must be more than the bin


@dataclass(frozen=True)
class Place:
    """A thing in a true picture.

    Attributes:
        patch: (h, w, 3) float32, the part of the picture that holds it.
        mask: (h, w) float32, 1 where a pixel shows it.
        corner: (row, column) of the patch in the picture.
        scale: metres a pixel, at the thing's depth.
        unlike: levels, root mean square; a patch that fits worse is something else.
    """

    patch: NDArray[np.float32]
    mask: NDArray[np.float32]
    corner: tuple[int, int]
    scale: float
    unlike: float = _UNLIKE

    def found(self, picture: NDArray[np.uint8]) -> float:
        """How many metres the thing in ``picture`` (H, W, 3) is off its true place; NaN where it is not found.

        The best place is the one with the least mean square difference.
        """
        import cv2

        reach = int(np.ceil(REACH / self.scale))
        row, column = self.corner
        height, width = self.mask.shape
        padded = cv2.copyMakeBorder(picture, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
        window = padded[row : row + height + 2 * reach, column : column + width + 2 * reach].astype(np.float32)
        weight = np.repeat(self.mask[..., None], 3, axis=2)
        error = cv2.matchTemplate(window, self.patch, cv2.TM_SQDIFF, mask=weight)
        error = np.sqrt(np.maximum(error, 0) / np.square(weight).sum())  # (2 reach + 1, 2 reach + 1), levels
        steps = np.arange(-reach, reach + 1) * self.scale
        away = np.hypot(steps[:, None], steps[None])
        error = np.where(away <= REACH, error, np.inf)
        # Of places that fit as well as the best, the nearest to the true one: a smooth thing has no single best pixel.
        best = float(error.min())
        return float(away[error <= best + 1.0].min()) if best <= self.unlike else float("nan")

    def misfit(self, picture: NDArray[np.uint8]) -> float:
        """Root mean square difference of the patch to a picture (H, W, 3) at the thing's true place, in levels."""
        (row, column), (height, width) = self.corner, self.mask.shape
        there = picture[row : row + height, column : column + width]
        error = np.square(there - self.patch) * self.mask[..., None] ** 2
        return float(np.sqrt(error.sum() / (3 * np.square(self.mask).sum())))


@dataclass(frozen=True)
class State:
    """The scene after some of an instruction's steps.

    Attributes:
        picture: (H, W, 3) uint8, without hands.
        places: name of each thing that the instruction moves → where it is; things that hardly show are left out.
    """

    picture: NDArray[np.uint8]
    places: dict[str, Place]


def true_states(env_id: str, seed: int, steps: Sequence[StepGoal] | None = None) -> list[State]:
    """The scene before the first step of an instruction (by default the scene's own), and after each of its steps."""
    with _Scene(env_id, seed).opened() as scene:
        chosen = scene.bench.instruction.steps if steps is None else steps
        return [scene.state(chosen), *(scene.after(step, chosen) for step in chosen)]


class _Scene:
    """A scene under its camera."""

    def __init__(self, env_id: str, seed: int) -> None:
        self.bench = Workbench(env_id, seed)
        self.model, self.data = self.bench.start()
        self.camera = self.bench.camera(self.model, self.data)

    @contextmanager
    def opened(self) -> Iterator[_Scene]:
        self.pictures = Pictures(self.model, self.bench.camera_name, self.bench.image_size)
        try:
            yield self
        finally:
            self.pictures.close()

    def after(self, step: StepGoal, steps: Sequence[StepGoal]) -> State:
        set_goal(self.model, self.data, step)
        return self.state(steps)

    def state(self, steps: Sequence[StepGoal]) -> State:
        self.bench.apply_effects(self.model, self.data)
        picture, shown = self.pictures.take(self.data), self.pictures.geoms(self.data)
        found = {step.target: self.place(picture, shown, step) for step in steps}
        return State(picture, {name: place for name, place in found.items() if place is not None})

    def place(self, picture: NDArray[np.uint8], shown: NDArray[np.int32], step: StepGoal) -> Place | None:
        body = step.body
        ids = np.flatnonzero(self.model.geom_bodyid == self.model.body(body).id)
        mask = np.isin(shown, ids)
        if np.count_nonzero(mask) < _LEAST_PIXELS:
            return None
        depth = float(self.camera.project(self.data.body(body).xpos)[2])
        place = cut_out(picture, mask, depth / float(self.camera.intrinsics[0, 0]))
        if step.verb != "place":  # it cannot be taken away
            return place
        return replace(place, unlike=min(_UNLIKE, _CONTRAST * place.misfit(self.without(step))))

    def without(self, step: StepGoal) -> NDArray[np.uint8]:
        """The picture without a thing that can be taken away."""
        start = self.data.qpos.copy()
        self.data.joint(step.joint).qpos[0] += _AWAY
        mujoco.mj_forward(self.model, self.data)
        picture = self.pictures.take(self.data)
        self.data.qpos[:] = start
        mujoco.mj_forward(self.model, self.data)
        return picture


def cut_out(picture: NDArray[np.uint8], mask: NDArray[np.bool_], scale: float) -> Place:
    """A thing's patch with a rim of two pixels, which counts half: so it is not found within something like it."""
    from ksgen_models.rom import dilate_mask

    rim = dilate_mask(mask, 2)
    rows, columns = np.flatnonzero(rim.any(1)), np.flatnonzero(rim.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    weight = np.where(mask, 1.0, np.where(rim, 0.5, 0.0)).astype(np.float32)
    return Place(picture[window].astype(np.float32), weight[window], (int(rows[0]), int(columns[0])), scale)


def check(env_ids: Sequence[str], seeds: range) -> Iterator[dict[str, Any]]:
    """Move things by known ways in true pictures and measure: what the measure itself is worth."""
    for env_id in env_ids:
        for seed in seeds:
            with _Scene(env_id, seed).opened() as scene:
                steps = scene.bench.instruction.steps
                rng = np.random.default_rng(seed)
                before = scene.state(steps)
                for step in steps:
                    after = scene.after(step, steps)
                    place = after.places.get(step.target)
                    if place is None:
                        continue
                    yield {"kind": "as it is", "true": 0.0, "found": place.found(after.picture)}
                    yield {"kind": "before the step", "true": np.nan, "found": place.found(before.picture)}
                    if step.verb == "place":
                        yield from _shifted(scene, step, steps, place, rng)
                    before = after


def _shifted(
    scene: _Scene, step: StepGoal, steps: Sequence[StepGoal], place: Place, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    start = scene.data.qpos.copy()
    for distance in (0.01, 0.018, 0.022, 0.03):
        angle = rng.uniform(0, 2 * np.pi)
        right, down = scene.camera.world_to_camera[:2, :3]  # across the line of sight
        scene.data.joint(step.joint).qpos[:3] += distance * (np.cos(angle) * right + np.sin(angle) * down)
        mujoco.mj_forward(scene.model, scene.data)
        yield {"kind": "shifted", "true": distance, "found": place.found(scene.state(steps).picture)}
        scene.data.qpos[:] = start
        mujoco.mj_forward(scene.model, scene.data)


def main() -> None:
    """``python -m ksgen_envs.places``: print how far the measure errs on true pictures."""
    from ksgen_envs.tasks import TASKS

    rows = list(check(TASKS, range(1_000_900, 1_000_905)))
    still = np.array([row["found"] for row in rows if row["kind"] == "as it is"])
    before = np.array([row["found"] for row in rows if row["kind"] == "before the step"])
    print(f"as it is: {np.mean(still <= LANDED):.3f} of {len(still)} found in place")
    print(f"before the step: {np.mean(before <= LANDED):.3f} of {len(before)} found in place")
    for distance in sorted({row["true"] for row in rows if row["kind"] == "shifted"}):
        found = np.array([row["found"] for row in rows if row["kind"] == "shifted" and row["true"] == distance])
        errors = np.abs(found - distance)
        print(
            f"moved by {100 * distance:.1f} cm: median error {100 * np.nanmedian(errors):.2f} cm, 90 % within "
            f"{100 * np.nanpercentile(errors, 90):.2f} cm, not found {np.mean(np.isnan(found)):.3f}, "
            f"counted as in place {np.mean(found <= LANDED):.3f}, n = {len(found)}"
        )


if __name__ == "__main__":
    main()
