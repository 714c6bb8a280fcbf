"""Carries out chunks of actions."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ksgen_envs.learners.chunk_policy import ChunkPolicy
from ksgen_models.errors import InvalidInput

Manner = Literal["ensemble", "horizon"]
_STEPS = 16
_FADING = 0.05  # by how much less each newer chunk counts (ACT's m)


class ChunkActor:
    """Acts in an environment of `ksgen_envs.learners.inputs.make_env`; an `evaluation.Policy`.

    Args:
        network: predicts chunks.
        manner: ``"ensemble"`` predicts at every step and takes the mean of what all chunks say of it, the older ones
            counting more (temporal ensembling, ACT); ``"horizon"`` carries out the first ``steps`` of a chunk and then
            predicts again, which costs a fraction.
        steps: see ``manner``; None: 16, or the whole chunk where it is shorter.

    Both forget their chunks when the subgoal changes: what was predicted for one key step says nothing of the next.

    Raises:
        InvalidInput: an argument cannot be used.
    """

    def __init__(self, network: ChunkPolicy, *, manner: Manner = "ensemble", steps: int | None = None) -> None:
        if manner not in get_args(Manner):
            raise InvalidInput(f"the manner is {manner!r}; give one of {', '.join(get_args(Manner))}")
        steps = min(_STEPS, network.spec.chunk) if steps is None else steps
        if not 1 <= steps <= network.spec.chunk:
            raise InvalidInput(f"steps is {steps}; the policy's chunks have {network.spec.chunk}, give 1 to that")
        self._network = network.eval()
        self._manner, self._steps = manner, steps
        self.reset()

    def reset(self) -> None:
        """A new episode begins."""
        self._chunks: deque[NDArray[np.float32]] = deque()
        self._told: tuple[float, ...] | None = None

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The action (5,)."""
        told = _told(observation, self._network)
        if told != self._told:
            self._chunks.clear()
            self._told = told
        action = self._ensemble(observation) if self._manner == "ensemble" else self._horizon(observation)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _ensemble(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        # The chunk at place i from the right was predicted i steps ago, and says of now what is at its place i.
        self._chunks.append(predict(self._network, observation))
        if len(self._chunks) > self._network.spec.chunk:
            self._chunks.popleft()
        count = len(self._chunks)
        said = np.stack([chunk[count - 1 - place] for place, chunk in enumerate(self._chunks)])  # oldest first
        weights = np.exp(-_FADING * np.arange(count))
        return weights @ said / weights.sum()

    def _horizon(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        if not self._chunks:
            self._chunks.extend(predict(self._network, observation)[: self._steps])
        return self._chunks.popleft()


@torch.inference_mode()
def predict(network: ChunkPolicy, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """(K, 5) what the network says of one observation."""
    inputs = {name: torch.from_numpy(np.ascontiguousarray(value))[None] for name, value in observation.items()}
    return network(inputs)[0].numpy()


def _told(observation: dict[str, NDArray[Any]], network: ChunkPolicy) -> tuple[float, ...]:
    # What names the key step: the verb and the thing, or the subgoal. Goals move with what they are about.
    condition = observation["condition"]
    return tuple(condition[:11] if network.spec.inputs.kind == "goal" else condition)
