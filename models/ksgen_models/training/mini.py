"""The recipe of the mini models: from a folder of demonstrations to the weights that the package ships.

Every stage leaves its result in the output folder and is skipped when that is there already, so that a run that was
stopped goes on where it was; within a stage, `ksgen_models.training.fit` resumes from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ksgen_models.errors import DatasetError
from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.clip_model import ClipModel
from ksgen_models.mini.config import FULL, TINY, MiniConfig
from ksgen_models.mini.key_step_model import KeyStepModel
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.reader import ReaderNetwork
from ksgen_models.mini.weights import MiniMeta, load_network, save_meta, save_network
from ksgen_models.training.cache import Cache, build_cache, open_cache, raw_latents
from ksgen_models.training.episodes import Episode, read_episodes, vocabulary
from ksgen_models.training.fit import FitConfig, fit
from ksgen_models.training.train_autoencoder import autoencoder_losses, make_pairs, set_statistics
from ksgen_models.training.train_clip import ClipBatches, clip_losses
from ksgen_models.training.train_key_step import KeyStepBatches, key_step_losses
from ksgen_models.training.train_reader import ReaderBatches, reader_losses


@dataclass(frozen=True)
class Recipe:
    """How the mini models are made.

    Attributes:
        model: sizes.
        autoencoder, reader, key_step, clip: the training runs, in this order.
        crop: side of the autoencoder's training crops, in pixels.
        episodes: at most so many of the data set's episodes.
    """

    model: MiniConfig = FULL
    autoencoder: FitConfig = field(
        default_factory=lambda: FitConfig(steps=4500, batch=16, learning_rate=1e-3, averaging=0.995)
    )
    reader: FitConfig = field(
        default_factory=lambda: FitConfig(steps=1000, batch=32, learning_rate=1e-3, averaging=0.99)
    )
    key_step: FitConfig = field(
        default_factory=lambda: FitConfig(steps=600, batch=12, learning_rate=7e-4, averaging=0.995)
    )
    clip: FitConfig = field(
        default_factory=lambda: FitConfig(steps=1150, batch=4, learning_rate=7e-4, warmup=100, averaging=0.995)
    )
    crop: int = 128
    episodes: int | None = None


SMALL = Recipe(
    model=TINY,
    crop=64,
    autoencoder=FitConfig(steps=12, batch=4, warmup=2),
    reader=FitConfig(steps=6, batch=8, warmup=2),
    key_step=FitConfig(steps=6, batch=2, warmup=2),
    clip=FitConfig(steps=6, batch=2, warmup=2),
)
"""Every part of the recipe in a minute or two, to see that it works; the weights are worthless."""


def train_mini(data: str | Path, out: str | Path, *, recipe: Recipe | None = None, resume: bool = True) -> Path:
    """Train all mini models.

    Args:
        data: folder of demonstrations, as `ksgen-agent generate-demos` writes it.
        out: where logs, checkpoints and, in ``weights/``, the result go.
        recipe: sizes and schedules.
        resume: go on where an earlier run in ``out`` stopped; otherwise everything is trained anew.

    Returns:
        The folder of the weights, which `load_mini_parts` and `KSGEN_MINI_WEIGHTS` accept.

    Raises:
        DatasetError: ``data`` holds no readable demonstrations.
        WeightsMissing: the sentence encoder has not been fetched.
    """
    recipe = recipe or Recipe()
    out = Path(out)
    weights = out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    episodes = read_episodes(data, limit=recipe.episodes)
    size = episodes[0].image(0).shape[0]
    if size != recipe.model.image_size:
        raise DatasetError(
            f"{data} holds pictures of {size} pixels, the recipe wants {recipe.model.image_size}; "
            f"generate demonstrations of that size"
        )
    if not resume:
        for stale in [*weights.glob("*.safetensors"), *(out / "cache").glob("*")]:
            stale.unlink()

    autoencoder = _stage(
        "autoencoder",
        weights,
        lambda: Autoencoder(recipe.model.autoencoder),
        lambda model: _train_autoencoder(model, episodes, recipe, out, resume),
    )
    cache = _cache(out / "cache", episodes, autoencoder)
    tokens, mask = _text(cache.texts)
    meta = MiniMeta(
        config=recipe.model,
        scenes=cache.scene_names,
        objects=cache.object_names,
        looks=_spread(np.unique(cache.looks.round(3), axis=0), 256),
        fps=8.0,
    )
    save_meta(meta, weights)
    _stage(
        "reader",
        weights,
        lambda: ReaderNetwork(recipe.model.reader_width, len(meta.scenes), len(meta.objects)),
        lambda model: _with_density(
            fit("reader", model, ReaderBatches(cache), reader_losses, recipe.reader, out, resume=resume), cache
        ),
    )
    _stage(
        "key_step",
        weights,
        lambda: KeyStepModel(recipe.model),
        lambda model: fit(
            "key_step", model, KeyStepBatches(cache, tokens, mask), key_step_losses, recipe.key_step, out, resume=resume
        ),
    )
    _stage(
        "clip",
        weights,
        lambda: ClipModel(recipe.model),
        lambda model: fit(
            "clip", model, ClipBatches(cache, tokens, mask), clip_losses, recipe.clip, out, resume=resume
        ),
    )
    return weights


def _spread(looks: np.ndarray, number: int) -> tuple[tuple[float, ...], ...]:
    """At most ``number`` of the sorted looks (N, 6), from the darkest to the lightest."""
    chosen = np.linspace(0, len(looks) - 1, min(number, len(looks))).round().astype(int)
    return tuple(tuple(map(float, look)) for look in looks[chosen].tolist())


Network = TypeVar("Network", bound=nn.Module)


def _stage(name: str, weights: Path, make: Callable[[], Network], train: Callable[[Network], nn.Module]) -> Network:
    """Load the network if it is finished, else train and save it."""
    torch.manual_seed(0)
    network = make()
    if not (weights / f"{name}.safetensors").exists():
        save_network(name, train(network), weights)
    load_network(name, network, weights)
    return network


def _train_autoencoder(
    model: Autoencoder, episodes: list[Episode], recipe: Recipe, out: Path, resume: bool
) -> Autoencoder:
    averaged = fit(
        "autoencoder",
        model,
        lambda random, number: make_pairs(episodes, recipe.crop, random, number),
        autoencoder_losses,
        recipe.autoencoder,
        out,
        resume=resume,
    )
    assert isinstance(averaged, Autoencoder)
    random = np.random.default_rng(0)
    latents = []
    for _ in range(min(200, 4 * len(episodes))):
        episode = episodes[random.integers(len(episodes))]
        step = int(random.integers(episode.steps))
        frames = np.stack([episode.frame(step, int(time)) for time in random.integers(1, 16, 4)])
        latents.append(raw_latents(averaged, frames, episode.image(step)))
    set_statistics(averaged, torch.cat(latents))
    return averaged


def _cache(folder: Path, episodes: list[Episode], autoencoder: Autoencoder) -> Cache:
    """The cache of this autoencoder's latents, built if it is not there."""
    if not (folder / "names.json").exists():
        build_cache(folder, episodes, autoencoder, vocabulary(episodes))
    return open_cache(folder)


def _text(sentences: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    from ksgen_models.text import MiniLM

    states, mask = MiniLM().tokens(sentences)
    return torch.from_numpy(states.astype(np.float16)), torch.from_numpy(mask)


@torch.no_grad()
def _with_density(network: nn.Module, cache: Cache) -> nn.Module:
    """Fill in the reader's picture of familiar frames: mean and inverse covariance of its features."""
    assert isinstance(network, ReaderNetwork)
    features = [
        network(picture_tensor(torch.from_numpy(cache.pictures[part])))[3]
        for part in np.array_split(cache.first_picture[:-1], max(1, len(cache.scene) // 64))
    ]
    network.set_density(torch.cat(features))
    return network
