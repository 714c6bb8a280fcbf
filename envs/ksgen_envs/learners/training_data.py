"""Episodes put together for training: all steps in memory, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ksgen_envs.learners import condition as c
from ksgen_envs.learners.demonstrations import Episode, read
from ksgen_envs.learners.inputs import InputSpec
from ksgen_models.errors import DatasetError


@dataclass(frozen=True)
class Disturbance:
    """What is done to subgoals in training, so that a policy is ready for hands that were imagined and tracked.

    Attributes:
        without: share of steps shown without any subgoal: the same network then is the policy that has none.
        handless: share of the others shown without their hand.
        place: metres, standard deviation of where the hand points. As wrong as imagined hands are: half of them point
            more than 3 cm beside what they mean.
        astray: share of hands that point `far` off, so that no policy trusts them blindly.
        far: metres, the same deviation of these.
    """

    without: float = 0.3
    handless: float = 0.1
    place: float = 0.02
    astray: float = 0.15
    far: float = 0.08


@dataclass(frozen=True, eq=False)
class TrainingData:
    """N steps of several episodes.

    Attributes:
        spec: of the inputs.
        inputs: (N, ...) by name, without the words.
        actions: (N, 5).
        ends: (N,) index after the last step of the same key step (as the policy is told) in the same episode.
        words: (W, 384) every task, name and sentence once.
        task, sentence: (N,) rows of ``words``.
        names: (N, 6) rows of ``words``.
    """

    spec: InputSpec
    inputs: dict[str, Tensor]
    actions: Tensor
    ends: Tensor
    words: Tensor
    task: Tensor
    sentence: Tensor
    names: Tensor

    def __len__(self) -> int:
        return len(self.actions)

    def batch(self, rows: Tensor, chunk: int) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs (B, ...) and the actions (B, K, 5) that follow; a key step's last one is repeated after its end.

        The last actions of a key step let go of what is held: two or three of ninety. Left out after the end they would
        be so rare in a chunk that a policy holds on for ever.
        """
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        for name in ("task", "sentence", "names"):
            inputs[name] = self.words[getattr(self, name)[rows]]
        following = rows[:, None] + torch.arange(chunk)
        last = self.ends[rows][:, None]
        return inputs, self.actions[torch.minimum(following, last - 1)]


def load(files: Sequence[Path], spec: InputSpec) -> TrainingData:
    """Read episodes.

    Raises:
        DatasetError: a file is no episode, or was collected for other inputs.
    """
    episodes = [read(path) for path in files]
    shapes = {name: shape for name, shape in spec.shapes().items() if name not in ("task", "names", "sentence")}
    for path, episode in zip(files, episodes, strict=True):
        found = {name: values.shape[1:] for name, values in episode.inputs.items()}
        if found != shapes:
            raise DatasetError(f"{path} holds {found}, the policy takes {shapes}; collect again in another folder")
    words, rows = _words(episodes)
    lengths = [len(episode.actions) for episode in episodes]
    offsets = np.cumsum([0, *lengths])
    return TrainingData(
        spec=spec,
        inputs={name: torch.from_numpy(np.concatenate([e.inputs[name] for e in episodes])) for name in shapes},
        actions=torch.from_numpy(np.concatenate([episode.actions for episode in episodes])),
        ends=torch.from_numpy(np.concatenate([at + _ends(e, spec) for at, e in zip(offsets, episodes, strict=False)])),
        words=torch.from_numpy(words),
        task=torch.from_numpy(np.repeat([row[0] for row in rows], lengths)),
        names=torch.from_numpy(np.repeat([row[1] for row in rows], lengths, axis=0)),
        sentence=torch.from_numpy(
            np.concatenate([row[2][episode.sentence] for row, episode in zip(rows, episodes, strict=True)])
        ),
    )


def disturb(inputs: dict[str, Tensor], how: Disturbance, generator: torch.Generator) -> dict[str, Tensor]:
    """A batch with the condition ``"subgoal"`` with its subgoals disturbed; another condition as it is."""
    condition = inputs["condition"]
    if condition.shape[-1] != c.CONDITION_SIZE["subgoal"]:
        return inputs
    count = len(condition)

    def normal(size: int) -> Tensor:
        return torch.randn(count, size, generator=generator)

    def chosen(share: float) -> Tensor:
        return torch.rand(count, 1, generator=generator) < share

    condition = condition.clone()
    for ray in (c.GRASP, c.RELEASE):
        spread = torch.where(chosen(how.astray), how.far, how.place)
        condition[:, ray] += (spread * normal(2)).repeat(1, 2)  # the ray moves as a whole
    # What has no hand has none now either.
    seen = (condition[:, c.HAND, None] > 0.5) & ~chosen(how.handless)
    condition[:, c.HAND : c.RELEASE.stop] *= seen
    given = ~chosen(how.without)
    return {**inputs, "condition": condition * given, "sentence": inputs["sentence"] * given}


def _words(episodes: Sequence[Episode]) -> tuple[np.ndarray, list[tuple[int, np.ndarray, np.ndarray]]]:
    # Every vector once, and for each episode the rows of its task, its names (6,) and its sentences (S,).
    table: dict[bytes, int] = {}
    vectors: list[np.ndarray] = []

    def row(vector: np.ndarray) -> int:
        key = np.ascontiguousarray(vector, np.float32).tobytes()
        if key not in table:
            table[key] = len(vectors)
            vectors.append(vector)
        return table[key]

    rows = [
        (
            row(episode.task),
            np.array([row(name) for name in episode.names], np.int64),
            np.array([row(sentence) for sentence in episode.sentences], np.int64),
        )
        for episode in episodes
    ]
    return np.stack(vectors).astype(np.float32), rows


def _ends(episode: Episode, spec: InputSpec) -> np.ndarray:
    # (N,) index after the last step of the same key step.
    condition, count = episode.inputs["condition"], len(episode.actions)
    # The verb and the thing; or the subgoal.
    told = condition[:, : c.VERB_SIZE + 6] if spec.kind == "goal" else condition
    changes = np.flatnonzero((np.diff(told, axis=0) != 0).any(axis=-1)) + 1
    borders = np.append(changes, count)
    return borders[np.searchsorted(borders, np.arange(count), side="right")].astype(np.int64)
