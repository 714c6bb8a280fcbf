"""Sentences to vectors: all-MiniLM-L6-v2, from a folder on disk, on the CPU.

The planner retrieves with `MiniLM.embed`; the image and video models read a step's words through `MiniLM.tokens`.
Nothing here reaches for a network: the weights come from the pinned asset (`ksgen_models.assets`) or from a folder
that the caller names, which may also hold another BERT-like encoder.

Every sentence runs through the network alone and without padding. In a batch the last bits of a vector would hang on
its neighbours, and an imagination could not be repeated bit by bit. Repeated sentences, which is nearly all of them,
come from a small cache. Only `embed` of many sentences, a library's wordings, makes batches, of sentences of equal
length; the same call still gives the same bits.

Source: Wang et al., "MiniLM" (NeurIPS 2020); Reimers and Gurevych, "Sentence-BERT" (EMNLP 2019), mean pooling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import AssetError, InvalidInput, WeightsMissing

TOKENS = 24
_LONGEST = 256
_CACHED_SENTENCES = 2048
_MANY = 32


class MiniLM:
    """A sentence encoder that satisfies `ksgen_models.interfaces.SentenceEncoder`.

    Loads on construction: a tenth of a second, after the seconds that transformers takes to import its BERT the first
    time. Safe to share between threads.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        """Load the encoder.

        Args:
            folder: holds ``config.json``, ``model.safetensors`` and the tokenizer's files; None takes the asset.

        Raises:
            WeightsMissing: the folder lacks a file, or the asset has not been fetched.
            AssetError: the files are there and cannot be read.
        """
        self.folder = _checked_folder(Path(folder) if folder is not None else _asset_folder())
        self._tokenizer, self._model = _load(self.folder)
        self._cached = lru_cache(maxsize=_CACHED_SENTENCES)(self._run_one)

    @property
    def dimension(self) -> int:
        """Length of a vector: 384."""
        return int(self._model.config.hidden_size)

    def embed(self, sentences: Iterable[str]) -> NDArray[np.float32]:
        """Embed sentences as wholes.

        Args:
            sentences: N of them; of a long one the first 256 word pieces count.

        Returns:
            (N, 384) float32, rows of unit length: the mean over all word pieces.

        Raises:
            InvalidInput: a sentence is not a string.
        """
        pieces = [self._pieces(sentence, _LONGEST) for sentence in _checked(sentences)]
        pooled = np.zeros((len(pieces), self.dimension), np.float32)
        if len(pieces) < _MANY:
            for row, its_pieces in enumerate(pieces):
                pooled[row] = self._cached(its_pieces).mean(axis=0)
        else:
            lengths = np.array([len(its_pieces) for its_pieces in pieces])
            for length in np.unique(lengths):
                rows = np.flatnonzero(lengths == length)
                for some in np.array_split(rows, -(-len(rows) // _MANY)):
                    pooled[some] = self._run([pieces[row] for row in some]).mean(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def tokens(self, sentences: Iterable[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Embed sentences word piece by word piece, as the image and video models read them.

        Args:
            sentences: N of them; of a long one the first 24 word pieces count, the start and end marks included.

        Returns:
            (N, 24, 384) float32 states, zero where there is no word piece, and (N, 24) bool, True where there is one.

        Raises:
            InvalidInput: a sentence is not a string.
        """
        checked = _checked(sentences)
        states = np.zeros((len(checked), TOKENS, self.dimension), np.float32)
        mask = np.zeros((len(checked), TOKENS), np.bool_)
        for row, sentence in enumerate(checked):
            found = self._cached(self._pieces(sentence, TOKENS))  # (L, 384)
            states[row, : len(found)] = found
            mask[row, : len(found)] = True
        return states, mask

    def _pieces(self, sentence: str, limit: int) -> tuple[int, ...]:
        """At most ``limit`` word pieces, the start and end marks included."""
        return tuple(self._tokenizer(sentence, truncation=True, max_length=limit)["input_ids"])

    def _run_one(self, pieces: tuple[int, ...]) -> NDArray[np.float32]:
        """(L, 384) states; read-only, they belong to the cache."""
        states = self._run([pieces])[0]
        states.setflags(write=False)
        return states

    def _run(self, pieces: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
        """(N, L, 384) states of N sentences with L word pieces each."""
        import torch

        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return self._model(input_ids=torch.tensor(pieces)).last_hidden_state.numpy().copy()


def _checked(sentences: Iterable[str]) -> list[str]:
    if isinstance(sentences, str):
        raise InvalidInput(f"expected several sentences, got the single string {sentences[:60]!r}; pass a tuple")
    checked = list(sentences)
    for sentence in checked:
        if not isinstance(sentence, str):
            raise InvalidInput(f"a sentence must be a str, got {type(sentence).__name__}: {str(sentence)[:60]}")
    # Lone surrogates are legal in a Python str and no tokenizer takes them.
    return [sentence.encode("utf-8", "replace").decode("utf-8") for sentence in checked]


def _asset_folder() -> Path:
    from ksgen_models.assets import SENTENCE_ENCODER, asset_path

    return asset_path(SENTENCE_ENCODER)


def _checked_folder(folder: Path) -> Path:
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise WeightsMissing(
            f"the sentence encoder's folder {folder} lacks {', '.join(missing)}; run `ksgen-agent assets` "
            "to fetch it, or name a folder that holds all-MiniLM-L6-v2"
        )
    return folder


def _load(folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        with _no_progress_bar():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    except Exception as exc:
        raise AssetError(f"cannot read the sentence encoder in {folder} ({exc}); fetch it anew") from exc
    return tokenizer, model.eval().requires_grad_(False)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Half a second of loading needs no bar, and transformers knows only a switch for the whole process."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
