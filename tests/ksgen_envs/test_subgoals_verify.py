"""When is a key step taken as done? The verifiers on true pictures of the Workbench and on what infos say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from gymnasium import spaces
from subgoal_scenes import TASK, PushEnv, push_parts

from ksgen_agent import Agent, InvalidInput
from ksgen_envs import TASKS
from ksgen_envs.stills import demonstrate_stills
from ksgen_envs.subgoals import InfoVerifier, PictureVerifier, SentenceVerifier, StepView, picture_progress
from ksgen_envs.subgoals.layout import KEYS, SubgoalLayout
from ksgen_models.progress import StepVerdict
from ksgen_models.types import HandTrack, KeyStep, RegionOfMotion

VERIFIER = PictureVerifier()


@pytest.fixture(scope="module")
def plan():
    env = PushEnv()
    env.reset(seed=1)
    with Agent("push", parts=push_parts()) as agent:
        yield agent.imagine(env.render(), TASK)


def view(plan, index=0, info=(), start=(), frame=None):
    return StepView(plan, index, frame, dict(info), dict(start))


def key_step(image, goal, change=None):
    height, width = image.shape[:2]
    change = np.zeros((height, width), np.float32) if change is None else change
    nobody = np.zeros((0, 2))
    return KeyStep(
        index=0,
        description="move it",
        image=image,
        goal=goal,
        clip=np.zeros((0, *image.shape), np.uint8),
        fps=8.0,
        hands=HandTrack(np.zeros((0, 2, 21, 3)), np.zeros((0, 2, 21, 3)), nobody, nobody > 0, nobody > 0),
        region_of_motion=RegionOfMotion(change, change > 1, np.zeros((0, height, width), bool), change),
    )


def brighter(frame):
    return np.clip(frame.astype(int) + 20, 0, 255).astype(np.uint8)


def noisy(frame):
    return np.clip(frame + np.random.default_rng(0).normal(0, 6, frame.shape), 0, 255).astype(np.uint8)


def shifted(frame):
    """The camera moved by 0.4 % of its height and 0.8 % of its width."""
    height, width = frame.shape[:2]
    return np.roll(frame, (height // 256, width // 128), (0, 1))


def with_arm(frame):
    """A grey arm reaches in from above, over a fifth of the width."""
    height, width = frame.shape[:2]
    hidden = frame.copy()
    hidden[: height * 2 // 3, width * 2 // 5 : width * 3 // 5] = (60, 60, 66)
    return hidden


def judge(picture, step, first):
    """As `PictureVerifier` does with one picture."""
    progress, visible = picture_progress(picture, step, reference=first)
    if visible < VERIFIER.visible or VERIFIER.undone < progress < VERIFIER.done:
        return "unknown"
    return "done" if progress >= VERIFIER.done else "not done"


def true_pictures(env_id, seed, size):
    shown = demonstrate_stills(env_id, seed, image_size=size)
    return [*(step.image for step in shown.steps), shown.goal]


def judge_scene(images, change):
    """What is said of each key step's true pictures before and after it."""
    for before, after in pairwise(images):
        step = key_step(before, after)
        yield judge(change(before), step, images[0]), judge(change(after), step, images[0])


@pytest.mark.parametrize("env_id", TASKS)
def test_true_pictures_tell_every_key_step_of_the_workbench(env_id):
    images = true_pictures(env_id, 1_000_300, 128)
    for change in (np.array, brighter, noisy, shifted):
        assert set(judge_scene(images, change)) == {("not done", "done")}
    assert "done" not in {before for before, _ in judge_scene(images, with_arm)}


@pytest.mark.slow
def test_the_table_in_the_documentation():
    scenes = [true_pictures(env_id, seed, 256) for env_id in TASKS for seed in range(1_000_300, 1_000_308)]
    for change in (np.array, brighter, noisy, shifted):
        said = [pair for images in scenes for pair in judge_scene(images, change)]
        assert said == [("not done", "done")] * 128
    said = [pair for images in scenes for pair in judge_scene(images, with_arm)]
    assert "done" not in {before for before, _ in said}
    assert sum(after == "done" for _, after in said) == 108


def test_what_lies_outside_the_region_of_change_does_not_count():
    image = np.full((64, 64, 3), 90, np.uint8)
    goal = image.copy()
    goal[8:24, 8:24] = goal[40:56, 40:56] = (200, 30, 30)
    change = np.zeros((64, 64), np.float32)
    change[:32, :32] = 1
    now = image.copy()
    now[8:24, 8:24] = (200, 30, 30)
    assert picture_progress(now, key_step(image, goal, change), reference=image) == (1, 1)
    assert picture_progress(now, key_step(image, goal), reference=image)[0] == pytest.approx(0.5)


