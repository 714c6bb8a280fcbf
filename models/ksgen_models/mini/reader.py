"""The scene reader: which Workbench scene a frame shows, which objects are in it, and whether it is one at all.

Objects are looked for cell by cell, sixteen pixels wide, and a picture holds what one of its cells holds: that a thing
is blue and that a thing is round must be seen in the same place to make a blue ball.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.layers import ResidualBlock

FEATURES = 64
"""Length of the feature vector that says how familiar a frame is."""


class ReaderNetwork(nn.Module):
    """A small convolutional classifier over pictures of the model's image size.

    Args:
        width: channels of its first level.
        scenes: number of scene kinds.
        objects: number of object names.
    """

    familiar_mean: Tensor
    familiar_whitening: Tensor
    familiar_distance: Tensor

    def __init__(self, width: int, scenes: int, objects: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(48, width, 3, padding=1)
        widths = (width, width, 2 * width, 4 * width)
        self.levels = nn.ModuleList([ResidualBlock(below, above) for below, above in pairwise(widths)])
        self.objects = nn.Conv2d(4 * width, objects, 1)
        nn.init.constant_(self.objects.bias, -8.0)  # type: ignore[arg-type]  # most cells hold nothing
        self.whole = ResidualBlock(4 * width, 4 * width)
        self.features = nn.Linear(2 * 4 * width, FEATURES)
        self.scene = nn.Linear(FEATURES, scenes)
        self.workbench = nn.Linear(FEATURES, 1)
        self.register_buffer("familiar_mean", torch.zeros(FEATURES))
        self.register_buffer("familiar_whitening", torch.eye(FEATURES))
        self.register_buffer("familiar_distance", torch.ones(()))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) in [-1, 1] → logits of scene (N, K), objects (N, O), Workbench or not (N,); features (N, 64)."""
        cells = self._cells(picture)
        objects = self.objects(F.silu(cells)).flatten(2).logsumexp(-1)
        x = self.whole(F.avg_pool2d(cells, 2))
        pooled = F.silu(F.layer_norm(_mean_and_max(x), (2 * x.shape[1],)))
        features = self.features(pooled)
        hidden = F.silu(features)
        return self.scene(hidden), objects, self.workbench(hidden)[:, 0], features

    def _cells(self, picture: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, C, H / 16, W / 16)."""
        first, *others = self.levels
        x = first(self.patch(F.pixel_unshuffle(picture, 4)))
        for level in others:
            x = level(F.avg_pool2d(x, 2))
        return x

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
        self.familiar_distance.copy_(self.distance(unseen).quantile(0.99))

    def distance(self, features: Tensor) -> Tensor:
        """(N, 64) → (N,), root mean square of the whitened features: about 1 for familiar frames."""
        return ((features - self.familiar_mean) @ self.familiar_whitening).square().mean(-1).sqrt()


def _mean_and_max(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, 2C): what is there on average, and what is there at all."""
    flat = x.flatten(2)
    return torch.cat([flat.mean(-1), flat.amax(-1)], dim=1)
