"""Learners: what a policy is told, how it is trained, how it acts, and what is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_parts import made_up_episode

from ksgen_envs.executors.expert import Outcome
from ksgen_envs.executors.sight import Sight
from ksgen_envs.learners import cloning, comparison, demonstrations, runs, training_data
from ksgen_envs.learners import condition as c
from ksgen_envs.learners.acting import ChunkActor, predict
from ksgen_envs.learners.chunk_policy import ChunkPolicy, PolicySpec
from ksgen_envs.learners.evaluation import Score, check_seeds
from ksgen_envs.learners.inputs import InputSpec, make_env
from ksgen_envs.learners.moving import Moves, moved
from ksgen_models.demonstration import Camera
from ksgen_models.errors import DatasetError, InvalidInput

SMALL = PolicySpec(InputSpec("subgoal"), chunk=4, width=32, layers=1, heads=2)


def camera_over_the_table() -> Sight:
    """At (0, -0.5, 0.8), looking at the table's middle, 45° down or so."""
    eye, forward = np.array([0.0, -0.5, 0.8]), np.array([0.0, 0.5, -0.8]) / np.hypot(0.5, 0.8)
    right = np.array([1.0, 0.0, 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    intrinsics = np.array([[300.0, 0, 128], [0, 300.0, 128], [0, 0, 1]])
    return Sight(Camera(intrinsics, np.column_stack([rotation, -rotation @ eye])), 256, 256)


def subgoal_of(places: np.ndarray, sight: Sight, *, slot: int = 1, yaw: float = 0.0) -> dict[str, np.ndarray]:
    """A subgoal whose hand, all keypoints a small cross about its pinch, is at places (16, 3)."""
    across = 0.01 * np.array([np.cos(yaw), np.sin(yaw), 0.0])
    points = np.repeat(places[:, None], 21, axis=1)
    points[:, [3, 4]] -= across  # thumb
    points[:, [7, 8, 11, 12]] += across
    keypoints = np.zeros((16, 2, 21, 3), np.float32)
    keypoints[:, slot, :, :2] = sight.project(points)
    valid = np.zeros((16, 2), np.int8)
    valid[:, slot] = 1
    return {
        "subgoal_valid": np.array([1], np.int8),
        "subgoal_keypoints": keypoints,
        "subgoal_keypoints_valid": valid,
        "subgoal_index": np.array([1], np.int32),
        "subgoal_total": np.array([3], np.int32),
    }


def path_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(16, 3): comes in, stands at the start, goes to the end, stands, leaves."""
    away = np.array([0.0, -0.3, 0.1])
    marks = [(0, start + away), (4, start), (6, start), (10, end), (12, end), (15, end + away)]
    times = np.arange(16)
    return np.stack([np.interp(times, [t for t, _ in marks], [p[axis] for _, p in marks]) for axis in range(3)], axis=1)


places = st.tuples(st.floats(-0.15, 0.15), st.floats(-0.12, 0.12), st.floats(0.02, 0.10)).map(np.array)


@settings(max_examples=25)
@given(start=places, end=places, slot=st.integers(0, 1), yaw=st.floats(-1.5, 1.5))
def test_rays_go_through_where_the_hand_held_and_let_go(start, end, slot, yaw):
    if np.linalg.norm(start[:2] - end[:2]) < 0.08:
        return  # a hand that stays where it is holds and lets go at any time
    sight = camera_over_the_table()
    condition = c.read_subgoal(subgoal_of(path_between(start, end), sight, slot=slot, yaw=yaw), sight)
    assert condition[c.SUBGOAL] == condition[c.HAND] == 1
    assert condition[-2:] * 8 == pytest.approx([1, 2])
    for ray, place in ((c.GRASP, start), (c.RELEASE, end)):
        low, high = condition[ray][:2], condition[ray][2:]
        met = low + (high - low) * (place[2] - c.LOW) / (c.HIGH - c.LOW)
        assert met == pytest.approx(place[:2], abs=2e-3)


def test_no_subgoal_and_no_hand_are_told_apart():
    sight = camera_over_the_table()
    subgoal = subgoal_of(path_between(np.zeros(3), np.array([0.1, 0.1, 0.05])), sight)
    unseen = {**subgoal, "subgoal_keypoints_valid": np.zeros((16, 2), np.int8)}
    condition = c.read_subgoal(unseen, sight)
    assert condition[c.SUBGOAL] == 1
    assert not condition[c.HAND : c.RELEASE.stop].any()
    assert not c.read_subgoal({**subgoal, "subgoal_valid": np.zeros(1, np.int8)}, sight).any()


@pytest.fixture
def episodes(tmp_path):
    """Files of four made-up episodes."""
    files = []
    for seed in range(4):
        path = demonstrations.episode_path(tmp_path / "episodes", "KSGen/StackBlocks-v0", seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        demonstrations._write(path, made_up_episode(seed))
        files.append(path)
    return files


def test_chunks_end_with_their_key_step(episodes):
    data = training_data.load(episodes, InputSpec("subgoal"))
    assert len(data) == 240
    _, actions = data.batch(torch.tensor([0, 28, 29, 59, 60]), 4)
    assert torch.equal(actions[0], data.actions[:4])
    assert torch.equal(actions[1], data.actions[[28, 29, 29, 29]])  # the last one is held
    assert torch.equal(actions[3], data.actions[[59] * 4])


def test_words_come_back_with_their_steps(episodes):
    data = training_data.load(episodes, InputSpec("subgoal"))
    inputs, _ = data.batch(torch.tensor([59, 60]), 1)
    for row, seed, sentence in ((0, 0, 1), (1, 1, 0)):
        whole = made_up_episode(seed)
        assert torch.equal(inputs["task"][row], torch.from_numpy(whole.task))
        assert torch.equal(inputs["names"][row], torch.from_numpy(whole.names))
        assert torch.equal(inputs["sentence"][row], torch.from_numpy(whole.sentences[sentence]))


def test_disturbed_subgoals_keep_what_they_mean(episodes):
    data = training_data.load(episodes, InputSpec("subgoal"))
    inputs, _ = data.batch(torch.arange(240), 1)
    how = training_data.Disturbance(without=0.5, handless=0.5)
    after = training_data.disturb(inputs, how, torch.Generator().manual_seed(0))
    condition, given_one = after["condition"], after["condition"][:, c.SUBGOAL] > 0.5
    seen = condition[:, c.HAND] > 0.5
    assert 0.35 < given_one.float().mean() < 0.65
    assert 0.35 < seen[given_one].float().mean() < 0.65
    assert not condition[~given_one].any()
    assert not after["sentence"][~given_one].any()
    assert not condition[~seen][:, c.GRASP.start : c.RELEASE.stop].any()
    # A ray is moved as a whole.
    moved = condition[seen][:, c.GRASP] - inputs["condition"][seen][:, c.GRASP]
    assert torch.allclose(moved[:, :2], moved[:, 2:], atol=1e-6)
    assert moved.abs().max() > 0
    assert torch.equal(inputs["condition"][:, c.HAND], torch.ones(240))  # the data are left alone


@pytest.mark.parametrize("kind", ["subgoal", "goal"])
def test_a_scene_that_is_moved_is_the_same_scene_elsewhere(kind):
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "robot": torch.randn(64, 17, generator=generator),
        "slots": torch.randn(64, 6, 19, generator=generator),
        "condition": torch.randn(64, c.CONDITION_SIZE[kind], generator=generator),
    }
    inputs["slots"][..., 0] = 1.0
    inputs["slots"][..., 4:7] = inputs["slots"][..., 1:4] - inputs["robot"][:, None, :3]
    inputs["slots"][..., 7:11] = torch.nn.functional.normalize(inputs["slots"][..., 7:11], dim=-1)
    if kind == "subgoal":
        inputs["condition"][:, c.HAND] = 1.0
    actions = torch.randn(64, 4, 5, generator=generator)
    after, acted = moved(inputs, actions, Moves(turn=1.0, shift=0.1), generator)
    robot, slots = after["robot"], after["slots"]
    assert not torch.allclose(slots[..., 1:3], inputs["slots"][..., 1:3], atol=0.01)
    assert torch.allclose(slots[..., 4:7], slots[..., 1:4] - robot[:, None, :3], atol=1e-5)
    angle = robot[:, 3] - inputs["robot"][:, 3]
    assert 0.5 < angle.abs().max() <= 1.0

    def across(x, slots, actions):  # what moves, seen from what it moves to: the same from everywhere
        away = slots[:, 0, 4:6]
        crossed = away[:, None, 0] * actions[..., 1] - away[:, None, 1] * actions[..., 0]
        speed = (away * slots[:, 0, 11:13]).sum(-1)
        pairs = [(actions[..., :2] * away[:, None]).sum(-1), crossed, speed, (away * x["robot"][:, 7:9]).sum(-1)]
        if kind == "subgoal":
            pairs += [(x["condition"][:, at : at + 2] - slots[:, 2, 1:3]).norm(dim=-1) for at in (2, 4, 6, 8)]
        else:
            place = x["condition"][:, 5 + 6 : 5 + 8]
            pairs += [(place - slots[:, 2, 1:3]).norm(dim=-1)]
        return torch.cat([pair.flatten() for pair in pairs])

    assert torch.allclose(across(inputs, inputs["slots"], actions), across(after, slots, acted), atol=1e-4)
    # A thing's own x axis turns with the scene.
    for before, now, by in zip(inputs["slots"][:, 0, 7:11], slots[:, 0, 7:11], angle, strict=True):
        w, x, y, z = before.tolist()
        a, b, d, e = now.tolist()
        assert a >= 0
        old = complex(1 - 2 * (y * y + z * z), 2 * (x * y + w * z))
        new = complex(1 - 2 * (d * d + e * e), 2 * (b * d + a * e))
        assert abs(old * np.exp(1j * float(by)) - new) < 1e-4
    still, same = moved(inputs, actions, Moves(0.0, 0.0), generator)
    assert torch.allclose(still["slots"][..., 1:7], inputs["slots"][..., 1:7], atol=1e-5)
    assert torch.equal(same, actions)


def test_a_resumed_run_ends_where_an_unbroken_one_does(episodes, tmp_path):
    def recipe(updates):
        return cloning.CloningRecipe(SMALL, updates=updates, batch=16)

    def run(folder, updates, resume=False):
        return cloning.train(
            episodes, folder, recipe(updates), env_ids=("KSGen/StackBlocks-v0",), resume=resume, every=3
        )

    # The schedule looks at the number of updates asked for, so the broken run is stopped in the middle.
    whole = run(tmp_path / "whole", 6)

    class Stopped(Exception):
        pass

    def stop(updates, loss, network):
        raise Stopped

    with pytest.raises(Stopped):
        cloning.train(episodes, tmp_path / "broken", recipe(6), env_ids=("KSGen/StackBlocks-v0",), every=3, tell=stop)
    resumed = run(tmp_path / "broken", 6, resume=True)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert list((tmp_path / "broken").glob("events.out.tfevents.*"))
    other = cloning.CloningRecipe(SMALL, updates=6, batch=8)
    with pytest.raises(DatasetError, match="batch"):
        cloning.train(episodes, tmp_path / "broken", other, env_ids=(), resume=True)


def test_training_learns_to_go_where_the_subgoal_points(episodes, tmp_path):
    spec = replace(SMALL, chunk=1)  # where the tool is next is made up at random: one action can be told
    recipe = cloning.CloningRecipe(spec, updates=120, batch=64, learning_rate=3e-3)
    data = training_data.load(episodes, SMALL.inputs)
    before = cloning.held_out_loss(cloning._State.begin(recipe, data).network, data)
    network = cloning.train(episodes, tmp_path / "run", recipe, env_ids=("KSGen/StackBlocks-v0",))
    assert cloning.held_out_loss(network, data) < 0.5 * before
    run = runs.load_run(tmp_path / "run")
    assert run.env_ids == ("KSGen/StackBlocks-v0",)
    inputs = {name: values[7].numpy() for name, values in data.inputs.items()}
    words = {name: data.words[getattr(data, name)[7]].numpy() for name in ("task", "names", "sentence")}
    assert np.array_equal(
        predict(network, {**inputs, **words}), predict(runs.load_cloned(tmp_path / "run"), {**inputs, **words})
    )


def observation(seed=0, **changed):
    rng = np.random.default_rng(seed)
    made = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in SMALL.inputs.shapes().items()}
    made["slots"][:, 0] = 1
    made["condition"][:] = 0.5
    return {**made, **changed}


def test_both_manners_agree_with_the_chunks():
    torch.manual_seed(0)
    network = ChunkPolicy(SMALL).eval()
    seen = [observation(seed) for seed in range(5)]
    chunks = [predict(network, one) for one in seen]
    horizon = ChunkActor(network, manner="horizon", steps=2)
    followed = [horizon.act(one) for one in seen]
    for step, (chunk, place) in enumerate([(0, 0), (0, 1), (2, 0), (2, 1), (4, 0)]):
        assert followed[step] == pytest.approx(np.clip(chunks[chunk][place], -1, 1), abs=1e-5)
    ensemble = ChunkActor(network, manner="ensemble")
    last = [ensemble.act(one) for one in seen][-1]
    said = np.stack([chunks[step][4 - step] for step in range(1, 5)])  # of step 4, oldest first
    weights = np.exp(-0.05 * np.arange(4))
    assert last == pytest.approx(np.clip(weights @ said / weights.sum(), -1, 1), abs=1e-5)


def test_a_new_subgoal_makes_the_actor_forget():
    torch.manual_seed(0)
    network = ChunkPolicy(SMALL)
    for manner in ("ensemble", "horizon"):
        actor = ChunkActor(network, manner=manner)  # type: ignore[arg-type]
        actor.act(observation(1))
        other = observation(2, condition=np.full(c.CONDITION_SIZE["subgoal"], 0.25, np.float32))
        assert actor.act(other) == pytest.approx(np.clip(predict(network, other)[0], -1, 1), abs=1e-5)


def test_empty_slots_do_not_matter():
    torch.manual_seed(0)
    network = ChunkPolicy(SMALL).eval()
    one = observation(0)
    one["slots"][3:] = 0
    other = {name: value.copy() for name, value in one.items()}
    other["names"][3:] = 7.0
    assert np.array_equal(predict(network, one), predict(network, other))


def test_pixels_and_goals_are_taken_too():
    for spec in (InputSpec("goal"), InputSpec("goal", pixels=48)):
        network = ChunkPolicy(PolicySpec(spec, chunk=3, width=32, layers=1, heads=2))
        inputs = {
            name: torch.zeros(2, *shape, dtype=torch.uint8 if name == "pixels" else torch.float32)
            for name, shape in spec.shapes().items()
        }
        chunk = network(inputs)
        assert chunk.shape == (2, 3, 5)
        assert torch.isfinite(chunk).all()


def test_wrong_arguments_are_named():
    with pytest.raises(InvalidInput, match="condition"):
        InputSpec("none")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="encoder"):
        make_env("KSGen/StackBlocks-v0", InputSpec("subgoal"))
    with pytest.raises(InvalidInput, match="not for training"):
        check_seeds(range(999_999, 1_000_001), training=True)
    with pytest.raises(InvalidInput, match="final evaluation"):
        check_seeds(range(1_999_999, 2_000_001))
    with pytest.raises(DatasetError, match="learn"):
        runs.load_run(Path("/nowhere"))


def trial(arm, seed, success):
    return comparison.Trial(arm, "KSGen/StackBlocks-v0", Outcome(seed, success, 100, 2 * success, 2, ""), arm != "none")


def test_the_table_counts_and_pairs(tmp_path):
    trials = [trial("none", seed, seed < 2) for seed in range(10)]
    trials += [trial("imagined", seed, seed < 8) for seed in range(10)]
    pairing = comparison.pair(trials, "imagined", "none")
    assert (pairing.scenes, pairing.only_first, pairing.only_second) == (10, 6, 0)
    assert pairing.p == pytest.approx(2 * 0.5**6)
    text = comparison.write_summary(trials, tmp_path, {"policy": "x"})
    assert "8/10 = 80% (49%–94%)" in text  # Wilson, as tables of it have it
    assert "2/10 = 20% (6%–51%)" in text
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert written["scores"]["all / imagined"]["won"] == 8


def test_scores():
    score = Score(tuple(Outcome(seed, seed == 0, 10, 1 + (seed == 0), 2, "") for seed in range(2)))
    assert score.success == 0.5
    assert score.key_steps == 0.75
