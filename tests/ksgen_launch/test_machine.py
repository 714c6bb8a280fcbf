"""What the doctor finds out about a machine."""

from __future__ import annotations

import os

from ksgen_launch import machine
from ksgen_models.processes import core_count


def test_cores_and_memory_are_plausible() -> None:
    assert 1 <= core_count() <= (os.cpu_count() or 1)
    memory = machine.memory_gb()
    assert memory is not None
    total, free = memory
    assert 0 < free <= total


def test_the_cpu_is_always_a_device() -> None:
    assert machine.devices()[-1].name == "cpu"


def test_versions_are_those_of_the_installed_packages() -> None:
    import numpy as np

    assert machine.installed_versions()["numpy"] == np.__version__


def test_nothing_that_the_tests_load_is_called_missing() -> None:
    import cv2  # noqa: F401  # loads libGL
    import mediapipe  # noqa: F401

    assert "libgl1" not in machine.missing_libraries()
