"""The planner that retrieves: the nearest procedures of the step library, made to fit the task and the frame.

KS-Gen plans with retrieval: similar demonstrations are looked up and adapted. Here the look-up is a cosine
similarity between sentence embeddings (the greatest over a procedure's wordings), the frame breaks near ties
between Workbench procedures, and the adaptation is in `ksgen_models.planner.adapt`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput, UnknownTask
from ksgen_models.interfaces import SentenceEncoder
from ksgen_models.library import WORKBENCH, Library, Procedure, default_library
from ksgen_models.library.vectors import embed_sentences
from ksgen_models.planner.adapt import Adapted, adapt
from ksgen_models.planner.perception import SceneReader, SceneReading
from ksgen_models.planner.words import checked_task, with_standard_colours
from ksgen_models.types import Evidence, Plan

THRESHOLD = 0.65
"""Least similarity that counts as known; see `docs/library.md` for the error rates on both sides."""

_SLOPE = 0.06
_SCENE_BONUS = 0.1
_UNJUDGED = 0.5


class RetrievalPlanner:
    """A planner that satisfies `ksgen_models.interfaces.Planner`.

    The library is embedded at the first plan and kept; the vectors of the package's own sentences come with it.

    Workbench procedures are never crowded out: one that is similar enough stays a candidate however many everyday
    procedures are nearer than it, so that the frame can still decide for it.

    Attributes:
        library, encoder, k, threshold: as passed.
    """

    def __init__(
        self,
        library: Library,
        encoder: SentenceEncoder,
        reader: SceneReader | None = None,
        k: int = 5,
        threshold: float = THRESHOLD,
    ) -> None:
        """Plan from a library.

        Args:
            library: at least one procedure.
            encoder: embeds the tasks and the wordings.
            reader: reads the frame; None plans from the words alone.
            k: how many procedures to retrieve, at least 1.
            threshold: least cosine similarity of a task that counts as known, in [-1, 1].

        Raises:
            InvalidInput: the library is empty, or ``k`` or ``threshold`` is out of its range.
        """
        if not len(library):
            raise InvalidInput("the step library is empty; pass default_library() or one of your own")
        if k < 1 or not -1.0 <= threshold <= 1.0:
            raise InvalidInput(f"k must be at least 1 and threshold within [-1, 1], got k={k}, threshold={threshold}")
        self.library = library
        self.k = k
        self.threshold = threshold
        self.encoder = encoder
        self._reader = reader

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        """Write the key steps of a task.

        Args:
            frame: (H, W, 3) uint8; looked at only when the planner has a reader.
            task: a sentence.

        Returns:
            The plan. Its evidence begins with the procedure that was adapted; an evidence's ``source`` is
            ``"<origin>/<domain>"``, e.g. ``"ksgen/workbench"``.

        Raises:
            InvalidTask: the task is not text, is empty, too long, holds control characters or contradicts itself.
            UnknownTask: no procedure is similar enough; names the nearest.
        """
        task = checked_task(task)
        everything = self._by_similarity(task)
        found = everything[: self.k]
        if found[0][1] < self.threshold:
            raise UnknownTask(task, tuple((procedure.task, similarity) for procedure, similarity in found[:3]))
        reading = self._reader.read(frame) if self._reader is not None else None
        near = [entry for entry in everything[self.k :] if entry[0].domain == WORKBENCH and entry[1] >= self.threshold]
        ranked = _ranked([*found, *near], reading, self.threshold)[: self.k]
        procedure, similarity = ranked[0]
        adapted = adapt(procedure, task, reading)
        return Plan(
            task=task,
            steps=adapted.steps,
            confidence=_certainty(similarity, self.threshold) * fit(procedure, adapted, reading),
            source="retrieval",
            evidence=tuple(as_evidence(*entry) for entry in ranked),
        )

    def retrieve(self, task: str) -> list[tuple[Procedure, float]]:
        """The ``k`` nearest procedures with their cosine similarities in [-1, 1], best first."""
        return self._by_similarity(task)[: self.k]

    def _by_similarity(self, task: str) -> list[tuple[Procedure, float]]:
        rows, owners = self._embedded
        asked = tuple(dict.fromkeys((task, with_standard_colours(task))))
        similarities = (rows @ self.encoder.embed(asked).T).max(axis=1)  # (N, 1 or 2) → (N,)
        best = np.full(len(self.library), -1.0, np.float32)
        np.maximum.at(best, owners, similarities)
        order = np.argsort(-best, kind="stable")
        return [(self.library.procedures[index], float(np.clip(best[index], -1.0, 1.0))) for index in order]

    @cached_property
    def _embedded(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """(N, D) embeddings of all wordings, and (N,) the procedure that each belongs to."""
        sentences = [procedure.sentences() for procedure in self.library.procedures]
        owners = np.repeat(np.arange(len(sentences)), [len(group) for group in sentences])
        return embed_sentences(tuple(sentence for group in sentences for sentence in group), self.encoder), owners


def default_retrieval() -> RetrievalPlanner:
    """A planner over the package's step library and sentence encoder, which plans from the words alone.

    Raises:
        WeightsMissing: the sentence encoder has not been fetched.
    """
    from ksgen_models.text import MiniLM

    return RetrievalPlanner(default_library(), MiniLM())


def is_workbench(plan: Plan) -> bool:
    """Whether the plan rests on a Workbench procedure, the only ones that the mini preset's models have learnt."""
    return bool(plan.evidence) and plan.evidence[0].source.endswith(f"/{WORKBENCH}")


def fit(procedure: Procedure, adapted: Adapted, reading: SceneReading | None) -> float:
    """How well the frame suits the steps, in [0, 1]; 1 when the frame was not read.

    The probability that the frame shows the procedure's scene, times that of the least probable thing the steps
    touch. An everyday procedure suits a frame as far as that shows no Workbench scene.
    """
    if reading is None:
        return 1.0
    if procedure.domain != WORKBENCH:
        return float(np.clip(1.0 - max(reading.scene.values(), default=0.0), 0.0, 1.0))
    # Words may name what the reader has never learnt ("the brown pen"): it can neither confirm nor deny it.
    things = min((reading.objects.get(name, _UNJUDGED) for name in adapted.touches), default=1.0)
    return float(np.clip(reading.scene.get(procedure.scene, 0.0) * things, 0.0, 1.0))


def _ranked(
    found: Sequence[tuple[Procedure, float]], reading: SceneReading | None, threshold: float
) -> list[tuple[Procedure, float]]:
    """Best first. "Put the red ball away" means the bin in one scene and the drawer in another: the frame decides."""

    def rank(entry: tuple[Procedure, float]) -> float:
        procedure, similarity = entry
        counts = reading is not None and procedure.domain == WORKBENCH and similarity >= threshold
        return similarity + (_SCENE_BONUS * reading.scene.get(procedure.scene, 0.0) if counts and reading else 0.0)

    return sorted(found, key=rank, reverse=True)


def _certainty(similarity: float, threshold: float) -> float:
    """Chance that the procedure is the one asked for: a logistic curve through the calibration tasks."""
    return 1.0 / (1.0 + math.exp(-(similarity - threshold) / _SLOPE))


def as_evidence(procedure: Procedure, similarity: float) -> Evidence:
    """A retrieved procedure as a plan records it."""
    return Evidence(procedure.task, procedure.steps, similarity, f"{procedure.source}/{procedure.domain}")
