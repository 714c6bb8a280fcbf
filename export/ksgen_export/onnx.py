"""The batched hand tracker's step as an ONNX model: any number of hands in any number of frames of any size.

The model holds the crop as well as the landmark network, so that a GPU is given frames and the places where hands were,
and gives back keypoints. Inputs and outputs are those of `ksgen_models.hands.follow.FollowStep`:

==============  ===================================  ===========================================================
``frames``      (B, H, W, 3) uint8                   RGB
``which``       (N,) int64                           the frame to look for each hand in
``before``      (N, 21, 2) float32                   where the hand was, x and y normalised to the frame
``keypoints``   (N, 21, 3) float32                   as in `ksgen_models.types.HandTrack`
``world``       (N, 21, 3) float32                   metres, as in `HandTrack`
``presence``    (N,) float32                         probability that there is a hand
``right``       (N,) float32                         probability that it is the person's right hand
==============  ===================================  ===========================================================

It needs the packages onnx and onnxscript (``pip install 'ksgen-agent[export]'``); running it needs onnxruntime alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from ksgen_export.onnx_writing import Export, write_export

INPUTS = ("frames", "which", "before")
OUTPUTS = ("keypoints", "world", "presence", "right")


def export_hand_tracker(path: str | os.PathLike[str], bundle: str | os.PathLike[str] | None = None) -> Path:
    """Write the ONNX model; the file appears whole or not at all.

    Args:
        path: the ``.onnx`` file to write.
        bundle: a hand landmarker's ``.task`` file of one's own; None takes the pinned asset.

    Returns:
        The path written.

    Raises:
        WeightsMissing: the asset is not on this machine.
        AssetError: it cannot be read.
        PresetError: the packages onnx and onnxscript are not here.
    """
    return write_export(hand_tracker_export(bundle), path)


def hand_tracker_export(bundle: str | os.PathLike[str] | None = None) -> Export:
    """What `export_hand_tracker` writes, with an example of what it takes; raises what that raises."""
    import torch

    from ksgen_models.hands.follow import FollowStep
    from ksgen_models.hands.landmark_network import load_landmark_network

    example = {
        "frames": torch.zeros(2, 96, 128, 3, dtype=torch.uint8),
        "which": torch.tensor([0, 1, 1]),
        "before": torch.rand(3, 21, 2),
    }
    free = {"frames": (0, 1, 2), "which": (0,), "before": (0,)}
    return Export(FollowStep(load_landmark_network(bundle)).eval(), example, OUTPUTS, free)
