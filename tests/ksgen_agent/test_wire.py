"""The wire: nothing is lost, nothing hostile gets through, nothing is copied."""

import dataclasses

import msgpack
import numpy as np
import pytest
from blob_parts import TASK, make_frame, make_parts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ksgen_agent import Agent, KSGenError, LowConfidence, ProtocolError, ServerBusy, UnknownTask
from ksgen_agent.wire import codec, failures
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import ALIGNMENT, join, lay_out, raw, view_array
from ksgen_agent.wire.key_steps import pack_key_step, pack_plan, unpack_key_step, unpack_plan


@pytest.fixture(scope="module")
def imagination():
    with Agent("blobs", parts=make_parts()) as agent:
        return agent.imagine(make_frame(), TASK, seed=11)


def assert_same(first, second):
    for field in dataclasses.fields(first):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if dataclasses.is_dataclass(one):
            assert_same(one, two)
        elif isinstance(one, np.ndarray):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)
        else:
            assert one == two


def send(step, **options):
    message, pieces = pack_key_step("job", step, **options)
    return codec.decode(codec.encode(message), wire.FROM_SERVER), memoryview(join(pieces))


def test_a_key_step_arrives_bit_by_bit(imagination):
    for step in imagination.steps:
        assert_same(unpack_key_step(*send(step)), step)


def test_a_plan_arrives_with_its_evidence(imagination):
    message = wire.Done("job", 3, pack_plan(imagination.plan), {"total": 1.0})
    assert unpack_plan(codec.decode(codec.encode(message), wire.FROM_SERVER)) == imagination.plan


def test_arrays_are_neither_copied_on_the_way_out_nor_on_the_way_in(imagination):
    step = imagination.steps[0]
    _, pieces = pack_key_step("job", step)
    assert any(np.shares_memory(np.frombuffer(piece, np.uint8), step.clip) for piece in pieces if piece.nbytes)
    message, body = send(step)
    received = unpack_key_step(message, body)
    assert np.shares_memory(received.clip, np.frombuffer(body, np.uint8))
    assert not received.clip.flags.writeable


def test_pictures_can_travel_as_png_without_loss_and_clips_as_mp4(imagination):
    step = imagination.steps[0]
    message, body = send(step, images="png", clip="mp4")
    received = unpack_key_step(message, body)
    assert np.array_equal(received.image, step.image)
    assert received.clip.shape == step.clip.shape
    assert np.abs(received.clip.astype(int) - step.clip).mean() < 12
    assert body.nbytes < send(step)[1].nbytes / 2


def test_an_mp4_of_odd_sides_keeps_its_declared_shape():
    with Agent("blobs", parts=make_parts()) as agent:
        step = agent.imagine(make_frame(97, 129), "push the block").steps[0]
    assert unpack_key_step(*send(step, clip="mp4")).clip.shape == (8, 97, 129, 3)


ARRAYS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4),
    st.one_of(
        *(
            hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
            for dtype in (np.uint8, np.bool_, np.float32)
        )
    ),
    max_size=5,
)


@given(ARRAYS)
def test_any_arrays_survive_a_body(arrays):
    blobs, pieces = lay_out({name: raw(array) for name, array in arrays.items()})
    body = memoryview(join(pieces)) if pieces else memoryview(b"")
    for name, array in arrays.items():
        assert blobs[name].offset % ALIGNMENT == 0
        np.testing.assert_array_equal(view_array(blobs[name], body), array)


def header(**changes):
    blob = ["raw", "uint8", [32, 32, 3], 0, 3072]
    return {"v": 1, "type": "submit", "id": "a", "task": "t", "frame": blob, **changes}