def test_pictures_that_show_neither_conclude_nothing(plan):
    black = np.zeros_like(plan.frame)
    assert VERIFIER.steps_done(view(plan, 0, frame=black)) == 0
    assert VERIFIER.steps_done(view(plan, 1, frame=black)) == 1
    assert VERIFIER.steps_done(view(plan, 2, frame=black)) == 2
    assert VERIFIER.steps_done(view(plan)) is None
    same = key_step(plan.frame, plan.frame)
    assert picture_progress(plan.frame, same, reference=plan.frame) == (0, 0)


def test_pictures_tell_forward_from_back(plan):
    first, second = plan.steps
    assert VERIFIER.steps_done(view(plan, 0, frame=first.goal)) == 1
    assert VERIFIER.steps_done(view(plan, 1, frame=second.goal)) == 2
    assert VERIFIER.steps_done(view(plan, 2, frame=second.goal)) == 2
    assert VERIFIER.steps_done(view(plan, 2, frame=second.image)) == 1


def test_infos_count_key_steps_since_the_plan_began(plan):
    verifier = InfoVerifier()
    assert verifier.steps_done(view(plan, info={"steps_done": 3}, start={"steps_done": 1})) == 2
    assert verifier.steps_done(view(plan, info={"steps_done": 3})) == 3
    assert verifier.steps_done(view(plan, info={"steps_done": 0}, start={"steps_done": 1})) == -1
    flags = InfoVerifier(lambda info: info["done"]["flags"])
    seen = {"done": {"flags": np.array([True, True, False, True])}}
    assert flags.steps_done(view(plan, info=seen, start={"done": {"flags": np.zeros(4, bool)}})) == 2
    with pytest.raises(InvalidInput, match="its entries are"):
        verifier.steps_done(view(plan, info={"success": True}))


def test_infos_may_know_the_whole_task_only(plan):
    verifier = InfoVerifier("is_success", counts="task")
    assert verifier.steps_done(view(plan, info={"is_success": np.float32(1)})) == len(plan.steps)
    assert verifier.steps_done(view(plan, info={"is_success": np.float32(0)})) is None


@pytest.mark.parametrize("options", [{"done": 0.2}, {"visible": 2}, {"confirmations": 0}, {"undone": -1}])
def test_thresholds_that_make_no_sense_are_refused(options):
    with pytest.raises(InvalidInput, match="need 0 <= undone"):
        PictureVerifier(**options)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    frames=st.integers(1, 40),
    keys=st.lists(st.sampled_from(KEYS), unique=True),
)
def test_subgoals_of_any_size_fit_their_space(plan, height, width, frames, keys):
    layout = SubgoalLayout(height, width, frames, 384, tuple(keys))
    space = spaces.Dict(layout.spaces())
    for arrays in (*layout.encode(plan), layout.nothing()):
        assert space.contains(arrays)


@pytest.mark.parametrize(
    ("index", "likely", "done"),
    [
        (0, (0.1, 0.1), 0),
        (0, (0.9, 0.1), 1),
        (0, (0.9, 0.95), 2),
        (0, (0.1, 0.95), 0),  # the second key step is no help while the first is missing
        (0, (0.6, 0.1), 0),  # not sure enough
        (1, (0.6, 0.1), 1),  # nor sure enough that it is undone
        (1, (0.1, 0.1), 0),
        (2, (0.1, 0.9), 0),
    ],
)
def test_sentences_decide_what_is_done_and_undone(plan, index, likely, done):
    asked = []

    def verify(frame, steps):
        asked.append(steps)
        return [StepVerdict.of(step, p, 1.0) for step, p in zip(steps, likely, strict=True)]

    verifier = SentenceVerifier(verify)
    assert verifier.steps_done(view(plan, index, frame=plan.frame)) == done
    assert asked == [tuple(step.description for step in plan.steps)]
    assert verifier.steps_done(view(plan, index)) is None


def test_work_from_before_the_plan_that_is_undone_asks_for_a_new_plan(plan):
    went_on = replace(plan, plan=replace(plan.plan, done=("put the block there",)))
    verifier = SentenceVerifier(lambda _, steps: [StepVerdict.of(step, 0.1, 1.0) for step in steps])
    assert verifier.steps_done(view(went_on, frame=plan.frame)) == -1
    with pytest.raises(InvalidInput, match="undone"):
        SentenceVerifier(lambda _, steps: [], done=0.2, undone=0.8)
