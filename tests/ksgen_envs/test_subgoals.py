"""What a user of `SubgoalWrapper` sees, with a real agent of light parts behind it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

gym = pytest.importorskip("gymnasium")

from gymnasium import spaces  # noqa: E402
from gymnasium.utils.env_checker import check_env  # noqa: E402
from subgoal_scenes import TASK, PushEnv, any_parts, push_parts  # noqa: E402

import ksgen_envs  # noqa: E402
from ksgen_agent import Agent, InvalidFrame, InvalidInput, InvalidTask, KSGenError, ServerLost, UnknownTask  # noqa: E402
from ksgen_agent.imaginer import Imaginer  # noqa: E402
from ksgen_envs.subgoals import CachedImaginer, InfoVerifier, KeptImaginer, PictureVerifier, SubgoalWrapper  # noqa: E402

WAIT = 60  # seconds after which a test that would hang fails instead
LEFT, STAY, RIGHT = 0, 1, 2


@pytest.fixture(scope="module")
def agent():
    with Agent("push", parts=push_parts()) as made:
        yield made


def wrap(imaginer, *, env=None, **options):
    options = {"task": TASK, "verifier": InfoVerifier(), **options}
    return SubgoalWrapper(PushEnv() if env is None else env, imaginer, **options)


def step_until(env, wanted, action=STAY):
    """Step, doing nothing, until the subgoal info is as wanted."""
    ends = time.monotonic() + WAIT
    while time.monotonic() < ends:
        observation, *_, info = env.step(action)
        if wanted(info["subgoal"]):
            return observation, info["subgoal"]
        threading.Event().wait(0.005)
    raise AssertionError(f"never came: {info['subgoal']}")


def subgoal_threads():
    return [thread for thread in threading.enumerate() if thread.name == "ksgen-subgoals"]


def all_threads_end():
    """A thread that has done its work may take a moment to be gone."""
    threads = subgoal_threads()
    for thread in threads:
        thread.join(WAIT)
    return not any(thread.is_alive() for thread in threads)


class Deaf:
    """Imagines only when released; does not listen to anybody meanwhile."""

    def __init__(self, inside):
        self.inside = inside
        self.entered = threading.Event()
        self.release = threading.Event()
        self.spec = inside.spec

    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        self.entered.set()
        self.release.wait()
        return self.inside.imagine(frame, task, seed=seed)

    def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False):
        yield from self.imagine(frame, task, seed=seed).steps


class Failing:
    """Raises what it is given."""

    def __init__(self, error, spec):
        self.error = error
        self.spec = spec

    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        raise self.error

    def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False):
        raise self.error
        yield


def test_the_wrappers_are_found_in_the_package():
    assert ksgen_envs.SubgoalWrapper is SubgoalWrapper
    assert "VectorSubgoalWrapper" in ksgen_envs.__all__


def test_reset_offers_the_first_key_step_and_the_arrays_are_the_subgoals(agent):
    env = wrap(agent, imagination_seed=5)
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    expected = agent.imagine(env.render(), TASK, seed=5).subgoals()[0].as_observation()
    for key in ("embedding", "goal", "region_of_motion", "scores", "index", "total"):
        assert np.array_equal(observation[f"subgoal_{key}"], expected[key])
        assert observation[f"subgoal_{key}"].dtype == expected[key].dtype
    assert np.array_equal(observation["subgoal_keypoints"][[0, -1]], expected["keypoints"][[0, -1]])  # 8 frames to 16
    assert observation["subgoal_valid"] == [1]
    assert info["subgoal"]["text"] == "push the block"
    assert info["subgoal"]["error"] == ""
    env.close()


def test_the_environments_truth_advances_the_subgoal_and_the_last_one_stays(agent):
    env = wrap(agent)
    env.reset(seed=3)
    seen = [env.step(RIGHT) for _ in range(7)]
    assert [info["subgoal"]["steps_done"] for *_, info in seen] == [0, 0, 1, 1, 1, 2, 2]
    assert [int(observation["subgoal_index"][0]) for observation, *_ in seen] == [0, 0, 1, 1, 1, 1, 1]
    assert [info["subgoal"]["plan_done"] for *_, info in seen] == [False] * 5 + [True] * 2
    assert all(env.observation_space.contains(observation) for observation, *_ in seen)
    env.close()


def test_pictures_alone_advance_the_subgoal(agent):
    env = wrap(agent, verifier=PictureVerifier(confirmations=2))
    env.reset(seed=3)
    for _ in range(4):  # 16 pixels: the imagined push is 14 to 17 long
        env.step(RIGHT)
    assert env.step(STAY)[4]["subgoal"]["steps_done"] == 1
    for _ in range(4):
        env.step(RIGHT)
    assert env.step(STAY)[4]["subgoal"]["plan_done"]
    env.close()


def test_a_block_that_stays_is_no_step_done(agent):
    env = wrap(agent, verifier=PictureVerifier(confirmations=1))
    env.reset(seed=3)
    assert [env.step(action)[4]["subgoal"]["steps_done"] for action in (STAY, STAY, LEFT, RIGHT, STAY)] == [0] * 5
    env.close()


@pytest.mark.parametrize("verifier", [InfoVerifier(), PictureVerifier(confirmations=2)], ids=["info", "pictures"])
def test_undone_work_is_imagined_anew_from_the_present_frame(agent, verifier):
    env = wrap(agent, verifier=verifier)
    before = env.reset(seed=3)[0]
    for action in (RIGHT,) * 4 + (STAY,) * 2:
        env.step(action)
    for _ in range(5):
        env.step(LEFT)
    after, subgoal = step_until(env, lambda subgoal: subgoal["reimaginations"] and not subgoal["pending"])
    assert subgoal["steps_done"] == 0
    assert subgoal["valid"]
    assert not np.array_equal(before["subgoal_goal"], after["subgoal_goal"])
    env.close()


def test_a_step_that_takes_too_long_is_imagined_anew_so_often_and_no_more(agent):
    env = wrap(agent, step_limit=3, max_reimaginations=2)
    env.reset(seed=3)
    assert [env.step(STAY)[4]["subgoal"]["reimaginations"] for _ in range(3)] == [0, 0, 1]
    step_until(env, lambda subgoal: subgoal["reimaginations"] == 2 and not subgoal["pending"])
    assert {env.step(STAY)[4]["subgoal"]["reimaginations"] for _ in range(10)} == {2}
    assert env.reset()[1]["subgoal"]["reimaginations"] == 0
    env.close()


def test_the_user_may_ask_for_a_new_plan(agent):
    env = wrap(agent, verifier=None)
    with pytest.raises(gym.error.ResetNeeded):
        env.reimagine()
    env.reset(seed=3)
    for _ in range(5):
        env.step(RIGHT)
    env.reimagine()
    step_until(env, lambda subgoal: subgoal["reimaginations"] == 1 and not subgoal["pending"])
    env.close()


def test_after_a_new_plan_the_environments_count_starts_anew(agent):
    env = wrap(agent)
    env.reset(seed=3)
    for _ in range(3):
        env.step(RIGHT)
    env.reimagine()
    _, subgoal = step_until(env, lambda subgoal: not subgoal["pending"])
    assert subgoal["steps_done"] == 0
    for _ in range(3):
        *_, info = env.step(RIGHT)
    assert info["steps_done"] == 2
    assert info["subgoal"]["steps_done"] == 1
    env.close()


def test_a_late_imagination_is_taken_over_by_the_first_step_that_finds_it_ready(agent):
    slow = Deaf(agent)
    env = wrap(slow, reset_timeout=0)
    observation, info = env.reset(seed=3)
    assert observation["subgoal_valid"] == [0]
    assert not observation["subgoal_goal"].any()
    assert info["subgoal"]["pending"]
    assert "SubgoalTimeout" in info["subgoal"]["error"]
    observation, *_, info = env.step(STAY)  # does not wait: the imaginer is not released yet
    assert not info["subgoal"]["valid"]
    assert env.observation_space.contains(observation)
    slow.release.set()
    observation, subgoal = step_until(env, lambda subgoal: subgoal["valid"])
    assert observation["subgoal_valid"] == [1]
    assert subgoal["error"] == ""
    env.close()


def test_an_imaginer_that_listens_to_nobody_blocks_no_reset_and_gathers_no_threads(agent):
    assert all_threads_end()  # those of the tests before
    deaf = Deaf(agent)
    env = wrap(deaf, reset_timeout=0.05)
    for _ in range(4):
        assert not env.reset()[1]["subgoal"]["valid"]
        assert len(subgoal_threads()) == 1
    assert deaf.entered.is_set()
    env.close()
    deaf.release.set()
    assert all_threads_end()


def test_an_agent_that_is_asked_to_stop_stops_so_the_next_reset_gets_its_subgoal():
    stuck, entered = threading.Event(), threading.Event()

    class Slow(type(push_parts().video_generator)):
        def generate(self, request, region, *, check_cancelled):
            while not stuck.is_set():  # a long sampling loop that looks at the cancellation
                entered.set()
                check_cancelled()
                stuck.wait(0.01)
            return super().generate(request, region, check_cancelled=check_cancelled)

    with Agent("slow", parts=push_parts(video=Slow())) as agent:
        env = wrap(agent, reset_timeout=0)
        env.reset()
        assert entered.wait(WAIT)
        env.reset()  # cancels the first, which would never end by itself
        stuck.set()
        step_until(env, lambda subgoal: subgoal["valid"])
        env.close()
    assert all_threads_end()


@pytest.mark.parametrize("error", [ServerLost("the server is gone"), RuntimeError("out of memory")])
def test_an_imaginer_that_raises_leaves_no_subgoal_and_says_why(agent, error):
    env = wrap(Failing(error, agent.spec))
    observation, info = env.reset(seed=3)
    assert observation["subgoal_valid"] == [0]
    assert env.observation_space.contains(observation)
    assert info["subgoal"]["error"] == f"{type(error).__name__}: {error}"
    assert not info["subgoal"]["pending"]
    assert env.step(RIGHT)[4]["subgoal"]["valid"] is False
    env.close()
    assert all_threads_end()


def test_a_dead_server_leaves_no_subgoal_and_blocks_no_reset():
    client = pytest.importorskip("ksgen_agent.client.client")
    limits = pytest.importorskip("ksgen_agent.client.limits").Limits(connect=0.2, reconnect=0.2)
    with socket.socket() as taken:  # bound and never listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        imaginer = client.SubgoalClient(f"tcp://127.0.0.1:{taken.getsockname()[1]}", limits=limits)
        env = wrap(imaginer)
        observation, info = env.reset(seed=3)
        assert observation["subgoal_valid"] == [0]
        assert info["subgoal"]["error"].startswith(("ServerLost", "SubgoalTimeout"))
        assert not info["subgoal"]["pending"]
        assert not env.step(STAY)[4]["subgoal"]["valid"]
        env.close()
        imaginer.close()
    assert all_threads_end()


def test_a_failed_imagination_is_tried_again_after_the_step_limit(agent):
    class Recovering(Failing):
        def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
            if self.error is None:
                return agent.imagine(frame, task, seed=seed)
            error, self.error = self.error, None
            raise error

    env = wrap(Recovering(ServerLost("gone"), agent.spec), step_limit=2)
    assert not env.reset(seed=3)[1]["subgoal"]["valid"]
    _, subgoal = step_until(env, lambda subgoal: subgoal["valid"])
    assert subgoal["error"] == ""
    env.close()


def test_the_last_plan_may_stand_in_and_errors_may_be_raised(agent):
    tasks = iter([TASK, "do my taxes", TASK])
    env = wrap(agent, task=lambda env, info: next(tasks), fallback="last")
    assert env.reset(seed=3)[1]["subgoal"]["valid"]
    assert not env.reset()[1]["subgoal"]["valid"], "another task's plan must not stand in"
    assert env.reset()[1]["subgoal"]["valid"]
    env.close()

    class Dying(Failing):
        def imagine(self, frame, task, **options):
            if self.error is not None:
                raise self.error
            self.error = ServerLost("gone")
            return agent.imagine(frame, task)

    env = wrap(Dying(None, agent.spec), fallback="last")
    goal = env.reset(seed=3)[0]["subgoal_goal"]
    observation, info = env.reset()
    assert np.array_equal(observation["subgoal_goal"], goal)
    assert observation["subgoal_valid"] == [1]
    assert "ServerLost" in info["subgoal"]["error"]
    env.close()

    env = wrap(agent, task="do my taxes", fallback="raise")
    with pytest.raises(UnknownTask):
        env.reset()
    env.close()


def test_a_closed_wrapper_says_so_and_leaves_the_imaginer_alone(agent):
    env = wrap(agent)
    env.reset()
    env.close()
    env.close()
    with pytest.raises(KSGenError, match="closed"):
        env.reset()
    assert agent.imagine(env.render(), TASK).steps


def test_an_interpreter_that_ends_in_the_middle_of_an_imagination_ends_quietly():
    code = """
