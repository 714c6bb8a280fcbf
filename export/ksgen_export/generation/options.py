"""What a generation job is told beside its items."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ksgen_agent.server.config import LOCAL_AGENT
from ksgen_export.formats import FORMATS
from ksgen_export.generation.items import Item
from ksgen_models.errors import InvalidInput
from ksgen_models.scores import SCORE_NAMES

TRUST = "trust"
"""The score that `ksgen_models.scores.trust` makes of the others."""
EPISODES = ("imagined", "demonstration", "retargeted", "true", "policy")
ROLLOUTS = ("retargeted", "true", "policy")
SCORED = ("imagined", "retargeted")
SUBGOALS = ("none", "imagined", "true")
_POLICY_CAMERA = 256


@dataclass(frozen=True)
class GenerationOptions:
    """How items become episodes, and which are kept.

    Attributes:
        format: of the data set, one of `ksgen_export.formats.FORMATS`.
        episodes: ``imagined``: what an imaginer imagines; ``demonstration``: what the simulated person does;
            ``retargeted``: what the robot makes of imagined key steps, one after the other; ``true``: what the
            scripted expert does with the robot; ``policy``: what a trained policy does with it.
        imaginer: ``"module:function"`` that makes the imaginer in each worker, as for the server.
        imaginer_options: keyword arguments for it, plain data.
        least_scores: of each key step, by the name of a score of `ksgen_models.scores.SCORES` or ``trust``; an
            episode with a key step below is rejected.
        keep_failures: keep a robot's rollout although the task was not done.
        allow_out_of_domain: imagine from frames of a kind that the models do not know.
        candidates: of each key step: clips of ``imagined`` episodes, of which the one to be trusted most is kept, or
            imaginations for ``retargeted`` ones, which are done as they agree.
        least_trust: in [0, 1]; a key step whose best candidate is trusted less ends its item at once, which costs less
            than ``least_scores``, and rejects it.
        policy: folder of the policy (`ksgen-agent learn`).
        subgoals: what the policy is given: none, imagined or true ones.
        image_size: width and height of the Workbench's pictures, pixels.
        photo_size: (width, height) that photos are brought to, cropped to the shape around their middle; None leaves
            them as they are, and all must then have one size.

    Raises:
        InvalidInput: they cannot be used, or not together.
    """

    format: str = "lerobot"
    episodes: str = "imagined"
    imaginer: str = LOCAL_AGENT
    imaginer_options: Mapping[str, Any] = field(default_factory=lambda: {"preset": "mini"})
    least_scores: Mapping[str, float] = field(default_factory=dict)
    keep_failures: bool = False
    allow_out_of_domain: bool = False
    candidates: int = 1
    least_trust: float = 0.0
    policy: str = ""
    subgoals: str = "none"
    image_size: int = 256
    photo_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _one_of("format", self.format, FORMATS)
        _one_of("episodes", self.episodes, EPISODES)
        _one_of("subgoals", self.subgoals, SUBGOALS)
        for name in self.least_scores:
            _one_of("least_scores", name, (*SCORE_NAMES, TRUST))
        for problem in self._problems():
            raise InvalidInput(problem)

    @property
    def imagines(self) -> bool:
        """Whether workers need the imaginer."""
        return self.episodes in SCORED or (self.episodes == "policy" and self.subgoals == "imagined")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as JSON gives it back."""
        told = asdict(self)
        return {**told, "photo_size": list(self.photo_size) if self.photo_size else None}

    def check_items(self, items: tuple[Item, ...]) -> None:
        """Check that these items can be made so.

        Raises:
            InvalidInput: they cannot.
        """
        if not items:
            raise InvalidInput("there is nothing to generate; give tasks, scenes and seeds, or photos and tasks")
        if any(item.photo for item in items) and self.episodes != "imagined":
            raise InvalidInput(f"photos can only be imagined from; {self.episodes!r} episodes need scenes")
        if any(item.photo == "" for item in items) and self.photo_size:
            raise InvalidInput("photo_size is for photos; scenes have image_size")
        alike = self.episodes == "true" or (self.episodes == "policy" and self.subgoals == "none")
        if alike and len({item.seed for item in items}) > 1:
            raise InvalidInput(
                f"{self.episodes!r} episodes of one scene are all the same, whatever the seed; give one seed and more "
                "scenes"
            )

    def _problems(self):
        if self.least_scores and self.episodes not in SCORED:
            yield f"{self.episodes!r} episodes have no scores; least scores are for {' and '.join(SCORED)}"
        if (self.episodes == "policy") != bool(self.policy):
            yield "a policy's folder and the episodes 'policy' go together; give both or neither"
        if self.subgoals != "none" and self.episodes != "policy":
            yield f"subgoals are given to policies; {self.episodes!r} episodes take none"
        if self.keep_failures and self.episodes not in ROLLOUTS:
            yield f"only a robot can fail; keep_failures is for {', '.join(ROLLOUTS)}"
        if not 1 <= self.candidates <= 64:
            yield f"candidates is {self.candidates}; give 1 to 64"
        if not 0 <= self.least_trust <= 1:
            yield f"least_trust is {self.least_trust}; give 0 to 1"
        if (self.candidates > 1 or self.least_trust) and self.episodes not in SCORED:
            yield f"candidates and least_trust are for {' and '.join(SCORED)} episodes, not for {self.episodes!r}"
        if not 64 <= self.image_size <= 1280:
            yield f"image_size is {self.image_size}; give 64 to 1280 pixels"
        if self.episodes == "policy" and self.image_size != _POLICY_CAMERA:
            yield f"policies see pictures of {_POLICY_CAMERA} pixels; leave image_size as it is"
        if self.photo_size and not all(32 <= side <= 1280 for side in self.photo_size):
            yield f"photo_size is {self.photo_size}; give 32 to 1280 pixels a side"


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidInput(f"{name}: there is no {value!r}, there are {', '.join(known)}{hint}")
