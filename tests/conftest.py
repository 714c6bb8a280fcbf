"""What every test shares."""

from __future__ import annotations

import os

# Before anything imports MuJoCo: render without a screen unless the caller chose otherwise.
os.environ.setdefault("MUJOCO_GL", "egl")
# Nothing may reach for a model hub; a test that does fails at once and not after a time limit.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from hypothesis import HealthCheck, settings

# On a busy machine drawing an example may take a second: that says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