def test_the_header_that_the_bad_ones_are_made_of_is_good():
    message = codec.decode(msgpack.packb(header()), wire.FROM_CLIENT)
    assert message.frame.shape == (32, 32, 3)
    assert message.seed == 0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"type": "step"}, "type"),
        ({"type": ["submit"]}, "type"),
        ({"id": ""}, "id"),
        ({"id": "x" * 65}, "id"),
        ({"id": 7}, "id"),
        ({"task": "x" * 4001}, "task"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"deadline": float("nan")}, "deadline"),
        ({"allow_out_of_domain": 1}, "allow_out_of_domain"),
        ({"candidates": 0}, "candidates"),
        ({"candidates": 65}, "candidates"),
        ({"least_trust": 1.1}, "least_trust"),
        ({"images": "gif"}, "images"),
        ({"start": 10**6}, "start"),
        ({"frame": None}, "frame"),
        ({"frame": ["raw", "object", [1], 0, 8]}, "frame"),
        ({"frame": ["raw", "uint8", [32, 32, 3], 0, 3071]}, "3071"),
        ({"frame": ["raw", "uint8", [2**40, 2**40, 3], 0, 3072]}, "3072"),
        ({"frame": ["raw", "uint8", [-32, -32, 3], 0, 3072]}, "frame"),
        ({"frame": ["raw", "uint8", [1] * 6, 0, 1]}, "shape"),
        ({"frame": ["raw", "uint8", [32, 32, 3], -1, 3072]}, "frame"),
        ({"frame": ["raw", "uint8", [32.0, 32, 3], 0, 3072]}, "frame"),
        ({"frame": [["raw"], "uint8", [32, 32, 3], 0, 3072]}, "frame"),
    ],
)
def test_bad_headers_are_refused_with_what_was_wrong(changes, word):
    with pytest.raises(ProtocolError, match=word):
        codec.decode(msgpack.packb(header(**changes)), wire.FROM_CLIENT)


def test_a_missing_field_is_named():
    values = header()
    del values["task"]
    with pytest.raises(ProtocolError, match="task is missing"):
        codec.decode(msgpack.packb(values), wire.FROM_CLIENT)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\xdf\xff\xff\xff\xff",  # a map that says it has four thousand million entries
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffabc",
        b"\x91" * 5000,  # nested deeper than any parser should follow
        msgpack.packb([1, 2]),
        msgpack.packb({1: 2}),
        msgpack.packb(header(x=msgpack.ExtType(5, b"object"))),
        msgpack.packb(header(x=b"raw bytes")),
        b"\x00" * (codec.MOST_HEADER_BYTES + 1),
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",  # a pickle
    ],
)
def test_what_is_no_header_is_refused(frame):
    with pytest.raises(ProtocolError):
        codec.decode(frame, wire.FROM_CLIENT)
    assert codec.peek_id(frame) == "" or isinstance(codec.peek_id(frame), str)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    sorted({f.name for k in (*wire.FROM_CLIENT.values(), *wire.FROM_SERVER.values()) for f in dataclasses.fields(k)})
)
KNOWN = {**wire.FROM_CLIENT, **{f"server {name}": kind for name, kind in wire.FROM_SERVER.items()}}


@settings(max_examples=400)
@given(st.sampled_from(sorted(KNOWN)), st.dictionaries(FIELDS, JUNK, max_size=6), st.binary(max_size=200))
@example("submit", {"frame": ["raw", "bool", [], 0, 1]}, b"")
def test_junk_is_a_message_or_a_protocol_error_and_nothing_else(name, values, noise):
    kind = KNOWN[name]
    for frame in (msgpack.packb({"v": 1, "type": kind.TYPE, "id": "a", **values}), noise):
        try:
            message = codec.decode(frame, {kind.TYPE: kind})
        except ProtocolError:
            continue
        codec.encode(message)
        if isinstance(message, wire.Error):
            assert isinstance(failures.to_exception(message), KSGenError)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_key_step_that_was_tampered_with_is_refused_or_still_sound(imagination, data):
    message, body = send(imagination.steps[0])
    name = data.draw(st.sampled_from(sorted(message.arrays)))
    blob = message.arrays[name]
    value = [blob.encoding, blob.dtype, list(blob.shape), blob.offset, blob.size]
    place = data.draw(st.integers(0, 4))
    value[place] = data.draw(JUNK | st.sampled_from([0, 1, 2**40, [], [0], [2**31], "bool", "float32", "png", "mp4"]))
    packed = msgpack.unpackb(codec.encode(message))
    packed["arrays"][name] = value
    cut = data.draw(st.sampled_from([body.nbytes, 0, 100]))
    try:
        received = codec.decode(msgpack.packb(packed), wire.FROM_SERVER)
        step = unpack_key_step(received, body[:cut])
    except KSGenError:
        return
    height, width = step.image.shape[:2]
    assert step.clip.shape[1:] == (height, width, 3)
    assert step.hands.keypoints.shape == (len(step.clip), 2, 21, 3)
    assert step.region_of_motion.predicted.shape == (height, width)


