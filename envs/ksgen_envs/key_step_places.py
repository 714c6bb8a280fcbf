"""Where things are in each key-step image, against where they are when the true steps are done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksgen_envs.places import LANDED, true_states
from ksgen_envs.workbench import Workbench

if TYPE_CHECKING:
    from ksgen_models.interfaces import KeyStepImageGenerator


@dataclass(frozen=True)
class DrawnPlace:
    """One thing in one key-step image.

    Attributes:
        generator: who drew it.
        env_id, seed: the scene.
        step: k ≥ 1, the image after k steps from the frame on.
        thing: its name.
        moved: it is what the k-th step moves.
        off: metres off its true place; NaN where it is not found.
    """

    generator: str
    env_id: str
    seed: int
    step: int
    thing: str
    moved: bool
    off: float

    @property
    def in_place(self) -> bool:
        """Within 2 cm of its true place."""
        return self.off <= LANDED


def evaluate_key_steps(
    generators: Mapping[str, KeyStepImageGenerator], tasks: Sequence[str], seeds: range, *, begun: int = 0
) -> Iterator[DrawnPlace]:
    """Have key-step images drawn from each scene's frame and true sentences; look for what the instruction moves.

    Args:
        generators: by name.
        tasks, seeds: the scenes.
        begun: steps that the frame shows as done already; scenes that have no more of them are left out.
    """
    for seed in seeds:
        for env_id in tasks:
            steps = Workbench(env_id, seed).instruction.steps[begun:]
            if not steps:
                continue
            states = true_states(env_id, seed)[begun:]
            for name, generator in generators.items():
                images = generator.draw(states[0].picture, tuple(step.description for step in steps), seed=seed)
                for k, (state, step) in enumerate(zip(states[1:], steps, strict=True), start=1):
                    for thing, place in state.places.items():
                        off = place.found(images[k])
                        yield DrawnPlace(name, env_id, seed, k, thing, thing == step.target, off)
