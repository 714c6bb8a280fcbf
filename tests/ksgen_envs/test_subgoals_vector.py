"""What a user of `VectorSubgoalWrapper` sees: batches, bounded threads, every autoreset mode."""

from __future__ import annotations

import threading

import numpy as np
import pytest

gym = pytest.importorskip("gymnasium")

from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv  # noqa: E402
from subgoal_scenes import TASK, PushEnv, push_parts  # noqa: E402

from ksgen_agent import Agent, InvalidInput, InvalidTask, ServerLost  # noqa: E402
from ksgen_envs.subgoals import (  # noqa: E402
    CachedImaginer,
    InfoVerifier,
    PictureVerifier,
    SubgoalWrapper,
    VectorSubgoalWrapper,
)

STAY, RIGHT = 1, 2


@pytest.fixture(scope="module")
def agent():
    with Agent("push", parts=push_parts()) as made:
        yield made


def make_envs(kind=SyncVectorEnv, lengths=(100, 100, 100), *, task=None, pixels=False, **options):
    return kind([lambda length=n: PushEnv(length=length, task=task, pixels=pixels) for n in lengths], **options)


def wrap(envs, imaginer, **options):
    return VectorSubgoalWrapper(envs, imaginer, **{"task": TASK, "verifier": InfoVerifier(), **options})


class Batching:
    """A real agent that takes several frames in one call, and notes how many; a bad task spoils its own result."""

    def __init__(self, inside):
        self.inside, self.spec, self.batches = inside, inside.spec, []

    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        self.batches.append(1)
        return self.inside.imagine(frame, task, seed=seed)

    def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False):
        return self.inside.imagine_stream(frame, task, seed=seed)

    def imagine_batch(self, frames, tasks, *, seeds, allow_out_of_domain=False):
        self.batches.append(len(frames))
        return [self._one(*asked) for asked in zip(frames, tasks, seeds, strict=True)]

    def _one(self, frame, task, seed):
        if "taxes" in task:
            return ServerLost("not this one")
        return self.inside.imagine(frame, task, seed=seed)


class Crowd:
    """Notes how many calls run at once."""

    def __init__(self, inside):
        self.inside, self.spec = inside, inside.spec
        self.guard, self.running, self.most = threading.Lock(), 0, 0
        self.full = threading.Barrier(2)

    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        with self.guard:
            self.running += 1
            self.most = max(self.most, self.running)
        self.full.wait(60)  # goes on only when two calls are there at the same time
        try:
            return self.inside.imagine(frame, task, seed=seed)
        finally:
            with self.guard:
                self.running -= 1


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_each_environment_has_the_subgoal_that_it_would_have_alone(agent, kind):
    envs = wrap(make_envs(kind), agent, imagination_seed=2)
    observations, infos = envs.reset(seed=5)
    assert envs.observation_space.contains(observations)
    assert infos["subgoal"]["valid"].all()
    assert list(infos["subgoal"]["text"]) == ["push the block"] * 3
    for index in range(3):
        alone = SubgoalWrapper(PushEnv(), agent, task=TASK, imagination_seed=2)
        expected, _ = alone.reset(seed=5 + index)
        for key, value in expected.items():
            assert np.array_equal(observations[key][index], value)
        alone.close()
    for _ in range(3):
        observations, _, _, _, infos = envs.step(np.array([STAY, RIGHT, STAY]))
    assert list(infos["subgoal"]["steps_done"]) == [0, 1, 0]
    assert observations["subgoal_index"][:, 0].tolist() == [0, 1, 0]
    assert envs.observation_space.contains(observations)
    envs.close()


def test_environments_that_reset_together_go_through_one_call(agent):
    batching = Batching(agent)
    envs = wrap(make_envs(lengths=(2, 2, 5)), batching)
    envs.reset(seed=1)
    assert batching.batches == [3]
    for _ in range(3):  # the third step resets the first two
        envs.step(np.full(3, STAY))
    assert batching.batches == [3, 2]
    envs.close()


def test_one_bad_result_in_a_batch_spoils_no_other(agent):
    envs = wrap(make_envs(), Batching(agent), task=["push it", "do my taxes", "push it again"])
    observations, infos = envs.reset(seed=1)
    assert observations["subgoal_valid"][:, 0].tolist() == [1, 0, 1]
    assert infos["subgoal"]["error"][1] == "ServerLost: not this one"
    assert infos["subgoal"]["text"].tolist() == ["push it", "", "push it again"]
    envs.close()


def test_a_cache_in_front_asks_only_for_what_is_new(agent):
    batching = Batching(agent)
    cached = CachedImaginer(batching)
    envs = wrap(make_envs(), cached, imagination_seed=0)
    first, _ = envs.reset(seed=[1, 2, 2])
    assert batching.batches == [2]
    second, _ = envs.reset(seed=[1, 2, 3])
    assert batching.batches == [2, 1]
    assert np.array_equal(first["subgoal_goal"][:2], second["subgoal_goal"][:2])
    assert CachedImaginer(agent).imagine_batch is None
    envs.close()


