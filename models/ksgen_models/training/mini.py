"""The recipe of the mini models: from a folder of demonstrations to the weights that the package ships.

Every stage leaves its result in the output folder and is skipped when that is there already, so that a run that was
stopped goes on where it was; within a stage, `ksgen_models.training.fit` resumes from its last checkpoint.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ksgen_models.demonstration import CLIP_FPS, list_episodes
from ksgen_models.errors import DatasetError
from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.clip_model import ClipModel
from ksgen_models.mini.config import FULL, TINY, MiniConfig
from ksgen_models.mini.key_step_model import KeyStepModel
from ksgen_models.mini.progress import ProgressNetwork
from ksgen_models.mini.reader import ReaderNetwork
from ksgen_models.mini.track_model import TrackModel
from ksgen_models.mini.weights import MiniMeta, load_network, save_meta, save_network
from ksgen_models.processes import core_count
from ksgen_models.training.cache import Cache, cached, open_cache, raw_latents
from ksgen_models.training.draw_plans import draw_plans
from ksgen_models.training.episodes import Episode, read_episodes
from ksgen_models.training.fit import FitConfig, fit
from ksgen_models.training.hand_frames import Footage
from ksgen_models.training.progress_data import read_works
from ksgen_models.training.train_autoencoder import autoencoder_losses, make_pairs, set_statistics
from ksgen_models.training.train_clip import BETA, ClipBatches, clip_losses
from ksgen_models.training.train_key_step import KeyStepBatches, key_step_losses, pointing_losses
from ksgen_models.training.train_progress import ProgressBatches, progress_losses
from ksgen_models.training.train_reader import ReaderBatches, train_reader
from ksgen_models.training.train_track import track_batches, track_losses
from ksgen_models.training.tune_clip import ALPHA, tune_clip


@dataclass(frozen=True)
class Recipe:
    """How the mini models are made.

    Attributes:
        model: sizes.
        autoencoder, reader, progress, track, track_drawn, pointing, key_step, clip, clip_hands: the training runs;
            ``track_drawn`` is that of the track model with plans that the KIG drew, after the one without, ``pointing``
            that of the KIG's Skill Transformer alone, before image generator and Skill Transformer are trained
            together, and ``clip_hands`` that of the clip model with the hand structure loss, after the one without.
        alpha: weight of the hand structure loss (IVG Eq. 6); 0 leaves decoder and landmark network out.
        beta: weight of the mIoU loss (IVG Eq. 3).
        crop: side of the autoencoder's training crops, in pixels.
        episodes: at most so many of the data set's episodes.
    """

    model: MiniConfig = FULL
    autoencoder: FitConfig = field(
        default_factory=lambda: FitConfig(steps=4500, batch=16, learning_rate=1e-3, averaging=0.995)
    )
    reader: FitConfig = field(
        default_factory=lambda: FitConfig(steps=5000, batch=32, learning_rate=1e-3, averaging=0.995)
    )
    progress: FitConfig = field(
        default_factory=lambda: FitConfig(steps=3000, batch=24, learning_rate=1.5e-3, warmup=100, averaging=0.998)
    )
    track: FitConfig = field(
        default_factory=lambda: FitConfig(steps=8000, batch=48, learning_rate=1e-3, averaging=0.998)
    )
    track_drawn: FitConfig = field(
        default_factory=lambda: FitConfig(steps=8000, batch=48, learning_rate=1e-3, averaging=0.998)
    )
    pointing: FitConfig = field(
        default_factory=lambda: FitConfig(steps=2000, batch=16, learning_rate=1e-3, averaging=0.995)
    )
    key_step: FitConfig = field(
        default_factory=lambda: FitConfig(steps=9000, batch=12, learning_rate=7e-4, averaging=0.998)
    )
    clip: FitConfig = field(
        default_factory=lambda: FitConfig(steps=9300, batch=4, learning_rate=7e-4, warmup=100, averaging=0.998)
    )
    clip_hands: FitConfig = field(
        default_factory=lambda: FitConfig(steps=2000, batch=4, learning_rate=4e-4, warmup=20, averaging=0.995)
    )
    alpha: float = ALPHA
    beta: float = BETA
    crop: int = 128
    episodes: int | None = None


SMALL = Recipe(
    model=TINY,
    crop=64,
    autoencoder=FitConfig(steps=12, batch=4, warmup=2),
    reader=FitConfig(steps=6, batch=8, warmup=2),
    progress=FitConfig(steps=6, batch=2, warmup=2),
    track=FitConfig(steps=6, batch=2, warmup=2),
    track_drawn=FitConfig(steps=3, batch=2, warmup=2),
    pointing=FitConfig(steps=6, batch=2, warmup=2),
    key_step=FitConfig(steps=6, batch=2, warmup=2),
    clip=FitConfig(steps=6, batch=2, warmup=2),
    clip_hands=FitConfig(steps=3, batch=2, warmup=2),
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
        WeightsMissing: the sentence encoder, or the landmark network of the hand structure loss, has not been fetched.
    """
    recipe = recipe or Recipe()
    out = Path(out)
    run = _Run(recipe, Path(data), out, resume)
    weights = out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    episodes = read_episodes(data, limit=recipe.episodes)
    with_clips = [episode for episode in episodes if episode.has_clips]
    if not with_clips:
        raise DatasetError(f"{data} holds stills alone; generate demonstrations too")
    size = episodes[0].image(0).shape[0]
    if size != recipe.model.image_size:
        raise DatasetError(
            f"{data} holds pictures of {size} pixels, the recipe wants {recipe.model.image_size}; "
            f"generate demonstrations of that size"
        )
    if not resume:
        for stale in [*weights.glob("*.safetensors"), *(out / "cache").glob("*"), *(out / "drawn").glob("*/*.npz")]:
            stale.unlink()
        _finished(out).unlink(missing_ok=True)

    autoencoder = Autoencoder(recipe.model.autoencoder)
    if not _weights_of("autoencoder", out).exists():
        save_network("autoencoder", _train_autoencoder(recipe, with_clips, out, resume), weights)
    load_network("autoencoder", autoencoder, weights)
    cache = cached(out / "cache", episodes, autoencoder)
    meta = MiniMeta(
        config=recipe.model,
        scenes=cache.scene_names,
        objects=cache.object_names,
        looks=_spread(np.unique(cache.looks.round(3), axis=0), 256),
        fps=CLIP_FPS,
    )
    save_meta(meta, weights)
    del cache, episodes, with_clips  # the workers read the cache anew
    _train_side_by_side([name for name in _GENERATORS if not _weights_of(name, out).exists()], run)
    if not _finished(out).exists():
        save_network("track", _train_track_on_drawn_plans(run), weights)
        _finished(out).touch()
    return weights


