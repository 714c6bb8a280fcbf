"""The environments keep Gymnasium's and Stable-Baselines3's contracts, and their goals mean what they say."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("mujoco")
gymnasium = pytest.importorskip("gymnasium")

import mujoco  # noqa: E402
from gymnasium.utils.env_checker import check_env  # noqa: E402

from ksgen_envs import TASKS  # noqa: E402
from ksgen_envs.goal_env import environment, goals, speed  # noqa: E402
from ksgen_envs.goal_env.environment import WorkbenchEnv  # noqa: E402
from ksgen_envs.goal_env.observation import Senses  # noqa: E402
from ksgen_envs.goal_env.progress import Progress  # noqa: E402
from ksgen_envs.robot.gripper import Gripper  # noqa: E402
from ksgen_envs.stills import demonstrate_stills  # noqa: E402
from ksgen_envs.workbench import Workbench, set_goal  # noqa: E402
from ksgen_models.errors import InvalidInput, UnknownTask  # noqa: E402

SCENE = 1_000_031
DRAWER, LAMP, STACK = "KSGen/StoreInDrawer-v0", "KSGen/SwitchOnLamp-v0", "KSGen/StackBlocks-v0"


def make(env_id, **options):
    return gymnasium.make(f"ksgen_envs:{env_id}", **options)


def rollout(env, seed, steps=12):
    observations, rewards = [env.reset(seed=seed)[0]], []
    env.action_space.seed(seed)
    for _ in range(steps):
        observation, reward, *_ = env.step(env.action_space.sample())
        observations.append(observation)
        rewards.append(reward)
    return observations, rewards


def same(one, other):
    return all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("first", ["import gymnasium, ksgen_envs", "import ksgen_envs, gymnasium"])
def test_the_environments_are_known_without_the_simulator(first):
    code = f"{first}, sys; s = gymnasium.spec('KSGen/StackBlocks-v0'); assert s.max_episode_steps; "
    subprocess.run([sys.executable, "-W", "error", "-c", code + "assert 'mujoco' not in sys.modules"], check=True)


@pytest.mark.parametrize("env_id", TASKS)
def test_gymnasiums_checker_is_content(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(env_id).unwrapped)


@pytest.mark.parametrize("env_id", TASKS)
def test_stable_baselines_checker_is_content(env_id):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(make(env_id).unwrapped)


@pytest.mark.parametrize("obs", ["pixels", "both"])
def test_both_checkers_are_content_with_pixels(obs):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make(STACK, obs=obs, image_size=64, render_mode="rgb_array").unwrapped
        check_env(env, skip_render_check=True)
        env = make(STACK, obs=obs, image_size=64, render_mode="rgb_array").unwrapped
        checker.check_env(env)
        env.close()


@pytest.mark.parametrize("reward", ["sparse", "dense"])
@pytest.mark.parametrize("env_id", TASKS)
def test_rewards_follow_from_the_goals_alone(env_id, reward):
    env = make(env_id, reward=reward).unwrapped
    observations, rewards = rollout(env, 3)
    achieved = np.stack([observation["achieved_goal"] for observation in observations[1:]])
    desired = np.stack([observation["desired_goal"] for observation in observations[1:]])
    assert np.array_equal(env.compute_reward(achieved, desired, {"is_success": True}), rewards)
    assert [env.compute_reward(a, d, None) for a, d in zip(achieved, desired, strict=True)] == rewards
    assert all(-1.0 <= value < 0.0 for value in rewards)
    # What was achieved is always reached when it is asked for.
    assert np.array_equal(env.compute_reward(achieved, achieved, None), np.zeros(len(achieved)))


@pytest.mark.parametrize("env_id", TASKS)
def test_the_sparse_reward_is_zero_exactly_when_the_simulator_says_done(env_id):
    env = make(env_id).unwrapped
    env.reset(options={"scene_seed": SCENE})
    senses = Senses(env.bench, env.model, env.data, Gripper(env.model, env.data))
    rng = np.random.default_rng(0)
    seen = set()
    for step in env.instruction.steps:
        before = env.data.qpos.copy()
        for _ in range(60):
            set_goal(env.model, env.data, step)
            joint = env.data.joint(step.joint)
            if step.verb == "place":
                joint.qpos[:3] += rng.normal(0, [0.012, 0.012, 0.004]) * rng.choice([1, 6], p=[0.8, 0.2])
                joint.qpos[3:] += rng.normal(0, 0.05, 4)
            else:
                joint.qpos[0] += rng.normal(0, 0.5 * abs(step.goal[0]) + 0.002)
            mujoco.mj_forward(env.model, env.data)
            achieved, desired = senses.goals(step)
            done = env.bench.done(env.model, env.data, step)
            assert (env.compute_reward(achieved, desired, None) == 0.0) == done, (step.description, achieved, desired)
            seen.add(done)
            env.data.qpos[:] = before
        set_goal(env.model, env.data, step)
    assert seen == {True, False}


def test_a_thing_in_the_air_or_in_the_gripper_does_not_count_as_placed():
    env = make(STACK).unwrapped
    env.reset(options={"scene_seed": SCENE})
    step = env.key_step
    set_goal(env.model, env.data, step)
    assert env.holds(step)
    env.data.joint(step.joint).qvel[2] = -0.5
    assert not env.holds(step)
    env.data.joint(step.joint).qvel[2] = 0.0
    spot, half = env.data.body(step.body).xpos, step.grasp.width / 2
    for name, value in zip(("gripper_x", "gripper_y", "gripper_z"), spot, strict=True):
        env.data.joint(name).qpos[0] = value
    for finger in ("left_finger_slide", "right_finger_slide"):
        env.data.joint(finger).qpos[0] = half - 0.0005
    mujoco.mj_forward(env.model, env.data)
    assert env.bench.done(env.model, env.data, step)
    assert not env.holds(step)


def test_hindsight_about_another_thing_is_not_reached():
    env = make(DRAWER).unwrapped
    first, _ = env.reset(options={"scene_seed": SCENE, "key_step": 0})
    second, _ = env.reset(options={"scene_seed": SCENE, "key_step": 1})
    assert env.compute_reward(first["achieved_goal"], second["achieved_goal"], None) == -1.0


@pytest.mark.parametrize("env_id", TASKS)
def test_everything_follows_from_the_seed(env_id):
    one, other = make(env_id).unwrapped, make(env_id).unwrapped
    (first, first_rewards), (again, again_rewards) = rollout(one, 7), rollout(other, 7)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert first_rewards == again_rewards
    # A second episode of the same scene, without compiling anew, is the same too.
    seed = one.bench.seed
    start, _ = one.reset(options={"scene_seed": seed})
    assert same(start, first[0])
    different, info = one.reset(seed=8)
    assert not same(different, first[0])
    assert info["scene_seed"] < 1_000_000


@pytest.mark.parametrize("env_id", TASKS)
def test_the_first_picture_is_the_one_that_demonstrations_begin_with(env_id):
    env = make(env_id, render_mode="rgb_array", image_size=96)
    env.reset(options={"scene_seed": SCENE})
    first = env.render()
    assert np.array_equal(first, demonstrate_stills(env_id, SCENE, image_size=96).frame)
    for _ in range(20):
        env.step(np.array([0, 1, 0.2, 0, 0], np.float32))
    assert (env.render() != first).any(axis=-1).mean() > 0.01
    env.close()


def test_rendering_does_not_change_what_happens():
    env = make(STACK, image_size=64).unwrapped
    plain, _ = rollout(env, 5)
    watched = make(STACK, image_size=64, render_mode="rgb_array", obs="both").unwrapped
    seen, _ = rollout(watched, 5)
    watched.close()
    assert all(same(one, {key: other[key] for key in one}) for one, other in zip(plain, seen, strict=True))
    assert all(
        np.array_equal(one["observation"][:17], other["observation"][:17])
        for one, other in zip(plain, rollout(make(STACK, image_size=64, obs="pixels").unwrapped, 5)[0], strict=True)
    )


def test_environments_that_are_drawn_in_turns_do_not_disturb_each_other():
    envs = [make(STACK, render_mode="rgb_array", image_size=64) for _ in range(2)]
    pictures = []
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
        pictures.append(env.render())
    assert all(np.array_equal(env.render(), shown) for env, shown in zip(envs, pictures, strict=True))
    for env in envs:
        env.close()


def test_many_resets_leave_no_renderer_behind(monkeypatch):
    live = []

    class Counted(environment.Pictures):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            live.append(self)

        def close(self):
            super().close()
            live.remove(self)

    monkeypatch.setattr(environment, "Pictures", Counted)
    env = make(LAMP, obs="pixels", image_size=64)
    for seed in range(4):
        env.reset(seed=seed)
        assert len(live) == 1
    env.close()
    assert not live


def test_vectorised_environments_work_and_differ():
    envs = gymnasium.make_vec("ksgen_envs:KSGen/SortObjects-v0", num_envs=3, vectorization_mode="sync")
    observations, infos = envs.reset(seed=11)
    assert observations["observation"].shape == (3, 137)
    assert len(set(infos["scene_seed"])) == 3
    observations, rewards, *_ = envs.step(envs.action_space.sample())
    goal_pair = observations["achieved_goal"], observations["desired_goal"]
    assert np.array_equal(envs.envs[0].unwrapped.compute_reward(*goal_pair, {}), rewards)
    envs.close()


def test_episodes_are_truncated_at_the_time_limit():
    env = make(LAMP, max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(np.zeros(5, np.float32))[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("env_id", TASKS)
def test_an_episode_can_begin_at_any_key_step_of_any_instruction(env_id):
    env = make(env_id).unwrapped
    for index, instruction in enumerate(Workbench(env_id, SCENE).instructions()[:2]):
        last = len(instruction.steps) - 1
        chosen = index if index else instruction.task
        _, info = env.reset(options={"scene_seed": SCENE, "instruction": chosen, "key_step": last})
        assert (info["task"], info["key_step"], info["steps_done"]) == (instruction.task, last, last)
        assert info["description"] == instruction.steps[last].description
        assert all(
            env.holds(step)
            for number, step in enumerate(instruction.steps[:last])
            if all(later.joint != step.joint for later in instruction.steps[number + 1 :])
        )
        set_goal(env.model, env.data, env.key_step)
        *_, terminated, truncated, info = env.step(np.zeros(5, np.float32))
        assert (info["is_success"], terminated, truncated) == (True, True, False)


def test_single_key_steps_are_drawn_and_end_the_episode():
    env = make(DRAWER, episode="key_step").unwrapped
    assert len({env.reset(seed=seed)[1]["key_step"] for seed in range(12)}) == 3
    env.reset(seed=1, options={"key_step": 0})
    set_goal(env.model, env.data, env.key_step)
    *_, terminated, _, info = env.step(np.zeros(5, np.float32))
    assert terminated
    assert info["is_success"]
    assert info["key_steps"] > 1


def test_the_goal_moves_on_one_observation_after_a_key_step_is_done():
    env = make(LAMP, continuing=True).unwrapped
    _, info = env.reset(options={"scene_seed": SCENE})
    for number in range(2):
        assert info["key_step"] == number
        set_goal(env.model, env.data, env.key_step)
        _, reward, terminated, _, info = env.step(np.zeros(5, np.float32))
        assert (reward, info["step_success"], info["key_step"], terminated) == (0.0, True, number, False)
        _, _, _, _, info = env.step(np.zeros(5, np.float32))
    assert info["is_success"]


def test_progress_returns_to_what_was_spoilt_but_not_to_what_was_to_be_undone():
    steps = Workbench(DRAWER, SCENE).instruction.steps
    state = {"open": False, "in": False}

    def holds(step):
        if step.verb == "place":
            return state["in"]
        return state["open"] == (step.verb == "pull")

    progress = Progress((steps[0], steps[1], steps[-1]), holds, holds)
    story = []
    for change in ({"open": True}, {"in": True}, {"open": False, "in": False}, {}, {"in": True}):
        progress.advance()
        state.update(change)
        story.append((progress.index, *progress.look()))
    assert story == [(0, True, False), (1, True, False), (2, True, False), (1, False, False), (1, True, True)]


@pytest.mark.parametrize(
    "options",
    [
        {"obs": "text"},
        {"reward": "much"},
        {"episode": "day"},
        {"render_mode": "ansi"},
        {"scene_seeds": (5, 5)},
        {"image_size": 4},
    ],
)
def test_arguments_that_cannot_be_used_are_refused(options):
    with pytest.raises(InvalidInput, match=str(next(iter(options)))):
        WorkbenchEnv(LAMP, **options)


@pytest.mark.parametrize(
    "options", [{"scene": 3}, {"scene_seed": -1}, {"instruction": 99}, {"instruction": "fly"}, {"key_step": 2}]
)
def test_reset_options_that_cannot_be_used_are_refused(options):
    env = WorkbenchEnv(LAMP)
    with pytest.raises(InvalidInput):
        env.reset(options=options)
    # The environment is still good for another episode.
    env.reset(seed=0)
    env.step(np.zeros(5, np.float32))


@pytest.mark.parametrize("action", [np.zeros(4), np.full(5, np.nan), np.array([0, 0, 0, 0, np.inf])])
def test_actions_that_cannot_be_used_are_refused(action):
    env = WorkbenchEnv(LAMP)
    env.reset(seed=0)
    with pytest.raises(InvalidInput, match="five finite numbers"):
        env.step(action)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UnknownTask, match="StackBlocks"):
        WorkbenchEnv("KSGen/StackBlock-v0")


def test_goals_reach_themselves_in_batches_of_any_shape():
    rng = np.random.default_rng(1)
    batch = rng.normal(size=(2, 3, goals.GOAL_SIZE)).astype(np.float32)
    batch[..., goals.TOLERANCE] = np.abs(batch[..., goals.TOLERANCE])
    assert goals.reached(batch, batch).shape == (2, 3)
    assert goals.reached(batch, batch).all()
    assert not goals.reached(batch, batch[:, ::-1]).all()


def test_the_speed_is_measured_beside_bare_physics(capsys):
    speed.main(["--task", LAMP, "--steps", "200"])
    row = capsys.readouterr().out.splitlines()[-1]
    measured, bare = (float(cell.replace(",", "")) for cell in row.split("|")[2:4])
    assert 0 < measured < bare
    with pytest.raises(InvalidInput, match="200"):
        speed.measure(LAMP, 10)
