"""Where things are in a picture: the measure on true pictures, in which that is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from ksgen_envs.continuing import evaluate_continuing, meaning
from ksgen_envs.key_step_places import evaluate_key_steps
from ksgen_envs.places import LANDED, check, true_states
from ksgen_envs.wordings import STEP_WORDINGS
from ksgen_models.errors import TaskDone
from ksgen_models.types import Plan

SEED = 1_000_910


def test_things_are_found_where_they_are_and_not_where_they_were():
    rows = list(check(["KSGen/StackBlocks-v0", "KSGen/SortObjects-v0"], range(SEED, SEED + 1)))
    still = [row["found"] for row in rows if row["kind"] == "as it is"]
    assert still == [0.0] * len(still)
    assert not any(row["found"] <= LANDED for row in rows if row["kind"] == "before the step")
    shifted = [row for row in rows if row["kind"] == "shifted" and np.isfinite(row["found"])]
    assert len(shifted) >= 10
    assert np.median([abs(row["found"] - row["true"]) for row in shifted]) < 0.002


def test_a_picture_without_the_thing_has_no_place_for_it():
    after = true_states("KSGen/StackBlocks-v0", SEED)[-1]
    nothing = np.random.default_rng(0).integers(0, 256, after.picture.shape).astype(np.uint8)
    assert all(np.isnan(place.found(nothing)) for place in after.places.values())


class Truthful:
    """A KIG that draws the true pictures, or leaves everything as it was."""

    def __init__(self, states):
        self.pictures = np.stack([state.picture for state in states])

    def draw(self, frame, steps, *, seed, check_cancelled=None):
        assert np.array_equal(frame, self.pictures[0])
        return self.pictures[: len(steps) + 1]


def test_true_key_step_images_have_everything_in_place():
    states = true_states("KSGen/StackBlocks-v0", SEED)
    generators = {"true": Truthful(states), "idle": Truthful([states[0]] * len(states))}
    found = list(evaluate_key_steps(generators, ["KSGen/StackBlocks-v0"], range(SEED, SEED + 1)))
    assert all(one.in_place for one in found if one.generator == "true")
    assert not any(one.in_place for one in found if one.generator == "idle" and one.moved)


def test_key_step_images_of_work_that_was_begun_are_those_that_are_left():
    states = true_states("KSGen/StackBlocks-v0", SEED)
    left = Truthful(states[1:])
    found = list(evaluate_key_steps({"true": left}, ["KSGen/StackBlocks-v0"], range(SEED, SEED + 1), begun=1))
    assert {one.step for one in found} == set(range(1, len(states) - 1))
    assert all(one.in_place for one in found)
    assert not list(evaluate_key_steps({"true": left}, ["KSGen/StackBlocks-v0"], range(SEED, SEED + 1), begun=9))


@pytest.mark.parametrize("kind", [kind for kind in STEP_WORDINGS if kind != "press_button"])
def test_wordings_of_a_step_mean_the_same_and_other_steps_do_not(kind):
    fields = {"a": "left upright" if "upright" in kind else "red ball", "b": "blue bin"}
    (same,) = {meaning(words.format(**fields)) for words in STEP_WORDINGS[kind]}
    fields["a"] = "right upright" if "upright" in kind else "red cylinder"
    others = {
        meaning(words[0].format(**fields))
        for other, words in STEP_WORDINGS.items()
        if other != kind or "{a}" in words[0]
    }
    assert same not in others


def test_exactly_the_missing_steps_count():
    task = "KSGen/AssembleShelf-v0"
    parts = ("left upright", "right upright", "lower board", "upper board")

    def plan_all(frame, task):
        return Plan(task, tuple(f"Put the {part} there" for part in parts), 1.0, "all")

    def nothing(frame, task):
        raise TaskDone(task)

    rows = list(evaluate_continuing(plan_all, [task], range(1_000_600, 1_000_604)))
    assert [row.done for row in rows] == [0, 1, 2, 3]
    assert [row.exact for row in rows] == [True, False, False, False]
    assert [row.error for row in evaluate_continuing(nothing, [task], range(1_000_600, 1_000_601))] == ["TaskDone"]
    assert all(row.exact for row in evaluate_continuing(nothing, [task], range(1_000_600, 1_000_601), all_done=True))
