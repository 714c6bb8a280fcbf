"""Demonstrations and imaginations of scenes, kept on disk so that they can be measured again and in other ways."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksgen_envs.tasks import task_slug
from ksgen_models.demonstration import Demonstration, load_demonstration, save_demonstration

if TYPE_CHECKING:
    from ksgen_agent import Imaginer
    from ksgen_agent.imagination import Imagination

OTHER_MOTION = 1_000_003
"""Added to a scene's seed: motion seed of the second demonstration, by which two people are told apart."""


@dataclass(frozen=True)
class SceneStore:
    """A folder of scenes.

    Attributes:
        folder: where they are kept; a preset's imaginations have a folder of their own in it.
        preset: whose imaginations.
        candidates: clips drawn of each key step, see `ksgen_agent.Agent.imagine`.
    """

    folder: Path
    preset: str
    candidates: int = 1

    def demonstration(self, env_id: str, seed: int, *, again: bool = False) -> Demonstration:
        """How the person does the scene's instruction; ``again``: once more, with another motion."""
        from ksgen_envs.demonstrator import demonstrate

        path = self.folder / "real" / task_slug(env_id) / f"{seed}{'-again' if again else ''}.npz"
        if path.is_file():
            return load_demonstration(path)
        made = demonstrate(env_id, seed, motion_seed=seed + OTHER_MOTION if again else None)
        save_demonstration(made, path)
        return load_demonstration(path)  # as it will be read from now on: clips are kept as JPEG

    def imagination(self, imaginer: Imaginer, env_id: str, seed: int) -> Imagination:
        """What an imaginer makes of the scene's frame and task, with the scene's seed.

        Made anew where the imaginer's provenance is another by now: weights, precision, planner.

        Raises:
            KSGenError: as the imaginer raises it; nothing is kept then.
        """
        from ksgen_agent.imagination import Imagination
        from ksgen_agent.imaginer import further_options
        from ksgen_agent.storage import MANIFEST

        whose = self.preset if self.candidates == 1 else f"{self.preset}-{self.candidates}-candidates"
        path = self.folder / "generated" / whose / task_slug(env_id) / str(seed)
        if (path / MANIFEST).is_file():
            kept = Imagination.load(path)
            if imaginer.spec.provenance.items() <= kept.steps[0].provenance.items():
                return kept
        demonstration = self.demonstration(env_id, seed)
        more = further_options(imaginer, None, self.candidates)
        imagination = imaginer.imagine(demonstration.frame, demonstration.task, seed=seed, **more)
        imagination.save(path)
        return imagination
