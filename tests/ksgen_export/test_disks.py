"""Disks that are full, and disks that may only be read: real ones, in memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from curation_parts import write_panned
from generation_parts import drawn_options, make_here, tree, write_photos
from small_datasets import make_episode

from ksgen_export.curation.job import curate
from ksgen_export.formats import FORMATS, open_source, open_writer
from ksgen_export.generation.items import photo_items
from ksgen_export.generation.job import generate
from ksgen_models.errors import DatasetError

pytestmark = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a file system is for root alone")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave not one page free."""
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def forbid(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_a_writer_on_a_full_disk_keeps_what_was_there_and_goes_on_with_room(name: str, begun: bool, disk: Path) -> None:
    with open_writer(name, disk / "out") as writer:  # type: ignore[attr-defined]
        writer.add(make_episode(0))
    before = tree(disk / "out")
    writer = open_writer(name, disk / "out")
    if begun:
        writer.add(make_episode(1))
    fill(disk)
    with pytest.raises(DatasetError, match="No space left"):
        (writer.close if begun else partial(writer.add, make_episode(9)))()
    there = tree(disk / "out")
    assert {path: there[path] for path in before} == before
    (disk / "ballast").unlink()
    writer.add(make_episode(2))
    writer.close()
    seeds = [episode.key_steps[0].frame_provenance.seed for episode in open_source(disk / "out")]
    assert seeds == ([0, 1, 2] if begun else [0, 2])


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_that_becomes_full_while_episodes_are_joined_keeps_them(name: str, disk: Path) -> None:
    writer = open_writer(name, disk / "out")
    for seed in range(3):
        writer.add(make_episode(seed))
    fill(disk)
    os.truncate(disk / "ballast", (disk / "ballast").stat().st_size - (32 << 10))
    with pytest.raises(DatasetError, match="No space left"):
        writer.close()
    (disk / "ballast").unlink()
    writer.close()
    assert [episode.key_steps[0].frame_provenance.seed for episode in open_source(disk / "out")] == [0, 1, 2]


@pytest.mark.parametrize("name", FORMATS)
def test_a_dataset_on_a_disk_that_may_only_be_read_is_read_and_not_written(name: str, disk: Path) -> None:
    with open_writer(name, disk / "out") as writer:  # type: ignore[attr-defined]
        writer.add(make_episode(0))
    forbid(disk)
    for folder in (disk / "out", disk / "new"):
        with pytest.raises(DatasetError, match=str(folder)):
            open_writer(name, folder).add(make_episode(1))
    assert len(open_source(disk / "out")) == 1


def test_jobs_on_a_disk_that_may_only_be_read_name_it_and_keep_what_was_done(disk: Path, tmp_path: Path) -> None:
    items = photo_items(write_photos(tmp_path / "photos", 1), ("push the square",), range(2))
    make_here(disk / "out", list(items[:1]), drawn_options())
    write_panned(tmp_path / "videos", "video", 0, 2.5)
    forbid(disk)
    with pytest.raises(DatasetError, match="choose another folder"):
        generate(disk / "out", items, drawn_options(), workers=1, progress=False)
    with pytest.raises(DatasetError, match="choose another folder"):
        curate(tmp_path / "videos", disk / "curated", progress=False)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    summary = generate(disk / "out", items, drawn_options(), workers=1, progress=False)
    assert (summary.resumed, summary.written) == (1, 2)
