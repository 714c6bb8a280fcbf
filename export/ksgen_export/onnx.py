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

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INPUTS = ("frames", "which", "before")
OUTPUTS = ("keypoints", "world", "presence", "right")
OPSET = 20


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
    """
    import torch

    from ksgen_models.hands.follow import FollowStep
    from ksgen_models.hands.landmark_network import load_landmark_network

    step = FollowStep(load_landmark_network(bundle)).eval()
    # No two sizes alike: the exporter takes equal ones for one and the same.
    example = (torch.zeros(2, 96, 128, 3, dtype=torch.uint8), torch.tensor([0, 1, 1]), torch.rand(3, 21, 2))
    some = torch.export.Dim.DYNAMIC
    with _quiet():
        program = torch.onnx.export(
            step,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: some, 1: some, 2: some}, {0: some}, {0: some}),
            verbose=False,
        )
    assert program is not None
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    program.save(partial)
    partial.replace(path)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its own deprecations, and that there is no torchvision, which nothing here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