@dataclass(frozen=True)
class _Run:
    """One call of `train_mini`."""

    recipe: Recipe
    data: Path
    out: Path
    resume: bool


def _train_side_by_side(names: list[str], run: _Run) -> None:
    """Train the networks that need nothing of each other at once, two processes sharing the cores.

    Two networks on a core each are trained in three quarters of the time that one after the other takes on two.
    """
    if not names:
        return
    processes = min(2, len(names), core_count())
    threads = max(1, core_count() // processes)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_train_generator, name, run, threads) for name in names]
        for done in running:
            done.result()


def _train_generator(name: str, run: _Run, threads: int) -> None:
    """Train and save one network; runs in a process of its own."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # What learns from the pictures alone needs no cache.
    network = _ON_PICTURES[name](run) if name in _ON_PICTURES else _ON_CACHE[name](run, open_cache(run.out / "cache"))
    save_network(name, network, run.out / "weights")


def _weights_of(name: str, out: Path) -> Path:
    return out / "weights" / f"{name}.safetensors"


def _finished(out: Path) -> Path:
    """Is there when the track model has been trained on with drawn plans; its weights were there before."""
    return out / "track_drawn.finished"


def _train_reader(run: _Run, cache: Cache) -> nn.Module:
    names = cache.scene_names, cache.object_names
    network = ReaderNetwork(run.recipe.model.reader_width, len(cache.scene_names), cache.object_names)
    episodes = read_episodes(run.data, limit=run.recipe.episodes)
    return train_reader(network, ReaderBatches(episodes, *names), run.recipe.reader, run.out, resume=run.resume)


def _train_key_step(run: _Run, cache: Cache) -> nn.Module:
    recipe, batches = run.recipe, KeyStepBatches(cache, *sentence_states(cache.texts))
    model = KeyStepModel(recipe.model)
    pointing = fit("pointing", model, batches, pointing_losses, recipe.pointing, run.out, resume=run.resume)
    pointing.requires_grad_(True)
    return fit("key_step", pointing, batches, key_step_losses, recipe.key_step, run.out, resume=run.resume)


def _train_clip(run: _Run, cache: Cache) -> nn.Module:
    recipe, text = run.recipe, sentence_states(cache.texts)
    losses = partial(clip_losses, beta=recipe.beta)
    model = fit(
        "clip", ClipModel(recipe.model), ClipBatches(cache, *text), losses, recipe.clip, run.out, resume=run.resume
    )
    autoencoder = Autoencoder(recipe.model.autoencoder)
    load_network("autoencoder", autoencoder, run.out / "weights")
    return tune_clip(
        model,
        cache,
        text,
        Footage.of(read_episodes(run.data, limit=recipe.episodes)),
        autoencoder,
        recipe.clip_hands,
        run.out,
        alpha=recipe.alpha,
        beta=recipe.beta,
        resume=run.resume,
    )


def _train_progress(run: _Run) -> nn.Module:
    recipe, works = run.recipe, read_works([run.data], limit=run.recipe.episodes)
    batches = ProgressBatches(works, *sentence_states(works.texts), np.arange(len(works.works)))
    network = ProgressNetwork(recipe.model.progress)
    return fit("progress", network, batches, progress_losses, recipe.progress, run.out, resume=run.resume)


def _train_track(run: _Run) -> nn.Module:
    recipe = run.recipe
    batches = track_batches(read_episodes(run.data, limit=recipe.episodes))
    network = TrackModel(recipe.model.track, recipe.model.frames)
    return fit("track", network, batches, track_losses, recipe.track, run.out, resume=run.resume)


def _train_track_on_drawn_plans(run: _Run) -> nn.Module:
    """The track model, trained on with plans that the KIG draws, half of all; the last, since it needs the KIG."""
    recipe, weights = run.recipe, run.out / "weights"
    true = list_episodes(run.data)[: recipe.episodes]
    drawn = draw_plans(true, run.out / "drawn", weights)
    batches = track_batches(read_episodes(run.data, limit=recipe.episodes) + read_episodes(drawn))
    network = TrackModel(recipe.model.track, recipe.model.frames)
    load_network("track", network, weights).requires_grad_(True)
    return fit("track_drawn", network, batches, track_losses, recipe.track_drawn, run.out, resume=run.resume)


_ON_PICTURES = {"progress": _train_progress, "track": _train_track}
_ON_CACHE = {"clip": _train_clip, "reader": _train_reader, "key_step": _train_key_step}
_GENERATORS = ("clip", "reader", "key_step", "progress", "track")
"""What is trained when the autoencoder is there, the longest first."""


def _spread(looks: np.ndarray, number: int) -> tuple[tuple[float, ...], ...]:
    """At most ``number`` of the sorted looks (N, 6), from the darkest to the lightest."""
    chosen = np.linspace(0, len(looks) - 1, min(number, len(looks))).round().astype(int)
    return tuple(tuple(map(float, look)) for look in looks[chosen].tolist())


def _train_autoencoder(recipe: Recipe, episodes: list[Episode], out: Path, resume: bool) -> Autoencoder:
    torch.manual_seed(0)
    averaged = fit(
        "autoencoder",
        Autoencoder(recipe.model.autoencoder),
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


def sentence_states(sentences: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """MiniLM token states (V, L, D) float16 of sentences, and their mask (V, L)."""
    from ksgen_models.text import MiniLM

    states, mask = MiniLM().tokens(sentences)
    return torch.from_numpy(states.astype(np.float16)), torch.from_numpy(mask)
