"""The exported hand tracker step gives what the PyTorch module gives, at sizes that it was not exported with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ksgen_export.onnx import INPUTS, export_hand_tracker
from ksgen_models.assets import HAND_LANDMARKER, is_present
from ksgen_models.errors import WeightsMissing

pytestmark = pytest.mark.skipif(
    not is_present(HAND_LANDMARKER), reason="the hand networks are not here; run: ksgen-agent assets"
)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing):
        export_hand_tracker(tmp_path / "hands.onnx", tmp_path / "nowhere.task")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_onnx_model_says_what_the_module_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from ksgen_models.hands.follow import FollowStep
    from ksgen_models.hands.landmark_network import load_landmark_network

    path = export_hand_tracker(tmp_path / "hands.onnx")
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [path]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    step = FollowStep(load_landmark_network())
    random = np.random.default_rng(0)
    for frames, hands, height, width in ((3, 5, 120, 160), (1, 1, 64, 48)):
        inputs = (
            random.integers(0, 256, (frames, height, width, 3), np.uint8),
            random.integers(0, frames, hands),
            random.random((hands, 21, 2), np.float32),
        )
        found = session.run(None, dict(zip(INPUTS, inputs, strict=True)))
        with torch.no_grad():
            expected = step(*(torch.from_numpy(array) for array in inputs))
        for name, array, tensor in zip(("keypoints", "world", "presence", "right"), found, expected, strict=True):
            np.testing.assert_allclose(array, tensor.numpy(), atol=1e-3, err_msg=name)
