"""A hub preset's parts, loaded: a video family, a key-step image model, and what the embedded preset has as well."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ksgen_models.errors import PresetError
from ksgen_models.hub.images import find_image_model
from ksgen_models.hub.published import pipeline_files
from ksgen_models.hub.regions import WholeFrame
from ksgen_models.hub.repositories import find_checkpoint
from ksgen_models.hub.settings import RunSettings, settings_from
from ksgen_models.hub.turns import InTurnImages, InTurnVideo, TurnTaker
from ksgen_models.hub.video_loading import load_video_generator
from ksgen_models.interfaces import Parts, Planner, RegionModel, SentenceEncoder, VideoGenerator

ROLES = ("video", "companion", "images", "adapter", "region", "planner")
"""What ``weights`` may name: the video checkpoint (or a video model of the user's training), its family's second one,
the key-step image checkpoint, a trained KIG adapter, a trained region model, a multimodal language model that plans."""
_TAIL = 1 << 20  # bytes at the end of a weight file that go into its fingerprint


def load_hub_parts(
    video: str,
    images: str,
    *,
    device: str = "cuda",
    weights: Mapping[str, str | Path] | None = None,
    settings: RunSettings | Mapping[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    download: bool = False,
) -> Parts:
    """Load a preset.

    Args:
        video: name of a family in `ksgen_models.hub.families.FAMILIES`.
        images: name of a model in `ksgen_models.hub.images.IMAGE_MODELS`.
        device: where to run.
        weights: folder or repository for each of `ROLES`; those left out are the table's own, and none for the last
            three: no adapter, all of the frame may move, plans from the step library.
        settings: of both pipelines; its device gives way to ``device``.
        options: ``"video"`` (see `ksgen_models.hub.video_settings.VideoSettings`) and ``"images"`` (of the image
            model's family, see `ksgen_models.hub.kig.families`).
        download: fetch what is not on this machine.

    Raises:
        PresetError: a name, setting or role that there is not, or this machine cannot run it.
        WeightsMissing: a checkpoint, the hand networks or the sentence encoder are not here.
        AssetError: a checkpoint is whole and does not load.
    """
    from ksgen_models.hands.tracker import HandTracker
    from ksgen_models.text import MiniLM

    weights, options = _known("weights", weights, ROLES), _known("options", options, ("video", "images"))
    chosen = settings_from({**_named(settings), "device": device})
    turns = TurnTaker(chosen)
    # The small parts first: what is missing among them is known before gigabytes are read.
    encoder, tracker = MiniLM(), HandTracker()
    try:
        planner = _planner(weights.get("planner"), encoder, device)
        region = _region(weights.get("region"), chosen)
        drawer, images_folder = _images(images, weights, chosen, options.get("images"), download)
        turns.rest(drawer.pipeline)
        clips, drawn_with = _video(video, weights, chosen, options.get("video"), turns, download)
    except BaseException:
        tracker.close()
        raise
    return Parts(
        planner=planner,
        image_generator=InTurnImages(drawer, drawer.pipeline, turns),
        region_model=region,
        video_generator=clips,
        tracker=tracker,
        sentence_encoder=encoder,
        domain_check=None,
        provenance={
            "models": {**drawn_with.pop("models"), f"images/{images}": identity(images_folder), **_others(weights)},
            "settings": vars(chosen),
            "video": drawn_with,
        },
    )


def _video(
    name: str,
    weights: Mapping[str, str | Path],
    settings: RunSettings,
    options: Mapping[str, Any] | None,
    turns: TurnTaker,
    download: bool,
) -> tuple[VideoGenerator, dict[str, Any]]:
    """The generator, and what is recorded of it."""
    source = weights.get("video")
    if source is not None and _is_trained(source):
        from ksgen_models.training.hub.trained import TrainedVideoGenerator

        if options:
            raise PresetError("a model of your own training draws as it was trained; leave the video options out")
        trained = TrainedVideoGenerator(source, settings=RunSettings(device=settings.device, dtype=settings.dtype))
        return trained, {"models": {f"video/{name}": identity(source)}}
    generator = load_video_generator(
        name, source, companion=weights.get("companion"), settings=settings, options=options, download=download
    )
    turns.rest(generator.pipeline)
    drawn_with = {key: value for key, value in vars(generator.options).items() if value is not None}
    record = {"models": {f"video/{name}": identity(generator.folder)}, **drawn_with}
    return InTurnVideo(generator, generator.pipeline, turns), record


def _images(
    name: str,
    weights: Mapping[str, str | Path],
    settings: RunSettings,
    options: Mapping[str, Any] | None,
    download: bool,
) -> tuple[Any, Path]:
    from ksgen_models.hub.kig.loading import load_image_generator

    model = find_image_model(name)
    source = weights.get("images")
    revision, files = (model.revision, model.files) if source is None else (None, pipeline_files())
    folder = find_checkpoint(source or model.repository, revision, download=download, patterns=files)
    return load_image_generator(folder, weights.get("adapter"), settings=settings, changes=options), folder


def _planner(source: str | Path | None, encoder: SentenceEncoder, device: str) -> Planner:
    from ksgen_models.planner import RetrievalPlanner, default_library

    retrieval = RetrievalPlanner(default_library(), encoder)
    if source is None:
        return retrieval
    from ksgen_models.planner import MLLMPlanner

    return MLLMPlanner(find_checkpoint(source), retrieval=retrieval, device=device)


def _region(source: str | Path | None, settings: RunSettings) -> RegionModel:
    if source is None:
        return WholeFrame()
    from ksgen_models.training.hub.trained import TrainedRegionModel

    return TrainedRegionModel(source, settings=RunSettings(device=settings.device, dtype=settings.dtype))


def _known(what: str, given: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any]:
    strange = sorted(set(given or {}) - set(names))
    if strange:
        raise PresetError(f"{what} may name {', '.join(names)}, not {', '.join(strange)}")
    return dict(given or {})


def _named(settings: RunSettings | Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(settings.__dict__ if isinstance(settings, RunSettings) else settings or {})


def _others(weights: Mapping[str, str | Path]) -> dict[str, str]:
    return {role: str(weights[role]) for role in ("companion", "adapter", "region", "planner") if role in weights}


def _is_trained(source: str | Path) -> bool:
    from ksgen_models.training.hub.adapt import RECORD

    return (Path(source).expanduser() / RECORD).is_file()


def identity(folder: str | Path) -> dict[str, str]:
    """Which weights these are: the folder, and a hash of every weight file's name, length, header and last megabyte.

    Reading all of a checkpoint would take minutes; two that differ in training differ in their last megabyte.
    """
    digest, folder = hashlib.sha256(), Path(folder)
    for path in sorted(folder.rglob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            digest.update(file.read(min(length, size)))
            file.seek(max(size - _TAIL, 0))
            digest.update(file.read(_TAIL))
    return {"folder": str(folder), "fingerprint": digest.hexdigest()}
