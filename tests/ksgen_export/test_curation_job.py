"""A curation job on real files: what it writes, how it goes on, and what it says when something is wrong."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from curation_parts import panned, texture, write_panned

from ksgen_export.curation.bench import KINDS, score
from ksgen_export.curation.frames import LONGEST, read_stretches, video_facts
from ksgen_export.curation.job import CurationOptions, curate
from ksgen_export.curation.maker import Scene, make_video
from ksgen_export.curation.manifest import FAILED, KEPT, MANIFEST, Row, read_manifest, read_subclips
from ksgen_export.curation.segments import Annotations, Problem, StepSegment
from ksgen_export.curation.thresholds import Thresholds
from ksgen_models.assets import HAND_LANDMARKER, is_present
from ksgen_models.errors import DatasetError, InvalidClip, InvalidInput
from ksgen_models.video_io import read_video, write_video

ORIGINALS = Path("/usr/share/doc/opencv-doc/opencv4/html")
WITHOUT_HANDS = Thresholds(hand_seconds=1e6, hand_share=0.0)
"""For made-up videos: everything else is looked at."""
needs_networks = pytest.mark.skipif(
    not is_present(HAND_LANDMARKER), reason="the hand networks are not here; run: ksgen-agent assets"
)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    write_panned(folder, "one", 1, 2.5)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def rows_of(folder: Path) -> list[Row]:
    return list(read_manifest(folder))


def check_accounts(rows: list[Row]) -> None:
    """Rows of a segment stand in order and leave no frame out."""
    for before, after in itertools.pairwise(rows):
        same = (before.video, before.segment) == (after.video, after.segment)
        if same and FAILED not in (before.status, after.status):
            assert abs(after.start - before.stop) < 0.1


def test_frames_are_sampled_by_time_and_stretches_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    clip = np.stack([np.full((48, 64, 3), 10 * (at % 25), np.uint8) for at in range(25 * 22)])
    write_video(path, clip, 25.0)
    assert video_facts(path).fps == pytest.approx(25)
    stretches = list(read_stretches(path, 0.0, np.inf, fps=8.0, side=480))
    assert [len(stretch.frames) for stretch in stretches] == [LONGEST, 22 * 8 - LONGEST]
    assert [stretch.last for stretch in stretches] == [False, True]
    times = np.concatenate([stretch.times for stretch in stretches])
    np.testing.assert_allclose(times, np.arange(len(times)) / 8, atol=0.5 / 25 + 1e-6)
    assert sum(len(stretch.thumbnails) for stretch in stretches) == len(clip)
    part = next(read_stretches(path, 3.0, 5.0, fps=8.0, side=24))
    assert part.frames.shape == (16, 24, 32, 3)
    numbers = np.round(part.times * 25).astype(int) % 25
    np.testing.assert_allclose(part.frames.mean((1, 2, 3)), 10 * numbers, atol=4)


@needs_networks
def test_a_job_keeps_what_is_clean_and_accounts_for_every_frame(tmp_path: Path) -> None:
    scenes = [Scene(panned(seed, 36), texture(seed)) for seed in (1, 2, 3)]
    made = make_video(scenes, ["", "still", "blurred"], np.random.default_rng(0))
    write_video(tmp_path / "videos" / "joined.mp4", made.frames, 8.0)
    write_video(tmp_path / "videos" / "tiny.mp4", panned(4, 20, height=96, width=96), 8.0)
    summary = curate(tmp_path / "videos", tmp_path / "out", thresholds=WITHOUT_HANDS, progress=False)
    rows = rows_of(tmp_path / "out")
    check_accounts(rows)
    joined = [row for row in rows if row.video == "joined"]
    assert sum(row.frames for row in joined) == len(made.frames)
    scores = score({"joined": made.faults}, joined, 8.0)
    assert all((scores[kind].precision, scores[kind].recall) == (1, 1) for kind in KINDS)
    assert [row.reasons for row in rows if row.video == "tiny"] == [("low_resolution",)]
    subclips = list(read_subclips(tmp_path / "out"))
    assert len(subclips) == summary.kept == sum(row.status == KEPT for row in rows) >= 3
    for subclip in subclips:
        assert subclip.clip.shape == (16, 256, 256, 3)
        assert subclip.per_frame.shape == (16, 256, 256)
        first = round(subclip.start * 8)
        assert np.abs(subclip.clip.astype(int) - made.frames[first : first + 16]).mean() < 5
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "low resolution" in page


@needs_networks
def test_one_bad_video_costs_no_other_and_a_second_run_does_only_that(videos: Path, tmp_path: Path) -> None:
    (videos / "broken.mp4").write_bytes(b"this is no video")
    whole = write_panned(videos, "cut-off", 3, 6.0)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    write_panned(videos, "nobody-spoke-of", 4, 2.5)
    segments = [
        StepSegment("one", 0.0, 2.1, "turn it", "turning", "coin"),
        StepSegment("broken", 0.0, 2.0, "break it", "breaking", "coin"),
        StepSegment("absent", 1.0, 2.0, "leave it", "leaving", "coin"),
    ]
    problems = (Problem("two", "no times"),)
    annotations = Annotations(tuple(sorted(segments, key=lambda segment: segment.video)), problems)
    out = tmp_path / "out"
    first = curate(videos, out, annotations, thresholds=WITHOUT_HANDS, progress=False)
    assert dict(first.failures).keys() == {"absent", "broken"}
    assert all(error.startswith("InvalidClip: ") for error in dict(first.failures).values())
    assert {problem.video for problem in first.problems} == {"two", "nobody-spoke-of", "cut-off"}
    kept = [row for row in rows_of(out) if row.status == KEPT]
    assert [(row.video, row.description, row.task, row.source) for row in kept] == [
        ("one", "turn it", "turning", "coin")
    ]
    before = (out / "parts").stat().st_mtime_ns, os.listdir(out / "parts")
    write_panned(videos, "broken", 5, 2.5)
    second = curate(videos, out, annotations, thresholds=WITHOUT_HANDS, progress=False)
    assert second.resumed == 1
    assert dict(second.failures).keys() == {"absent"}
    assert second.kept == 2
    assert sorted(os.listdir(out / "parts")) == sorted(before[1])


@needs_networks
def test_a_truncated_video_keeps_what_it_has_and_is_named(tmp_path: Path) -> None:
    write_panned(tmp_path / "videos", "short", 1, 2.5)
    segments = (
        StepSegment("short", 0.0, 2.1, "turn", "", "coin"),
        StepSegment("short", 60.0, 70.0, "stop", "", "coin"),
    )
    summary = curate(
        tmp_path / "videos", tmp_path / "out", Annotations(segments), thresholds=WITHOUT_HANDS, progress=False
    )
    assert summary.kept == 1
    assert [error.startswith("InvalidClip") for _, error in summary.failures] == [True]


@needs_networks
def test_a_stopped_job_comes_to_the_same_manifest(videos: Path, tmp_path: Path) -> None:
    shutil.copy(videos / "one.mp4", videos / "copy-of-one.mp4")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for out in (whole, stopped):
        summary = curate(videos, out, thresholds=WITHOUT_HANDS, progress=False)
    assert summary.reasons["near_duplicate"] == 1
    # As after a kill: one video has no part, another's was not finished, the manifest is old.
    parts = sorted((stopped / "parts").iterdir())
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    (stopped / MANIFEST).unlink()
    again = curate(videos, stopped, thresholds=WITHOUT_HANDS, progress=False)
    assert again.resumed == 0
    assert (stopped / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()
    assert curate(videos, stopped, thresholds=WITHOUT_HANDS, progress=False).resumed == 2
    with pytest.raises(DatasetError, match="thresholds"):
        curate(videos, stopped, thresholds=Thresholds(blur=0.5), progress=False)


@needs_networks
def test_a_full_disk_is_named_and_the_job_goes_on_when_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_panned(tmp_path / "videos", f"v{number}", number, 2.5)
    out = small_disk / "out"
    (small_disk / "ballast").write_bytes(bytes(60 << 10))
    summary = curate(tmp_path / "videos", out, thresholds=WITHOUT_HANDS, progress=False)
    assert {video for video, _ in summary.failures} == {"v0", "v1", "v2"}
    assert all(error.startswith("DatasetError") and "No space left" in error for _, error in summary.failures)
    assert not list(out.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    summary = curate(tmp_path / "videos", out, thresholds=WITHOUT_HANDS, progress=False)
    assert (summary.failed, summary.kept) == (0, 3)
    assert len(list(read_subclips(out))) == 3


def test_a_folder_that_cannot_be_written_is_named(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "out", Path("/proc/nowhere/out")):
        with pytest.raises(DatasetError, match="choose another folder"):
            curate(videos, out, progress=False)


def test_no_videos_and_wrong_options_are_named(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match=str(folder)):
            curate(folder, tmp_path / "out", progress=False)
    with pytest.raises(InvalidInput, match="workers"):
        curate(videos, tmp_path / "out", workers=0, progress=False)
    with pytest.raises(InvalidInput, match="side"):
        CurationOptions(side=4)
    with pytest.raises(InvalidClip):
        video_facts(tmp_path / "nowhere.mp4")
    with pytest.raises(DatasetError, match="manifest"):
        rows_of(tmp_path / "empty")


def test_a_manifest_of_another_kind_is_named(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"x": [1]}), tmp_path / MANIFEST)
    with pytest.raises(DatasetError, match="columns"):
        rows_of(tmp_path)


@pytest.mark.slow
@needs_networks
def test_two_workers_make_what_one_makes(videos: Path, tmp_path: Path) -> None:
    write_panned(videos, "two", 2, 2.5)
    for workers in (1, 2):
        curate(videos, tmp_path / str(workers), thresholds=WITHOUT_HANDS, workers=workers, progress=False)
    one, two = (tmp_path / str(workers) / MANIFEST for workers in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def original(name: str, folder: Path) -> np.ndarray:
    """(T, 480, 640, 3) of one of opencv-doc's hand–object videos at 8 frames a second."""
    packed = ORIGINALS / f"{name}.mp4.gz"
    if not packed.exists():
        pytest.skip("Debian's opencv-doc is not installed")
    path = folder / f"{name}.mp4"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    clip, fps = read_video(path)
    return clip[np.arange(0, len(clip), fps / 8).astype(int)]


