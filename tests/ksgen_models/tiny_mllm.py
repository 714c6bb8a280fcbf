"""Multimodal language models of real classes with random weights, small enough to be built in a test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ksgen_models.library import default_library

_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<|pad|>", "<|end|>", "<image>", "<|system|>", "<|user|>", "<|assistant|>"]


def save_tiny_mllm(folder: Path, seed: int = 0) -> Path:
    """Write a LLaVA of some ten thousand random weights with its processor, as ``save_pretrained`` does."""
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28,
                patch_size=14, projection_dim=16,
            ),
            text_config=LlamaConfig(
                vocab_size=len(tokenizer) + 5,  # as many real models have more logits than tokens
                hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=2, max_position_embeddings=8192,
            ),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        )
    )  # fmt: skip
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    processor.chat_template = _TEMPLATE
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on the step library's sentences; it writes printable ASCII only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    sentences = [step for procedure in default_library().procedures for step in procedure.steps]
    alphabet = [*map(chr, range(33, 127)), "Ġ"]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=_SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>")