import threading, sys
sys.path[:0] = {paths!r}
from subgoal_scenes import PushEnv, TASK
from ksgen_envs import SubgoalWrapper
class Deaf:
    spec = None
    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        threading.Event().wait()
env = SubgoalWrapper(PushEnv(), Deaf(), task=TASK, reset_timeout=0)
env.reset()
"""
    paths = [path for path in sys.path if path]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.format(paths=paths)],
        capture_output=True,
        text=True,
        timeout=2 * WAIT,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr


def test_same_seed_same_subgoals_and_the_environments_own_randomness_is_untouched(agent):
    env, bare = wrap(agent), PushEnv()
    first, again = [[env.reset(seed=11)[0], env.reset()[0]] for _ in range(2)]
    expected = [bare.reset(seed=11)[0], bare.reset()[0]]
    for one, other, state in zip(first, again, expected, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)
        assert np.array_equal(one["observation"], state)
    env.close()


def test_goal_mode_shows_the_present_and_the_wanted_picture(agent):
    env = wrap(agent, env=PushEnv(pixels=True), mode="goal", image_size=(48, 64))
    observation, _ = env.reset(seed=3)
    assert set(observation) == {"state", "camera", "achieved_goal", "desired_goal", "subgoal_valid"}
    assert env.observation_space.contains(observation)
    assert observation["desired_goal"].shape == (48, 64, 3)
    moved, *_ = env.step(RIGHT)
    assert not np.array_equal(moved["achieved_goal"], observation["achieved_goal"])
    with pytest.raises(InvalidInput, match="hindsight"):
        env.compute_reward(moved["achieved_goal"], moved["desired_goal"], {})
    env.close()


@pytest.mark.parametrize("options", [{}, {"mode": "goal"}, {"keys": ("embedding", "index"), "step_limit": 1}])
def test_gymnasiums_checker_has_nothing_to_say(agent, options):
    env = wrap(agent, env=gym.make("KSGenTest/Push-v0"), **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    texts = [str(warning.message) for warning in caught]
    assert [text for text in texts if "different from the unwrapped version" not in text] == []  # true of any wrapper
    env.close()


@pytest.mark.parametrize(
    ("env", "options", "error", "said"),
    [
        (PushEnv(render_mode=None), {}, InvalidInput, "render_mode is None"),
        (PushEnv(), {"frame": "camera"}, InvalidInput, "not understood"),
        (PushEnv(), {"frame": "observation"}, InvalidFrame, "uint8"),
        (PushEnv(pixels=True), {"frame": "observation/front"}, InvalidInput, "its keys are"),
        (PushEnv(pixels=True), {"frame": "observation/state"}, InvalidFrame, "uint8"),
        (PushEnv(), {"mode": "both"}, InvalidInput, "mode"),
        (PushEnv(), {"keys": ("clip",)}, InvalidInput, "unknown"),
        (PushEnv(), {"mode": "goal", "keys": ("embedding",)}, InvalidInput, "needs the key 'goal'"),
        (PushEnv(), {"image_size": (0, 5)}, InvalidInput, "height"),
        (PushEnv(), {"step_limit": 0}, InvalidInput, "step_limit"),
        (PushEnv(), {"verify_every": 0}, InvalidInput, "verify_every"),
        (PushEnv(), {"fallback": "hope"}, InvalidInput, "fallback"),
        (PushEnv(), {"reset_timeout": float("nan")}, InvalidInput, "time limit"),
        (PushEnv(), {"imagination_seed": -1}, InvalidInput, "seed"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_by_name(agent, env, options, error, said):
    with pytest.raises(error, match=said):
        wrap(agent, env=env, **options)


@pytest.mark.parametrize(
    ("shape", "said"), [((96, 128), "grayscale"), ((96, 128, 1), "grayscale"), ((3, 96, 128), "channels first")]
)
def test_frames_of_other_shapes_are_refused_by_name(agent, shape, said):
    env = PushEnv()
    env.observation_space = spaces.Box(0, 255, shape, np.uint8)
    with pytest.raises(InvalidFrame, match=said):
        wrap(agent, env=env, frame="observation")
    env.render = lambda: np.zeros(shape, np.uint8)
    with pytest.raises(InvalidFrame, match=said):
        wrap(agent, env=env)


def test_the_frame_may_come_from_the_observation(agent):
    env = wrap(agent, env=PushEnv(pixels=True), frame="observation/camera", imagination_seed=1)
    observation, _ = env.reset(seed=3)
    expected = agent.imagine(observation["camera"], TASK, seed=1).steps[0].goal
    assert np.array_equal(observation["subgoal_goal"], expected)
    env.close()


def test_entries_that_collide_are_refused(agent):
    env = PushEnv()
    env.observation_space = spaces.Dict({"subgoal_goal": env.observation_space})
    with pytest.raises(InvalidInput, match="subgoal_goal"):
        wrap(agent, env=env)


def test_the_task_comes_from_the_user_the_info_or_the_environment(agent):
    class Told(PushEnv):
        def reset(self, **options):
            observation, info = super().reset(**options)
            return observation, {**info, "task": "push it from info"}

    def text(env, task):
        wrapped = wrap(agent, env=env, task=task)
        said = wrapped.reset()[1]["subgoal"]["text"]
        wrapped.close()
        return said

    assert text(Told(task="push it"), "push the block") == "push the block"
    assert text(Told(task="push it"), lambda env, info: info["task"] + " and " + env.task) == (
        "push it from info and push it"
    )
    assert text(Told(task="push it"), None) == "push it from info"
    assert text(PushEnv(task="push it"), None) == "push it"
    with pytest.raises(InvalidTask, match="nobody said"):
        text(PushEnv(), None)
    with pytest.raises(InvalidTask, match="no words"):
        text(PushEnv(), "  ")


def test_an_embedding_of_another_length_is_refused_and_not_hidden(agent):
    env = wrap(agent, embedding_dimension=7)
    with pytest.raises(InvalidInput, match="embedding_dimension=384"):
        env.reset()
    env.close()


def test_what_the_wrapper_returns_is_the_users_to_change(agent):
    env = wrap(agent)
    observation, _ = env.reset(seed=3)
    kept = observation["subgoal_goal"].copy()
    observation["subgoal_goal"][:] = 0
    assert np.array_equal(env.step(STAY)[0]["subgoal_goal"], kept)
    env.close()


def test_the_cache_imagines_a_scene_once():
    asked = []

    class Counting(Agent):
        def imagine(self, frame, task, **options):
            asked.append(task)
            return super().imagine(frame, task, **options)

    with Counting("push", parts=any_parts()) as agent:
        cached = CachedImaginer(agent, size=2)
        assert isinstance(cached, Imaginer)
        assert cached.spec == agent.spec
        env = wrap(cached, imagination_seed=0)
        goals = [env.reset(seed=seed)[0]["subgoal_goal"] for seed in (1, 1, 2, 1)]
        assert len(asked) == 2
        assert (cached.hits, cached.misses) == (2, 2)
        assert np.array_equal(goals[0], goals[3])
        env.reset(seed=5)  # a third scene pushes out the one unused for longest, 2
        env.reset(seed=1)
        assert len(asked) == 3
        env.reset(seed=2)
        assert len(asked) == 4
        streamed = list(cached.imagine_stream(env.render(), TASK, seed=0))
        assert np.array_equal(streamed[0].goal, goals[2])
        assert len(asked) == 4
        env.close()
    with pytest.raises(InvalidInput):
        CachedImaginer(cached, size=0)


def test_what_is_kept_is_imagined_once_for_all_runs(tmp_path):
    asked = []

    class Counting(Agent):
        def imagine(self, frame, task, **options):
            asked.append(task)
            return super().imagine(frame, task, **options)

    goals = []
    for run, name in enumerate(("push", "push", "shove")):
        with Counting(name, parts=any_parts()) as agent:
            kept = KeptImaginer(agent, tmp_path)
            assert isinstance(kept, Imaginer)
            env = wrap(kept, imagination_seed=0)
            goals.append(env.reset(seed=1)[0]["subgoal_goal"])
            # Another imaginer is asked anew, since its imaginations are others.
            assert len(asked) == (1, 1, 2)[run]
            streamed = next(kept.imagine_stream(env.render(), TASK, seed=0))
            assert np.array_equal(streamed.goal, goals[-1])
            assert len(asked) == (1, 1, 2)[run]
            env.close()
    assert np.array_equal(goals[0], goals[1])
