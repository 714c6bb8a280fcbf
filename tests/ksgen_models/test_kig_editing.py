"""Instruction-editing pipelines as a KIG: chained edits on tiny checkpoints, and what is kept of the picture before."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_kig
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ksgen_models.errors import Cancelled, InvalidFrame, PresetError, WeightsMissing
from ksgen_models.hub.kig.editing import EditingImageGenerator, Holding, hold_still
from ksgen_models.hub.kig.families import EDITORS, GENERATORS, find_family, prompt_of
from ksgen_models.hub.kig.loading import load_image_generator

SMALL = {"area": 32 * 32, "solver_steps": 2}
STEPS = ("Place the shelf board on the two brackets.", "Take the red block")


@pytest.fixture(scope="module")
def kontext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_kig.save_tiny_kontext(tmp_path_factory.mktemp("kontext") / "checkpoint")


@pytest.fixture(scope="module")
def frame() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:45, 0:61]
    return np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=-1).astype(np.uint8)


def load(folder: Path, **more: object) -> EditingImageGenerator:
    generator = load_image_generator(folder, changes=SMALL, **more)  # type: ignore[arg-type]
    assert isinstance(generator, EditingImageGenerator)
    return generator


def test_edits_are_chained_and_repeat_themselves(kontext: Path, frame: NDArray[np.uint8]) -> None:
    generator = load(kontext, hold_still=False)
    pictures = generator.draw(frame, STEPS, seed=5)
    assert pictures.shape == (3, *frame.shape)
    assert pictures.dtype == np.uint8
    assert (pictures[0] == frame).all()
    assert (generator.draw(frame, STEPS, seed=5) == pictures).all()
    assert (generator.draw(frame, STEPS, seed=6)[1:] != pictures[1:]).any()
    # Picture 2 hangs on picture 1, and on what step 1 says through it alone.
    assert (generator.draw(frame, ("a photo", STEPS[1]), seed=5)[2] != pictures[2]).any()


def test_it_stops_between_solver_steps(kontext: Path, frame: NDArray[np.uint8]) -> None:
    asked = 0

    def stop_at_the_fifth_question() -> None:
        nonlocal asked
        asked += 1
        if asked == 5:  # the second edit's first solver step
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        load(kontext).draw(frame, STEPS, seed=5, check_cancelled=stop_at_the_fifth_question)
    assert asked == 5


def test_bad_input_and_checkpoints_are_named(kontext: Path, frame: NDArray[np.uint8], tmp_path: Path) -> None:
    generator = load(kontext)
    with pytest.raises(InvalidFrame):
        generator.draw(frame[..., 0], STEPS, seed=1)
    with pytest.raises(PresetError, match="no KIG adapter"):
        load_image_generator(kontext, tmp_path)
    halved = shutil.copytree(kontext, tmp_path / "halved")
    shutil.rmtree(halved / "transformer")
    with pytest.raises(WeightsMissing, match="transformer"):
        load(halved)
    with pytest.raises(PresetError, match="FluxKontextPipeline"):
        find_family("StableDiffusionPipeline")


@pytest.mark.slow  # the pipeline looks at every picture at a megapixel
def test_qwen_image_edit_draws(frame: NDArray[np.uint8], tmp_path: Path) -> None:
    generator = load(tiny_kig.save_tiny_qwen_edit(tmp_path / "checkpoint"), hold_still=False)
    pictures = generator.draw(frame, STEPS, seed=5)
    assert pictures.shape == (3, *frame.shape)
    assert (pictures[1] != pictures[2]).any()
    assert (generator.draw(frame, STEPS[:1], seed=5) == pictures[:2]).all()


def test_every_family_is_told_the_step_and_that_it_is_done() -> None:
    for family in (*GENERATORS.values(), *EDITORS.values()):
        told = prompt_of(family, "Put {the cup} on the shelf. ")
        assert told.startswith("Put {the cup} on the shelf")
        assert "right after" in told
        assert ".." not in told


def test_what_an_edit_leaves_alone_stays_byte_by_byte() -> None:
    random = np.random.default_rng(0)
    before = random.integers(40, 200, (120, 160, 3)).astype(np.uint8)
    edited = (before + random.normal(0, 3, before.shape) + (6, -4, 5)).clip(0, 255).astype(np.uint8)  # noise and a tone
    edited[40:70, 50:90] = (250, 20, 20)
    held = hold_still(edited, before, Holding())
    assert np.abs(held[45:65, 55:85].astype(int) - (244, 24, 15)).max() <= 2  # the new thing, with the tone taken back
    outside = np.ones((120, 160), bool)
    outside[30:80, 40:100] = False
    assert (held[outside] == before[outside]).all()


def test_a_new_scene_is_not_held() -> None:
    before = np.zeros((40, 40, 3), np.uint8)
    edited = np.random.default_rng(0).integers(0, 256, (5, 5, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    assert (hold_still(edited, before, Holding()) == edited).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_holding_takes_every_size_and_keeps_equals(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    assert (hold_still(picture, picture, Holding()) == picture).all()
