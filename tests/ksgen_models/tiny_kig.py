"""Image pipelines of real classes with random weights, small enough to be built in a test and saved as the real ones.

Sizes follow diffusers' own fast tests; tokenizers are trained here, because those of its tests lie on the hub.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    KolorsPipeline,
    QwenImageEditPipeline,
    QwenImageTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
)

_SENTENCES = ["Place the shelf board on the two brackets", "take the red block with the right hand", "a photo"]


def save_tiny_sdxl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline, pictures from 16 × 16."""
    torch.manual_seed(0)
    tokenizer = _clip_tokenizer()
    text = _clip_text(len(tokenizer))
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=_clip_tokenizer(),
        unet=_unet(cross_attention_dim=64, projection_class_embeddings_input_dim=80),
        scheduler=_euler(),
    )
    pipeline.save_pretrained(folder)
    return folder


def save_tiny_kolors(folder: Path) -> Path:
    """A KolorsPipeline with a ChatGLM of two layers."""
    from diffusers.pipelines.kolors import ChatGLMModel, ChatGLMTokenizer
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    vocabulary = folder / "tokenizer.model"
    vocabulary.write_bytes(_sentence_pieces())
    tokenizer = ChatGLMTokenizer(str(vocabulary))
    config = ChatGLMConfig(
        num_layers=2, padded_vocab_size=tokenizer.vocab_size, hidden_size=32, ffn_hidden_size=32, kv_channels=16,
        num_attention_heads=2, seq_length=512, multi_query_attention=True, multi_query_group_num=1, add_qkv_bias=True,
        original_rope=True,
    )  # fmt: skip
    text_encoder = ChatGLMModel(config).eval()
    for parameter in text_encoder.parameters():  # the class leaves them as the memory was
        torch.nn.init.normal_(parameter, std=0.1)
    pipeline = KolorsPipeline(
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=_unet(
            cross_attention_dim=64, projection_class_embeddings_input_dim=80, encoder_hid_dim=32,
            encoder_hid_dim_type="text_proj",
        ),
        scheduler=_euler(),
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    vocabulary.unlink()
    return folder


def save_tiny_kontext(folder: Path) -> Path:
    """A FluxKontextPipeline."""
    torch.manual_seed(0)
    tokenizer = _clip_tokenizer()
    pieces = _plain_tokenizer()
    pipeline = FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=CLIPTextModel(_clip_text(len(tokenizer))),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(pieces), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
        ),
        tokenizer=tokenizer,
        tokenizer_2=pieces,
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        vae=AutoencoderKL(
            sample_size=32, block_out_channels=(4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=1,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5,
        ),
    )  # fmt: skip
    with torch.no_grad():  # so that an untrained network hears what it is told
        pipeline.transformer.context_embedder.weight.mul_(30)
        pipeline.transformer.time_text_embed.text_embedder.linear_1.weight.mul_(30)
    pipeline.save_pretrained(folder)
    return folder


def save_tiny_qwen_edit(folder: Path) -> Path:
    """A QwenImageEditPipeline."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from ksgen_models.hub.kig.qwen_pictures import PictureProcessor

    torch.manual_seed(0)
    tokenizer = _qwen_tokenizer()
    marks = ("vision_start", "vision_end", "image_pad")
    special = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in marks}
    text = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": len(tokenizer), "rope_theta": 1000000.0,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
            "fullatt_block_indexes": [],
        },
        vision_start_token_id=special["vision_start"], vision_end_token_id=special["vision_end"],
        image_token_id=special["image_pad"],
    )  # fmt: skip
    z_dim = 4
    pipeline = QwenImageEditPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLQwenImage(
            base_dim=4, z_dim=z_dim, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=0, temperal_downsample=[False] * 4,
            latents_mean=[0.0] * z_dim, latents_std=[1.0] * z_dim,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(text).eval(),
        tokenizer=tokenizer,
        # As few patches as it takes: the pipeline gives it a megapixel whatever is drawn.
        processor=PictureProcessor(Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56), tokenizer),
        transformer=QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
        ),
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]  # as the real checkpoint has it
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _unet(**more: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=(1, 2), norm_num_groups=1, **more,
    )  # fmt: skip


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16), latent_channels=4, sample_size=32, norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def _euler() -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, steps_offset=1, beta_schedule="scaled_linear", timestep_spacing="leading"
    )


def _clip_text(vocabulary: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        bos_token_id=0, eos_token_id=1, pad_token_id=1, hidden_size=32, intermediate_size=37, num_attention_heads=4,
        num_hidden_layers=2, vocab_size=vocabulary, hidden_act="gelu", projection_dim=32,
    )  # fmt: skip


def _clip_tokenizer() -> CLIPTokenizer:
    letters = sorted(set("".join(_SENTENCES).lower().replace(" ", "")) | set("qxyzjvm.,<>"))
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(vocab={name: row for row, name in enumerate(names)}, merges=[], model_max_length=77)


def _plain_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def _qwen_tokenizer() -> Qwen2Tokenizer:
    vocabulary = {letter: row for row, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    names = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    return tokenizer


def _sentence_pieces() -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 20), model_writer=model, vocab_size=60, model_type="bpe",
        hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return model.getvalue()
