"""Region models for hub presets: none is pretrained anywhere, so either the user trained one or all may move."""

from __future__ import annotations

import numpy as np

from ksgen_models.interfaces import CheckCancelled, RegionPrediction, StepRequest, never_cancelled


class WholeFrame:
    """Says that hands may be anywhere: IVG's "white mask" (Table 2). Satisfies `ksgen_models.interfaces.RegionModel`.

    With it nothing is held to the context frame, and a clip is what the video model draws by itself.
    """

    def predict(self, request: StepRequest, *, check_cancelled: CheckCancelled = never_cancelled) -> RegionPrediction:
        """(H, W) of ones, for motion and change."""
        check_cancelled()
        everywhere = np.ones(request.image.shape[:2], np.float32)
        return RegionPrediction(motion=everywhere, change=everywhere.copy())
