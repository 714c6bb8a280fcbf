"""A step library for the planner out of annotations or of one's own JSON, with its sentences' vectors.

Nothing is learnt here: retrieval is trained by what it can retrieve. The vectors are made beforehand because a library
of thousands of sentences takes minutes to embed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import DatasetError, InvalidInput
from ksgen_models.interfaces import SentenceEncoder
from ksgen_models.library import Library, Procedure, load_library, save_library

LIBRARY, VECTORS = "library.json", "sentences.safetensors"
SOURCES = ("coin", "crosstask", "htstep", "own")
_AGREEMENT = 0.9999


@dataclass(frozen=True)
class LibrarySummary:
    """What became of the annotations.

    Attributes:
        library: the step file.
        vectors: the vectors of its sentences.
        procedures: how many it holds.
        steps: of all of them.
        sentences: that were embedded.
        repeated: procedures left out because another has the same task and the same steps.
    """

    library: Path
    vectors: Path
    procedures: int
    steps: int
    sentences: int
    repeated: tuple[str, ...]


def make_library(source: str, files: Sequence[Path], out: Path, encoder: SentenceEncoder) -> LibrarySummary:
    """Turn annotations into ``out/library.json`` and ``out/sentences.safetensors``.

    `open_library` gives them to a planner.

    Args:
        source: one of `SOURCES`.
        files: ``coin``: COIN.json. ``crosstask``: the task list, and if wanted the folder of csv files. ``htstep``:
            taxonomy.csv, and if wanted the annotations JSON. ``own``: step files in the form of `ksgen_models.library`.
        out: folder, made when it is not there.
        encoder: of the sentences.

    Raises:
        DatasetError: a file cannot be read or is not the source's, holds no procedure, or ``out`` cannot be written.
        InvalidInput: no such source, or files that it does not take.
    """
    from ksgen_models.library.vectors import sentences_of, write_store
    from ksgen_models.training.hub.cache import writing

    library, repeated = _without_repeats(read_source(source, files))
    if not len(library):
        raise DatasetError(f"{', '.join(map(str, files))} hold no procedure with steps; check that they are {source}'s")
    sentences = sentences_of(library)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        save_library(library, out / LIBRARY)
        write_store(sentences, encoder, out / VECTORS)
    steps = sum(len(procedure.steps) for procedure in library.procedures)
    return LibrarySummary(out / LIBRARY, out / VECTORS, len(library), steps, len(sentences), repeated)


def read_source(source: str, files: Sequence[Path]) -> Library:
    """The procedures of annotation files.

    Raises:
        DatasetError, InvalidInput: as `make_library`.
    """
    from ksgen_models.library.annotations import coin_library, crosstask_library, htstep_library

    most = {"coin": 1, "crosstask": 2, "htstep": 2, "own": max(len(files), 1)}
    if source not in most:
        raise InvalidInput(f'there is no source "{source}"; choose one of {", ".join(SOURCES)}')
    if not 1 <= len(files) <= most[source]:
        raise InvalidInput(f"{source} is read from 1 to {most[source]} files, {len(files)} were given")
    if source == "own":
        return _of_one_source(load_library(files))
    readers = {"coin": coin_library, "crosstask": crosstask_library, "htstep": htstep_library}
    return readers[source](*files)


def _of_one_source(library: Library) -> Library:
    """A step file holds one source: several become one that names them all."""
    names = "+".join(Counter(procedure.source for procedure in library.procedures))
    return Library(tuple(replace(procedure, source=names) for procedure in library.procedures))


def _without_repeats(library: Library) -> tuple[Library, tuple[str, ...]]:
    kept: dict[tuple[str, tuple[str, ...]], Procedure] = {}
    repeated = []
    for procedure in library.procedures:
        key = (procedure.task.casefold(), procedure.steps)
        if key in kept:
            repeated.append(procedure.id)
        kept.setdefault(key, procedure)
    return Library(tuple(kept.values())), tuple(repeated)


class StoredVectors:
    """A sentence encoder that knows some sentences by heart. Satisfies `ksgen_models.interfaces.SentenceEncoder`."""

    def __init__(self, path: Path, encoder: SentenceEncoder) -> None:
        """Read ``sentences.safetensors``.

        Args:
            path: the file.
            encoder: for all other sentences; the one that made the file.

        Raises:
            DatasetError: the file cannot be read, or was made by another encoder.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                rows = file.get_tensor("vectors").astype(np.float32)
                names = tuple(json.loads(file.metadata()["sentences"]))
            self._rows = dict(zip(names, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as exc:
            raise DatasetError(
                f"{path} holds no vectors of sentences ({exc}); make it with train planner-library"
            ) from exc
        self._encoder = encoder
        sample = names[:1]
        if sample and (rows.shape[1] != encoder.dimension or not self._agrees(sample)):
            raise DatasetError(f"{path} was made with another sentence encoder; make it anew with this one")

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._encoder.dimension

    def embed(self, sentences: tuple[str, ...]) -> NDArray[np.float32]:
        """(N, D) float32, rows of unit length; known ones are within 1e-3 of the encoder's own."""
        vectors = np.zeros((len(sentences), self.dimension), np.float32)
        missing = [at for at, sentence in enumerate(sentences) if sentence not in self._rows]
        if missing:
            vectors[missing] = self._encoder.embed(tuple(sentences[at] for at in missing))
        for at, sentence in enumerate(sentences):
            if sentence in self._rows:
                vectors[at] = self._rows[sentence]
        return vectors

    def _agrees(self, sample: tuple[str, ...]) -> bool:
        return bool((self._encoder.embed(sample) * self.embed(sample)).sum() > _AGREEMENT * len(sample))


def open_library(folder: str | Path, encoder: SentenceEncoder) -> tuple[Library, SentenceEncoder]:
    """What `make_library` wrote: the procedures, and the encoder that knows their sentences, as planners take them.

    Raises:
        DatasetError: a file is missing, damaged, or of another encoder.
    """
    folder = Path(folder)
    return load_library([folder / LIBRARY]), StoredVectors(folder / VECTORS, encoder)
