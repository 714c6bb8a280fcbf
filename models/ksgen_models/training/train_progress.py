"""Training of the progress network: which steps a picture shows as done, and what else is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.demonstration import decode_picture
from ksgen_models.mini.cells import CELL
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.progress import ProgressNetwork
from ksgen_models.training.fit import Losses
from ksgen_models.training.progress_data import Work, Works
from ksgen_models.training.train_key_step import region_loss

SENTENCES = 8
"""Sentences about a picture: those of the plan, then single ones about things there and not there."""
POINTING = 0.3
UNKNOWN = -1.0
_STACK, _DRAWER = "KSGen/StackBlocks-v0", "KSGen/StoreInDrawer-v0"
_ORDERED = (_DRAWER,)
"""Scenes in which a step is told from the others of its plan, so that none may be left out."""


@dataclass(frozen=True)
class ProgressBatch:
    """Attributes: picture (B, 3, h, w); tokens (B, S, L, D), mask (B, S, L), together (B, S, S); truth (B, S, 3) in
    {0, 1}, or `UNKNOWN`, in the order of `ksgen_models.mini.progress.ANSWERS`; where (B, S, h / 16, w / 16) in [0, 1],
    the share of each cell that the step changes, all `UNKNOWN` for sentences that are no step of the plan.
    """

    picture: Tensor
    tokens: Tensor
    mask: Tensor
    together: Tensor
    truth: Tensor
    where: Tensor


@dataclass(frozen=True)
class Asked:
    """One sentence about one picture: index of its text, what is true of it, and its place in the plan, or None."""

    text: int
    done: float = UNKNOWN
    seen: float = UNKNOWN
    smaller: float = UNKNOWN
    step: int | None = None


@dataclass(frozen=True)
class ProgressBatches:
    """Draws pictures with sentences about them.

    Attributes:
        works: the episodes.
        tokens, mask: (V, L, D) float16 and (V, L) bool, MiniLM token states of ``works.texts``.
        chosen: (N,) which episodes to draw from.
    """

    works: Works
    tokens: Tensor
    mask: Tensor
    chosen: NDArray[np.int64]

    def __call__(self, random: np.random.Generator, number: int) -> ProgressBatch:
        """``number`` pictures, `SENTENCES` sentences each."""
        pictures, asked, together, where = [], [], [], []
        for episode in random.choice(self.chosen, number):
            work = self.works.works[episode]
            k = int(random.integers(len(work.pictures)))
            plan = self._plan(work, k, random)
            others = self._others(work, k, SENTENCES - len(plan), random)
            asked.append([*plan, *others])
            group = np.arange(SENTENCES) < len(plan)
            together.append(np.eye(SENTENCES, dtype=bool) | (group[:, None] & group))
            shift = random.integers(-12, 13, 2)
            pictures.append(disturbed(np.roll(decode_picture(work.pictures[k]), shift, (0, 1)), random))
            where.append([changed_cells(work, one.step, shift) for one in asked[-1]])
        texts = torch.tensor([[one.text for one in row] for row in asked])
        truth = [[(one.done, one.seen, one.smaller) for one in row] for row in asked]
        return ProgressBatch(
            picture=picture_tensor(torch.from_numpy(np.stack(pictures))),
            tokens=self.tokens[texts].float(),
            mask=self.mask[texts],
            together=torch.from_numpy(np.stack(together)),
            truth=torch.tensor(truth),
            where=torch.from_numpy(np.array(where, np.float32)),
        )

    def _plan(self, work: Work, k: int, random: np.random.Generator) -> list[Asked]:
        """The plan's sentences in any order, some left out where the others can be told without them."""
        steps = random.permutation(len(work.texts))
        if work.scene not in _ORDERED and random.random() < 0.3:
            steps = steps[: random.integers(1, len(steps) + 1)]
        return [
            Asked(work.texts[j], float(j < k), 1.0, self._smaller(work, work.texts[j]), int(j)) for j in steps.tolist()
        ]

    def _others(self, work: Work, k: int, number: int, random: np.random.Generator) -> list[Asked]:
        made: list[Asked] = []
        while len(made) < number:
            kind = random.random()
            if kind < 0.3:
                made.append(self._name(work, random))
            elif kind < 0.4:
                other = self.works.works[int(random.choice(self.chosen))]
                if other.scene != work.scene:
                    made.append(Asked(int(random.choice(other.texts)), done=0.0, seen=0.0))
            elif (one := self._about_things(work, k, random)) is not None:
                made.append(one)
        return made

    def _about_things(self, work: Work, k: int, random: np.random.Generator) -> Asked | None:
        """A sentence of this kind of scene about things that may be there or not."""
        own = [self.works.things[text] for text in work.texts if self.works.things[text]]
        if not own:
            return self._name(work, random)
        names = list(own[random.integers(len(own))])
        there = sorted(name for name in work.objects if name.split()[-1] == names[0].split()[-1])
        if work.scene == _STACK:
            names = [str(name) for name in random.permutation(there)[:2]]
        elif random.random() < 0.5 and len(there) > 1:
            names[0] = str(random.choice(there))
        if random.random() < 0.5:  # exchange a colour
            place = int(random.integers(len(names)))
            colour = self.works.texts[self._any(self.works.names, random)].split()[0]
            names = [f"{colour} {name.split()[1]}" if i == place else name for i, name in enumerate(names)]
            if len(names) > 1 and names[1].split()[1] in ("bin", "hole"):  # things go where their colour is
                names = [f"{colour} {name.split()[1]}" for name in names]
        texts = self.works.said.get((work.scene, tuple(names)))
        if not texts:
            return None
        text = int(random.choice(texts))
        seen = {name for name in names if not name.endswith("hole")} <= work.objects
        steps = [j for j, own_text in enumerate(work.texts) if self.works.things[own_text] == tuple(names)]
        if not seen and work.scene == _DRAWER:
            return Asked(text, seen=0.0)  # in a closed drawer, for all that one sees
        done = float(bool(steps) and steps[0] < k)
        return Asked(text, done, float(seen), self._smaller(work, text) if seen else UNKNOWN)

    def _name(self, work: Work, random: np.random.Generator) -> Asked:
        """The name of something, in half of the cases of something that is there."""
        there = [index for index in self.works.names if self.works.texts[index] in work.objects]
        text = self._any(there if there and random.random() < 0.5 else self.works.names, random)
        return Asked(text, seen=float(self.works.texts[text] in work.objects))

    @staticmethod
    def _any(indices: Sequence[int], random: np.random.Generator) -> int:
        return int(indices[int(random.integers(len(indices)))])

    def _smaller(self, work: Work, text: int) -> float:
        things = self.works.things[text]
        if work.scene != _STACK or len(things) != 2 or not set(things) <= set(work.sizes):
            return UNKNOWN
        return float(work.sizes[things[0]] < work.sizes[things[1]])


