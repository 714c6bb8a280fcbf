"""Datasets as clips to be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_datasets import make_episode

from ksgen_export.clips import open_any_clips
from ksgen_export.formats import FORMATS, open_writer
from ksgen_models.errors import DatasetError


@pytest.mark.parametrize("name", FORMATS)
def test_the_key_steps_of_a_dataset_are_clips(name: str, tmp_path: Path) -> None:
    pytest.importorskip({"lerobot": "pyarrow", "robomimic": "h5py", "minari": "minari"}[name])
    episodes = [make_episode(seed) for seed in range(2)]
    with open_writer(name, tmp_path / "set") as writer:
        for episode in episodes:
            writer.add(episode)
    clips = open_any_clips(tmp_path / "set")
    assert list(clips.entries()) == [
        f"episode_{index:06d}/step_{step:02d}" for index in range(2) for step in range(len(episodes[0].key_steps))
    ]
    second = clips.entries()["episode_000001/step_01"]
    wanted = episodes[1].key_steps[1]
    assert (second.task, second.text) == (episodes[1].task, wanted.description)
    frames, fps = clips.load(second.key)
    true = episodes[1].frames[wanted.start : wanted.stop]
    assert fps == episodes[1].fps
    assert frames.shape == true.shape
    assert np.abs(frames.astype(int) - true).mean() < 6  # a video codec may lie between


def test_a_folder_of_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no clips"):
        open_any_clips(tmp_path)
