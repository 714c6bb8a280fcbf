"""Train the KIG, the progress network, the reader or the track model on from given weights.

::

    python -m ksgen_models.training.tune key_step --data data/stills --out runs/key-step --steps 1500

The result is a whole folder of weights, whose other networks are those that were given. The clip model has a command of
its own, `ksgen_models.training.tune_clip`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import nn

from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.config import MiniConfig
from ksgen_models.mini.key_step_model import KeyStepModel
from ksgen_models.mini.progress import ProgressNetwork
from ksgen_models.mini.reader import ReaderNetwork
from ksgen_models.mini.track_model import TrackModel
from ksgen_models.mini.weights import load_meta, load_network, save_network, weights_folder
from ksgen_models.training.cache import cached
from ksgen_models.training.episodes import read_episodes
from ksgen_models.training.fit import FitConfig, fit
from ksgen_models.training.mini import sentence_states
from ksgen_models.training.progress_data import read_works
from ksgen_models.training.train_key_step import (
    SINGLE,
    KeyStepBatches,
    drawing_losses,
    key_step_losses,
    pointing_losses,
)
from ksgen_models.training.train_progress import ProgressBatches, progress_losses
from ksgen_models.training.train_reader import ReaderBatches, train_reader
from ksgen_models.training.train_track import track_batches, track_losses

N = TypeVar("N", bound=nn.Module)


def _begin(name: str, network: N, source: Path, given: argparse.Namespace) -> N:
    """The network with the weights to start from, to be trained."""
    if not given.anew:
        load_network(name, network, source)
    return network.requires_grad_(True)


def _reader(config: MiniConfig, source: Path, given: argparse.Namespace, schedule: FitConfig) -> nn.Module:
    meta = load_meta(source)
    network = ReaderNetwork(config.reader_width, len(meta.scenes), meta.objects)
    _begin("reader", network, source, given)
    episodes = [episode for folder in given.data for episode in read_episodes(folder)]
    batches = ReaderBatches(episodes, meta.scenes, meta.objects)
    return train_reader(network, batches, schedule, given.out, resume=True)


def _key_step(config: MiniConfig, source: Path, given: argparse.Namespace, schedule: FitConfig) -> nn.Module:
    autoencoder = Autoencoder(config.autoencoder)
    load_network("autoencoder", autoencoder, source)
    episodes = [episode for folder in given.data for episode in read_episodes(folder)]
    cache = cached(given.cache or given.out / "cache", episodes, autoencoder)
    texts = sentence_states(cache.texts)
    network = _begin("key_step", KeyStepModel(config), source, given)
    batches, losses = KeyStepBatches(cache, *texts, given.single), key_step_losses
    if given.only == "pointing":
        network.requires_grad_(False).skill.requires_grad_(True)
        losses = pointing_losses
    elif given.only == "drawing":
        network.requires_grad_(False)
        for part in (network.unet, network.changes):  # the latter reads what the Skill Transformer points at
            part.requires_grad_(True)
        batches, losses = KeyStepBatches(cache, *texts, single=0), drawing_losses
    return fit("key_step", network, batches, losses, schedule, given.out, resume=True)


def _progress(config: MiniConfig, source: Path, given: argparse.Namespace, schedule: FitConfig) -> nn.Module:
    network = _begin("progress", ProgressNetwork(config.progress), source, given)
    works = read_works(given.data)
    batches = ProgressBatches(works, *sentence_states(works.texts), np.arange(len(works.works)))
    return fit("progress", network, batches, progress_losses, schedule, given.out, resume=True)


def _track(config: MiniConfig, source: Path, given: argparse.Namespace, schedule: FitConfig) -> nn.Module:
    network = _begin("track", TrackModel(config.track, config.frames), source, given)
    batches = track_batches([episode for folder in given.data for episode in read_episodes(folder)])
    return fit("track", network, batches, track_losses, schedule, given.out, resume=True)


_NETWORKS = {"key_step": _key_step, "progress": _progress, "reader": _reader, "track": _track}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("network", choices=_NETWORKS)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="demonstrations or stills")
    parser.add_argument("--out", type=Path, required=True, help="log, checkpoint and weights")
    parser.add_argument("--weights", type=Path, help="weights to start from; else the package's")
    parser.add_argument("--cache", type=Path, help="the KIG's latents, built where there are none; else OUT/cache")
    parser.add_argument("--only", choices=("pointing", "drawing"), help="of the KIG, all but this part is held")
    parser.add_argument("--single", type=int, default=SINGLE, help="of the KIG: single steps to point at for each plan")
    parser.add_argument("--anew", action="store_true", help="begin from nothing and not from given weights")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--averaging", type=float, default=0.995)
    parser.add_argument("--seed", type=int, default=1, help="of batches and noise")
    given = parser.parse_args(arguments)
    if given.single < 1:
        parser.error("--single takes 1 or more")

    source = weights_folder(given.weights)
    schedule = FitConfig(
        given.steps,
        given.batch,
        given.learning_rate,
        warmup=min(50, given.steps),
        averaging=given.averaging,
        seed=given.seed,
    )
    tuned = _NETWORKS[given.network](load_meta(source).config, source, given, schedule)
    shutil.copytree(source, given.out / "weights", dirs_exist_ok=True)
    save_network(given.network, tuned, given.out / "weights")


if __name__ == "__main__":
    main()
