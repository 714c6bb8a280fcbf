"""The demo's camera frame is the one that a demonstration begins with."""

from __future__ import annotations

import numpy as np

from ksgen_launch.commands.demo import ENV_ID
from ksgen_launch.scenes import camera_frame


def test_the_frame_is_that_of_the_demonstration_and_repeats() -> None:
    from ksgen_envs import demonstrate

    frame = camera_frame(ENV_ID, 1_000_003)
    assert frame.dtype == np.uint8
    assert frame.shape[2] == 3
    np.testing.assert_array_equal(frame, camera_frame(ENV_ID, 1_000_003))
    shown = demonstrate(ENV_ID, 1_000_003).frame
    assert np.abs(frame.astype(int) - shown.astype(int)).mean() < 0.5
