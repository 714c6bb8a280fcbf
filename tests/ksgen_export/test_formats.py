"""What goes into a dataset comes out of it again, in all three formats; and nothing is lost when something fails."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_datasets import make_episode, make_imagination, make_rollout

from ksgen_agent import Imagination, Imaginer
from ksgen_export.conversion import (
    demonstration_of_episode,
    episode_of_demonstration,
    episode_of_imagination,
    imagination_of_episode,
)
from ksgen_export.episode import Episode
from ksgen_export.formats import FORMATS, open_source, open_writer
from ksgen_export.replay import ReplayImaginer
from ksgen_models.errors import DatasetError, InvalidFrame, InvalidInput, UnknownTask

LEAST_PSNR = 38.0


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Least over the frames, dB."""
    errors = ((first.astype(float) - second) ** 2).reshape(len(first), -1).mean(axis=1)
    return float(10 * np.log10(255**2 / np.maximum(errors, 1e-9)).min())


def assert_same_imagination(found: Imagination, wanted: Imagination, *, lossless: bool) -> None:
    assert (found.task, found.plan, dict(found.timings)) == (wanted.task, wanted.plan, dict(wanted.timings))
    assert np.array_equal(found.frame, wanted.frame)
    assert len(found.steps) == len(wanted.steps)
    for there, here in zip(found.steps, wanted.steps, strict=True):
        assert (there.index, there.description, there.fps) == (here.index, here.description, here.fps)
        assert dict(there.scores) == dict(here.scores)
        assert dict(there.provenance) == dict(here.provenance)
        assert np.array_equal(there.image, here.image)
        assert np.array_equal(there.goal, here.goal)
        assert np.array_equal(there.embedding, here.embedding)
        for name in ("keypoints", "world", "confidence", "valid", "interpolated"):
            assert np.array_equal(getattr(there.hands, name), getattr(here.hands, name), equal_nan=name[0] in "kw")
        for name in ("predicted", "observed", "per_frame", "change"):
            assert np.allclose(getattr(there.region_of_motion, name), getattr(here.region_of_motion, name), atol=1e-6)
        assert np.array_equal(there.clip, here.clip) if lossless else psnr(there.clip, here.clip) >= LEAST_PSNR


@pytest.mark.parametrize("name", FORMATS)
def test_imaginations_come_back(name: str, tmp_path: Path) -> None:
    wanted = [make_imagination(seed, steps=1 + seed % 3) for seed in range(3)]
    with open_writer(name, tmp_path / "out") as writer:  # type: ignore[attr-defined]
        assert [writer.add(episode_of_imagination(item)) for item in wanted] == [0, 1, 2]
    source = open_source(tmp_path / "out")
    assert len(source) == 3
    for episode, item in zip(source, wanted, strict=True):
        assert_same_imagination(imagination_of_episode(episode), item, lossless=name != "lerobot")


@pytest.mark.parametrize("name", FORMATS)
def test_rollouts_come_back_with_states_and_actions(name: str, tmp_path: Path) -> None:
    wanted = make_rollout(5)
    with open_writer(name, tmp_path / "out") as writer:  # type: ignore[attr-defined]
        writer.add(wanted)
    (found,) = open_source(tmp_path / "out")
    assert found.robot is not None
    assert wanted.robot is not None
    for part in ("states", "actions", "rewards", "success"):
        assert np.array_equal(getattr(found.robot, part), getattr(wanted.robot, part)), part
    assert (found.robot.action_names, found.robot.terminated, found.record) == (("dx", "dy"), True, {"scene_seed": 5})
    assert [(step.start, step.stop) for step in found.key_steps] == [(0, 5), (5, 10)]
    assert not found.key_steps[0].frame_provenance.generated


@pytest.mark.parametrize("name", FORMATS)
def test_a_second_writer_goes_on_and_another_schema_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for seed in range(2):
        with open_writer(name, folder) as writer:  # type: ignore[attr-defined]
            assert writer.episodes == seed
            writer.add(make_episode(seed))
    writer = open_writer(name, folder)
    with pytest.raises(DatasetError, match="another schema"):
        writer.add(make_episode(9, side=32))
    with pytest.raises(DatasetError, match="another schema"):
        writer.add(make_rollout(9))
    writer.close()
    assert [episode.key_steps[0].frame_provenance.seed for episode in open_source(folder)] == [0, 1]


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_with_something_else_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(DatasetError):
        open_writer(name, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="did you mean lerobot"):
        open_writer("lerobt", "/nowhere")


@pytest.mark.parametrize("name", FORMATS)
def test_an_added_episode_survives_a_writer_that_was_never_closed(name: str, tmp_path: Path) -> None:
    open_writer(name, tmp_path / "killed").add(make_episode(0))
    (tmp_path / "killed/.staging/.000001.part").mkdir()  # what a kill in the middle of an episode leaves
    with open_writer(name, tmp_path / "killed") as writer:  # type: ignore[attr-defined]
        assert writer.add(make_episode(1)) == 1
    with open_writer(name, tmp_path / "whole") as writer:  # type: ignore[attr-defined]
        writer.add(make_episode(0))
        writer.add(make_episode(1))
    killed, whole = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "killed", tmp_path / "whole")
    )
    assert killed == whole


