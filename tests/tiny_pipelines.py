"""Pipelines of the real classes with random weights, small enough to be built in a test and saved as real ones are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from ksgen_models.library import default_library

_LLAMA = ["<pad>", "<image>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<unk>", "</s>"]


def save_tiny(name: str, folder: Path) -> Path:
    """Build the tiny pipeline of a video family and save it with ``save_pretrained``."""
    torch.manual_seed(0)
    BUILDERS[name]().save_pretrained(folder)
    return folder


def tiny_tokenizer(*, longest: int = 512, specials: list[str] | None = None) -> Any:
    """Whole words of the step library, as a T5, UMT5 or Llama tokenizer of the fast kind."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    sentences = [step for procedure in default_library().procedures[:50] for step in procedure.steps]
    specials = specials or ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(sentences, trainers.WordLevelTrainer(vocab_size=90, special_tokens=specials))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=longest
    )


def tiny_clip_tokenizer() -> Any:
    """CLIP's byte-level tokenizer with single characters only."""
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return transformers.CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77
    )


def tiny_t5(width: int = 32) -> Any:
    """An encoder of T5 1.1."""
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=100, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
        )
    )


def tiny_umt5(width: int = 32) -> Any:
    """An encoder of UMT5."""
    return transformers.UMT5EncoderModel(
        transformers.UMT5Config(vocab_size=100, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )


def tiny_clip_text(width: int = 32) -> Any:
    """CLIP's text half."""
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=200, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            projection_dim=width, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip


def tiny_clip_vision(width: int = 32, *, projected: bool = True) -> Any:
    """CLIP's picture half, at CLIP's own picture size."""
    config = transformers.CLIPVisionConfig(
        hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=224,
        patch_size=112, projection_dim=width,
    )  # fmt: skip
    kind = transformers.CLIPVisionModelWithProjection if projected else transformers.CLIPVisionModel
    return kind(config)


def tiny_clip_pictures(side: int = 224) -> Any:
    """CLIP's picture processor."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def tiny_wan_vae() -> Any:
    """Wan's causal video autoencoder: 4 times in time, 8 times in space."""
    return diffusers.AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


def tiny_vae() -> Any:
    """Stable Diffusion's autoencoder."""
    return diffusers.AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )  # fmt: skip


def _wan(**options: Any) -> Any:
    return diffusers.WanImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_umt5(),
        vae=tiny_wan_vae(),
        scheduler=diffusers.UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        image_processor=None,
        image_encoder=None,
        transformer=_wan_transformer(),
        transformer_2=_wan_transformer(),
        boundary_ratio=0.9,
        **options,
    )


def _wan_transformer() -> Any:
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=36, out_channels=16,
        text_dim=32, freq_dim=32, ffn_dim=16, num_layers=1, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )  # fmt: skip


def _cogvideox() -> Any:
    return diffusers.CogVideoXImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_t5(),
        vae=diffusers.AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2,
            temporal_compression_ratio=4, scaling_factor=0.7,
        ),
        transformer=diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=8, out_channels=4, time_embed_dim=8,
            text_embed_dim=32, num_layers=1, sample_width=4, sample_height=4, sample_frames=9, patch_size=2,
            max_text_seq_length=226, use_rotary_positional_embeddings=True,
            use_learned_positional_embeddings=True,
        ),
        scheduler=diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    )  # fmt: skip


def _ltx() -> Any:
    return diffusers.LTXImageToVideoPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1),
        vae=diffusers.AutoencoderKLLTXVideo(
            latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
            spatio_temporal_scaling=(True, True, True, False),
            decoder_spatio_temporal_scaling=(True, True, True, False), decoder_inject_noise=(False,) * 5,
            upsample_residual=(False,) * 4, upsample_factor=(1,) * 4, timestep_conditioning=False, patch_size=4,
            patch_size_t=1, encoder_causal=True, decoder_causal=False,
        ),
        text_encoder=tiny_t5(),
        tokenizer=tiny_tokenizer(longest=128),
        transformer=diffusers.LTXVideoTransformer3DModel(
            in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=2, attention_head_dim=8,
            cross_attention_dim=16, num_layers=1, caption_channels=32,
        ),
    )  # fmt: skip


def _svd() -> Any:
    return diffusers.StableVideoDiffusionPipeline(
        vae=diffusers.AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4,
            layers_per_block=1,
        ),
        image_encoder=tiny_clip_vision(),
        unet=diffusers.UNetSpatioTemporalConditionModel(
            block_out_channels=(32, 64), layers_per_block=1, sample_size=8, in_channels=8, out_channels=4,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), cross_attention_dim=32,
            num_attention_heads=2, projection_class_embeddings_input_dim=96, addition_time_embed_dim=32,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", interpolation_type="linear",
            prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
            timestep_spacing="leading", timestep_type="continuous", steps_offset=1,
        ),
        feature_extractor=tiny_clip_pictures(),
    )  # fmt: skip


def _i2vgen() -> Any:
    return diffusers.I2VGenXLPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_clip_text(),
        tokenizer=tiny_clip_tokenizer(),
        image_encoder=tiny_clip_vision(),
        feature_extractor=tiny_clip_pictures(),
        unet=diffusers.I2VGenXLUNet(
            block_out_channels=(4, 8), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"), cross_attention_dim=32, attention_head_dim=4,
            norm_num_groups=2,
        ),
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, set_alpha_to_one=False
        ),
    )  # fmt: skip


def _pia() -> Any:
    return diffusers.PIAPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_clip_text(),
        tokenizer=tiny_clip_tokenizer(),
        unet=tiny_unet(),
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False
        ),
        motion_adapter=tiny_motion_adapter(),
    )  # fmt: skip


