"""Baselines that need no generator: they give every table a floor and a ceiling.

The frozen frame is what a generator must beat; the true clip through the codec of the mini models is the best that
anything behind that codec can do; the nearest training demonstration is what copying would reach.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import DatasetError
from ksgen_models.metrics.clips import ClipEntry, ClipSource

FROZEN, CODEC, NEAREST = "frozen frame", "true clip through the codec", "nearest training demonstration"


@dataclass(frozen=True)
class FrozenFrame:
    """The real clip's first frame, standing still.

    Attributes:
        real: the real clips.
    """

    real: ClipSource

    def entries(self) -> Mapping[str, ClipEntry]:
        """See `ClipSource`."""
        return self.real.entries()

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """See `ClipSource`."""
        clip, fps = self.real.load(key)
        return np.repeat(clip[:1], len(clip), axis=0), fps


class ThroughCodec:
    """The real clip encoded and decoded by the mini models' autoencoder, over its own first frame."""

    def __init__(self, real: ClipSource) -> None:
        """Load the autoencoder.

        Raises:
            WeightsMissing: the mini weights are not here.
        """
        from ksgen_models.mini.networks import load_networks

        self._real = real
        self._networks = load_networks()
        self.identity = repr(sorted(self._networks.hashes.items()))

    def entries(self) -> Mapping[str, ClipEntry]:
        """See `ClipSource`."""
        return self._real.entries()

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """See `ClipSource`."""
        clip, fps = self._real.load(key)
        if len(clip) < 2:
            return clip, fps
        return np.concatenate([clip[:1], self._through(clip[1:], clip[0])]), fps

    def _through(self, frames: NDArray[np.uint8], context: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import torch

        from ksgen_models.mini.layers import picture_tensor
        from ksgen_models.mini.networks import decode_over

        networks = self._networks
        square = networks.square(context)

        def tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
            values = np.ascontiguousarray(square.to_square(picture))
            return picture_tensor(torch.from_numpy(values))[None].to(networks.dtype)

        with torch.inference_mode():
            held = tensor(context)
            latents = torch.cat([networks.autoencoder.encode(tensor(frame), held) for frame in frames])
            return decode_over(networks, networks.autoencoder.normalise(latents.float()), context)


class NearestDemonstration:
    """For each real clip the training clip whose first frame and sentence are nearest."""

    def __init__(
        self,
        real: ClipSource,
        training: ClipSource,
        describe: Callable[[NDArray[np.uint8], str], NDArray[np.float32]],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Describe every training clip once.

        Args:
            real, training: the clips.
            describe: first frame (H, W, 3) and sentence to a vector; the nearest has the greatest scalar product.
            progress: called with each training key as it is done.
        """
        self._real, self._training, self._describe = real, training, describe
        self._keys = list(training.entries())
        vectors, marks = [], []
        for key in self._keys:
            marks.append(training.entries()[key].mark)
            vectors.append(describe(training.load(key)[0][0], training.entries()[key].text))
            progress(key)
        if not vectors:
            raise DatasetError("there is no training clip to be nearest")
        self._vectors = np.stack(vectors)
        self.identity = hashlib.sha256(repr(marks).encode()).hexdigest()

    def entries(self) -> Mapping[str, ClipEntry]:
        """See `ClipSource`."""
        return self._real.entries()

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """See `ClipSource`."""
        clip, _ = self._real.load(key)
        wanted = self._describe(clip[0], self._real.entries()[key].text)
        return self._training.load(self._keys[int(np.argmax(self._vectors @ wanted))])
