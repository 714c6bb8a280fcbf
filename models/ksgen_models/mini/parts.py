"""All parts of the mini preset, loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from ksgen_models.hands.tracker import HandTracker
from ksgen_models.interfaces import Parts
from ksgen_models.mini.generate import QUALITIES, MiniKIG, MiniRegionModel, MiniVideoGenerator
from ksgen_models.mini.networks import load_networks
from ksgen_models.mini.scene_reader import MiniSceneReader
from ksgen_models.mini.step_verifier import MiniStepVerifier
from ksgen_models.planner import RetrievalPlanner, default_library

BATCH = 4
"""Key steps of different imaginations in one call; on two cores each takes 8 to 16 % less time in a call for four.

In bfloat16 alone: its rounding leaves the same bits whatever is in the call beside, float32's does not, and what a seed
draws must not depend on who else asks.
"""


def load_mini_parts(weights: str | Path | None = None, *, quality: str = "balanced") -> Parts:
    """Load the embedded models for the CPU.

    Args:
        weights: a folder that `ksgen-agent train mini` wrote; None takes the package's own.
        quality: how hard to try, one of `ksgen_models.mini.generate.QUALITIES`.

    Raises:
        WeightsMissing: weights, hand networks or the sentence encoder are not on this machine.
    """
    networks = load_networks(weights)
    settings = QUALITIES[quality]
    reader = MiniSceneReader(networks)
    return Parts(
        planner=RetrievalPlanner(default_library(), networks.text, reader),
        image_generator=MiniKIG(networks, settings),
        region_model=MiniRegionModel(networks, settings),
        video_generator=MiniVideoGenerator(networks, settings),
        tracker=HandTracker(),
        sentence_encoder=networks.text,
        domain_check=reader,
        provenance={
            "models": {f"mini/{name}": digest for name, digest in networks.hashes.items()},
            "precision": str(networks.dtype).removeprefix("torch."),
        },
        batch=BATCH if networks.dtype is torch.bfloat16 else 1,
        verifier=MiniStepVerifier(networks),
        doubt=settings.doubt,
    )
