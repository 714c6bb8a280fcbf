"""Whoever has a plan gets it back as it was said."""

from __future__ import annotations

import numpy as np
import pytest

from ksgen_models.errors import InvalidTask
from ksgen_models.planner import VerbatimPlanner

FRAME = np.zeros((8, 8, 3), np.uint8)


def test_a_sentence_is_a_key_step():
    plan = VerbatimPlanner().plan(FRAME, "  Put the red block\non the blue block ")
    assert plan.steps == ("Put the red block on the blue block",)
    assert (plan.confidence, plan.source, plan.evidence) == (1.0, "verbatim", ())


def test_semicolons_set_key_steps_off():
    assert VerbatimPlanner().plan(FRAME, "Open the drawer; close it;").steps == ("Open the drawer", "close it")


@pytest.mark.parametrize("task", ["", " ; ", 3])
def test_nothing_is_no_plan(task):
    with pytest.raises(InvalidTask):
        VerbatimPlanner().plan(FRAME, task)