@pytest.mark.slow
@needs_networks
def test_every_fault_planted_in_real_video_is_found_and_the_originals_are_kept(tmp_path: Path) -> None:
    cup, box = original("cup", tmp_path), original("box", tmp_path)
    videos = tmp_path / "videos"
    for name, clip in (("a-cup", cup), ("b-box", box)):
        write_video(videos / f"{name}.mp4", clip, 8.0)
    scenes = [
        Scene(cup[4:44], cup[0]),
        Scene(box[60:100], box[0]),
        Scene(cup[20:60], cup[0]),
        Scene(box[66:116], box[0]),
    ]
    truth = {}
    for name, faults in (
        ("c-first", ["still", "shaky", "blurred", "text"]),
        ("d-second", ["text", "blurred", "shaky", "still"]),
        ("e-third", ["shaky", "still", "text", "blurred"]),
    ):
        made = make_video(scenes, faults, np.random.default_rng(7))
        write_video(videos / f"{name}.mp4", made.frames, 8.0)
        truth[name] = made.faults
    write_video(videos / "f-again.mp4", np.concatenate([box[60:100], cup[4:44]]), 8.0)
    curate(videos, tmp_path / "out", progress=False)
    rows = rows_of(tmp_path / "out")
    made_rows = [row for row in rows if row.video in truth]
    scores = score(truth, made_rows, 8.0)
    assert {kind: scores[kind].recall for kind in KINDS} == dict.fromkeys(KINDS, 1.0)
    for video in ("a-cup", "b-box"):
        mine = [row for row in rows if row.video == video]
        assert sum(row.status == KEPT for row in mine) >= 4
        # Nothing is wrong with them but for the seconds in which the tracker sees no hand behind the box.
        assert {reason for row in mine for reason in row.reasons} <= {"too_short", "no_hand"}
    again = [row for row in rows if row.video == "f-again"]
    assert not any(row.status == KEPT for row in again)
    assert any("near_duplicate" in row.reasons for row in again)
