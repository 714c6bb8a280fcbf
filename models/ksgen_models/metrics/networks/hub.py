"""CLIP, DINO, BLIP and an action recogniser, loaded through transformers from a folder or from the hub's cache.

Every network makes vectors; the metrics are cosines between them. transformers is loaded when a network is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ksgen_models.errors import AssetError

_BATCH = 16


class ImageTextNetwork:
    """CLIP or BLIP: pictures and sentences in one space, as vectors of unit length."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any, kind: str) -> None:
        """Wrap a loaded model; ``kind`` is "clip" or "blip"."""
        self._model, self._processor, self._tokenizer, self._kind = model, processor, tokenizer, kind

    @torch.inference_mode()
    def pictures(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 → (T, D) float32, rows of unit length."""
        return _in_batches(frames, lambda some: _unit(self._project_pictures(_pixels(self._processor, some))))

    @torch.inference_mode()
    def sentence(self, text: str) -> NDArray[np.float32]:
        """(D,) float32 of unit length; what does not fit the model's context is cut off."""
        tokens = self._tokenizer([text], return_tensors="pt", truncation=True, padding=True)
        if self._kind == "clip":
            pooled = self._model.text_model(**tokens).pooler_output
            return _unit(self._model.text_projection(pooled))[0].numpy()
        hidden = self._model.text_encoder(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).last_hidden_state
        return _unit(self._model.text_proj(hidden[:, 0]))[0].numpy()

    def _project_pictures(self, pixels: Tensor) -> Tensor:
        seen = self._model.vision_model(pixel_values=pixels)
        if self._kind == "clip":
            return self._model.visual_projection(seen.pooler_output)
        return self._model.vision_proj(seen.last_hidden_state[:, 0])


class PictureNetwork:
    """DINO: the class token of a vision transformer, of unit length."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Wrap a loaded model."""
        self._model, self._processor = model, processor

    @torch.inference_mode()
    def pictures(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 → (T, D) float32, rows of unit length."""

        def run(some: NDArray[np.uint8]) -> Tensor:
            return _unit(self._model(pixel_values=_pixels(self._processor, some)).last_hidden_state[:, 0])

        return _in_batches(frames, run)


class ActionNetwork:
    """A video classifier: its last hidden states, averaged over space and time, of unit length."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Wrap a loaded model."""
        self._model, self._processor = model, processor

    @torch.inference_mode()
    def video(self, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 → (D,) float32; the clip is sampled evenly to as many frames as the model takes."""
        frames = getattr(self._model.config, "num_frames", len(clip))
        sampled = sample_frames(clip, frames)
        pixels = self._processor(list(sampled), return_tensors="pt")["pixel_values"]
        hidden = self._model(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
        return _unit(hidden.mean(dim=1))[0].numpy()


def sample_frames(clip: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Take ``number`` frames of (T, H, W, 3), evenly from first to last; a short clip repeats some."""
    return clip[np.round(np.linspace(0, len(clip) - 1, number)).astype(int)]


def load_clip(source: str) -> ImageTextNetwork:
    """CLIP (Radford et al., 2021) from a folder or hub id; raises `AssetError` when it cannot be read."""
    with _reading(source) as (transformers, options):
        model = transformers.CLIPModel.from_pretrained(source, **options)
        return ImageTextNetwork(_frozen(model), _processor(source), _tokenizer(source), "clip")


def load_blip(source: str) -> ImageTextNetwork:
    """BLIP's image-text contrastive heads (Li et al., 2022) from a folder or hub id; raises `AssetError`."""
    with _reading(source) as (transformers, options):
        model = transformers.BlipForImageTextRetrieval.from_pretrained(source, **options)
        return ImageTextNetwork(_frozen(model), _processor(source), _tokenizer(source), "blip")


def load_dino(source: str) -> PictureNetwork:
    """DINO or DINOv2 (Caron et al., 2021; Oquab et al., 2023) from a folder or hub id; raises `AssetError`."""
    with _reading(source) as (transformers, options):
        return PictureNetwork(_frozen(transformers.AutoModel.from_pretrained(source, **options)), _processor(source))


def load_action(source: str) -> ActionNetwork:
    """A video classifier, e.g. VideoMAE (Tong et al., 2022), from a folder or hub id; raises `AssetError`."""
    with _reading(source) as (transformers, options):
        model = transformers.AutoModelForVideoClassification.from_pretrained(source, **options)
        return ActionNetwork(_frozen(model), _processor(source, video=True))


@contextlib.contextmanager
def _reading(source: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Load without the network and without pickle, quietly; whatever goes wrong becomes an `AssetError`."""
    import transformers
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield transformers, {"local_files_only": True, "dtype": torch.float32}
    except Exception as exc:
        raise AssetError(f"cannot read the network in {source} ({exc}); fetch it anew, or name another") from exc
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _processor(source: str, *, video: bool = False) -> Any:
    # Without torchvision every image processor has a Pillow twin; a video classifier's is one for lists of pictures.
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(source, local_files_only=True, backend="pil")


def _tokenizer(source: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, local_files_only=True)


def _frozen(model: Any) -> Any:
    return model.eval().requires_grad_(False)


def _pixels(processor: Any, frames: NDArray[np.uint8]) -> Tensor:
    return processor(list(frames), return_tensors="pt")["pixel_values"]


def _in_batches(frames: NDArray[np.uint8], run: Callable[[NDArray[np.uint8]], Tensor]) -> NDArray[np.float32]:
    parts = [run(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)]
    return torch.cat(parts).float().numpy()


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
