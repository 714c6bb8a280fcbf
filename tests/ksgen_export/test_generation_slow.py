"""Generation at its real cost: jobs that are killed, a Ray cluster that loses a worker, and robots in the simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from curation_parts import write_panned
from generation_parts import HERE, Squares, drawn_options, shown, tree, write_photos

from ksgen_export.conversion import demonstration_of_episode
from ksgen_export.curation.job import curate
from ksgen_export.curation.manifest import KEPT, MANIFEST, read_manifest
from ksgen_export.curation.thresholds import Thresholds
from ksgen_export.formats import open_source
from ksgen_export.generation import kill_bench
from ksgen_export.generation.items import photo_items, scene_items
from ksgen_export.generation.job import generate
from ksgen_export.generation.options import GenerationOptions
from ksgen_export.jobs import ENGINES, run_tasks
from ksgen_models.assets import HAND_LANDMARKER, SENTENCE_ENCODER, is_present
from ksgen_models.errors import DatasetError, InvalidInput

pytestmark = pytest.mark.slow
LAMP = "KSGen/SwitchOnLamp-v0"
TASKS = ("push the square", "push it back")


def test_a_job_killed_five_times_writes_what_an_uninterrupted_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    found = kill_bench.run(tmp_path, episodes=60, kills=5, seed=1)
    assert found.kills >= 4  # the last moment may come after the end
    assert (found.items, found.lost, found.double) == (60, 0, 0)
    assert found.failures == ()
    assert found.written + found.rejected == 60
    assert found.rejected
    assert found.differing == ()
    names = tree(tmp_path / "killed" / "dataset")
    assert {name.partition("/")[0] for name in names} >= {"meta", "data", "videos", "ksgen"}


def test_a_worker_that_dies_costs_no_item(tmp_path: Path) -> None:
    items = photo_items(write_photos(tmp_path / "photos", 2), TASKS, range(2))
    (tmp_path / "die-0").touch()
    (tmp_path / "die-1").touch()
    options = drawn_options(imaginer=f"{HERE}:LethalImaginer", imaginer_options={"folder": str(tmp_path)})
    summary = generate(tmp_path / "out", items, options, workers=2, progress=False)
    assert not list(tmp_path.glob("die-*"))
    assert summary.written == len(items)


def test_a_full_disk_fails_items_by_name_and_room_finishes_the_job(tmp_path: Path) -> None:
    items = photo_items(write_photos(tmp_path / "photos", 3), TASKS, range(2))
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        with pytest.raises(DatasetError, match="No space left"):  # items fail, and the dataset cannot be joined
            generate(disk / "out", items, drawn_options(), workers=1, progress=False)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        summary = generate(disk / "out", items, drawn_options(), workers=1, progress=False)
        assert 0 < summary.resumed < len(items)
        assert summary.written == len(open_source(summary.dataset)) == len(items)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Ray


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "token").write_text("0" * 64)
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        ray = pytest.importorskip("ray", reason="needs the extra ray")  # which reads its settings when it is imported
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_does_the_same_job_and_loses_nothing_with_a_worker(cluster, tmp_path: Path) -> None:
    items = photo_items(write_photos(tmp_path / "photos", 3), TASKS, range(2))
    (tmp_path / "die-0").touch()
    options = drawn_options(imaginer=f"{HERE}:LethalImaginer", imaginer_options={"folder": str(tmp_path)})
    summary = generate(tmp_path / "ray", items, options, engine="ray", workers=2, progress=False)
    assert not list(tmp_path.glob("die-*"))
    assert (summary.written, summary.failed) == (len(items), 0)
    generate(tmp_path / "local", items, options, workers=1, progress=False)
    assert tree(tmp_path / "ray" / "dataset") == tree(tmp_path / "local" / "dataset")


@pytest.mark.filterwarnings("ignore")
def test_ray_spreads_tasks_and_says_when_workers_do_not_fit(cluster, tmp_path: Path) -> None:
    answers = dict(run_tasks(range(8), Squares(tmp_path), engine="ray", workers=2))
    assert {number: answer[0] for number, answer in answers.items()} == {number: number**2 for number in range(8)}
    assert len(list(tmp_path.glob("opened-*"))) <= 2
    with pytest.raises(InvalidInput, match="room for 2"):
        list(run_tasks(range(8), Squares(tmp_path), engine="ray", workers=3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not is_present(HAND_LANDMARKER), reason="the hand networks are not here; run: ksgen-agent assets")
def test_curation_comes_to_the_same_manifest_on_ray(cluster, tmp_path: Path) -> None:
    for seed in range(3):
        write_panned(tmp_path / "videos", f"video-{seed}", seed, 2.5)
    limits = Thresholds(hand_seconds=1e6, hand_share=0.0)
    for engine in ENGINES:
        curate(tmp_path / "videos", tmp_path / engine, thresholds=limits, workers=2, engine=engine, progress=False)
    local, on_ray = ((tmp_path / engine / MANIFEST).read_bytes() for engine in ENGINES)
    assert local == on_ray
    assert any(row.status == KEPT for row in read_manifest(tmp_path / "ray"))


# The Workbench


def test_demonstrations_differ_by_their_seed(tmp_path: Path) -> None:
    items = scene_items((LAMP,), range(1), range(2))
    options = GenerationOptions(episodes="demonstration", image_size=64, format="robomimic")
    dataset = open_source(generate(tmp_path / "out", items, options, workers=1, progress=False).dataset)
    one, two = (demonstration_of_episode(episode) for episode in dataset)
    assert (one.seed, one.motion_seed, two.motion_seed) == (0, 0, 1)
    np.testing.assert_array_equal(one.frame, two.frame)
    assert not np.array_equal(one.steps[0].clip, two.steps[0].clip)


def test_the_expert_s_episode_has_states_actions_and_its_key_steps(tmp_path: Path) -> None:
    items = scene_items((LAMP,), range(1), range(1))
    options = GenerationOptions(episodes="true", image_size=64)
    summary = generate(tmp_path / "out", items, options, workers=1, progress=False)
    assert summary.written == 1
    episode = open_source(summary.dataset)[0]
    robot = episode.robot
    assert episode.kind == "rollout"
    assert robot is not None
    assert robot.terminated
    assert robot.success[-1]
    assert not robot.success[:-1].any()
    assert robot.states.shape == (len(episode), 17)
    assert np.abs(robot.actions).max() <= 1
    # The robot goes where it was told to: what it is told moves its set point, by 2 cm at most.
    assert np.abs(np.diff(robot.states[:, :3], axis=0)).max() < 0.03
    assert len(episode.key_steps) == 2
    assert not np.array_equal(episode.key_steps[0].image, episode.key_steps[0].goal)


def test_imagined_key_steps_become_the_robot_s_episode(tmp_path: Path) -> None:
    items = scene_items((LAMP,), range(1), range(1))
    options = GenerationOptions(
        episodes="retargeted",
        image_size=256,
        imaginer=f"{HERE}:shown",
        imaginer_options={"env_id": LAMP, "scene": 0, "size": 256},
        keep_failures=True,
    )
    summary = generate(tmp_path / "out", items, options, workers=1, progress=False)
    assert summary.written == 1, summary
    episode = open_source(summary.dataset)[0]
    assert episode.kind == "rollout"
    assert episode.record["robot"] == "retargeted"
    assert episode.robot is not None
    assert np.ptp(episode.robot.states[:, :3], axis=0).max() > 0.05
    assert len(episode.key_steps) == 2


@pytest.mark.skipif(
    not is_present(SENTENCE_ENCODER), reason="the sentence encoder is not here; run: ksgen-agent assets"
)
def test_a_policy_s_episode_tells_the_imagined_key_steps_that_it_was_given(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from ksgen_envs.learners.chunk_policy import ChunkPolicy, PolicySpec
    from ksgen_envs.learners.inputs import InputSpec
    from ksgen_envs.learners.runs import save_cloned

    torch.manual_seed(0)
    save_cloned(
        tmp_path / "run", ChunkPolicy(PolicySpec(InputSpec("subgoal"), 20, width=16, layers=1, heads=2)), (LAMP,)
    )
    options = GenerationOptions(
        episodes="policy",
        policy=str(tmp_path / "run"),
        subgoals="imagined",
        imaginer=f"{HERE}:shown",
        imaginer_options={"env_id": LAMP, "scene": 0, "size": 256},
        keep_failures=True,
    )
    items = scene_items((LAMP,), range(1), range(1))
    summary = generate(tmp_path / "out", items, options, workers=1, progress=False)
    assert summary.written == 1, summary
    (episode,) = open_source(summary.dataset)
    first = shown(LAMP, 0, 256).imagine(episode.frames[0], "").steps[0]
    assert episode.key_steps[0].description == first.description
    np.testing.assert_array_equal(episode.key_steps[0].goal, first.goal)
    assert episode.robot is not None


def test_a_policy_s_failure_is_rejected_with_where_it_got_stuck(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from ksgen_envs.learners.chunk_policy import ChunkPolicy, PolicySpec
    from ksgen_envs.learners.inputs import InputSpec
    from ksgen_envs.learners.runs import save_cloned

    torch.manual_seed(0)
    spec = PolicySpec(InputSpec("goal"), 20, width=16, layers=1, heads=2)
    save_cloned(tmp_path / "run", ChunkPolicy(spec), (LAMP,))
    items = scene_items((LAMP,), range(1), range(1))
    options = GenerationOptions(episodes="policy", policy=str(tmp_path / "run"))
    summary = generate(tmp_path / "out", items, options, workers=1, progress=False)
    assert (summary.written, summary.rejected, summary.failed) == (0, 1, 0), summary
    assert summary.reasons == {"the task was not done": 1}
