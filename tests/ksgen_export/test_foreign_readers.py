"""The formats' own libraries read what we wrote, in environments of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from small_datasets import make_episode, make_rollout

from ksgen_export.formats import open_writer
from ksgen_export.verify import verify_dataset

LEROBOT = os.environ.get("KSGEN_LEROBOT_PYTHON")
ROBOMIMIC = os.environ.get("KSGEN_ROBOMIMIC_PYTHON")


def check(name: str, folder: Path, python: str) -> None:
    for part, make in (("imaginations", make_episode), ("rollouts", make_rollout)):
        episodes = [make(seed) for seed in range(3)]
        with open_writer(name, folder / part) as writer:  # type: ignore[attr-defined]
            for episode in episodes:
                writer.add(episode)
        verdict = verify_dataset(folder / part, python, episodes)
        assert not verdict.different
        assert verdict.equal
        assert verify_dataset(folder / part, python, episodes[::-1]).different


@pytest.mark.slow
def test_minari_reads_it(tmp_path: Path) -> None:
    check("minari", tmp_path, sys.executable)


@pytest.mark.slow
@pytest.mark.skipif(not LEROBOT, reason="KSGEN_LEROBOT_PYTHON names no interpreter with lerobot 0.4.4")
def test_lerobot_reads_it(tmp_path: Path) -> None:
    assert LEROBOT
    check("lerobot", tmp_path, LEROBOT)


@pytest.mark.slow
@pytest.mark.skipif(not ROBOMIMIC, reason="KSGEN_ROBOMIMIC_PYTHON names no interpreter with robomimic")
def test_robomimic_reads_it(tmp_path: Path) -> None:
    assert ROBOMIMIC
    check("robomimic", tmp_path, ROBOMIMIC)