def test_without_batches_calls_run_at_once_in_a_bounded_number_of_threads(agent):
    crowd = Crowd(agent)
    envs = wrap(make_envs(lengths=(9,) * 4), crowd, workers=2)
    _, infos = envs.reset(seed=1)
    assert infos["subgoal"]["valid"].all()
    assert crowd.most == 2
    envs.close()


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_next_step_autoreset_imagines_the_new_episode_when_it_begins(agent, kind):
    envs = wrap(make_envs(kind, lengths=(3, 100)), agent)
    start, _ = envs.reset(seed=1)
    for _ in range(3):
        observations, _, _, truncations, infos = envs.step(np.full(2, RIGHT))
    assert truncations.tolist() == [True, False]
    assert infos["subgoal"]["steps_done"].tolist() == [1, 1]  # the old episode's plan, to its end
    observations, _, _, _, infos = envs.step(np.full(2, STAY))
    assert infos["subgoal"]["steps_done"].tolist() == [0, 1]
    assert infos["subgoal"]["valid"].all()
    assert not np.array_equal(observations["subgoal_goal"][0], start["subgoal_goal"][0])
    envs.close()


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("mode", ["observation", "goal"])
def test_same_step_autoreset_keeps_the_old_subgoal_in_the_final_observation(agent, kind, mode):
    envs = wrap(
        make_envs(kind, lengths=(3, 100), pixels=True, autoreset_mode=AutoresetMode.SAME_STEP),
        agent,
        mode=mode,
        frame="observation/camera",
        keys=("goal", "index"),
    )
    envs.reset(seed=1)
    for _ in range(3):
        observations, _, _, truncations, infos = envs.step(np.full(2, RIGHT))
    assert truncations.tolist() == [True, False]
    final = infos["final_obs"][0]
    assert envs.single_observation_space.contains(final)
    assert final["subgoal_index"] == [1]
    assert infos["final_info"]["subgoal"]["steps_done"][0] == 1
    assert infos["subgoal"]["steps_done"].tolist() == [0, 1]
    assert observations["subgoal_index"][:, 0].tolist() == [0, 1]
    if mode == "goal":
        assert np.array_equal(final["achieved_goal"], final["camera"])
    assert envs.observation_space.contains(observations)
    envs.close()


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_a_masked_reset_leaves_the_other_environments_alone(agent, kind):
    envs = wrap(make_envs(kind, lengths=(3, 9), autoreset_mode=AutoresetMode.DISABLED), agent)
    envs.reset(seed=1)
    for _ in range(3):
        before, *_ = envs.step(np.full(2, RIGHT))
    after, infos = envs.reset(options={"reset_mask": np.array([True, False])})
    assert infos["subgoal"]["steps_done"].tolist() == [0, 1]
    assert np.array_equal(before["subgoal_goal"][1], after["subgoal_goal"][1])
    assert not np.array_equal(before["subgoal_goal"][0], after["subgoal_goal"][0])
    envs.step(np.full(2, STAY))
    envs.close()


def test_with_no_time_at_autoreset_a_step_does_not_wait():
    gate = threading.Event()
    gate.set()

    class Gated(type(push_parts().video_generator)):
        def generate(self, request, region, *, check_cancelled):
            while not gate.wait(0.01):
                check_cancelled()
            return super().generate(request, region, check_cancelled=check_cancelled)

    with Agent("gated", parts=push_parts(video=Gated())) as agent:
        envs = wrap(make_envs(lengths=(1, 100)), agent, autoreset_timeout=0)
        _, infos = envs.reset(seed=1)
        assert infos["subgoal"]["valid"].all()
        gate.clear()
        envs.step(np.full(2, STAY))
        *_, infos = envs.step(np.full(2, STAY))  # resets the first, whose imagination cannot end yet
        assert infos["subgoal"]["valid"].tolist() == [False, True]
        assert infos["subgoal"]["pending"].tolist() == [True, False]
        envs.close()
    for thread in threading.enumerate():
        if thread.name == "ksgen-subgoals":
            thread.join(60)
            assert not thread.is_alive()


def test_pictures_judge_every_environment_by_its_own(agent):
    envs = wrap(make_envs(), agent, verifier=PictureVerifier(confirmations=1))
    envs.reset(seed=1)
    for _ in range(4):
        *_, infos = envs.step(np.array([RIGHT, STAY, STAY]))
    assert infos["subgoal"]["steps_done"].tolist() == [1, 0, 0]
    envs.close()


def test_behind_environments_are_imagined_anew_in_the_background(agent):
    batching = Batching(agent)
    envs = wrap(make_envs(lengths=(50, 50)), batching, step_limit=2, max_reimaginations=1)
    envs.reset(seed=1)
    for _ in range(2):
        *_, infos = envs.step(np.array([STAY, STAY]))
    assert infos["subgoal"]["reimaginations"].tolist() == [1, 1]
    envs.close()
    assert batching.batches[0] == 2


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_the_task_may_be_an_attribute_of_the_environments(agent, kind):
    envs = wrap(make_envs(kind, task="push it hard"), agent, task=None)
    assert list(envs.reset()[1]["subgoal"]["text"]) == ["push it hard"] * 3
    envs.close()
    envs = wrap(make_envs(kind), agent, task=None)
    with pytest.raises(InvalidTask, match="nobody said"):
        envs.reset()
    envs.step(np.full(3, STAY))  # asking did no harm
    envs.close()
    envs = wrap(make_envs(kind), agent, task=lambda envs, info: f"push {info['steps_done']} times")
    assert list(envs.reset()[1]["subgoal"]["text"]) == ["push 0 times"] * 3
    envs.close()


def test_arguments_that_cannot_be_used_are_refused(agent):
    with pytest.raises(InvalidInput, match="2 tasks for 3"):
        wrap(make_envs(), agent, task=["push", "pull"])
    with pytest.raises(InvalidInput, match="workers"):
        wrap(make_envs(), agent, workers=0)
