"""A robot does what was imagined, and what is imagined when something is missing; the display says what is left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("mujoco")

from ksgen_envs import demonstrate
from ksgen_envs.executors.retarget_accuracy import key_step_of
from ksgen_launch.show import _Display
from ksgen_launch.trial import Trial
from ksgen_models.errors import LowConfidence, TaskDone
from ksgen_models.hands.tracker import HandTracker
from ksgen_models.types import Plan

LAMP, SCENE = "KSGen/SwitchOnLamp-v0", 1_000_041


@pytest.fixture(scope="module")
def knob_and_button():
    shown = demonstrate(LAMP, SCENE)
    with HandTracker() as tracker:
        tracks = [tracker.track(step.clip, shown.fps) for step in shown.steps]
    return [key_step_of(shown, index, track) for index, track in enumerate(tracks)]


def test_what_is_missing_is_done_and_the_film_says_so(knob_and_button):
    knob, button = knob_and_button
    seen = []

    def imagine(frame):
        seen.append(frame)
        return SimpleNamespace(steps=(button,))

    with Trial(LAMP, SCENE) as trial:
        start = trial.picture
        trial.do([knob])
        first = trial.report_film()
        assert trial.go_on(imagine) == ""
        both = trial.report_film()
    assert (seen[0] != start).any()
    assert len(both.frames) > len(first.frames)
    assert first.caption.startswith("1 of 1 key steps done, the task not done:")
    assert both.caption.startswith(
        "1 of 1 key steps done, the task not done; after looking again, 2 of 2 key steps done, the task done:"
    )


@pytest.mark.parametrize("error", [TaskDone("switch on the lamp"), LowConfidence("unknown", score=0, threshold=1)])
def test_where_nothing_more_can_be_imagined_the_robot_stops_and_says_why(knob_and_button, error):
    def imagine(frame):
        raise error

    with Trial(LAMP, SCENE) as trial:
        trial.do(knob_and_button[:1])
        before = trial.report_film()
        assert trial.go_on(imagine) == str(error)
        assert trial.report_film().caption == before.caption


def test_the_display_names_the_steps_that_are_done_already(capsys):
    with _Display() as display:
        display.planned(Plan("lamp", ("Turn the knob", "Press the button"), 0.9, "retrieval"))
        display.left(("Press the button",))
    assert "Done already, as the frame shows: 1\n" in capsys.readouterr().err
