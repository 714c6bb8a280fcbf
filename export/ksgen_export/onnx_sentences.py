"""The sentence encoder (all-MiniLM-L6-v2) as an ONNX model.

==============  =======================  =======================================================================
``pieces``      (N, L) int64             word pieces of N sentences, padded with anything
``mask``        (N, L) int64             1 where there is one
``states``      (N, L, 384) float32      what `ksgen_models.text.MiniLM.tokens` gives, for L up to 24
``vector``      (N, 384) float32         unit length, what `MiniLM.embed` gives
==============  =======================  =======================================================================

The tokenizer is not part of it; ``tokenizer.json`` of the same folder is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ksgen_export.onnx_writing import Export, write_export

OUTPUTS = ("states", "vector")


class SentenceModule(nn.Module):
    """The encoder with the mean over word pieces behind it.

    Args:
        network: a BERT of transformers.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pieces: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L) int64 twice → states (N, L, D), vector (N, D)."""
        states = self.network(input_ids=pieces, attention_mask=mask).last_hidden_state
        there = mask[..., None].to(states.dtype)
        mean = (states * there).sum(1) / there.sum(1)
        return states, mean / mean.norm(dim=-1, keepdim=True)


def sentence_export(folder: str | os.PathLike[str] | None = None) -> Export:
    """What `export_sentence_encoder` writes, with an example of what it takes; raises what that raises."""
    from ksgen_models.text import MiniLM

    module = SentenceModule(MiniLM(None if folder is None else Path(folder))._model).eval()
    pieces = torch.randint(1000, 2000, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    free = {"pieces": (0, 1), "mask": (0, 1)}
    return Export(module, {"pieces": pieces, "mask": mask}, OUTPUTS, free, strict=False)


def export_sentence_encoder(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Path:
    """Write the ONNX model; the file appears whole or not at all.

    Args:
        path: the ``.onnx`` file to write.
        folder: another BERT-like encoder; None takes the pinned asset.

    Raises:
        WeightsMissing: the sentence encoder is not on this machine.
        AssetError: it cannot be read.
        PresetError: the packages onnx and onnxscript are not here.
    """
    return write_export(sentence_export(folder), path)