def changed_cells(work: Work, step: int | None, shift: NDArray[np.int64]) -> NDArray[np.float32]:
    """(h / 16, w / 16) share of each cell that the step changes; all `UNKNOWN` without a step."""
    height, width = (side // CELL for side in work.changes.shape[1:])
    if step is None:
        return np.full((height, width), UNKNOWN, np.float32)
    different = np.roll(work.changes[step], shift, (0, 1))
    return different.reshape(height, CELL, width, CELL).mean((1, 3), dtype=np.float32)


def disturbed(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Other light, noise, blur, and now and then something in front: an arm that reaches in from an edge."""
    import cv2

    bright = random.uniform(0.85, 1.15, 3) if random.random() < 0.3 else random.uniform(0.9, 1.1)
    changed = picture * bright
    if random.random() < 0.25:
        changed = cv2.GaussianBlur(changed, (3, 3), float(random.uniform(0.3, 1.2)))
    changed = (changed + random.normal(0, random.uniform(0, 5), picture.shape)).clip(0, 255).astype(np.uint8)
    if random.random() < 0.15:
        height, width = picture.shape[:2]
        start = (int(random.uniform(0, width)), height if random.random() < 0.7 else 0)
        end = (int(random.uniform(0, width)), int(random.uniform(0.2, 0.9) * height))
        colour = tuple(int(value) for value in random.integers(20, 236, 3))
        changed = np.ascontiguousarray(changed)
        cv2.line(changed, start, end, colour, int(random.integers(10, 28)))
    return changed


def progress_losses(model: nn.Module, batch: ProgressBatch, noise: torch.Generator) -> Losses:
    """Cross-entropy of what is known of each sentence, and of where each step changes the picture."""
    assert isinstance(model, ProgressNetwork)
    said = model(batch.picture, batch.tokens, batch.mask, batch.together)
    parts = {}
    for place, (name, logits) in enumerate((("done", said.done), ("seen", said.seen), ("smaller", said.smaller))):
        truth = batch.truth[..., place]
        known = (truth >= 0).float()
        entropy = F.binary_cross_entropy_with_logits(logits.float(), truth.clamp(0, 1), reduction="none")
        parts[name] = (entropy * known).sum() / known.sum().clamp(min=1)
    steps = batch.where[..., 0, 0] >= 0
    parts["where"] = region_loss(said.where[steps][None], batch.where[steps])
    loss = parts["done"] + 0.5 * parts["seen"] + 0.3 * parts["smaller"] + POINTING * parts["where"]
    return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}
