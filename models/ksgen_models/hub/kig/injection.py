"""Decoupled cross-attention: how the Skill Transformer's tokens come into the UNet of SDXL and of Kolors.

Beside the keys and values of the text, every cross-attention gets a second pair of projections for the condition
tokens, with the same queries; what it finds there is added, times a scale (IP-Adapter; Ye et al. 2023, eq. 5). The
attention processors are diffusers' own, so that memory settings, attention backends and the pipelines'
``ip_adapter_image_embeds`` work as they do for an IP-Adapter; the picture projection that diffusers expects in front
is left out, because the tokens come as the UNet takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from ksgen_models.errors import PresetError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


class SkillInjection(ModelMixin, ConfigMixin):
    """The extra key and value projections of all cross-attentions of a UNet.

    A fresh one adds nothing: the keys are copies of the text's when made by `for_unet`, and the values are zero.

    Args:
        layers: channels of each cross-attention, in the order of ``unet.attn_processors``.
        token_dim: length of a condition token.
        queries: condition tokens a step.
        family: class of the pipeline that it was made for; empty for any.
    """

    @register_to_config
    def __init__(self, layers: tuple[int, ...], token_dim: int = 2048, queries: int = 16, family: str = "") -> None:
        super().__init__()
        self.processors = nn.ModuleList(
            [IPAdapterAttnProcessor2_0(size, token_dim, num_tokens=(queries,)) for size in layers]
        )
        for processor in self._each():
            nn.init.zeros_(processor.to_v_ip[0].weight)

    @classmethod
    def for_unet(cls, unet: UNet2DConditionModel, *, queries: int = 16, family: str = "") -> SkillInjection:
        """A fresh one that fits a UNet; keys start as copies of those of the text (IP-Adapter's own start)."""
        attentions = cross_attentions(unet)
        sizes = tuple(attention.to_k.out_features for attention in attentions.values())
        made = cls(layers=sizes, token_dim=unet.config["cross_attention_dim"], queries=queries, family=family)
        with torch.no_grad():
            for attention, processor in zip(attentions.values(), made._each(), strict=True):
                processor.to_k_ip[0].weight.copy_(attention.to_k.weight)
        return made

    def install(self, unet: UNet2DConditionModel, scale: float = 1.0) -> None:
        """Put the projections into a UNet. They stay this model's: training it trains what the UNet runs.

        From then on the UNet wants ``added_cond_kwargs["image_embeds"]``, a list of one tensor (B, 1, Q, token_dim);
        the pipelines make it of ``ip_adapter_image_embeds``. Tokens that are all zero add nothing: that is «untold»
        for guidance.

        Raises:
            PresetError: they do not fit this UNet.
        """
        network: Any = unet
        attentions = cross_attentions(unet)
        sizes = [attention.to_k.out_features for attention in attentions.values()]
        token_dim = network.config["cross_attention_dim"]
        if sizes != list(self.config["layers"]) or token_dim != self.config["token_dim"]:
            raise PresetError(
                f"the injection was made for a UNet of {len(self.config['layers'])} cross-attentions with tokens of "
                f"{self.config['token_dim']}, this one has {len(sizes)} of other sizes or tokens of {token_dim}; use "
                "the checkpoint that it was trained on, or train one for this"
            )
        nn.Module.to(self, device=network.device, dtype=network.dtype)  # diffusers' own warns of every change
        installed: dict[str, Any] = dict(network.attn_processors)
        installed.update(zip((f"{name}.processor" for name in attentions), self._each(), strict=True))
        network.set_attn_processor(installed)
        # Kolors' UNet has a projection of the text where diffusers looks for that of the pictures; as it does itself.
        if network.encoder_hid_proj is not None and network.config.encoder_hid_dim_type == "text_proj":
            network.text_encoder_hid_proj = network.encoder_hid_proj
        network.encoder_hid_proj = MultiIPAdapterImageProjection([nn.Identity()])
        network.config.encoder_hid_dim_type = "ip_image_proj"  # the attribute alone: what is saved stays as it was
        self.set_scale(scale)

    def set_scale(self, scale: float) -> None:
        """How much of what is found in the condition tokens is added; 0 is the plain pipeline, bit by bit."""
        for processor in self._each():
            processor.scale = [float(scale)]

    def _each(self) -> list[Any]:
        """The processors, one for each cross-attention."""
        return list(self.processors)


def cross_attentions(unet: UNet2DConditionModel) -> dict[str, Any]:
    """The modules of a UNet that attend to the text, by name and in order."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
    return {name: unet.get_submodule(name) for name in names}
