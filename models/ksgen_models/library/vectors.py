"""The vectors of the library's sentences, shipped so that nobody waits for a thousand sentences to be embedded.

They are kept as float16 beside the step files. They stand in for an encoder's own only where that encoder agrees with
them on sample sentences; sentences that are not among them are embedded as usual. After a change of the step files,
``python -m ksgen_models.library.vectors`` brings the file up to date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_models.interfaces import SentenceEncoder
from ksgen_models.library import Library, default_library

STORE = Path(__file__).parent / "sentences.safetensors"
_LEAST_AGREEMENT = 0.9999
_SAMPLES = 3


def embed_sentences(sentences: tuple[str, ...], encoder: SentenceEncoder) -> NDArray[np.float32]:
    """Embed sentences, taking what is stored where the encoder agrees with it.

    Returns:
        (N, D) float32, rows of unit length; stored ones are within 1e-3 of the encoder's own.
    """
    rows, known = _stored() if STORE.is_file() else (np.zeros((0, 0), np.float32), {})
    if not _agrees(encoder, rows, known):
        return encoder.embed(sentences)
    vectors = np.zeros((len(sentences), encoder.dimension), np.float32)
    missing = [at for at, sentence in enumerate(sentences) if sentence not in known]
    if missing:
        vectors[missing] = encoder.embed(tuple(sentences[at] for at in missing))
    for at, sentence in enumerate(sentences):
        if sentence in known:
            vectors[at] = rows[known[sentence]]
    return vectors


def sentences_of(library: Library) -> tuple[str, ...]:
    """Every sentence of a library once, in its order."""
    return tuple(dict.fromkeys(sentence for procedure in library.procedures for sentence in procedure.sentences()))


def write_store(sentences: Iterable[str], encoder: SentenceEncoder, path: Path = STORE) -> None:
    """Write the vectors of sentences, those that are stored already taken over."""
    from safetensors.numpy import save_file

    ordered = tuple(sentences)
    vectors = embed_sentences(ordered, encoder).astype(np.float16)
    save_file({"vectors": vectors}, path, metadata={"sentences": json.dumps(ordered)})
    _stored.cache_clear()


@lru_cache(maxsize=1)
def _stored() -> tuple[NDArray[np.float32], dict[str, int]]:
    """(N, D) float32 rows of unit length, and the row of each sentence."""
    from safetensors import safe_open

    with safe_open(STORE, framework="numpy") as file:
        rows = file.get_tensor("vectors").astype(np.float32)
        sentences = json.loads(file.metadata()["sentences"])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, {sentence: row for row, sentence in enumerate(sentences)}


def _agrees(encoder: SentenceEncoder, rows: NDArray[np.float32], known: dict[str, int]) -> bool:
    if not known or rows.shape[1] != encoder.dimension:
        return False
    samples = tuple(known)[:: max(len(known) // _SAMPLES, 1)][:_SAMPLES]
    own = encoder.embed(samples)
    return bool((np.sum(own * rows[[known[sample] for sample in samples]], axis=1) >= _LEAST_AGREEMENT).all())


def main() -> None:
    """Bring the stored vectors up to date with the step files."""
    from ksgen_models.text import MiniLM

    write_store(sentences_of(default_library()), MiniLM())


if __name__ == "__main__":
    main()
