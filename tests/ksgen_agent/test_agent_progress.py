"""An agent whose parts see progress goes on from where the work stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from blob_parts import FIRST, Ruler, make_frame, make_parts
from serving import running

from ksgen_agent import Agent, Imagination, PresetError, SubgoalClient, TaskDone
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.failures import to_exception, to_message
from ksgen_agent.wire.key_steps import pack_plan, unpack_plan
from ksgen_models.planner import VerbatimPlanner
from ksgen_models.progress import since
from ksgen_models.types import Plan

TASK = "push the block then push it again then push it to the edge"


@pytest.fixture(scope="module")
def agent():
    with Agent("push", parts=replace(make_parts(), verifier=Ruler())) as made:
        yield made


def frame(pushes):
    return make_frame(row=50, column=FIRST + 10 * pushes)


def test_only_the_missing_steps_are_imagined(agent, tmp_path):
    imagination = agent.imagine(frame(1), TASK)
    assert imagination.plan.done == ("push the block",)
    assert [step.description for step in imagination.steps] == ["push it again", "push it to the edge"]
    assert [step.index for step in imagination.steps] == [0, 1]
    assert agent.plan(frame(1), TASK) == imagination.plan
    again = Imagination.load(imagination.save(tmp_path / "kept"))
    assert again.plan == imagination.plan
    assert unpack_plan(wire.Done("job", 2, pack_plan(imagination.plan))) == imagination.plan


def test_the_whole_procedure_is_there_for_the_asking(agent):
    assert len(agent.imagine(frame(2), TASK, from_here=False).steps) == 3
    assert agent.plan(frame(3), TASK, from_here=False).done == ()


def test_both_over_the_wire(agent, tmp_path):
    with (
        running(tmp_path / "store", imaginer="served_parts:ruled") as server,
        SubgoalClient(server.address) as client,
    ):
        assert client.imagine(frame(1), TASK).plan == agent.plan(frame(1), TASK)
        whole = client.imagine(frame(1), TASK, from_here=False)
        assert (len(whole.steps), whole.plan.done) == (3, ())
        with pytest.raises(TaskDone):
            client.imagine(frame(3), TASK)


def test_whoever_has_a_plan_gets_all_of_it():
    with Agent("push", parts=replace(make_parts(), verifier=Ruler()), planner=VerbatimPlanner()) as told:
        assert told.plan(frame(2), "push the block; push it again").steps == ("push the block", "push it again")


def test_a_finished_task_is_said_to_be_done(agent):
    with pytest.raises(TaskDone, match="every step") as caught:
        agent.imagine(frame(3), TASK)
    assert caught.value.steps == tuple(TASK.split(" then "))
    there = to_exception(to_message("job", caught.value))
    assert isinstance(there, TaskDone)
    assert (there.task, there.steps, there.confidence) == (TASK, caught.value.steps, pytest.approx(0.98))


def test_a_clip_that_does_its_step_and_no_other_agrees_with_the_text(agent):
    # The imagined push is 12 to 15 pixels: one step's worth.
    scores = [step.scores["text_agreement"] for step in agent.imagine(frame(0), TASK).steps]
    assert scores[0] == pytest.approx(0.98 * 0.8)
    with Agent("push", parts=make_parts()) as blind:
        assert "text_agreement" not in blind.imagine(frame(0), TASK).steps[0].scores


def test_what_became_undone_is_seen_by_comparing(agent):
    steps = tuple(TASK.split(" then "))
    states = [one.state for one in since(agent.verify(frame(2), steps), agent.verify(frame(1), steps))]
    assert states == ["done", "undone", "not done"]


def test_without_a_verifier_everything_is_planned_and_nothing_is_judged():
    with Agent("push", parts=make_parts()) as blind:
        assert isinstance(blind.plan(frame(2), TASK), Plan)
        assert len(blind.plan(frame(2), TASK).steps) == 3
        with pytest.raises(PresetError, match="cannot see"):
            blind.verify(frame(0), ("push the block",))
    with pytest.raises(Exception, match="closed"):
        blind.plan(np.zeros((96, 128, 3), np.uint8), TASK)
