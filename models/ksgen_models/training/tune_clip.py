"""Train the clip model on, with the hand structure loss (IVG Eq. 6); with α = 0 it is the twin of an ablation.

::

    python -m ksgen_models.training.tune_clip --data data/demos --out runs/hand --alpha 1
    python -m ksgen_models.training.tune_clip --data data/demos --out runs/no-hand --alpha 0 --cache runs/hand/cache

Both see the same clips, noise and masks in the same order. The result is a whole folder of weights, whose other
networks are those that were given.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.clip_model import ClipModel
from ksgen_models.mini.weights import load_meta, load_network, save_network, weights_folder
from ksgen_models.training.cache import Cache, cached
from ksgen_models.training.episodes import read_episodes
from ksgen_models.training.fit import FitConfig, fit
from ksgen_models.training.hand_frames import Footage, HandTerm
from ksgen_models.training.train_clip import BETA, ClipBatches, clip_losses

ALPHA = 1.0
"""Weight of the hand structure loss (IVG §4.3)."""
SHIFT = 3.0
"""Noise levels of stage 2 are drawn lower than in the first run: seven of ten are such that the loss is computed, where
a hand's fingers are drawn; what is decided above that is only kept."""
PARTS = ("unet.grow1", "unet.up1", "unet.grow0", "unet.up0", "unet.out_norm", "unet.outputs")
"""What is trained: the way up, at half of the latents' size and at all of it. It draws the hands; what decides where
they go stays as it is, and a step costs half."""
STAGE_1 = 0.1
"""Share of the batches that keep stage 1 what it is."""


def tune_clip(
    model: nn.Module,
    cache: Cache,
    text: tuple[Tensor, Tensor],
    footage: Footage,
    autoencoder: Autoencoder,
    config: FitConfig,
    out: Path,
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
    parts: Sequence[str] = PARTS,
    stage_1: float = STAGE_1,
    clip_shift: float = SHIFT,
    resume: bool = True,
) -> nn.Module:
    """Train a `ClipModel` on and return the averaged copy; see `ksgen_models.training.fit.fit`.

    Args:
        model: with the weights to start from.
        cache: of ``autoencoder``'s latents.
        text: token states and mask of the cache's sentences.
        footage: the frames of the cache's clips.
        autoencoder: decodes what is compared.
        config: the schedule.
        out: where the log and the checkpoint go.
        alpha: weight of the hand structure loss; 0 leaves decoder and landmark network out.
        beta: weight of the mIoU loss.
        parts: parameters whose names begin with one of these are trained, the others stay.
        stage_1: share of the batches that are of stage 1.
        clip_shift: where in the noise stage 2 is trained; `ksgen_models.mini.sampling.SHIFT` where all is trained.
        resume: go on from a checkpoint.

    Raises:
        WeightsMissing: the landmark network is not on this machine and ``alpha`` is not 0.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(parts)))
    hand = HandTerm(autoencoder, alpha) if alpha else None
    batches = ClipBatches(cache, *text, footage if alpha else None, stage_1)
    losses = partial(clip_losses, beta=beta, hand=hand, clip_shift=clip_shift)
    return fit("clip_hands", model, batches, losses, config, out, resume=resume)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    from ksgen_models.training.mini import Recipe, sentence_states

    recipe = Recipe()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="demonstrations")
    parser.add_argument("--out", type=Path, required=True, help="log, checkpoint and weights")
    parser.add_argument("--weights", type=Path, help="weights to start from; else the package's")
    parser.add_argument("--cache", type=Path, help="latents, built where they are not there; else OUT/cache")
    parser.add_argument("--alpha", type=float, default=recipe.alpha, help="weight of the hand structure loss")
    parser.add_argument("--beta", type=float, default=recipe.beta, help="weight of the mIoU loss")
    parser.add_argument("--parts", default=",".join(PARTS), help="beginnings of the names of what is trained")
    parser.add_argument("--stage-1", type=float, default=STAGE_1, help="share of the batches that are of stage 1")
    parser.add_argument("--clip-shift", type=float, default=SHIFT, help="where in the noise stage 2 is trained")
    parser.add_argument("--steps", type=int, default=recipe.clip_hands.steps)
    parser.add_argument("--batch", type=int, default=recipe.clip_hands.batch)
    parser.add_argument("--learning-rate", type=float, default=recipe.clip_hands.learning_rate)
    parser.add_argument("--averaging", type=float, default=recipe.clip_hands.averaging)
    given = parser.parse_args(arguments)

    source = weights_folder(given.weights)
    config = load_meta(source).config
    autoencoder = Autoencoder(config.autoencoder)
    load_network("autoencoder", autoencoder, source)
    episodes = [episode for episode in read_episodes(given.data) if episode.has_clips]
    cache = cached(given.cache or given.out / "cache", episodes, autoencoder)
    tuned = tune_clip(
        load_network("clip", ClipModel(config), source),
        cache,
        sentence_states(cache.texts),
        Footage.of(episodes),
        autoencoder,
        FitConfig(
            given.steps, given.batch, given.learning_rate, warmup=min(20, given.steps), averaging=given.averaging
        ),
        given.out,
        alpha=given.alpha,
        beta=given.beta,
        parts=given.parts.split(","),
        stage_1=given.stage_1,
        clip_shift=given.clip_shift,
    )
    shutil.copytree(source, given.out / "weights", dirs_exist_ok=True)
    save_network("clip", tuned, given.out / "weights")


if __name__ == "__main__":
    main()
