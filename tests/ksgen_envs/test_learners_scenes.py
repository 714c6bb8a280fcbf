"""Learners in the simulator: true subgoals, the expert's episodes, SAC + HER, the comparison."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from learner_parts import LetterEncoder

from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.learners import comparison, demonstrations, evaluation, inputs, pointing, runs
from ksgen_envs.learners import condition as c
from ksgen_envs.learners.acting import ChunkActor
from ksgen_envs.learners.chunk_policy import ChunkPolicy, PolicySpec
from ksgen_envs.learners.true_subgoals import DemonstrationImaginer
from ksgen_envs.workbench import Workbench
from ksgen_models.errors import DatasetError

SPEC = inputs.InputSpec("subgoal")
STACK, LAMP, DRAWER = "KSGen/StackBlocks-v0", "KSGen/SwitchOnLamp-v0", "KSGen/StoreInDrawer-v0"


def told_env(env_id, **options):
    encoder = LetterEncoder()
    return inputs.make_env(
        env_id, SPEC, encoder=encoder, imaginer_for=lambda env: DemonstrationImaginer(env, encoder), **options
    )


def test_a_true_subgoal_points_at_the_thing_and_where_it_goes():
    env = told_env(STACK)
    try:
        seen, _ = env.reset(options={"scene_seed": 3})
        assert env.observation_space.contains(seen)
        unwrapped = env.unwrapped
        step = unwrapped.key_step
        condition = seen["condition"]
        assert condition[c.HAND] == 1
        slots = {name: seen["slots"][index, 1:4] for index, name in enumerate(unwrapped.bench.object_names)}
        ends = ((c.GRASP, slots[step.target][:2], slots[step.target][2]), (c.RELEASE, step.goal[:2], step.goal[2]))
        for ray, place, height in ends:
            low, high = condition[ray][:2], condition[ray][2:]
            met = low + (high - low) * (height - c.LOW) / (c.HIGH - c.LOW)
            assert np.linalg.norm(met - place) < 0.02
    finally:
        env.close()


def test_the_simulators_own_subgoal_says_what_a_persons_hand_does():
    encoder = LetterEncoder()
    for env_id in (STACK, DRAWER):
        by_hand, by_truth = told_env(env_id), inputs.make_env(env_id, SPEC, encoder=encoder, truth=True)
        try:
            for key_step in (0, 1):
                options = {"scene_seed": 3, "key_step": key_step}
                hand, truth = (env.reset(options=options)[0] for env in (by_hand, by_truth))
                assert np.array_equal(hand["sentence"], truth["sentence"])
                assert truth["condition"][c.HAND] == 1
                rays = slice(c.GRASP.start, c.RELEASE.stop)
                assert np.abs(hand["condition"][rays] - truth["condition"][rays]).max() < 0.02
        finally:
            by_hand.close()
            by_truth.close()


def test_instructions_that_decide_have_several_steps():
    for seed in range(1_000_000, 1_000_005):
        index = comparison.explicit_instruction(STACK, seed)
        assert index is not None
        chosen = Workbench(STACK, seed, image_size=64).instructions()[index]
        assert chosen.explicit
        assert len(chosen.steps) > 1


def test_true_hands_point_at_what_moves_and_where_it_goes():
    scene = 1_000_001
    instruction = comparison.explicit_instruction(STACK, scene)
    assert instruction is not None
    env = WorkbenchEnv(STACK)
    try:
        env.reset(options={"scene_seed": scene, "instruction": instruction})
        imaginer = DemonstrationImaginer(env, LetterEncoder(), pictures=False)
        imagined = imaginer.imagine(env.picture(), env.instruction.task)
        found = list(pointing.point(env, instruction, imagined))
        assert len(found) == len(env.instruction.steps)
        for one in found:
            assert one.hand
            assert max(one.off) < 0.02
            assert one.right == (True, True)
        assert f"{len(found)} of {len(found)}" in pointing.table(found)
        unseen = dataclasses.replace(imagined.steps[0].hands, valid=np.zeros_like(imagined.steps[0].hands.valid))
        blind = dataclasses.replace(imagined, steps=(dataclasses.replace(imagined.steps[0], hands=unseen),))
        assert [one.hand for one in pointing.point(env, instruction, blind)] == [False]
    finally:
        env.close()


def test_the_experts_episode_is_kept_and_comes_back(tmp_path):
    env = inputs.make_env(LAMP, inputs.InputSpec("goal"))
    try:
        recipe = demonstrations.Recipe(inputs.InputSpec("goal"))
        assert list(demonstrations.collect(env, tmp_path, recipe, [1])) == [(1, True)]
        path = demonstrations.episode_path(tmp_path, LAMP, 1)
        before = path.stat().st_mtime_ns
        assert list(demonstrations.collect(env, tmp_path, recipe, [1])) == [(1, True)]
        assert path.stat().st_mtime_ns == before
        episode = demonstrations.read(path)
        assert episode.inputs["robot"].shape == (len(episode.actions), 17)
        assert np.abs(episode.actions).max() <= 1
        # The lamp's instruction turns, then presses: what the policy is told changes once or more.
        told = episode.inputs["condition"][:, : c.VERB_SIZE]
        assert len(np.unique(told, axis=0)) == 2
        with pytest.raises(DatasetError, match="another folder"):
            list(demonstrations.collect(env, tmp_path, demonstrations.Recipe(SPEC), [1]))
    finally:
        env.close()


class Expert:
    """The scripted expert as a policy over a learner's inputs."""

    def __init__(self, env):
        from ksgen_envs.executors.expert import Expert

        self._expert = Expert(env)

    def reset(self):
        self._expert.reset()

    def act(self, observation):
        return self._expert.act({"observation": observation["robot"]})


