"""Parts that are watched imagine the same, whatever the preset could do besides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ksgen_agent"))

from blob_parts import TASK, BoxRegions, PushVideo, make_frame, make_parts
from test_imagination import assert_same

from ksgen_agent import Agent
from ksgen_launch.benchmarks.forwards import STAGES, Watch, staged
from ksgen_launch.watch import watch_parts, work_of


class Ears:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.plans, self.imagined, self.said, self.pieces, self.more = [], [], [], 0, 0

    def planned(self, plan) -> None:
        self.plans.append(plan)

    def left(self, steps) -> None:
        self.imagined.append(steps)

    def further(self) -> None:
        self.more += 1

    def begun(self, what: str) -> None:
        self.said.append(what)

    def done(self) -> None:
        self.pieces += 1


class JoiningRegions(BoxRegions):
    """Does several steps in a call."""

    def predict_many(self, requests, *, check_cancelled):
        return [self.predict(request, check_cancelled=check_cancelled) for request in requests]


class JoiningVideo(PushVideo):
    """Does several clips in a call."""

    def generate_many(self, steps, *, check_cancelled):
        return [self.generate(*step, check_cancelled=check_cancelled) for step in steps]


def joining_parts():
    return make_parts(regions=JoiningRegions(), video=JoiningVideo(), batch=4)


@pytest.fixture
def unwatched():
    with Agent("mini", parts=joining_parts()) as agent:
        return agent.imagine(make_frame(), TASK, seed=3)


def test_a_preset_that_joins_calls_is_watched_piece_by_piece(unwatched):
    ears = Ears()
    with Agent("mini", parts=watch_parts(joining_parts(), ears)) as agent:
        assert_same(agent.imagine(make_frame(), TASK, seed=3).steps, unwatched.steps)
    assert ears.pieces == work_of(len(unwatched.steps))
    assert [plan.steps for plan in ears.plans] == [unwatched.plan.steps] == ears.imagined


@pytest.mark.parametrize(("doubt", "candidates", "more"), [(1.0, 1, 6), (0.0, 2, 3)])
def test_further_clips_are_counted_and_told_from_the_first(doubt, candidates, more):
    ears = Ears()
    with Agent("mini", parts=watch_parts(make_parts(doubt=doubt), ears)) as agent:
        steps = agent.imagine(make_frame(), TASK, candidates=candidates).steps
    assert ears.more == more
    assert ears.pieces == work_of(len(steps) + more)
    assert ears.said.count("step 2: clip") == ears.said.count("step 2, clip 2 of it: clip") == 1


def test_a_preset_that_joins_calls_is_timed_stage_by_stage(unwatched):
    watch = Watch()
    with Agent("mini", parts=staged(joining_parts(), watch)) as agent:
        assert_same(agent.imagine(make_frame(), TASK, seed=3).steps, unwatched.steps)
    assert [one.label for one in watch.timed].count(STAGES["region_model"][1]) == len(unwatched.steps)
