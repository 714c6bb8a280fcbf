"""When is a key step done? From the environment's own truth, from pictures, or from pictures and sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_envs.subgoals.layout import resize
from ksgen_models.errors import InvalidInput
from ksgen_models.progress import StepVerdict
from ksgen_models.types import KeyStep


@dataclass(frozen=True, eq=False)
class StepView:
    """What a verifier is shown after an environment step.

    Attributes:
        plan: the imagination that is followed.
        index: how many of its key steps are taken as done, 0 to their number.
        frame: (H, W, 3) uint8, the present picture; None where the verifier needs none.
        info: the environment's info of this step.
        start_info: the info from when the plan's frame was taken.
    """

    plan: Imagination
    index: int
    frame: NDArray[np.uint8] | None
    info: Mapping[str, Any]
    start_info: Mapping[str, Any]


class StepVerifier(Protocol):
    """Says how many key steps are done. Keeps no state, so that many environments may share one."""

    @property
    def needs_frame(self) -> bool:
        """`StepView.frame` is needed, so a picture is taken at every check."""
        ...

    @property
    def confirmations(self) -> int:
        """So many checks running must agree before they are believed."""
        ...

    def steps_done(self, view: StepView) -> int | None:
        """Key steps of the plan that are done now; fewer than before: work was undone; None: cannot be told."""
        ...


@dataclass(frozen=True)
class InfoVerifier:
    """Believes the environment.

    Attributes:
        key: entry of ``info``, or a function that takes ``info`` and returns such a value. The value is the number of
            key steps done since reset, or a sequence of flags, one a key step, of which the leading true ones count.
            After re-imagining in the middle of an episode, only what was done since then counts.
        counts: ``"steps"`` as described; ``"task"``: the value says whether the whole task is done (as ``is_success``
            does), and key steps in between are not told apart.
    """

    key: str | Callable[[Mapping[str, Any]], Any] = "steps_done"
    counts: Literal["steps", "task"] = "steps"

    needs_frame = False
    confirmations = 1

    def steps_done(self, view: StepView) -> int | None:
        """As in `StepVerifier`.

        Raises:
            InvalidInput: ``info`` of a step lacks the key.
        """
        value = self._value(view.info)
        if self.counts == "task":
            return len(view.plan.steps) if bool(value) else None
        start = 0 if isinstance(self.key, str) and self.key not in view.start_info else self._value(view.start_info)
        return _count(value) - _count(start)

    def _value(self, info: Mapping[str, Any]) -> Any:
        if not isinstance(self.key, str):
            return self.key(info)
        if self.key not in info:
            raise InvalidInput(f"info has no entry {self.key!r}; its entries are {sorted(map(str, info))}")
        return info[self.key]


def _count(value: Any) -> int:
    flags = np.asarray(value)
    return int(flags) if flags.ndim == 0 else int(np.cumprod(flags.astype(bool)).sum())


@dataclass(frozen=True)
class SentenceVerifier:
    """Asks a learned verifier whether the present picture shows the key steps' sentences as done.

    The imagined pictures are not looked at. All sentences of the procedure are asked together, those too that were
    done when the plan was made. A key step is done when that is as likely as ``done``; key steps that were taken as
    done are undone where it is as unlikely as ``undone``, the earliest of them first.

    Attributes:
        verify: from a frame (H, W, 3) and sentences to verdicts, such as `ksgen_agent.Agent.verify`.
        done, undone: thresholds of the probability that a step is done, in [0, 1].
        confirmations: checks running that must agree.
    """

    verify: Callable[[NDArray[np.uint8], Sequence[str]], Sequence[StepVerdict]]
    done: float = 0.8
    undone: float = 0.2
    confirmations: int = 3

    needs_frame = True

    def __post_init__(self) -> None:
        if not 0 <= self.undone < self.done <= 1 or self.confirmations < 1:
            raise InvalidInput(f"{self}: need 0 <= undone < done <= 1 and confirmations >= 1")

    def steps_done(self, view: StepView) -> int | None:
        """As in `StepVerifier`; several key steps at once where several are done, -1 where work before the plan is."""
        if view.frame is None:
            return None
        before = view.plan.plan.done
        verdicts = self.verify(view.frame, (*before, *(step.description for step in view.plan.steps)))
        likely = [verdict.done for verdict in verdicts]
        if min(likely[: len(before)], default=1.0) <= self.undone:
            return -1
        likely = likely[len(before) :]
        for index, probability in enumerate(likely[: view.index]):
            if probability <= self.undone:
                return index
        count = view.index
        while count < len(likely) and likely[count] >= self.done:
            count += 1
        return count


@dataclass(frozen=True)
class PictureVerifier:
    """Compares the present picture with the key step's pictures before and after, where things were to change.

    See `picture_progress` for the measure. A key step is done at ``done`` or more. The key step before it is undone
    when its own measure, taken where the present key step changes nothing, falls to ``undone`` or less.

    Attributes:
        done, undone: thresholds of progress, in [0, 1].
        visible: share of the pixels in question that must show either picture; below it nothing is concluded.
        confirmations: checks running that must agree.
    """

    done: float = 0.75
    undone: float = 0.25
    visible: float = 0.6
    confirmations: int = 3

    needs_frame = True

    def __post_init__(self) -> None:
        if not 0 <= self.undone < self.done <= 1 or not 0 <= self.visible <= 1 or self.confirmations < 1:
            raise InvalidInput(f"{self}: need 0 <= undone < done <= 1, visible in [0, 1] and confirmations >= 1")

    def steps_done(self, view: StepView) -> int | None:
        """As in `StepVerifier`; one key step forward or back at a time."""
        if view.frame is None:
            return None
        steps, index = view.plan.steps, view.index
        present = steps[index] if index < len(steps) else None
        if present is not None and self._measure(view, present, None, default=0.0) >= self.done:
            return index + 1
        if index > 0 and self._measure(view, steps[index - 1], present, default=1.0) <= self.undone:
            return index - 1
        return index

    def _measure(self, view: StepView, step: KeyStep, following: KeyStep | None, default: float) -> float:
        assert view.frame is not None
        progress, visible = picture_progress(view.frame, step, reference=view.plan.frame, following=following)
        return progress if visible >= self.visible else default


_SIDE = 128  # pixels; pictures are compared at this size, so a shift of the camera's pixels matters less
_CONTRAST = 28  # levels; where before and after differ by less, the picture cannot tell
_LIKE = 0.6  # a pixel shows a picture when it is no farther from it than this share of the contrast
_LEAST = 6  # pixels at that size; fewer cannot tell


def picture_progress(
    frame: NDArray[np.uint8], step: KeyStep, *, reference: NDArray[np.uint8], following: KeyStep | None = None
) -> tuple[float, float]:
    """How much of what a key step was to change has changed.

    Looked at are the pixels inside the predicted region of change where the key step's pictures before (``image``) and
    after (``goal``) clearly differ. Each shows the one, the other, or neither (something stands in front, or it looks
    like nothing imagined); the last kind is left out, so a robot arm in the picture counts for nothing rather than as
    change. A change of the light is taken out with the median difference to ``reference`` outside the region.

    Args:
        frame: (H, W, 3) uint8, the present picture.
        step: the key step.
        reference: (H, W, 3) uint8, the real picture that the plan was imagined from.
        following: leave out pixels in this key step's region of change, too.

    Returns:
        ``progress`` in [0, 1], share (weighted by contrast) of the pixels showing either picture that show the one
        after; ``visible`` in [0, 1], share of all pixels in question that show either; (0, 0) where too few pixels
        are in question.
    """
    height, width = step.image.shape[:2]
    scale = min(_SIDE / max(height, width), 1.0)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    before, after, now, first = (
        resize(picture, *size).astype(np.float32) for picture in (step.image, step.goal, frame, reference)
    )
    region = _region(step, size)
    now = now - _light(now - first, region)
    contrast = np.abs(after - before).max(axis=-1)  # (h, w)
    asked = region & (contrast > _CONTRAST)
    if following is not None:
        asked &= ~_region(following, size)
    if np.count_nonzero(asked) < _LEAST:
        return 0.0, 0.0
    weight = contrast[asked]
    to_before, to_after = (np.abs(now - side).max(axis=-1)[asked] for side in (before, after))
    shows_after = (to_after < to_before) & (to_after <= _LIKE * weight)
    shows_before = (to_before <= to_after) & (to_before <= _LIKE * weight)
    done, undone = float(weight[shows_after].sum()), float(weight[shows_before].sum())
    if done + undone == 0:
        return 0.0, 0.0
    return done / (done + undone), (done + undone) / float(weight.sum())


def _region(step: KeyStep, size: tuple[int, int]) -> NDArray[np.bool_]:
    change = step.region_of_motion.change
    if not (change >= 0.5).any():  # nothing was predicted: look everywhere
        return np.ones(size, bool)
    return resize((np.clip(change, 0, 1) * 255).astype(np.uint8), *size) >= 128


def _light(difference: NDArray[np.float32], region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3,) median difference of each channel outside the region; 0 where the region leaves hardly anything."""
    outside = difference[~region]  # (P, 3)
    return np.median(outside, axis=0) if len(outside) >= 0.1 * region.size else np.zeros(3, np.float32)
