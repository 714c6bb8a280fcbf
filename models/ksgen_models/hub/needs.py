"""What a hub preset needs, before anything is downloaded or loaded: repositories, sizes, memory, and what is here."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ksgen_models.errors import KSGenError
from ksgen_models.hub.checkpoints import check_checkpoint, checkpoint_size
from ksgen_models.hub.families import Family
from ksgen_models.hub.images import ImageModel, find_image_model
from ksgen_models.hub.memory import expected_memory_gb
from ksgen_models.hub.published import pipeline_files
from ksgen_models.hub.repositories import find_checkpoint, how_to_get, is_repository
from ksgen_models.hub.settings import RunSettings
from ksgen_models.hub.video_loading import COMPANION_FILES, find_video_family

MEMORY_SETTINGS: tuple[RunSettings, ...] = (
    RunSettings(dtype="bfloat16"),
    RunSettings(dtype="bfloat16", offload="model"),
    RunSettings(dtype="bfloat16", offload="model", quantisation="int8"),
    RunSettings(dtype="bfloat16", offload="model", quantisation="nf4"),
    RunSettings(dtype="bfloat16", offload="group"),
    RunSettings(dtype="bfloat16", offload="sequential"),
)
"""The settings whose memory is shown, from the fastest to the leanest."""


@dataclass(frozen=True)
class Need:
    """A checkpoint that a preset loads.

    Attributes:
        role: ``"video"``, ``"companion"``, ``"images"``; the key of ``weights``.
        source: repository, or what the caller named.
        revision: of the repository.
        licence: of the weights.
        components: GB of each as the table's own repository stores it.
        folder: where it is on this machine; None where it is not.
        size_gb: of the weights that are here.
        variant: the edition of the weight files that is fetched, as `ksgen_models.hub.published.Published` has it.
        lacks: what is wrong or missing, with what to do; empty where it is whole.
    """

    role: str
    source: str
    revision: str
    licence: str
    components: Mapping[str, float]
    folder: Path | None
    size_gb: float
    lacks: str
    variant: str | None = None

    @property
    def expected_gb(self) -> float:
        """GB that are downloaded and stay on disk."""
        return sum(self.components.values())


def preset_needs(video: str, images: str, weights: Mapping[str, str | Path] | None = None) -> tuple[Need, ...]:
    """What a video family and an image model need together.

    Args:
        video: name of a family.
        images: name of an image model.
        weights: other sources by role, as for `ksgen_models.hub.parts.load_hub_parts`.
    """
    weights = weights or {}
    family, model = find_video_family(video), find_image_model(images)
    needs = [_need("video", family, weights.get("video"), (family.pipeline, *family.accepted))]
    if family.companion is not None and not _is_complete(needs[0], family):
        component, _, repository = family.companion
        needs.append(_companion_need(family, component, weights.get("companion") or repository))
    needs.append(_need("images", model, weights.get("images"), (model.pipeline,)))
    return tuple(needs)


def missing_packages(video: str) -> tuple[str, ...]:
    """Import names that a family needs and that are not installed."""
    return tuple(name for name in find_video_family(video).needs if find_spec(name) is None)


def memory_gb(video: str, images: str, settings: RunSettings) -> float:
    """GPU memory of a preset in GB: its two models take turns, so the larger one counts."""
    models = (find_video_family(video), find_image_model(images))
    return max(expected_memory_gb(model.weights_gb(), model.working, settings) for model in models)


def _need(role: str, model: Family | ImageModel, source: str | Path | None, classes: Collection[str]) -> Need:
    beside = {model.companion[0]} if isinstance(model, Family) and model.companion else set()
    components = {name: size for name, size in model.download_gb().items() if name not in beside}
    chosen = str(source or model.repository)
    revision, files = (model.revision, model.files) if source is None else ("", pipeline_files())
    skip = {"safety_checker", *(model.unused if isinstance(model, Family) else ())}
    folder, size, lacks = None, 0.0, ""
    try:
        folder = find_checkpoint(chosen, revision or None, patterns=files)
        size = checkpoint_size(folder) / 1e9
        size = check_checkpoint(folder, pipeline=classes, skip=skip).size / 1e9
    except KSGenError as exc:
        lacks = " ".join(str(exc).split())
    variant = model.variant if source is None else None
    return Need(role, chosen, revision, model.licence, components, folder, size, lacks, variant)


def _companion_need(family: Family, component: str, source: str | Path) -> Need:
    folder, size, lacks = None, 0.0, ""
    try:
        folder = find_checkpoint(source, patterns=COMPANION_FILES)
        size = checkpoint_size(folder) / 1e9
        if not size:
            get = how_to_get(str(source), patterns=COMPANION_FILES) if is_repository(source) else "fetch it again"
            lacks = f"{folder} has no weights (*.safetensors); {get}"
    except KSGenError as exc:
        lacks = " ".join(str(exc).split())
    gb = {component: family.download_gb()[component]}
    return Need("companion", str(source), "main", family.licence, gb, folder, size, lacks)


def _is_complete(need: Need, family: Family) -> bool:
    """Whether a checkpoint holds the companion itself, as one that was saved from the whole pipeline does."""
    with contextlib.suppress(KSGenError):
        if need.folder is not None:
            return check_checkpoint(need.folder).pipeline == family.pipeline
    return False