@pytest.mark.parametrize("name", FORMATS)
def test_a_place_that_cannot_be_written_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match=r"cannot write|file"):
        open_writer(name, tmp_path / "file" / "out").add(make_episode(0))


def test_a_corrupt_video_is_named_and_the_other_episodes_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for seed in range(2):  # two runs, so two files
        with open_writer("lerobot", folder) as writer:  # type: ignore[attr-defined]
            writer.add(make_episode(seed))
    (video,) = folder.glob("videos/observation.images.camera/*/file-000.mp4")
    video.write_bytes(video.read_bytes()[:200])
    source = open_source(folder)
    with pytest.raises(DatasetError, match=r"file-000\.mp4"):
        source[0]
    assert source[1].key_steps[0].frame_provenance.seed == 1


def test_missing_tables_are_named(tmp_path: Path) -> None:
    with open_writer("lerobot", tmp_path / "out") as writer:  # type: ignore[attr-defined]
        writer.add(make_episode(0))
    shutil.rmtree(tmp_path / "out/data")
    with pytest.raises(DatasetError, match=r"file-000\.parquet"):
        open_source(tmp_path / "out")[0]
    shutil.rmtree(tmp_path / "out/meta/episodes")
    with pytest.raises(DatasetError, match="meta/episodes"):
        open_source(tmp_path / "out")
    (tmp_path / "out/meta/info.json").write_text("{")
    with pytest.raises(DatasetError, match="no LeRobot dataset"):
        open_source(tmp_path / "out")


