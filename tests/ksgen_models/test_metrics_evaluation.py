"""Whole folders: matching, resuming, splits, intervals, baselines, and what is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ksgen_models.errors import DatasetError
from ksgen_models.metrics.baselines import FrozenFrame, NearestDemonstration
from ksgen_models.metrics.clips import ClipSource, open_clips
from ksgen_models.metrics.evaluation import BASELINE, GENERATED, Measured, Row, measure_rows
from ksgen_models.metrics.measure import Measurer, matched
from ksgen_models.metrics.networks.loading import Choice, choose
from ksgen_models.metrics.published import published_rows
from ksgen_models.metrics.report import Evaluation, number, write_evaluation
from ksgen_models.metrics.summary import ALL, MOTION_INTENSIVE, Resampling, mean_figure, split, summarise
from ksgen_models.video_io import write_video


class _MeanColour(torch.nn.Module):
    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return pictures.float().mean(dim=(2, 3)) if return_features else pictures.float()


@pytest.fixture
def choice(tmp_path: Path) -> Choice:
    torch.jit.script(_MeanColour()).save(str(tmp_path / "inception.pt"))
    return choose(("fid", "motion_distance_farneback"), {"inception": str(tmp_path / "inception.pt")})


def moving_square(seed: int, frames: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    clip = np.tile(rng.integers(0, 256, (1, 32, 32, 3), np.uint8), (frames, 1, 1, 1))
    colour = rng.integers(0, 256, 3)
    for time in range(frames):
        clip[time, 8:20, 2 + 3 * time : 14 + 3 * time] = colour
    return clip


def write_clips(folder: Path, seeds: dict[str, int]) -> ClipSource:
    for name, seed in seeds.items():
        write_video(folder / f"{name}.mp4", moving_square(seed), 8.0, quality=0)
    return open_clips(folder)


def test_video_files_are_matched_by_name_and_told_by_a_file_beside_them(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/clips.jsonl").write_text('{"clip": "pour/a", "text": "pour the water"}\n')
    real = write_clips(tmp_path / "real", {"pour/a": 0, "cut/b": 1, "c": 2})
    entries = real.entries()
    assert list(entries) == ["c", "cut/b", "pour/a"]
    assert [entry.task for entry in entries.values()] == ["", "cut", "pour"]
    assert entries["pour/a"].text == "pour the water"
    (tmp_path / "real/clips.jsonl").write_text("pour the water\n")
    with pytest.raises(DatasetError, match="line 1"):
        open_clips(tmp_path / "real")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no clips"):
        open_clips(tmp_path / "empty")


def test_clips_of_other_lengths_and_sizes_are_brought_together() -> None:
    drawn, true = matched(np.zeros((40, 16, 20, 3), np.uint8), np.zeros((24, 32, 40, 3), np.uint8))
    assert drawn.shape == true.shape == (16, 32, 40, 3)


def test_a_stopped_run_goes_on_and_a_changed_clip_is_measured_anew(tmp_path: Path, choice: Choice) -> None:
    real = write_clips(tmp_path / "real", {"t/a": 0, "t/b": 1, "t/c": 2})
    source = write_clips(tmp_path / "drawn", {"t/a": 5, "t/b": 6, "t/c": 7})
    loaded: list[str] = []

    class Watched:
        def __init__(self, folder: Path) -> None:
            self._clips = open_clips(folder)

        def entries(self):
            return self._clips.entries()

        def load(self, key: str):
            loaded.append(key)
            return self._clips.load(key)

    def measure(limit: int | None = None) -> list[Measured]:
        row = Row("drawn", GENERATED, Watched(tmp_path / "drawn"))
        with Measurer(choice) as measurer:
            return list(measure_rows([row], real, measurer, tmp_path / "store", limit)[0].pairs)

    assert source.entries().keys() == real.entries().keys()
    measure(limit=2)
    first = measure()
    assert loaded == ["t/a", "t/b", "t/c"]
    again = measure()
    assert loaded == ["t/a", "t/b", "t/c"]
    assert [pair.scalars for pair in again] == [pair.scalars for pair in first]
    write_video(tmp_path / "drawn/t/b.mp4", moving_square(99), 8.0, quality=0)
    changed = measure()
    assert loaded[3:] == ["t/b"]
    assert changed[1].scalars != first[1].scalars
    # A record that was cut short is as good as none.
    (record,) = (tmp_path / "store").glob("drawn-*/t/a.npz")
    record.write_bytes(record.read_bytes()[:100])
    assert [pair.scalars for pair in measure()] == [pair.scalars for pair in changed]


def test_rows_are_measured_and_written_and_one_bad_clip_spoils_nothing(tmp_path: Path, choice: Choice) -> None:
    real = write_clips(tmp_path / "real", {f"task_{i % 2}/{i}": i for i in range(6)})
    drawn = write_clips(tmp_path / "drawn", {f"task_{i % 2}/{i}": i + 50 for i in range(5)})
    (tmp_path / "drawn/task_0/0.mp4").write_bytes(b"no video")
    rows = [
        Row("drawn", GENERATED, open_clips(tmp_path / "drawn")),
        Row("frozen", BASELINE, FrozenFrame(real)),
        Row("itself", BASELINE, real),
    ]
    assert len(drawn.entries()) == 5
    with Measurer(choice) as measurer:
        measured = measure_rows(rows, real, measurer, tmp_path / "store")
        table = {row.row.name: summarise(row, measurer, Resampling(50, 5)) for row in measured}
    assert "InvalidClip" in table["drawn"].failed["task_0/0"]
    assert (table["drawn"].clips, table["drawn"].absent, table["frozen"].clips) == (4, 1, 6)
    itself, frozen = table["itself"].splits[ALL], table["frozen"].splits[ALL]
    assert itself["fid"].value == pytest.approx(0, abs=1e-6)
    assert itself["motion_distance_farneback"].value == 0
    assert frozen["motion_distance_farneback"].value > 0
    assert table["drawn"].splits[ALL]["fid"].value > itself["fid"].value
    assert set(table["frozen"].splits) == {ALL, "task_0", "task_1"}

    missing = replace(choice, missing={"clip_to_text": "clip: run hf download"})
    files = write_evaluation(Evaluation(list(table.values()), missing, {"frames": 16}), tmp_path / "out")
    record = json.loads(files[0].read_text())
    assert record["rows"][1]["splits"]["all"]["fid"]["clips"] == 6
    assert record["missing"] == {"clip_to_text": "clip: run hf download"}
    assert "other data" in record["published"]["note"]
    markdown, page = files[1].read_text(), files[2].read_text()
    for text in (markdown, page):
        assert "frozen" in text
        assert "hf download" in text
        assert "AnimateAnything" in text
        assert "ublished on other data" in text
    assert "<svg" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_no_shared_name_says_what_the_names_are(tmp_path: Path, choice: Choice) -> None:
    real, drawn = write_clips(tmp_path / "real", {"a": 0}), write_clips(tmp_path / "drawn", {"b": 0})
    with Measurer(choice) as measurer, pytest.raises(DatasetError, match='"b" and "a"'):
        measure_rows([Row("drawn", GENERATED, drawn)], real, measurer, tmp_path / "store")


def test_the_nearest_training_clip_is_the_nearest(tmp_path: Path) -> None:
    real = write_clips(tmp_path / "real", {"x": 3})
    training = write_clips(tmp_path / "training", {"p": 1, "q": 3, "r": 2})
    nearest = NearestDemonstration(real, training, lambda frame, text: _unit(frame.astype(np.float32) - 128))
    np.testing.assert_array_equal(nearest.load("x")[0], training.load("q")[0])


def _unit(picture: np.ndarray) -> np.ndarray:
    return picture.ravel() / np.linalg.norm(picture)


def test_the_motion_intensive_tenth_has_the_largest_regions() -> None:
    pairs = [Measured(str(i), "t", "", i / 100, {}, "") for i in range(25)]
    splits = split(pairs)
    assert [pair.key for pair in splits[MOTION_INTENSIVE]] == ["22", "23", "24"]
    assert MOTION_INTENSIVE not in split([Measured("a", "", "", 0.0, {}, "")])


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    figures = [mean_figure(rng.normal(3.0, 2.0, 60), 300, seed) for seed in range(100)]
    assert 85 <= sum(figure.low <= 3.0 <= figure.high for figure in figures) <= 100
    assert mean_figure(np.array([np.nan, 2.0, 4.0])).value == 3.0
    assert np.isnan(mean_figure(np.array([np.nan])).value)


def test_published_rows_are_those_of_the_paper() -> None:
    rows = published_rows()
    (ours,) = [row for row in rows if (row.table, row.data, row.method) == ("IVG Table 1", "Ego4D", "IVG")]
    assert ours.figures["HS-Err"] == 0.01939
    assert ours.figures["FVD"] == 103.15
    assert len([row for row in rows if row.table == "IVG Table 1"]) == 15


def test_numbers_are_written_without_exponents() -> None:
    assert [number(value) for value in (0.015123, 1234.5, 0.98261, 0, float("nan"))] == [
        "0.01512", "1234", "0.9826", "0", "–",
    ]  # fmt: skip
