"""Frames, tasks and seeds as users get them wrong, one by one."""

import numpy as np
import pytest
from blob_parts import make_frame, make_parts
from PIL import Image

from ksgen_agent import Agent, InvalidFrame, InvalidInput, InvalidTask, read_frame
from ksgen_agent.frames import WORKING_SIDE, check_frame, check_task


@pytest.fixture(scope="module")
def agent():
    with Agent(parts=make_parts()) as agent:
        yield agent


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (make_frame().astype(np.float32), r"float32 .*\[30, 200\].*uint8"),
        (make_frame() / 255, r"float64 .*\* 255"),
        (np.full((64, 64, 3), np.nan), "12288 values that are NaN"),
        (np.full((64, 64, 3), np.inf, np.float16), "NaN or infinite"),
        (make_frame().astype(np.int64), "int64"),
        (make_frame() > 100, "bool"),
        (make_frame().astype(object), "object"),
        (np.zeros((0, 64, 3), np.uint8), "empty"),
        (np.zeros((64, 0), np.uint8), "empty"),
        (np.zeros((1, 1, 3), np.uint8), "1 × 1"),
        (np.zeros((31, 64, 3), np.uint8), "64 × 31"),
        (np.zeros((64, 8193), np.uint8), "8193 × 64 pixels; both sides must be at most 8192"),
        (np.zeros((40, 8000), np.uint8), "too long and thin"),
        (np.zeros((64, 64, 2), np.uint8), r"\(64, 64, 2\)"),
        (np.zeros((3, 64, 64), np.uint8), "channels first"),
        (np.zeros((2, 64, 64, 3), np.uint8), r"\(2, 64, 64, 3\)"),
        (np.zeros(64, np.uint8), r"\(64,\)"),
        (np.uint8(4), "uint8"),
        (make_frame().tolist(), "builtins.list"),
        (None, "NoneType"),
        ("photo.jpg", "read_frame"),
        (b"\xff\xd8", "bytes"),
        (Image.new("I;16", (64, 64)), "I;16"),
        (Image.new("F", (64, 64)), "'F'"),
        (Image.new("RGB", (8, 8)), "8 × 8"),
    ],
)
def test_a_frame_that_cannot_be_used_is_named(agent, frame, message):
    with pytest.raises(InvalidFrame, match=message):
        agent.imagine(frame, "push the block")
    with pytest.raises(InvalidFrame, match=message):  # and before the first step is asked for
        agent.imagine_stream(frame, "push the block")


def test_sensible_frames_are_converted():
    frame = make_frame()
    grey = frame[..., 0]
    assert np.array_equal(check_frame(grey), np.repeat(grey[..., None], 3, axis=-1))
    assert np.array_equal(check_frame(grey[..., None]), np.repeat(grey[..., None], 3, axis=-1))
    assert np.array_equal(check_frame(np.dstack([frame, np.zeros_like(grey)])), frame)
    assert np.array_equal(check_frame(frame[::-1, ::-1]), frame[::-1, ::-1])
    assert np.array_equal(check_frame(Image.fromarray(frame)), frame)
    assert np.array_equal(check_frame(Image.fromarray(frame).convert("RGBA")), frame)
    assert np.array_equal(check_frame(Image.fromarray(grey)), np.repeat(grey[..., None], 3, axis=-1))
    fixed = frame.copy()
    fixed.flags.writeable = False
    assert check_frame(fixed).flags.writeable


def test_a_grayscale_camera_is_no_scene_these_models_know(agent):
    from ksgen_agent import LowConfidence

    with pytest.raises(LowConfidence):
        agent.imagine(make_frame()[..., 0], "push the block")


def test_an_8k_frame_is_brought_to_the_working_size():
    frame = np.zeros((4320, 7680, 3), np.uint8)
    frame[:, 3840:] = 200
    small = check_frame(frame)
    assert small.shape == (720, WORKING_SIDE, 3)
    assert small[300, 100, 0] == 0
    assert small[300, 1200, 0] == 200


def test_photos_are_read_upright(tmp_path):
    picture = Image.fromarray(make_frame())
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me 90° clockwise"
    turned.save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(read_frame(tmp_path / "photo.png"), make_frame())


def test_files_that_are_no_photos(tmp_path):
    (tmp_path / "notes.jpg").write_text("dear diary")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(make_frame()).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    Image.new("L", (9000, 64)).save(tmp_path / "wide.png")
    for name, message in (
        ("notes.jpg", "not a readable picture"),
        ("empty.png", "not a readable picture"),
        ("cut.png", "cut.png.*(readable|decoded)"),
        ("wide.png", "at most 8192"),
        ("missing.png", "no file"),
    ):
        with pytest.raises(InvalidFrame, match=message):
            read_frame(tmp_path / name)
    with pytest.raises(InvalidFrame):
        read_frame(tmp_path)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("", "no words"),
        (" \t\n", "no words"),
        ("?!…", "no words"),
        ("push " * 2000, "10000 characters"),
        ("push \ud800 it", "Unicode"),
        (b"push it", "bytes"),
        (None, "NoneType"),
        (["push"], "list"),
    ],
)
def test_a_task_that_cannot_be_used_is_named(agent, task, message):
    with pytest.raises(InvalidTask, match=message):
        agent.imagine(make_frame(), task)


def test_tasks_are_brought_to_one_form():
    assert check_task(" push\u00a0the\x00 \n block ") == "push the block"
    assert check_task("cafe\u0301") == "café"
    assert check_task("把红色方块推到右边") == "把红色方块推到右边"


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "7", None, True])
def test_a_seed_that_cannot_be_used_is_named(agent, seed):
    with pytest.raises(InvalidInput, match="seed"):
        agent.imagine(make_frame(), "push the block", seed=seed)


def test_numpy_seeds_are_fine(agent):
    assert agent.imagine(make_frame(), "push the block", seed=np.int64(3)).steps[0].provenance["seed"] == 3
