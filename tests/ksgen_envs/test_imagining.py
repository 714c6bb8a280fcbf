"""The main job on scenes that no model was trained on, with the shipped weights."""

from __future__ import annotations

import numpy as np
import pytest

from ksgen_agent import Agent, Imagination, LowConfidence, UnknownTask
from ksgen_envs import TASKS, demonstrate
from ksgen_envs.evaluation import evaluate_scenes
from ksgen_envs.instruction_pairs import evaluate_pairs
from ksgen_envs.scene_store import SceneStore
from ksgen_models.errors import InvalidInput

pytestmark = pytest.mark.slow

DEVELOPMENT = 1_000_500


@pytest.fixture(scope="module")
def agent():
    with Agent() as loaded:
        yield loaded


@pytest.fixture(scope="module")
def demonstration():
    return demonstrate("KSGen/AssembleShelf-v0", DEVELOPMENT)


@pytest.fixture(scope="module")
def shelf(agent, demonstration) -> Imagination:
    return agent.imagine(demonstration.frame, "assemble shelf", seed=1)


def test_the_shelf_is_imagined_in_its_four_steps(shelf, demonstration):
    said = " ".join(step.description for step in shelf.steps)
    assert len(shelf.steps) == 4
    assert [word in said for word in ("left upright", "right upright", "lower board", "upper board")] == [True] * 4
    for before, step in zip([None, *shelf.steps], shelf.steps, strict=False):
        assert step.clip.shape == (16, 256, 256, 3)
        assert np.array_equal(step.clip[0], step.image)
        assert before is None or np.array_equal(before.goal, step.image), "a step starts where the one before it ended"
    assert np.array_equal(shelf.steps[0].image, demonstration.frame)


def test_hands_are_seen_in_the_clips_and_lie_in_the_region_of_motion(shelf):
    assert max(step.scores["hand_rate"] for step in shelf.steps) > 0.3
    for step in shelf.steps:
        region = step.region_of_motion
        assert region.per_frame.any(0)[region.observed].all()
        assert (region.change >= region.predicted).all()


def test_what_nothing_moves_keeps_the_bytes_of_the_camera(shelf):
    for step in shelf.steps:
        same = (step.clip == step.image).all(-1)
        assert same.mean() > 0.6


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_clip(agent, shelf, demonstration):
    again = next(agent.imagine_stream(demonstration.frame, "assemble shelf", seed=1))
    assert np.array_equal(again.clip, shelf.steps[0].clip)
    other = next(agent.imagine_stream(demonstration.frame, "assemble shelf", seed=2))
    assert not np.array_equal(other.clip, shelf.steps[0].clip)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_a_photograph_is_refused_with_its_score(agent, name):
    from skimage import data

    photograph = np.ascontiguousarray(getattr(data, name)()[..., :3])
    with pytest.raises(LowConfidence) as refused:
        agent.imagine(photograph, "assemble shelf")
    assert 0 <= refused.value.score < refused.value.threshold
    step = next(agent.imagine_stream(photograph, "assemble shelf", allow_out_of_domain=True))
    assert step.clip.shape == (16, *photograph.shape)


def test_every_kind_of_workbench_frame_is_accepted(agent):
    for offset, env_id in enumerate(TASKS):
        seen = demonstrate(env_id, DEVELOPMENT + 10 + offset)
        step = next(agent.imagine_stream(seen.frame, seen.task))
        assert step.clip.shape[0] == 16


def test_an_unknown_task_names_the_nearest(agent, demonstration):
    with pytest.raises(UnknownTask) as unknown:
        agent.imagine(demonstration.frame, "file my taxes")
    assert unknown.value.nearest


def test_scenes_are_measured_and_reserved_seeds_are_refused(agent, tmp_path):
    from ksgen_models.hands.tracker import HandTracker

    with HandTracker() as tracker:
        store = SceneStore(tmp_path, "mini")
        (figures,) = evaluate_scenes(agent, tracker, TASKS[1:2], range(DEVELOPMENT, DEVELOPMENT + 1), store)
        (again,) = evaluate_scenes(agent, tracker, TASKS[1:2], range(DEVELOPMENT, DEVELOPMENT + 1), store)
        assert again == figures, "what was kept is measured again, not imagined again"
        with pytest.raises(InvalidInput, match="reserved"):
            next(evaluate_scenes(agent, tracker, TASKS, range(2_000_000, 2_000_001), store))
    assert figures.error == ""
    assert figures.true_rate > 0.4
    assert len(figures.steps) >= 1
    assert min(step.outside_psnr for step in figures.steps) > 30
    assert all(0 < step.aligned_floor < 1 and 0 < step.motion_floor <= 1 for step in figures.steps)
    (pair,) = evaluate_pairs(agent, TASKS[1:2], range(DEVELOPMENT, DEVELOPMENT + 1))
    assert pair.wanted[0] != pair.wanted[1]
    assert all(name.endswith(" block") for name in pair.moved)
