"""The Skill Transformer's regions: what they are taught, and that only a step's own sentence moves them."""

import numpy as np
import pytest
import torch

from ksgen_models.mini.config import TINY
from ksgen_models.mini.key_step_model import KeyStepModel
from ksgen_models.training.train_key_step import changed, region_loss

SIDE = 2 * TINY.image_size // 16


def _pictures(*corners):
    """Grey pictures with a white square of two cells' side at each corner (in cells), 4 pixels a cell."""
    pictures = np.full((len(corners), 4 * SIDE, 4 * SIDE, 3), 120, np.uint8)
    for picture, (row, column) in zip(pictures, corners, strict=True):
        picture[4 * row : 4 * row + 8, 4 * column : 4 * column + 8] = 255
    return pictures


def test_a_step_changes_where_a_thing_was_and_where_it_is():
    cells = changed(_pictures((0, 0), (0, 0), (5, 7)), 3)
    assert cells.shape == (3, SIDE, SIDE)
    assert cells[0].sum() == 0  # nothing moved
    assert cells[1].sum() == 8
    assert cells[1, :2, :2].min() == 1
    assert cells[1, 5:7, 7:9].min() == 1
    assert cells[2].sum() == 0  # past the plan's end


def test_the_loss_prefers_the_truth_to_nothing_and_nothing_to_a_wrong_place():
    truth = torch.zeros(1, 16, 16)
    truth[0, 2:6, 2:6] = 1
    right = 20 * truth[None] - 10
    wrong = right.roll(8, -1)
    nothing = torch.full_like(right, -10)
    assert region_loss(right, truth) < 0.01 < region_loss(nothing, truth) < region_loss(wrong, truth)


def test_a_batch_without_text_costs_nothing():
    assert region_loss(torch.zeros(2, 0, 4, 4), torch.zeros(0, 4, 4)) == 0


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = KeyStepModel(TINY).eval()
    with torch.no_grad():  # as built, attention adds nothing to anything
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return model


@torch.inference_mode()
def test_words_past_the_end_of_a_sentence_change_nothing(model):
    frame = torch.rand(1, 3, 4 * SIDE, 4 * SIDE) * 2 - 1
    tokens = torch.randn(1, 2, 6, 384)
    mask = torch.ones(1, 2, 6, dtype=torch.bool)
    mask[0, 1, 3:] = False
    skills = model.skills(frame, tokens, mask)
    tokens[0, 1, 3:] = 7.0
    again = model.skills(frame, tokens, mask)
    assert skills.change.shape == skills.motion.shape == (1, 1, 2, SIDE, SIDE)
    assert torch.equal(skills.change, again.change)
    assert torch.equal(skills.tokens, again.tokens)


@torch.inference_mode()
def test_another_sentence_points_elsewhere(model):
    frame = torch.rand(1, 3, 4 * SIDE, 4 * SIDE) * 2 - 1
    tokens = torch.randn(2, 1, 6, 384)
    mask = torch.ones(2, 1, 6, dtype=torch.bool)
    skills = model.skills(frame.expand(2, -1, -1, -1), tokens, mask)
    assert not torch.allclose(skills.change[:, 0], skills.change[:, 1])
