"""Starts a run of each kind: opens checkpoint and manifest, adapts the network, hands both to the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput, PresetError
from ksgen_models.training.hub.config import TrainConfig
from ksgen_models.training.hub.manifest import ClipRef, clip_length, held_out, load_clip, read_clips

if TYPE_CHECKING:
    from ksgen_models.training.hub.kit import Kit


def train_rom(config: TrainConfig) -> Path:
    """IVG stage 1: where the hands will move. Returns the folder of the trained model.

    Raises:
        DatasetError: the manifest cannot be used, or the folder of the run.
        WeightsMissing: the checkpoint is not here or not whole.
        PresetError: it cannot be trained.
        InvalidInput: the settings do not fit it.
    """
    from ksgen_models.training.hub.clips import ROM

    return _train_clips(ROM, config)


def train_video(config: TrainConfig) -> Path:
    """IVG stage 2: the clip given the region of motion. Returns the folder of the trained model.

    Raises:
        WeightsMissing: also when the hand networks are missing and ``alpha`` is not 0.
        DatasetError, PresetError, InvalidInput: as `train_rom`.
    """
    from ksgen_models.training.hub.clips import VIDEO

    return _train_clips(VIDEO, config)


def train_kig(config: TrainConfig) -> Path:
    """The Skill Transformer and its injection on SDXL or Kolors. Returns the folder of the trained model.

    Raises:
        DatasetError, WeightsMissing, PresetError, InvalidInput: as `train_rom`.
    """
    import torch

    from ksgen_models.hub.checkpoints import check_checkpoint
    from ksgen_models.hub.kig.adapter import SkillAdapter
    from ksgen_models.hub.kig.families import GENERATORS
    from ksgen_models.hub.kig.loading import starting_from_a_picture
    from ksgen_models.hub.loading import load_pipeline
    from ksgen_models.hub.repositories import find_checkpoint
    from ksgen_models.hub.settings import RunSettings
    from ksgen_models.training.hub.kig import KigRecipe
    from ksgen_models.training.hub.kig_module import KigModule, choose_trained
    from ksgen_models.training.hub.loop import accelerator_of, train
    from ksgen_models.training.hub.noising import noising_of
    from ksgen_models.training.hub.plans import plans_of

    clips, validation = held_out(read_clips(config.data), config.validation_clips)
    folder = find_checkpoint(config.model, config.revision)
    name = check_checkpoint(folder).pipeline
    if name not in GENERATORS:
        raise PresetError(
            f"no Skill Transformer can be trained on a {name}; checkpoints of {', '.join(GENERATORS)} take it"
        )
    family = GENERATORS[name]
    half = config.precision != "no" and not config.whole_unet
    settings = RunSettings(dtype="bfloat16" if half else "float32", device="cpu")
    loaded = load_pipeline(folder, settings, pipeline=name, keep_float32=("vae",), place=False)
    pipeline = starting_from_a_picture(loaded, family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        adapter = _skills(config, pipeline, name, SkillAdapter)
    adapter.install(pipeline, name)
    module = KigModule(pipeline.unet, adapter)
    frozen = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}[config.precision]
    choose_trained(module, config.rank, config.whole_unet, config.seed, frozen)
    if config.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        adapter.transformer.enable_gradient_checkpointing()
    longest = config.plan_steps
    plans = (plans_of(clips, longest), plans_of(validation, longest))
    size = _picture_size(config, pipeline, family.area, clips[0])
    recipe = KigRecipe(folder, pipeline, family, module, noising_of(pipeline.scheduler), config, *plans, size)
    return train(recipe, config, accelerator_of(config))


def _skills(config: TrainConfig, pipeline: Any, name: str, kind: Any) -> Any:
    """A fresh adapter, or the one that the run starts from."""
    if config.start is not None:
        return kind.load(config.start)
    sizes = {"width": config.skill_width, "layers": config.skill_layers, "heads": max(1, config.skill_width // 64)}
    return kind.fresh(pipeline, name, max_steps=max(config.plan_steps, 16), **sizes)


def _picture_size(config: TrainConfig, pipeline: Any, area: int, reference: ClipRef) -> tuple[int, int]:
    """As it will be drawn: about the family's area in the ratio of the first clip, unless the user says."""
    from ksgen_models.hub.kig.pictures import drawn_size
    from ksgen_models.training.hub.manifest import clip_size

    multiple = pipeline.vae_scale_factor * 2 ** (len(pipeline.unet.config["block_out_channels"]) - 1)
    wanted = (config.height, config.width)
    if not all(wanted):
        return drawn_size(*clip_size(reference), area, multiple)
    if any(side % multiple for side in wanted):
        raise InvalidInput(f"{wanted[0]} × {wanted[1]}: this generator takes multiples of {multiple} pixels")
    return wanted