def tiny_unet() -> Any:
    """Stable Diffusion's network."""
    return diffusers.UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=32, norm_num_groups=2,
        attention_head_dim=2,
    )  # fmt: skip


def tiny_motion_adapter() -> Any:
    """PIA's condition adapter: motion modules and an input layer of 9 channels."""
    return diffusers.MotionAdapter(
        block_out_channels=(4, 8), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=2,
        conv_in_channels=9,
    )  # fmt: skip


def tiny_stable_diffusion() -> Any:
    """What PIA's condition adapter is put into."""
    return diffusers.StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_clip_text(),
        tokenizer=tiny_clip_tokenizer(),
        unet=tiny_unet(),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _hunyuan() -> Any:
    tokenizer = tiny_tokenizer(specials=_LLAMA)
    pad, image = (tokenizer.convert_tokens_to_ids(word) for word in ("<pad>", "<image>"))
    return diffusers.HunyuanVideoImageToVideoPipeline(
        text_encoder=transformers.LlavaForConditionalGeneration(
            transformers.LlavaConfig(
                vision_config=transformers.CLIPVisionConfig(
                    hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=48,
                    patch_size=2, projection_dim=16,  # 24 × 24 patches, as the real one has
                ),
                text_config=transformers.LlamaConfig(
                    vocab_size=100, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2,
                    num_key_value_heads=2, max_position_embeddings=1024, pad_token_id=pad,
                ),
                image_token_index=image, pad_token_id=pad,
            )
        ),
        tokenizer=tokenizer,
        transformer=diffusers.HunyuanVideoTransformer3DModel(
            in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
            num_single_layers=1, num_refiner_layers=1, patch_size=1, patch_size_t=1, guidance_embeds=False,
            text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(2, 4, 4), image_condition_type="latent_concat",
        ),
        vae=diffusers.AutoencoderKLHunyuanVideo(
            latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4,
            scaling_factor=0.476986, spatial_compression_ratio=8, temporal_compression_ratio=4,
            down_block_types=("HunyuanVideoDownBlock3D",) * 4, up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=tiny_clip_text(8),
        tokenizer_2=tiny_clip_tokenizer(),
        image_processor=tiny_clip_pictures(48),
    )  # fmt: skip


def _cosmos() -> Any:
    from ksgen_models.hub.video_loading import NoGuardrail

    pipeline = diffusers.Cosmos2VideoToWorldPipeline(
        text_encoder=tiny_t5(),
        tokenizer=tiny_tokenizer(),
        transformer=diffusers.CosmosTransformer3DModel(
            in_channels=17, out_channels=16, num_attention_heads=2, attention_head_dim=16, num_layers=1, mlp_ratio=2,
            text_embed_dim=32, adaln_lora_dim=4, max_size=(4, 32, 32), patch_size=(1, 2, 2),
            rope_scale=(2.0, 1.0, 1.0), concat_padding_mask=True, extra_pos_embed_type="learnable",
        ),
        vae=tiny_wan_vae(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
        safety_checker=NoGuardrail(),  # type: ignore[arg-type]
    )  # fmt: skip
    pipeline.register_modules(safety_checker=None)  # as the real repository: it comes with its own package
    return pipeline


def _vace() -> Any:
    return diffusers.WanVACEPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_umt5(),
        vae=tiny_wan_vae(),
        scheduler=diffusers.UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        transformer=diffusers.WanVACETransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
            text_dim=32, freq_dim=32, ffn_dim=16, num_layers=2, cross_attn_norm=True,
            qk_norm="rms_norm_across_heads", rope_max_seq_len=32, vace_layers=[0, 1], vace_in_channels=96,
        ),
    )  # fmt: skip


BUILDERS: dict[str, Callable[[], Any]] = {
    "wan2.2-i2v": _wan,
    "cogvideox-i2v": _cogvideox,
    "ltx": _ltx,
    "svd": _svd,
    "i2vgen-xl": _i2vgen,
    "pia": _pia,
    "hunyuan-i2v": _hunyuan,
    "cosmos-predict2": _cosmos,
    "wan-vace": _vace,
}
"""A builder for each video family."""

SIZES: dict[str, tuple[tuple[int, int], int]] = {
    "wan2.2-i2v": ((32, 32), 5),
    "cogvideox-i2v": ((32, 32), 9),
    "ltx": ((64, 64), 9),
    "svd": ((64, 64), 2),
    "i2vgen-xl": ((64, 64), 2),
    "pia": ((64, 64), 2),
    "hunyuan-i2v": ((32, 32), 9),
    "cosmos-predict2": ((32, 32), 5),
    "wan-vace": ((32, 32), 5),
}
"""(height, width) and frames that the tiny pipelines draw."""


def save_tiny_images(name: str, folder: Path) -> Path:
    """Build the tiny pipeline of a key-step image model and save it with ``save_pretrained``."""
    beside = str(Path(__file__).parent / "ksgen_models")
    if beside not in sys.path:
        sys.path.append(beside)
    import tiny_kig

    savers = {
        "sdxl": tiny_kig.save_tiny_sdxl,
        "kolors": tiny_kig.save_tiny_kolors,
        "flux-kontext": tiny_kig.save_tiny_kontext,
        "qwen-image-edit": tiny_kig.save_tiny_qwen_edit,
    }
    return savers[name](folder)


def tiny_options(name: str) -> dict[str, Any]:
    """Video settings with which a tiny pipeline draws in a moment."""
    size, frames = SIZES[name]
    return {"steps": 2, "size": size, "frames": frames, "guardrail": False}
