"""The trained part of a KIG on disk and in a pipeline: Skill Transformer and injection, side by side in one folder.

::

    FOLDER/skill_transformer/  config.json, diffusion_pytorch_model.safetensors
    FOLDER/skill_injection/    config.json, diffusion_pytorch_model.safetensors
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ksgen_models.errors import AssetError, InvalidInput, PresetError, WeightsMissing
from ksgen_models.hub.checkpoints import safetensors_fault
from ksgen_models.hub.kig.injection import SkillInjection
from ksgen_models.hub.kig.skill_transformer import SkillTransformer

TRANSFORMER, INJECTION = "skill_transformer", "skill_injection"
_WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class SkillAdapter:
    """What is trained on top of SDXL or Kolors.

    Attributes:
        transformer: writes the condition tokens.
        injection: brings them into the UNet.
    """

    transformer: SkillTransformer
    injection: SkillInjection

    @classmethod
    def fresh(cls, pipeline: Any, family: str, **sizes: int) -> SkillAdapter:
        """An untrained one that fits a pipeline; until it is trained the pictures are the plain pipeline's.

        Args:
            pipeline: of SDXL or Kolors.
            family: class of its checkpoint.
            sizes: of `SkillTransformer`: ``width``, ``layers``, ``heads``, ``queries``, ``patch``, ``max_steps``.
        """
        transformer = SkillTransformer(
            text_dim=text_states_dim(pipeline),
            token_dim=pipeline.unet.config["cross_attention_dim"],
            frame_channels=pipeline.vae.config["latent_channels"],
            **sizes,
        )
        queries = int(transformer.config["queries"])
        return cls(transformer, SkillInjection.for_unet(pipeline.unet, queries=queries, family=family))

    def save(self, folder: str | Path) -> Path:
        """Write both parts below a folder; returns it."""
        folder = Path(folder)
        self.transformer.save_pretrained(folder / TRANSFORMER)
        self.injection.save_pretrained(folder / INJECTION)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> SkillAdapter:
        """Read both parts, in evaluation mode.

        Raises:
            WeightsMissing: a file is missing or cut short; names it.
            AssetError: the files are there and do not load.
        """
        folder = Path(folder)
        faults = [fault for name in (TRANSFORMER, INJECTION) for fault in _faults(folder, name)]
        if faults:
            raise WeightsMissing(
                f"{folder} is no whole KIG adapter: {'; '.join(faults)}; fetch it again, or train one with "
                "`ksgen-agent train kig`"
            )
        try:
            transformer = SkillTransformer.from_pretrained(folder / TRANSFORMER, local_files_only=True)
            injection = SkillInjection.from_pretrained(folder / INJECTION, local_files_only=True)
        except Exception as exc:
            raise AssetError(f"the KIG adapter in {folder} does not load ({exc!s:.300}); fetch it again") from exc
        return cls(transformer.eval(), injection.eval())

    def install(self, pipeline: Any, family: str, scale: float = 1.0) -> None:
        """Make a pipeline ready to take the tokens.

        Raises:
            PresetError: the adapter was made for another family or for networks of other sizes.
        """
        made_for = self.injection.config["family"]
        wanted, offered = text_states_dim(pipeline), self.transformer.config["text_dim"]
        if (made_for and made_for != family) or wanted != offered:
            raise PresetError(
                f"the KIG adapter was trained for {made_for or 'another family'} (text states of {offered}), the "
                f"checkpoint is a {family} (text states of {wanted}); name one that belongs to it"
            )
        self.injection.install(pipeline.unet, scale)
        nn.Module.to(self.transformer, dtype=pipeline.unet.dtype)  # diffusers' own warns of every change

    @torch.no_grad()
    def tokens(self, frame: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Latents (1, C, h, w), states (S, L, D) and mask (S, L) of one plan → condition tokens (S, Q, token_dim).

        Raises:
            InvalidInput: the plan has more steps than the Skill Transformer was made for.
        """
        longest = int(self.transformer.config["max_steps"])
        if len(text) > longest:
            raise InvalidInput(f"the plan has {len(text)} steps and this KIG adapter was made for up to {longest}")
        # It works for a moment between text encoder and UNet, so it comes to where they work.
        nn.Module.to(self.transformer, frame.device)
        dtype = self.transformer.dtype
        return self.transformer(frame.to(dtype), text[None].to(dtype), mask[None]).tokens[0]


def text_states_dim(pipeline: Any) -> int:
    """Length of a token state that ``encode_prompt`` of a pipeline gives."""
    encoders = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2")]
    return sum(int(encoder.config.hidden_size) for encoder in encoders if encoder is not None)


def _faults(folder: Path, name: str) -> list[str]:
    if not (folder / name / "config.json").is_file():
        return [f"{name}/config.json is missing"]
    weights = folder / name / _WEIGHTS
    if not weights.is_file():
        return [f"{name}/{_WEIGHTS} is missing"]
    fault = safetensors_fault(weights)
    return [f"{name}/{_WEIGHTS} {fault}"] if fault else []
