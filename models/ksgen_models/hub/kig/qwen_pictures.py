"""Qwen's processor of text and pictures without its third part, for videos, which alone needs torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Qwen2VLProcessor


class PictureProcessor(Qwen2VLProcessor):
    """As `transformers.Qwen2VLProcessor`, for text and pictures.

    Args:
        image_processor, tokenizer, chat_template: as there.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        # transformers reads from this signature which parts there are, so that it neither loads nor checks a third.
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)


def picture_processor(folder: Path) -> Mapping[str, Any]:
    """The component ``processor`` of a Qwen-Image-Edit checkpoint."""
    return {"processor": PictureProcessor.from_pretrained(folder / "processor", local_files_only=True)}
