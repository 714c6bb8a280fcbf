"""Training of the scene reader, with made-up pictures that are no Workbench scenes as the other class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.cells import CELL
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.reader import ReaderNetwork, Seen
from ksgen_models.training.episodes import Episode
from ksgen_models.training.fit import FitConfig, Losses, fit
from ksgen_models.training.foreign import foreign_picture

FOREIGN_SHARE = 0.2


@dataclass(frozen=True)
class ReaderBatch:
    """Attributes: picture (B, 3, h, w) in [-1, 1]; scene (B,); objects (B, O) in {0, 1}; workbench (B,) in {0, 1};
    places (M, 4), of M things in the pictures: picture, row and column of the cell of its centre, and which it is.
    """

    picture: Tensor
    scene: Tensor
    objects: Tensor
    workbench: Tensor
    places: Tensor


@dataclass(frozen=True)
class ReaderBatches:
    """Draws pictures of scenes and foreign pictures.

    Attributes:
        episodes: where they come from.
        scenes, object_names: what the network knows, in the order of its outputs.
    """

    episodes: Sequence[Episode]
    scenes: tuple[str, ...]
    object_names: tuple[str, ...]

    def __call__(self, random: np.random.Generator, number: int) -> ReaderBatch:
        """``number`` pictures, about a fifth of them foreign."""
        chosen = random.choice(np.flatnonzero(~held_out(len(self.episodes))), number)
        real = random.random(number) >= FOREIGN_SHARE
        pictures, scene, objects, places = [], [], [], []
        for place, (index, is_real) in enumerate(zip(chosen, real, strict=True)):
            episode = self.episodes[index]
            k = int(random.integers(episode.steps + 1))  # also scenes in which work has been done
            if is_real:
                picture, centres = _jitter(episode.image(k), episode.centres[k], random)
                for name, centre in zip(episode.objects, centres, strict=True):
                    if ((centre >= 0) & (centre < 1)).all():
                        column, row = (centre * picture.shape[1::-1] // CELL).astype(int)
                        places.append((place, row, column, self.object_names.index(name)))
            else:
                picture = foreign_picture(episode.image(k), random)
            pictures.append(picture)
            scene.append(self.scenes.index(episode.env_id))
            objects.append([name in episode.objects for name in self.object_names])
        return ReaderBatch(
            picture=picture_tensor(torch.from_numpy(np.stack(pictures))),
            scene=torch.tensor(scene),
            objects=torch.tensor(objects).float(),
            workbench=torch.from_numpy(real).float(),
            places=torch.tensor(places, dtype=torch.long).reshape(-1, 4),
        )


def held_out(number: int) -> NDArray[np.bool_]:
    """Which of ``number`` episodes the reader is not trained on: one in ten, to see how far unseen scenes lie."""
    return np.arange(number) % 10 == 0


def train_reader(
    network: ReaderNetwork, batches: ReaderBatches, config: FitConfig, out: Path, *, resume: bool
) -> ReaderNetwork:
    """Train a reader, and have it remember how features of Workbench frames are spread; the averaged copy."""
    trained = fit("reader", network, batches, reader_losses, config, out, resume=resume)
    assert isinstance(trained, ReaderNetwork)
    unseen = torch.from_numpy(held_out(len(batches.episodes)))
    features = _first_features(trained, batches.episodes)
    trained.set_density(features[~unseen], features[unseen])
    return trained


@torch.no_grad()
def _first_features(network: ReaderNetwork, episodes: Sequence[Episode]) -> Tensor:
    """(N, 64) of the camera frame of every episode."""
    found = []
    for first in range(0, len(episodes), 32):
        pictures = np.stack([episode.image(0) for episode in episodes[first : first + 32]])
        found.append(network(picture_tensor(torch.from_numpy(pictures)))[3])
    return torch.cat(found)


def reader_losses(model: nn.Module, batch: ReaderBatch, noise: torch.Generator) -> Losses:
    """Scene and object names on Workbench frames, kind and colour of cells with a thing's centre; Workbench or not on
    all.
    """
    assert isinstance(model, ReaderNetwork)
    seen = model.look(batch.picture)
    scene, objects, workbench = seen.scene, model.objects(seen), seen.workbench
    real = batch.workbench > 0.5
    scene_loss = F.cross_entropy(scene[real].float(), batch.scene[real])
    objects_loss = F.binary_cross_entropy_with_logits(objects[real].float(), batch.objects[real]) * 10
    places_loss = _places_loss(model, seen, batch.places)
    workbench_loss = F.binary_cross_entropy_with_logits(workbench.float(), batch.workbench)
    return {
        "loss": scene_loss + objects_loss + workbench_loss + places_loss,
        "scene": scene_loss.detach(),
        "objects": objects_loss.detach(),
        "places": places_loss.detach(),
        "workbench": workbench_loss.detach(),
    }


def _places_loss(model: ReaderNetwork, seen: Seen, places: Tensor) -> Tensor:
    """Cross-entropy of the kinds and colours (M, 4) that cells show."""
    if not len(places):
        return seen.kind.sum() * 0
    picture, row, column, which = places.unbind(-1)
    kind, colour = torch.tensor(model.parts)[which].unbind(-1)
    coloured = colour < seen.colour.shape[1]
    kinds, colours = (values[picture, :, row, column].float() for values in (seen.kind, seen.colour))
    of_kind = F.cross_entropy(kinds, kind)
    return of_kind + F.cross_entropy(colours[coloured], colour[coloured]) if coloured.any() else of_kind


def _jitter(
    picture: NDArray[np.uint8], centres: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Other light, noise and a shift; and where the things' centres (O, 2) are then."""
    shift = random.integers(-8, 9, 2)
    bright = random.uniform(0.9, 1.1)
    noisy = np.roll(picture, shift, (0, 1)) * bright + random.normal(0, random.uniform(0, 4), picture.shape)
    moved = centres + shift[::-1] / np.array(picture.shape[1::-1])
    return noisy.clip(0, 255).astype(np.uint8), moved.astype(np.float32)
