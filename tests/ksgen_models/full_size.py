"""The networks of the hub models at their full size, without weights: what a parameter count can be checked against.

Configurations are those that diffusers' conversion scripts (`scripts/convert_*_to_diffusers.py`) write, its classes'
defaults where these are the published model's, and of the text and picture encoders those of their own repositories.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch
import transformers


def count(build: Callable[[], Any]) -> float:
    """Parameters in billions; nothing is allocated."""
    with torch.device("meta"):
        network = build()
    return sum(weight.numel() for weight in network.parameters()) / 1e9


def _t5_xxl() -> Any:
    """google/t5-v1_1-xxl, the encoder."""
    config = transformers.T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )
    return transformers.T5EncoderModel(config)


def _t5_11b() -> Any:
    """google-t5/t5-11b, the encoder."""
    config = transformers.T5Config(
        vocab_size=32128, d_model=1024, d_kv=128, d_ff=65536, num_layers=24, num_heads=128, feed_forward_proj="relu"
    )
    return transformers.T5EncoderModel(config)


def _umt5_xxl() -> Any:
    """google/umt5-xxl, the encoder."""
    config = transformers.UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return transformers.UMT5EncoderModel(config)


def _clip_text_l() -> Any:
    """openai/clip-vit-large-patch14."""
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            projection_dim=768,
        )
    )  # fmt: skip


def _clip_text_h() -> Any:
    """laion/CLIP-ViT-H-14, without its last layer, as Stable Diffusion 2 and I2VGen-XL have it."""
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=49408, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
        )
    )


def _clip_text_g() -> Any:
    """laion/CLIP-ViT-bigG-14."""
    return transformers.CLIPTextModelWithProjection(
        transformers.CLIPTextConfig(
            vocab_size=49408, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
            projection_dim=1280,
        )
    )  # fmt: skip


def _clip_vision_h() -> Any:
    """laion/CLIP-ViT-H-14."""
    return transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, image_size=224,
            patch_size=14, projection_dim=1024,
        )
    )  # fmt: skip


def _llava_llama3() -> Any:
    """xtuner/llava-llama-3-8b-v1_1."""
    return transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            vision_config=transformers.CLIPVisionConfig(
                hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
                patch_size=14, projection_dim=768,
            ),
            text_config=transformers.LlamaConfig(
                vocab_size=128320, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                num_attention_heads=32, num_key_value_heads=8,
            ),
        )
    )  # fmt: skip


def _qwen_vl() -> Any:
    """Qwen/Qwen2.5-VL-7B-Instruct."""
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config={
                "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
                "num_attention_heads": 28, "num_key_value_heads": 4,
            },
            vision_config={
                "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
            },
        )
    )  # fmt: skip


def _chatglm() -> Any:
    """THUDM/chatglm3-6b."""
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    return ChatGLMModel(
        ChatGLMConfig(
            num_layers=28, padded_vocab_size=65024, hidden_size=4096, ffn_hidden_size=13696, kv_channels=128,
            num_attention_heads=32, seq_length=32768, rmsnorm=True, multi_query_attention=True,
            multi_query_group_num=2, add_qkv_bias=True, post_layer_norm=True, original_rope=True,
        )
    )  # fmt: skip


def _sd_vae() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, layers_per_block=2,
    )  # fmt: skip


def _flux_vae() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=16, layers_per_block=2, use_quant_conv=False,
        use_post_quant_conv=False,
    )  # fmt: skip


def _wan(**changes: Any) -> Any:
    return {
        "patch_size": (1, 2, 2), "num_attention_heads": 40, "attention_head_dim": 128, "in_channels": 36,
        "out_channels": 16, "text_dim": 4096, "freq_dim": 256, "ffn_dim": 13824, "num_layers": 40,
        "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", **changes,
    }  # fmt: skip


def _wan_vace() -> Any:
    return diffusers.WanVACETransformer3DModel(
        **_wan(in_channels=16, num_attention_heads=12, ffn_dim=8960, num_layers=30), vace_in_channels=96,
        vace_layers=list(range(0, 30, 2)),
    )  # fmt: skip


def _cogvideox() -> Any:
    return diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=48,
        num_layers=42,
        in_channels=32,
        out_channels=16,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )


def _hunyuan() -> Any:
    return diffusers.HunyuanVideoTransformer3DModel(
        in_channels=33, out_channels=16, num_attention_heads=24, attention_head_dim=128, num_layers=20,
        num_single_layers=40, num_refiner_layers=2, patch_size=2, guidance_embeds=False, text_embed_dim=4096,
        pooled_projection_dim=768, image_condition_type="latent_concat",
    )  # fmt: skip


def _cosmos() -> Any:
    return diffusers.CosmosTransformer3DModel(
        in_channels=17, out_channels=16, num_attention_heads=16, attention_head_dim=128, num_layers=28, mlp_ratio=4.0,
        text_embed_dim=1024, adaln_lora_dim=256, max_size=(128, 240, 240), patch_size=(1, 2, 2),
        rope_scale=(1.0, 3.0, 3.0), concat_padding_mask=True, extra_pos_embed_type=None,
    )  # fmt: skip


def _sdxl_unet(**changes: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        **{
            "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20), "layers_per_block": 2,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True, "cross_attention_dim": 2048,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816, **changes,
        }
    )  # fmt: skip


def _kolors_unet() -> Any:
    return _sdxl_unet(
        projection_class_embeddings_input_dim=5632, encoder_hid_dim=4096, encoder_hid_dim_type="text_proj"
    )


def _flux() -> Any:
    return diffusers.FluxTransformer2DModel(guidance_embeds=True)


_T5, _VAE = _t5_xxl, diffusers.AutoencoderKLWan
FULL_SIZE: dict[str, dict[str, Callable[[], Any]]] = {
    "wan2.2-i2v": {
        "transformer": lambda: diffusers.WanTransformer3DModel(**_wan()),
        "transformer_2": lambda: diffusers.WanTransformer3DModel(**_wan()),
        "text_encoder": _umt5_xxl, "vae": _VAE,
    },
    "cogvideox-i2v": {
        "transformer": _cogvideox, "text_encoder": _T5,
        "vae": lambda: diffusers.AutoencoderKLCogVideoX(
            block_out_channels=(128, 256, 256, 512), latent_channels=16, layers_per_block=3
        ),
    },
    "ltx": {"transformer": diffusers.LTXVideoTransformer3DModel, "text_encoder": _T5,
            "vae": diffusers.AutoencoderKLLTXVideo},
    "svd": {
        "unet": diffusers.UNetSpatioTemporalConditionModel, "image_encoder": _clip_vision_h,
        "vae": lambda: diffusers.AutoencoderKLTemporalDecoder(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2
        ),
    },
    "i2vgen-xl": {
        "unet": lambda: diffusers.I2VGenXLUNet(attention_head_dim=64), "text_encoder": _clip_text_h,
        "image_encoder": _clip_vision_h, "vae": _sd_vae,
    },
    "pia": {
        "unet": lambda: diffusers.UNet2DConditionModel(cross_attention_dim=768),
        "motion_adapter": lambda: diffusers.MotionAdapter(conv_in_channels=9, use_motion_mid_block=False),
        "text_encoder": _clip_text_l, "vae": _sd_vae,
    },
    "hunyuan-i2v": {
        "transformer": _hunyuan, "text_encoder": _llava_llama3, "text_encoder_2": _clip_text_l,
        "vae": diffusers.AutoencoderKLHunyuanVideo,
    },
    "cosmos-predict2": {"transformer": _cosmos, "text_encoder": _t5_11b, "vae": _VAE},
    "wan-vace": {"transformer": _wan_vace, "text_encoder": _umt5_xxl, "vae": _VAE},
    "sdxl": {"unet": _sdxl_unet, "text_encoder": _clip_text_l, "text_encoder_2": _clip_text_g, "vae": _sd_vae},
    "kolors": {"unet": _kolors_unet, "text_encoder": _chatglm, "vae": _sd_vae},
    "flux-kontext": {
        "transformer": _flux, "text_encoder": _clip_text_l, "text_encoder_2": _T5, "vae": _flux_vae,
    },
    "qwen-image-edit": {
        "transformer": diffusers.QwenImageTransformer2DModel, "text_encoder": _qwen_vl,
        "vae": diffusers.AutoencoderKLQwenImage,
    },
}  # fmt: skip
"""Builders of every component with weights, by preset."""
