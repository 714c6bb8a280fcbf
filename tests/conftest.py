"""What every test shares."""

from __future__ import annotations

import os

# Before anything imports MuJoCo: render without a screen unless the caller chose otherwise.
os.environ.setdefault("MUJOCO_GL", "egl")
# Nothing may reach for a model hub; a test that does fails at once and not after a time limit.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
