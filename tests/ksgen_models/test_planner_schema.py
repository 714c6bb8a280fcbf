"""What a language model's answer must be."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ksgen_models.errors import InvalidFrame, InvalidInput, MalformedAnswer
from ksgen_models.planner import PlannerSettings
from ksgen_models.planner.http_exchange import parse_address
from ksgen_models.planner.picture import as_data_url, checked_frame, scaled_down
from ksgen_models.planner.schema import read_steps


@pytest.mark.parametrize(
    "answer",
    [
        '{"steps": ["Open the jar", "Pour it out"]}',
        'Sure! Here is the plan:\n```json\n{"steps": ["1. Open the jar.", "Step 2: Pour it  out"]}\n```\nGood luck {}!',
        '<think>{"steps": ["wrong"]} is too short</think> {"steps": ["Open the jar", "Pour it out"], "note": {"a": 1}}',
    ],
)
def test_the_steps_are_found_in_what_models_write(answer: str) -> None:
    assert read_steps(answer, 5) == ("Open the jar", "Pour it out")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "no complete JSON object"),
        ("I cannot do that.", "no complete JSON object"),
        ('{"steps": ["Open the jar", "Pour', "no complete JSON object"),
        ('["Open the jar"]', "no complete JSON object"),
        ("{}", 'no "steps"'),
        ('{"step": ["Open the jar"]}', 'no "steps"'),
        ('{"steps": "Open the jar"}', "list of texts"),
        ('{"steps": [{"text": "Open the jar"}]}', "list of texts"),
        ('{"steps": [null]}', "list of texts"),
        ('{"steps": []}', "0 steps"),
        (json.dumps({"steps": [f"Turn it {n} times" for n in range(6)]}), "6 steps"),
        ('{"steps": ["Open the jar", "open the jar."]}', "the same"),
        ('{"steps": ["  "]}', "step 1 holds no word"),
        ('{"steps": ["Open it", "3. 42"]}', "step 2 holds no word"),
        ('{"steps": ["Open \\u001b[31mthe jar"]}', "cannot be printed"),
        (json.dumps({"steps": ["Open " * 50]}), "249 characters"),
        ("{" * 60_000, "no complete JSON object"),
        ('{"a":' * 10_000, "no complete JSON object"),
        ('{"steps": ["' + "a" * 70_000 + '"]}', "the most is 64,000"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(answer: str, fault: str) -> None:
    with pytest.raises(MalformedAnswer, match=fault):
        read_steps(answer, 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["steps", "a"]), inner, max_size=2),
    max_leaves=8,
)


@given(answer=st.text(max_size=200) | JSON.map(json.dumps) | st.lists(st.text(), max_size=4).map(json.dumps))
@example('{"steps": ["\ud800a"]}')
def test_any_answer_gives_good_steps_or_the_named_error(answer: str) -> None:
    try:
        steps = read_steps(answer, 3)
    except MalformedAnswer:
        return
    assert 1 <= len(steps) <= 3
    assert all(step.isprintable() and 0 < len(step) <= 200 for step in steps)


def test_a_picture_is_reduced_and_never_enlarged() -> None:
    import numpy as np

    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, 320:] = 255
    small = scaled_down(frame, 64)
    assert small.shape == (48, 64, 3)
    assert small[:, :30].max() < 30
    assert small[:, 34:].min() > 225
    assert scaled_down(frame, 640) is frame
    assert scaled_down(np.zeros((4, 4000, 3), np.uint8), 100).shape == (1, 100, 3)
    assert as_data_url(small).startswith("data:image/jpeg;base64,/9j/")
    for bad in (frame.astype(np.float32), frame[..., 0], np.zeros((0, 4, 3), np.uint8), None):
        with pytest.raises(InvalidFrame, match="uint8 array"):
            checked_frame(bad)


def test_impossible_settings_are_refused() -> None:
    wrong = {"most_steps": 0, "repairs": 11, "time_limit": float("nan"), "answer_tokens": 1, "picture_side": 5}
    for name, value in wrong.items():
        with pytest.raises(InvalidInput, match=name):
            PlannerSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://host/v1", "http://", "http://a:b@host/", "http://host:99999/", "http://h/?a=1",
     "http://h/\r\nX: y", "http://h/a b", "http://hö/", None, 7],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"http://127\.0\.0\.1:8000/v1"):
        parse_address(url)
