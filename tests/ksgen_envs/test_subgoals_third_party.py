"""`SubgoalWrapper` on environments and learners that this project did not write."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

gym = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.wrappers import AddRenderObservation  # noqa: E402
from subgoal_scenes import PushEnv, any_parts  # noqa: E402
from third_party import make_fetch  # noqa: E402

from ksgen_agent import Agent  # noqa: E402
from ksgen_envs.subgoals import CachedImaginer, InfoVerifier, SubgoalWrapper, VectorSubgoalWrapper  # noqa: E402

FETCH_TASK = "reach for the block then lift it"


@pytest.fixture(scope="module")
def agent():
    with Agent("squares", parts=any_parts()) as made:
        yield made


def remarks(env):
    """What Gymnasium's checker says, without the names of the environments."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)  # that check opens a window for the mode "human"
    return {
        text if "different from the unwrapped" not in text else "wrapped"
        for text in map(str, (w.message for w in caught))
    }


def make_reacher(**options):
    return gym.make("Reacher-v5", render_mode="rgb_array", width=96, height=64, **options)


def fetch_subgoals(agent, **options):
    options = {"task": FETCH_TASK, "verifier": InfoVerifier("is_success", counts="task"), **options}
    return SubgoalWrapper(make_fetch(64), agent, **options)


@pytest.mark.parametrize("mode", ["observation", pytest.param("goal", marks=pytest.mark.slow)])
def test_fetch_gets_subgoals_and_gymnasiums_checker_says_nothing_new(agent, mode):
    env = fetch_subgoals(CachedImaginer(agent), mode=mode, imagination_seed=0)
    observation, info = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert info["subgoal"]["total"] == 2
    assert observation["desired_goal"].shape == ((3,) if mode == "observation" else (64, 64, 3))
    *_, info = env.step(env.action_space.sample())
    assert info["subgoal"]["steps_done"] == 2 * int(info["is_success"])
    assert remarks(env) <= remarks(make_fetch(64)) | {"wrapped"}
    env.close()


def test_fetch_computes_its_own_reward_through_the_wrapper(agent):
    env = fetch_subgoals(agent, keys=("embedding",))
    env.reset(seed=1)
    observation, reward, _, _, info = env.step(env.action_space.sample())
    achieved, desired = (np.stack([observation[key]] * 2) for key in ("achieved_goal", "desired_goal"))
    assert env.compute_reward(achieved, desired, [info] * 2) == pytest.approx([reward] * 2)
    env.close()


def test_mujoco_environments_of_gymnasium_get_subgoals(agent):
    env = SubgoalWrapper(make_reacher(), agent, task="reach the red ball")
    observation, _ = env.reset(seed=1)
    assert set(observation) > {"observation", "subgoal_goal"}
    assert observation["subgoal_goal"].shape == (64, 96, 3)
    assert remarks(env) <= remarks(make_reacher()) | {"wrapped"}
    env.close()


def test_pixel_observations_of_another_wrapper_are_taken_as_the_frame(agent):
    pixels = AddRenderObservation(make_reacher(), render_only=False)
    env = SubgoalWrapper(pixels, agent, task="reach the red ball", frame="observation/pixels", image_size=(40, 60))
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert observation["pixels"].shape == (64, 96, 3)
    assert observation["subgoal_goal"].shape == (40, 60, 3)
    env.close()


def test_a_vector_of_gymnasiums_own_environments_gets_subgoals(agent):
    envs = gym.make_vec(
        "Reacher-v5", num_envs=2, vectorization_mode="sync", render_mode="rgb_array", width=64, height=64
    )
    envs = VectorSubgoalWrapper(envs, agent, task=["reach left", "reach right"])
    observations, infos = envs.reset(seed=1)
    assert list(infos["subgoal"]["text"]) == ["reach left", "reach right"]
    observations, *_ = envs.step(envs.action_space.sample())
    assert envs.observation_space.contains(observations)
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["observation", "goal"])
def test_stable_baselines_learns_on_the_wrapped_environment(agent, mode):
    sb3 = pytest.importorskip("stable_baselines3")
    bare = make_reacher(max_episode_steps=25) if mode == "observation" else PushEnv(length=25)
    env = SubgoalWrapper(bare, agent, task="reach the red ball", mode=mode, image_size=(48, 48))
    model = sb3.PPO("MultiInputPolicy", env, n_steps=100, batch_size=50, n_epochs=1, seed=0, device="cpu")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(300)
    assert model.num_timesteps == 300
    assert any(not value.equal(before[name]) for name, value in model.policy.state_dict().items())
    action, _ = model.predict(env.reset(seed=1)[0], deterministic=True)
    assert env.action_space.contains(action if mode == "observation" else int(action))
    env.close()


@pytest.mark.slow
def test_hindsight_relabelling_learns_on_fetch_with_subgoals(agent):
    sb3 = pytest.importorskip("stable_baselines3")
    env = fetch_subgoals(agent, keys=("embedding", "index"), image_size=(64, 64))
    model = sb3.SAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=sb3.HerReplayBuffer,
        learning_starts=110,
        batch_size=16,
        buffer_size=1000,
        seed=0,
        device="cpu",
    )
    model.learn(200)
    assert model.num_timesteps == 200
    assert model._n_updates > 0
    env.close()
