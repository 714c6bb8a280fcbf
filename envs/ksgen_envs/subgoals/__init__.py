"""Imagined subgoals in the observations of any Gymnasium environment that shows RGB pictures.

============  =================================================================================
``wrapper``   `SubgoalWrapper`, for one environment
``vector``    `VectorSubgoalWrapper`, for environments that step together
``verify``    when is a key step done: from the environment's truth, pictures or sentences
``pursuit``   one environment's plan: which key step is next, and is the work behind
``imagining`` imaginations in background threads, in batches, with time limits
``sources``   where the camera frame and the task come from
``layout``    subgoals as arrays of fixed shapes, and how they join an observation
``cache``     an imaginer that remembers
``kept``      an imaginer that keeps on disk what it imagined
============  =================================================================================
"""

from __future__ import annotations

from ksgen_envs.subgoals.cache import CachedImaginer
from ksgen_envs.subgoals.imagining import BatchImaginer
from ksgen_envs.subgoals.kept import KeptImaginer
from ksgen_envs.subgoals.vector import VectorSubgoalWrapper
from ksgen_envs.subgoals.verify import (
    InfoVerifier,
    PictureVerifier,
    SentenceVerifier,
    StepVerifier,
    StepView,
    picture_progress,
)
from ksgen_envs.subgoals.wrapper import SubgoalWrapper

__all__ = [
    "BatchImaginer",
    "CachedImaginer",
    "InfoVerifier",
    "KeptImaginer",
    "PictureVerifier",
    "SentenceVerifier",
    "StepVerifier",
    "StepView",
    "SubgoalWrapper",
    "VectorSubgoalWrapper",
    "picture_progress",
]