def test_a_bool_is_zero_or_one(imagination):
    message, body = send(imagination.steps[0])
    spoiled = bytearray(body)
    spoiled[message.arrays["observed"].offset] = 7
    with pytest.raises(ProtocolError, match="neither 0 nor 1"):
        unpack_key_step(message, memoryview(spoiled))


@pytest.mark.parametrize("value", [1.0, True, "1", None, [1]])
def test_what_only_looks_like_a_whole_number_is_refused_however_often_its_like_has_come(imagination, value):
    message, _ = send(imagination.steps[0])
    packed = msgpack.unpackb(codec.encode(message))
    packed["arrays"]["extra"] = ["raw", "uint8", [1], 0, 1]
    for _ in range(2):
        codec.decode(msgpack.packb(packed), wire.FROM_SERVER)
    packed["arrays"]["extra"] = ["raw", "uint8", [value], 0, 1]
    with pytest.raises(ProtocolError, match="arrays: extra"):
        codec.decode(msgpack.packb(packed), wire.FROM_SERVER)


@pytest.mark.parametrize("depth", [3, 500, 700, 1000])
def test_arrays_nested_however_deep_are_refused(imagination, depth):
    message, _ = send(imagination.steps[0])
    values = msgpack.unpackb(codec.encode(message)) | {"arrays": "here"}
    name = msgpack.packb("here")
    nested = msgpack.packb({"image": 0})[:-1] + b"\x91" * depth + b"\xc0"  # lists of one, and null in the last
    with pytest.raises(ProtocolError):
        codec.decode(msgpack.packb(values).replace(name, nested), wire.FROM_SERVER)


def test_bodies_that_are_laid_out_alike_share_their_layout(imagination):
    first, second = (send(step)[0].arrays for step in imagination.steps[:2])
    assert first is second
    assert first == pack_key_step("job", imagination.steps[0])[0].arrays


def test_object_arrays_do_not_travel(imagination):
    step = dataclasses.replace(imagination.steps[0], embedding=np.array([{}], object))
    with pytest.raises(ProtocolError, match="object"):
        pack_key_step("job", step)


def test_errors_keep_their_class_and_what_they_carry():
    def there_and_back(error):
        packed = codec.encode(failures.to_message("job", error))
        return failures.to_exception(codec.decode(packed, wire.FROM_SERVER))

    low = there_and_back(LowConfidence("unclear", score=0.2, threshold=0.5))
    assert (type(low), low.score, low.threshold) == (LowConfidence, 0.2, 0.5)
    unknown = there_and_back(UnknownTask("do my taxes", (("push", 0.25),)))
    assert (unknown.task, unknown.nearest) == ("do my taxes", (("push", 0.25),))
    assert there_and_back(ServerBusy("full", retry_after=1.5)).retry_after == 1.5
    assert "ZeroDivisionError" in str(there_and_back(ZeroDivisionError("by zero")))


def test_every_error_class_has_a_code_of_its_own_or_is_a_plain_failure():
    for kind, code in failures._CODE_OF:
        assert code in wire.ERROR_CODES
        assert failures._CLASS_OF[code] is kind