def _train_clips(kind: str, config: TrainConfig) -> Path:
    from ksgen_models.training.hub.clips import VIDEO, ClipRecipe
    from ksgen_models.training.hub.loop import accelerator_of, train

    references = read_clips(config.data)
    clips, validation = held_out(references, config.validation_clips)
    kit = _open(config, most_frames=clip_length(references[0]))
    hand_loss = None
    if kind == VIDEO and config.alpha:
        from ksgen_models.hand_structure import HandStructureLoss

        hand_loss = HandStructureLoss()
    accelerator = accelerator_of(config)
    regions = None
    if kind == VIDEO and config.rom is not None:
        with accelerator.main_process_first():  # the others find what the first has put into the cache
            regions = predicted_regions(config, kit, references, str(accelerator.device))
    adapt(kit, config)
    return train(ClipRecipe(kind, kit, config, clips, validation, regions, hand_loss), config, accelerator)


def _open(config: TrainConfig, most_frames: int) -> Kit:
    from ksgen_models.training.hub.kit import open_kit

    return open_kit(
        config.model,
        revision=config.revision,
        component=config.component,
        height=config.height,
        width=config.width,
        frames=config.frames,
        most_frames=most_frames,
        half=bool(config.rank) and config.precision != "no",
    )


def adapt(kit: Kit, config: TrainConfig) -> None:
    """Make room for the mask channel, put adapters in, and say what is trained.

    Raises:
        InvalidInput: ``config.start`` was trained with adapters of another rank.
    """
    import torch

    from ksgen_models.training.hub.adapt import add_adapters, choose_trained, load_adapters, widen

    network, layer = kit.network, kit.backbone.input_layer
    if config.start is not None:
        _start(kit, config, load_adapters)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            widen(network, layer)
        if config.rank:
            add_adapters(network, config.rank, config.seed)
    precisions = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
    choose_trained(network, layer, config.rank, precisions[config.precision])
    if config.gradient_checkpointing:
        network.enable_gradient_checkpointing()
        if kit.pipeline.vae._supports_gradient_checkpointing:
            kit.pipeline.vae.enable_gradient_checkpointing()


def _start(kit: Kit, config: TrainConfig, load_adapters: Any) -> None:
    """Weights of a trained model of the same backbone, into the network itself."""
    from ksgen_models.training.hub.adapt import load_network, widen
    from ksgen_models.training.hub.record import Record

    folder = Path(config.start or "")
    record = Record.read(folder)
    if record.rank != config.rank or record.pipeline != kit.backbone.pipeline:
        raise InvalidInput(
            f"{folder} was trained from a {record.pipeline} with rank {record.rank}; this run has a "
            f"{kit.backbone.pipeline} and rank {config.rank}: give the same for both"
        )
    if config.rank:
        load_adapters(folder, kit.network, kit.component, kit.backbone.input_layer)
        return
    trained = load_network(folder, kit.network, kit.component, kit.backbone.input_layer)
    widen(kit.network, kit.backbone.input_layer)
    kit.network.load_state_dict(trained.state_dict())


def predicted_regions(
    config: TrainConfig, kit: Kit, references: Sequence[ClipRef], device: str
) -> dict[str, NDArray[np.float32]]:
    """Stage 1's region of motion (H, W) in [0, 1] of every clip, by its digest, drawn once and kept in the cache.

    Raises:
        WeightsMissing: ``config.rom`` is no trained model.
    """
    import torch
    from tqdm import tqdm

    from ksgen_models.hub.settings import RunSettings
    from ksgen_models.training.hub.cache import Cache, weights_digest
    from ksgen_models.training.hub.trained import TrainedRegionModel

    folder = Path(config.rom or "")
    cache = Cache(config.cache_folder)
    model = TrainedRegionModel(folder, settings=RunSettings(device=device), solver_steps=config.sample_steps)
    identity = weights_digest(folder) + weights_digest(folder / model.record.component)
    size = [kit.height, kit.width, kit.frames]
    found = {}
    for reference in tqdm(references, desc="regions", unit="clip", disable=None):
        key = {"clip": reference.digest, "rom": identity, "size": size, "solver_steps": config.sample_steps}

        def make(reference: ClipRef = reference) -> dict[str, torch.Tensor]:
            picture = load_clip(reference, kit.height, kit.width, kit.frames).frames[0]
            seed = int(reference.digest[:8], 16)
            return {"region": torch.from_numpy(model.region(picture, reference.sentence, seed))}

        found[reference.digest] = cache.get(key, make)["region"].numpy()
    return found
