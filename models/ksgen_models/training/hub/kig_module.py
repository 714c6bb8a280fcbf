"""What `train kig` trains, as one module, and how it is kept: Skill Transformer, injection, parts of the UNet.

::

    MODEL/skill_transformer/, MODEL/skill_injection/     the adapter, as `ksgen_models.hub.kig.adapter` reads it
    MODEL/pytorch_lora_weights.safetensors               with low-rank adapters, as diffusers' pipelines load them
    MODEL/checkpoint/                                    where the UNet was trained: the whole checkpoint with that UNet
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ksgen_models.hub.kig.adapter import INJECTION, TRANSFORMER, SkillAdapter
from ksgen_models.training.hub.adapt import LORA_FILE, add_adapters, merged_state, save_adapters, save_whole


class KigModule(nn.Module):
    """UNet, Skill Transformer and injection, called together so that sharded and parallel training see one module."""

    def __init__(self, unet: Any, adapter: SkillAdapter) -> None:
        """The adapter is installed in the UNet already: the injection's weights are in both and count once."""
        super().__init__()
        self.injection = adapter.injection
        self.transformer = adapter.transformer
        self.unet = unet

    def forward(
        self, noisy: Tensor, timestep: Tensor, time_ids: Tensor, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Predict the chosen steps of B plans.

        Args:
            noisy: (B, C, h, w).
            timestep: (B,).
            time_ids: (B, 6) sizes and crop, as SDXL has them.
            batch: ``frame`` (B, C, h, w), ``plan`` (B, S, L, D), ``plan_mask`` (B, S, L), ``steps`` (B, S) bool,
                ``chosen`` (B,), ``told`` (B,) bool, ``states`` (B, L, D), ``pooled`` (B, P).

        Returns:
            The prediction (B, C, h, w), and logits (B, S, h', w') of where each step changes the picture.
        """
        skills = self.transformer(batch["frame"], batch["plan"], batch["plan_mask"], batch["steps"])
        tokens = skills.tokens[torch.arange(len(noisy), device=noisy.device), batch["chosen"]]
        tokens = tokens * batch["told"][:, None, None]  # zeros are «untold»
        conditions = {"text_embeds": batch["pooled"], "time_ids": time_ids, "image_embeds": [tokens[:, None]]}
        said = self.unet(noisy, timestep, batch["states"], added_cond_kwargs=conditions, return_dict=False)[0]
        return said, skills.change

    def adapter(self) -> SkillAdapter:
        """The trained part."""
        return SkillAdapter(self.transformer, self.injection)


def choose_trained(module: KigModule, rank: int, whole_unet: bool, seed: int, dtype: torch.dtype) -> None:
    """Say what is trained; what is frozen is kept at ``dtype``, the rest in float32."""
    if rank:
        add_adapters(module.unet, rank, seed)
    for name, weight in module.unet.named_parameters():
        trained = whole_unet or ".lora_" in name
        weight.requires_grad_(trained)
        weight.data = weight.data.to(torch.float32 if trained else dtype)
    module.injection.requires_grad_(True).float()
    module.transformer.requires_grad_(True).float()


def save_kig(
    folder: Path, source: Path, module: KigModule, rank: int, whole_unet: bool, state: Mapping[str, Tensor]
) -> None:
    """Write the trained weights.

    Args:
        folder: to write to.
        source: the checkpoint that was trained on.
        module: says classes and configurations.
        rank, whole_unet: what of the UNet was trained.
        state: the weights by name.
    """
    save_whole(module.transformer, _below(state, "transformer."), folder / TRANSFORMER)
    save_whole(module.injection, _below(state, "injection."), folder / INJECTION)
    unet = _below(state, "unet.")
    if rank:
        save_adapters(folder / LORA_FILE, "unet", unet)
    if rank or whole_unet:
        target = folder / "checkpoint"
        shutil.copytree(source, target, ignore=lambda at, names: ["unet"] if Path(at) == source else [],
                        dirs_exist_ok=True)  # fmt: skip
        # The injection moves Kolors' projection of the text out of the pictures' place; it is saved where it was.
        kept = {
            name.replace("text_encoder_hid_proj.", "encoder_hid_proj."): weight
            for name, weight in merged_state(unet).items()
            if ".processor." not in name
        }
        save_whole(module.unet, kept, target / "unet")


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in state.items() if name.startswith(prefix)}
