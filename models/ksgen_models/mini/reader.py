"""The scene reader: which Workbench scene a frame shows, which objects are in it, and whether it is one at all.

Objects are looked for cell by cell, sixteen pixels wide. Kind and colour are read apart, so that what makes a ball is
learnt from balls of all colours; a blue ball is where one cell shows both, and a picture holds what one of its cells
holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.cells import Cells
from ksgen_models.mini.layers import ResidualBlock

_CERTAIN = 50.0  # a logit
_LENIENCE = 1.25  # unseen scenes of the training's own data lie nearer than those of the next
FEATURES = 64
"""Length of the feature vector that says how familiar a frame is."""


class ReaderNetwork(nn.Module):
    """A small convolutional classifier over pictures of the model's image size.

    Args:
        width: channels of its first level.
        scenes: number of scene kinds.
        objects: names, "<colour> <kind>" or what has no colour in its name ("left upright").
    """

    familiar_mean: Tensor
    familiar_whitening: Tensor
    familiar_distance: Tensor

    def __init__(self, width: int, scenes: int, objects: Sequence[str]) -> None:
        super().__init__()
        self.cells = Cells(width)
        channels = self.cells.channels
        kinds, colours, self.parts = parts_of(objects)
        self.kind = nn.Conv2d(channels, len(kinds), 1)
        nn.init.constant_(self.kind.bias, -6.0)  # type: ignore[arg-type]  # most cells hold nothing
        self.colour = nn.Conv2d(channels, len(colours), 1)
        self.whole = ResidualBlock(channels, channels)
        self.features = nn.Linear(2 * channels, FEATURES)
        self.scene = nn.Linear(FEATURES, scenes)
        self.workbench = nn.Linear(FEATURES, 1)
        self.register_buffer("familiar_mean", torch.zeros(FEATURES))
        self.register_buffer("familiar_whitening", torch.eye(FEATURES))
        self.register_buffer("familiar_distance", torch.ones(()))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) in [-1, 1] → logits of scene (N, K), objects (N, O), Workbench or not (N,); features (N, 64)."""
        seen = self.look(picture)
        return seen.scene, self.objects(seen), seen.workbench, seen.features

    def look(self, picture: Tensor) -> Seen:
        """(N, 3, H, W) in [-1, 1] → what is seen as a whole, and cell by cell."""
        cells = self.cells(picture)
        x = self.whole(F.avg_pool2d(cells, 2))
        pooled = F.silu(F.layer_norm(_mean_and_max(x), (2 * x.shape[1],)))
        features = self.features(pooled)
        hidden = F.silu(features)
        read = F.silu(cells)
        return Seen(self.scene(hidden), self.kind(read), self.colour(read), self.workbench(hidden)[:, 0], features)

    def objects(self, seen: Seen) -> Tensor:
        """Logits (N, O) of each object being in some cell: the cells' odds add up."""
        which_kind, which_colour = (list(part) for part in zip(*self.parts, strict=True))
        of_any_colour = F.pad(seen.colour.float().flatten(2), (0, 0, 0, 1), value=_CERTAIN)
        kind, colour = seen.kind.float().flatten(2)[:, which_kind], of_any_colour[:, which_colour]  # (N, O, cells)
        # Both at once: of a = σ(k) and b = σ(c), the odds ab / (1 − ab) are 1 / (e^−k + e^−c + e^−(k + c)).
        both = -torch.stack([-kind, -colour, -kind - colour]).logsumexp(0)
        return both.logsumexp(-1)

    def set_density(self, familiar: Tensor, unseen: Tensor) -> None:
        """Remember how the features of Workbench frames are spread (Mahalanobis; Lee et al. 2018).

        Args:
            familiar: (N, 64) features of scenes seen in training.
            unseen: (M, 64) features of scenes kept from it: they say how far a good frame may lie.
        """
        centred = familiar - familiar.mean(0)
        covariance = centred.T @ centred / len(familiar) + 0.01 * centred.square().mean() * torch.eye(FEATURES)
        values, vectors = torch.linalg.eigh(covariance)
        self.familiar_mean.copy_(familiar.mean(0))
        self.familiar_whitening.copy_(vectors / values.sqrt())
        self.familiar_distance.copy_(_LENIENCE * self.distance(unseen).quantile(0.99))

    def distance(self, features: Tensor) -> Tensor:
        """(N, 64) → (N,), root mean square of the whitened features: about 1 for familiar frames."""
        return ((features - self.familiar_mean) @ self.familiar_whitening).square().mean(-1).sqrt()


@dataclass(frozen=True)
class Seen:
    """What the network sees in N pictures; all are logits but the features.

    Attributes:
        scene: (N, K).
        kind, colour: (N, kinds, h, w) and (N, colours, h, w), of the thing in each cell.
        workbench: (N,).
        features: (N, 64).
    """

    scene: Tensor
    kind: Tensor
    colour: Tensor
    workbench: Tensor
    features: Tensor


def parts_of(objects: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Kinds, colours, and of each object which kind and colour it is; of what has no colour, one past the last colour.

    The first of two words is a colour where more than three names end with the second: there are three boards and eight
    balls.
    """
    endings = [name.split()[-1] for name in objects]
    coloured = [len(name.split()) == 2 and endings.count(name.split()[-1]) > 3 for name in objects]
    split = [name.split() if is_coloured else [None, name] for name, is_coloured in zip(objects, coloured, strict=True)]
    kinds = tuple(dict.fromkeys(str(kind) for _, kind in split))
    colours = tuple(dict.fromkeys(str(colour) for colour, _ in split if colour)) or ("any",)
    places = tuple(
        (kinds.index(str(kind)), colours.index(colour) if colour else len(colours)) for colour, kind in split
    )
    return kinds, colours, places


def _mean_and_max(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, 2C): what is there on average, and what is there at all."""
    flat = x.flatten(2)
    return torch.cat([flat.mean(-1), flat.amax(-1)], dim=1)
