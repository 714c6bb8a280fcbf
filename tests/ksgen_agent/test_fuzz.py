"""Junk on the wire, by the hundred thousand: property-based, and led by what it reaches in the code."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksgen_agent.fake_server import make_key_step
from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import Blob, join, view_array
from ksgen_agent.wire.key_steps import pack_key_step, pack_plan, unpack_key_step, unpack_plan
from ksgen_models.errors import KSGenError
from ksgen_models.types import Evidence, Plan

MESSAGES = int(os.environ.get("KSGEN_FUZZ_MESSAGES", "3000"))
"""How many each fuzzer tries in the slow tests; a hundred thousand take some minutes each."""
KINDS = 7  # messages that are spoiled in the same way each time
KNOWN = wire.FROM_CLIENT | wire.FROM_SERVER
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)


def seeds():
    """The frames of one good message of each kind that carries something; small, so that many can be tried."""
    key_step = make_key_step(0, "push the block", side=4, frames=2)
    step, pieces = pack_key_step("a", key_step)
    frame = key_step.image
    submit = wire.Submit("a", "push the block", Blob("raw", "uint8", frame.shape, 0, frame.nbytes))
    plan = Plan("push", ("push the block",), 0.9, "clauses", (Evidence("push", ("push it",), 0.8, "blobs"),))
    done = wire.Done("a", 1, pack_plan(plan))
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


@dataclass(frozen=True)
class Harm:
    """What is done to a message: fields that get other values, bytes of the header that change, and both ends cut."""

    fields: dict
    places: list
    end: int | None
    body: int | None

    def do(self, header, body):
        values = msgpack.unpackb(header)
        if self.fields:
            header = msgpack.packb(values | self.fields)
        changed = bytearray(header)
        for place, value in self.places:
            changed[place % len(changed)] = value
        return bytes(changed[: self.end]), body[: self.body]


NAMES = sorted({field.name for kind in KNOWN.values() for field in fields(kind)} | {"v", "type", "x"})
harms = st.builds(
    Harm,
    fields=st.dictionaries(st.sampled_from(NAMES), plain, max_size=3),
    places=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=4),
    end=st.none() | st.integers(0, 1500),
    body=st.none() | st.just(7),
)


def check(good, harm):
    """Anything but a message or one of the project's own errors fails the test."""
    for header, body in good:
        head, rest = harm.do(header, body)
        with contextlib.suppress(KSGenError):
            read(head, memoryview(rest))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(harm=harms)
def test_a_spoiled_message_is_refused_or_still_sound(good, harm):
    check(good, harm)


@pytest.mark.slow
@settings(max_examples=MESSAGES // KINDS + 1, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(harm=harms)
def test_so_are_many_thousand(good, harm):
    assert len(good) == KINDS
    check(good, harm)


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
    arguments = [str(corpus), f"-runs={MESSAGES}", "-seed=1", "-max_len=8192", f"-artifact_prefix={tmp_path}/"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert f"Done {MESSAGES} runs" in ended.stderr
