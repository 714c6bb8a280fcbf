"""Junk on the wire, by the hundred thousand: property-based, and led by what it reaches in the code."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from blob_parts import TASK, make_frame, make_parts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksgen_agent import Agent
from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import Blob, join, view_array
from ksgen_agent.wire.key_steps import pack_key_step, pack_plan, unpack_key_step, unpack_plan
from ksgen_models.errors import KSGenError

MESSAGES = int(os.environ.get("KSGEN_FUZZ_MESSAGES", "3000"))
"""How many each fuzzer sends in the slow tests; a hundred thousand take twenty minutes each."""
KNOWN = wire.FROM_CLIENT | wire.FROM_SERVER
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)


def seeds():
    """The frames of one good message of each kind that carries something."""
    with Agent("blobs", parts=make_parts()) as agent:
        imagination = agent.imagine(make_frame(32, 48, row=12, column=4), TASK)
    frame = imagination.frame
    step, pieces = pack_key_step("a", imagination.steps[0])
    submit = wire.Submit("a", TASK, Blob("raw", "uint8", frame.shape, 0, frame.nbytes))
    done = wire.Done("a", 3, pack_plan(imagination.plan))
    heads = [wire.Hello(), wire.Ping(3), wire.Cancel("a"), wire.Error("a", "busy", "later", {"retry_after": 1.0})]
    return [
        (codec.encode(step), bytes(join(pieces))),
        (codec.encode(submit), frame.tobytes()),
        (codec.encode(done), b""),
        *((codec.encode(head), b"") for head in heads),
    ]


def read(header, body):
    """Take it for a message, as either side would."""
    message = codec.decode(header, KNOWN)
    if isinstance(message, wire.Submit):
        view_array(message.frame, body)
    elif isinstance(message, wire.Step):
        unpack_key_step(message, body)
    elif isinstance(message, wire.Done):
        unpack_plan(message)


@pytest.fixture(scope="module")
def good():
    return seeds()


def spoil(data, header, body):
    """A message that is like a good one, but for some of its bytes or values."""
    if data.draw(st.booleans()):
        values = msgpack.unpackb(header)
        for name in data.draw(st.lists(st.sampled_from([*values, "x"]), max_size=3)):
            values[name] = data.draw(plain)
        header = msgpack.packb(values)
    places = st.tuples(st.integers(0, len(header) - 1), st.integers(0, 255))
    changed = bytearray(header)
    for place, value in data.draw(st.lists(places, max_size=4)):
        changed[place] = value
    end = data.draw(st.none() | st.integers(0, len(header)))
    return bytes(changed[:end]), body[: data.draw(st.none() | st.just(7))]


def check(good, data):
    """Anything but a message or one of the project's own errors fails the test."""
    header, body = spoil(data, *data.draw(st.sampled_from(good)))
    with contextlib.suppress(KSGenError):
        read(header, memoryview(body))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_spoiled_message_is_refused_or_still_sound(good, data):
    check(good, data)


@pytest.mark.slow
@settings(max_examples=MESSAGES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_so_are_many_thousand(good, data):
    check(good, data)


@pytest.mark.slow
def test_a_fuzzer_led_by_coverage_finds_no_crash(good, tmp_path):
    pytest.importorskip("atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, (header, body) in enumerate(good):
        # The reader takes its own choices from the end of the data: two flags, and the header's length.
        size = len(header).to_bytes(2, "little")
        (corpus / f"{number}").write_bytes(header + body + b"\x01" + size + bytes([number % 2]))
    script = Path(__file__).with_name("fuzz_wire.py")
    arguments = [str(corpus), f"-runs={MESSAGES}", "-seed=1", "-max_len=65536", f"-artifact_prefix={tmp_path}/"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert f"Done {MESSAGES} runs" in ended.stderr
