"""An agent whose plans another planner writes."""

from __future__ import annotations

import numpy as np
from blob_parts import make_frame, make_parts
from numpy.typing import NDArray

from ksgen_agent import Agent
from ksgen_models.types import Plan


class Dictated:
    """A planner of the caller's own."""

    source = "dictation"

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        return Plan(task, ("push the block", "push it again"), 0.5, self.source)


def test_the_planner_passed_writes_the_plan_and_is_named_in_the_record() -> None:
    parts = make_parts()
    with Agent("blobs", parts=parts, planner=Dictated()) as agent:
        imagination = agent.imagine(make_frame(), "something that no procedure is for")
    assert imagination.plan.source == "dictation"
    assert [step.description for step in imagination.steps] == ["push the block", "push it again"]
    assert all(step.provenance["planner"] == "dictation" for step in imagination.steps)
    assert "planner" not in parts.provenance  # the caller's parts are left as they were
