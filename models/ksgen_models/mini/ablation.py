"""The mini models with a part of them silenced, to see what it is good for."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from ksgen_models.mini.networks import Networks
from ksgen_models.mini.skill_transformer import Skills, SkillTransformer

_NOWHERE = -20.0  # logit


class SilentSkills(nn.Module):
    """A Skill Transformer that says nothing: its tokens are zero, and it points nowhere.

    Args:
        spoken: whose shapes it takes.
    """

    def __init__(self, spoken: SkillTransformer) -> None:
        super().__init__()
        self.spoken = spoken

    def forward(self, frame: Tensor, fine: Tensor, text: Tensor, text_mask: Tensor) -> Skills:
        """As `SkillTransformer`."""
        said = self.spoken(frame, fine, text, text_mask)
        nowhere = torch.full_like(said.change, _NOWHERE)
        return Skills(torch.zeros_like(said.tokens), nowhere, nowhere)


def without_skills(networks: Networks) -> Networks:
    """The same networks, whose KIG has only the sentences' own tokens and the frame to go by."""
    key_step = deepcopy(networks.key_step)
    key_step._modules["skill"] = SilentSkills(key_step.skill)  # as the attribute is declared, it takes no stand-in
    return replace(networks, key_step=key_step)