def test_a_film_shows_the_episode(tmp_path):
    from ksgen_models.video_io import read_video

    env = inputs.make_env(LAMP, inputs.InputSpec("goal"), max_episode_steps=40)
    try:
        outcome = evaluation.film(env, Expert(env), 1, tmp_path / "film.mp4")
    finally:
        env.close()
    assert outcome.steps == 40
    clip, fps = read_video(tmp_path / "film.mp4")
    assert fps == 25
    assert len(clip) == 21 + 10
    assert clip[..., :].astype(float).std(axis=0).max() > 5


@pytest.mark.slow
def test_a_stopped_comparison_goes_on(tmp_path):
    torch.manual_seed(0)
    policy = ChunkActor(ChunkPolicy(PolicySpec(SPEC, width=32, layers=1, heads=2)), manner="horizon")
    encoder = LetterEncoder()
    arms = {"none": None, "true": lambda env: DemonstrationImaginer(env, encoder)}

    def trials(seeds, about="one"):
        return comparison.compare(policy, SPEC, encoder, arms, [LAMP], seeds, tmp_path, about={"policy": about})

    first = next(trials([1, 2]))
    assert (first.arm, first.outcome.scene_seed, first.subgoals) == ("none", 1, False)
    whole = list(trials([1, 2]))
    assert whole[0] == first
    assert [(trial.arm, trial.outcome.scene_seed) for trial in whole] == [
        ("none", 1), ("true", 1), ("none", 2), ("true", 2),
    ]  # fmt: skip
    assert [trial.subgoals for trial in whole] == [False, True, False, True]
    with pytest.raises(DatasetError, match="another --out"):
        list(trials([1], about="two"))
    assert "| no subgoals | true subgoals |" in comparison.write_summary(whole, tmp_path, {})


@pytest.mark.slow
def test_hindsight_training_stops_and_goes_on(tmp_path):
    from ksgen_envs.learners import hindsight

    recipe = hindsight.HindsightRecipe(
        episode_steps=40, learning_starts=40, buffer=2_000, batch=32, width=32, expert_episodes=2
    )
    told = []
    hindsight.train(LAMP, tmp_path, recipe, steps=60, every=50, tell=lambda steps, policy: told.append(steps))
    assert told == [50]
    policy = hindsight.train(LAMP, tmp_path, recipe, steps=100, resume=True)
    run = runs.load_run(tmp_path)
    assert run.kind == "her"
    env = run.env(LAMP)
    try:
        seen, _ = env.reset(seed=0)
        assert run.policy.act(seen) == pytest.approx(policy.act(seen))
    finally:
        env.close()
    with pytest.raises(DatasetError, match="same options"):
        hindsight.train(LAMP, tmp_path, hindsight.HindsightRecipe(), steps=200, resume=True)
