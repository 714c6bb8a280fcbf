"""Networks that are published as TorchScript files: Inception for FID, I3D for FVD, a flow network for motion.

The calls are those of the files in common use: ``inception-2015-12-05.pt`` (StyleGAN2-ADA and StyleGAN3) takes
(N, 3, H, W) uint8 and ``return_features=True`` and gives (N, 2048); ``i3d_torchscript.pt`` (StyleGAN-V) takes
(N, 3, T, H, W) in [0, 255] with ``rescale=True, resize=True, return_features=True`` and gives (N, 400). A flow network
takes two batches (N, 3, H, W) in [0, 255] and gives (N, 2, H, W) in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ksgen_models.errors import AssetError
from ksgen_models.metrics.networks.hub import sample_frames

_I3D_LEAST_FRAMES = 10


class ScriptedNetwork:
    """A TorchScript file; what it is called with depends on what it is for."""

    def __init__(self, path: Path) -> None:
        """Load the file.

        Raises:
            AssetError: it is no TorchScript file.
        """
        self._path = path
        try:
            self._network: Any = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as exc:
            raise AssetError(f"{path} is no TorchScript file ({str(exc).splitlines()[0]}); name another") from exc

    def inception(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 → (T, D) features of the frames."""
        return self._features(torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(), return_features=True)

    def i3d(self, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 → (D,) features of the clip; I3D wants ten frames, a shorter clip repeats some."""
        frames = sample_frames(clip, max(_I3D_LEAST_FRAMES, len(clip)))
        video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float()
        return self._features(video, rescale=True, resize=True, return_features=True)[0]

    def flow(self, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) uint8 → (T - 1, H, W, 2) flow in pixels."""
        pictures = torch.from_numpy(clip).permute(0, 3, 1, 2).float()
        return self._features(pictures[:-1], pictures[1:]).transpose(0, 2, 3, 1)

    @torch.inference_mode()
    def _features(self, *inputs: torch.Tensor, **options: bool) -> NDArray[np.float32]:
        try:
            return self._network(*inputs, **options).float().numpy()
        except RuntimeError as exc:
            raise AssetError(
                f"{self._path} does not take what it is called with ({str(exc).splitlines()[-1]}); "
                "docs/metrics.md names the file that fits"
            ) from exc