def test_every_frame_can_be_sought(tmp_path: Path) -> None:
    """Each frame shows its own number, as a bar of that height."""
    from ksgen_export.video import VideoOptions, encode_video, join_videos, read_frames

    frames = np.zeros((23, 48, 64, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[: 2 * index + 1] = 255
    for part, (first, last) in enumerate(((0, 7), (7, 16), (16, 23))):
        encode_video(tmp_path / f"{part}.mp4", frames[first:last], 12.5, VideoOptions())
    sources = [(tmp_path / f"{part}.mp4", count) for part, count in enumerate((7, 9, 7))]
    join_videos(sources, tmp_path / "all.mp4", 12.5)
    for index in range(23):
        (found,) = read_frames(tmp_path / "all.mp4", index / 12.5, 1, 12.5)
        assert int((found[:, 0, 0] > 127).sum()) == 2 * index + 1
    with pytest.raises(DatasetError, match="20"):
        read_frames(tmp_path / "all.mp4", 10 / 12.5, 20, 12.5)


def test_lerobot_tables_say_what_its_users_expect(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    with open_writer("lerobot", tmp_path) as writer:  # type: ignore[attr-defined]
        writer.add(make_episode(0))
        writer.add(make_episode(1, task="sort the blocks"))
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"], info["fps"]) == ("v3.0", 2, 24, 8)
    assert info["features"]["hands.keypoints"]["shape"] == [126]
    assert info["features"]["hands.keypoints"]["names"][63] == "right.wrist.x"
    rows = pq.read_table(tmp_path / "data/chunk-000/file-000.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(24))
    assert [row["task_index"] for row in rows] == [0] * 12 + [1] * 12
    assert {row["provenance.preset"] for row in rows} == {"mini"}
    assert all(row["provenance.generated"] for row in rows)
    stats = json.loads((tmp_path / "meta/stats.json").read_text())
    assert np.array(stats["observation.images.camera"]["q50"]).shape == (3, 1, 1)
    assert stats["frame_index"]["max"] == [11]
    subtasks = pq.read_table(tmp_path / "meta/subtasks.parquet").to_pydict()
    assert "Put block 0 in place" in subtasks["__index_level_0__"]


def test_a_lerobot_dataset_without_records_is_read_by_its_features(tmp_path: Path) -> None:
    with open_writer("lerobot", tmp_path) as writer:  # type: ignore[attr-defined]
        writer.add(make_rollout(0))
    shutil.rmtree(tmp_path / "ksgen")
    (found,) = open_source(tmp_path)
    assert [(step.description, step.start, step.stop) for step in found.key_steps] == [
        ("Put block 0 in place", 0, 5),
        ("Put block 1 in place", 5, 10),
    ]
    assert found.robot is not None
    assert np.array_equal(found.robot.actions, make_rollout(0).robot.actions)  # type: ignore[union-attr]


@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=60))
def test_statistics_are_those_of_numpy(values: list[float]) -> None:
    from ksgen_export.lerobot.stats import column_stats, merge_stats

    column = np.array(values, np.float32)
    found = column_stats(column)
    assert found["q50"][0] in column
    halves = merge_stats([column_stats(column[:1]), column_stats(column[1:])])
    for name, wanted in (("mean", column.mean(dtype=float)), ("std", column.std(dtype=float)), ("max", column.max())):
        assert found[name][0] == pytest.approx(wanted, abs=1e-6, rel=1e-6)
        assert halves[name][0] == pytest.approx(wanted, abs=1e-4, rel=1e-4)


def test_a_picture_has_the_statistics_of_its_pixels() -> None:
    from ksgen_export.lerobot.stats import picture_stats

    frames = make_episode(3).frames
    found = picture_stats(frames)
    shares = frames.reshape(-1, 3) / 255
    assert np.allclose(found["mean"].reshape(3), shares.mean(axis=0))
    assert np.allclose(found["std"].reshape(3), shares.std(axis=0))
    assert np.allclose(found["q90"].reshape(3), np.quantile(shares, 0.9, axis=0, method="inverted_cdf"))


@pytest.mark.parametrize("name", FORMATS)
def test_replay_gives_back_what_was_imagined(name: str, tmp_path: Path) -> None:
    wanted = make_imagination(0)
    with open_writer(name, tmp_path) as writer:  # type: ignore[attr-defined]
        writer.add(episode_of_imagination(make_imagination(1, task="sort the blocks")))
        writer.add(episode_of_imagination(wanted))
    replay = ReplayImaginer(tmp_path)
    assert isinstance(replay, Imaginer)
    assert (replay.spec.preset, replay.spec.fps, replay.spec.embedding_dimension) == ("mini", 8.0, 8)
    assert_same_imagination(replay.imagine(wanted.frame, " Stack the  blocks"), wanted, lossless=name != "lerobot")
    steps = list(replay.imagine_stream(wanted.frame, "stack the blocks"))
    assert [step.description for step in steps] == list(wanted.plan.steps)
    with pytest.raises(UnknownTask, match="sort the blocks"):
        replay.imagine(wanted.frame, "juggle")
    other = np.full_like(wanted.frame, 255)
    with pytest.raises(InvalidFrame, match="no imagination"):
        replay.imagine(other, "stack the blocks")
    assert replay.imagine(other, "stack the blocks", allow_out_of_domain=True).task == "stack the blocks"


def test_an_episode_whose_parts_do_not_fit_is_refused() -> None:
    episode = make_episode(0)
    with pytest.raises(InvalidInput, match="end at frame 6"):
        replace(episode, key_steps=episode.key_steps[:1])
    step = replace(episode.key_steps[0], image=np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InvalidInput, match="image has shape"):
        replace(episode, key_steps=(step, *episode.key_steps[1:]))
    with pytest.raises(InvalidInput, match="fps"):
        replace(episode, fps=0.0)


@pytest.mark.parametrize("name", ["robomimic", "minari"])
def test_a_demonstration_comes_back(name: str, tmp_path: Path) -> None:
    from ksgen_envs.demonstrator import demonstrate

    wanted = demonstrate("KSGen/SwitchOnLamp-v0", 7, image_size=64)
    with open_writer(name, tmp_path) as writer:  # type: ignore[attr-defined]
        writer.add(episode_of_demonstration(wanted))
    (episode,) = open_source(tmp_path)
    found = demonstration_of_episode(episode)
    assert (found.env_id, found.seed, found.look, found.objects) == (
        wanted.env_id,
        wanted.seed,
        wanted.look,
        wanted.objects,
    )
    assert np.array_equal(found.poses, wanted.poses)
    assert np.array_equal(found.images(), wanted.images())
    for there, here in zip(found.steps, wanted.steps, strict=True):
        assert np.array_equal(there.clip, here.clip)
        assert np.array_equal(there.keypoints, here.keypoints, equal_nan=True)
        assert np.array_equal(there.region_of_change, here.region_of_change)
    hands = episode.key_steps[0].hands
    lengths = np.linalg.norm(hands.world[:, :, 5] - hands.world[:, :, 0], axis=-1)
    assert np.nanmax(lengths) < 0.15, "a palm is some ten centimetres long"


def test_episodes_know_their_length_and_plan() -> None:
    episode: Episode = make_episode(0)
    assert len(episode) == 12
    assert episode.plan == ("Put block 0 in place", "Put block 1 in place")


def test_without_a_robot_states_and_actions_are_those_of_the_hands() -> None:
    from ksgen_export.columns import fill_columns, hand_states

    episode = make_episode(0)
    states = hand_states(episode)
    right = episode.key_steps[0].hands.keypoints[2, 1]
    assert np.allclose(states[2, 4:6], (right[4, :2] + right[8, :2]) / 2)
    assert states[2, 6] == pytest.approx(np.linalg.norm(right[4, :2] - right[8, :2]))
    assert states[:, 7].tolist() == [0, 1, 1, 1, 1, 1] * 2
    assert np.array_equal(states[0, 4:7], states[1, 4:7]), "before it appears a hand is where it will appear"
    assert np.array_equal(states[6, 4:7], states[5, 4:7]), "gone, it stays where it was"
    assert np.array_equal(states[:, :4], np.tile(np.float32([0.5, 0.5, 0, 0]), (12, 1))), "no left hand"
    assert np.array_equal(fill_columns(episode)["action"][:-1], states[1:])
