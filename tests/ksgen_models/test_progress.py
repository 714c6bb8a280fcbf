"""How far the work is: verdicts, what became undone, what is left to do."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from ksgen_models.errors import InvalidInput, TaskDone
from ksgen_models.library import default_library
from ksgen_models.mini.config import TINY
from ksgen_models.mini.progress import ProgressNetwork
from ksgen_models.planner.adapt import adapt
from ksgen_models.planner.perception import SceneReading
from ksgen_models.progress import StepVerdict, left_to_do, since, weighed_in_order
from ksgen_models.scores import step_agreement
from ksgen_models.training.progress_data import things_in
from ksgen_models.types import Plan

STEPS = ("Open the drawer", "Put the red ball into the drawer", "Close the drawer")


def verdicts(*done):
    return tuple(StepVerdict.of(step, p, 1.0) for step, p in zip(STEPS, done, strict=True))


def test_a_verdict_is_as_sure_as_its_probability():
    sure, unsure, done = verdicts(0.02, 0.4, 0.9)
    assert [one.state for one in (sure, unsure, done)] == ["not done", "not done", "done"]
    assert [one.confidence for one in (sure, unsure, done)] == pytest.approx([0.98, 0.6, 0.9])


def test_sets_of_steps_that_begin_the_plan_are_likelier():
    assert weighed_in_order((0.9, 0.4, 0.9))[1] > 0.5, "the third is done, so the second hardly is not"
    assert weighed_in_order((0.1, 0.6, 0.1))[1] < 0.3, "the first is not done, so the second hardly is"
    assert weighed_in_order((0.01, 0.99, 0.02))[1] > 0.8, "sure enough of another order"
    assert weighed_in_order((0.3,)) == pytest.approx((0.3,))
    assert min(weighed_in_order((0.9,) * 12)) > 0.85
    assert weighed_in_order(()) == ()


def test_undone_is_what_was_done_and_is_not_any_more():
    now = since(verdicts(0.9, 0.8, 0.1), verdicts(0.95, 0.1, 0.2))
    assert [one.state for one in now] == ["done", "undone", "not done"]
    assert now[1].confidence == pytest.approx(0.8 * 0.9)
    with pytest.raises(InvalidInput, match="same steps"):
        since(verdicts(0.9, 0.8, 0.1)[:2], verdicts(0.9, 0.8, 0.1))


def test_what_is_done_leaves_the_plan():
    plan = Plan("put the red ball away", STEPS, 0.9, "retrieval")
    left = left_to_do(plan, verdicts(0.98, 0.1, 0.6))
    assert (left.done, left.steps) == (STEPS[:1], STEPS[1:])
    assert left_to_do(plan, verdicts(0.1, 0.1, 0.1)) == plan
    with pytest.raises(TaskDone, match="every step") as caught:
        left_to_do(plan, verdicts(0.99, 0.96, 0.97))
    assert caught.value.steps == STEPS
    assert caught.value.confidence == pytest.approx(0.96)


def test_agreement_asks_for_the_step_and_for_nothing_else():
    assert step_agreement([0, 0, 0], [1, 0, 0], 0) == 1
    assert step_agreement([0, 0, 0], [0, 1, 0], 0) == 0, "another step was done"
    assert step_agreement([0, 0, 0], [1, 1, 0], 0) == 0, "two steps at once"
    assert step_agreement([1, 0, 0], [0, 1, 0], 1) == 0, "the step before was undone"
    assert step_agreement([1, 0, 0], [1, 0, 0], 0) == 0, "it was done before"
    assert 0 < step_agreement([0, 0], [0.5, 0.1], 0) < 0.5


def test_things_are_told_by_colour_and_kind_in_order():
    assert things_in("Take the Green block and put it on the red block") == ("green block", "red block")
    assert things_in("Put the lower board on top") == ()


@pytest.mark.parametrize(
    ("on", "tower"),
    [
        ({}, ["red", "blue", "green"]),
        ({("green block", "red block"): 0.9}, ["red", "green", "blue"]),
        ({("red block", "green block"): 0.9, ("blue block", "red block"): 0.2}, ["green", "red", "blue"]),
    ],
)
def test_a_tower_that_was_begun_is_gone_on_with(on, tower):
    blocks = {f"{colour} block": 0.9 for colour in ("blue", "green", "red")}
    sizes = {"red block": 3.0, "blue block": 2.0, "green block": 1.0}
    (procedure,) = (one for one in default_library().procedures if one.id == "stack-blocks")
    steps = adapt(procedure, "stack the blocks", SceneReading({"StackBlocks": 1.0}, blocks, sizes, on)).steps
    assert steps == tuple(f"Put the {a} block on the {b} block" for b, a in pairwise(tower))


def test_sentences_know_of_each_other_where_they_are_asked_together_and_only_there():
    torch.manual_seed(0)
    network = ProgressNetwork(TINY.progress).eval()
    for parameter in network.parameters():  # what starts at zero would hide a leak
        torch.nn.init.normal_(parameter, std=0.3)
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    tokens, mask = torch.randn(1, 3, 5, 384), torch.ones(1, 3, 5, dtype=torch.bool)
    other = tokens.clone()
    other[:, 2] = torch.randn(5, 384)
    for together, same in ((torch.eye(3, dtype=torch.bool), True), (torch.ones(3, 3, dtype=torch.bool), False)):
        first, second = (network(picture, asked, mask, together[None]).done for asked in (tokens, other))
        assert torch.allclose(first[:, :2], second[:, :2], atol=1e-5) == same
    turned = torch.tensor([2, 0, 1])
    whole = torch.ones(1, 3, 3, dtype=torch.bool)
    straight = network(picture, tokens, mask, whole).done
    assert torch.allclose(network(picture, tokens[:, turned], mask, whole).done, straight[:, turned], atol=1e-4)


def test_what_sentences_say_of_a_training_picture():
    from ksgen_models.training.progress_data import Work, Works
    from ksgen_models.training.train_progress import SENTENCES, ProgressBatches, changed_cells

    texts = ("Put the red block on the blue block", "Put the green block on the red block", "red block", "pink block")
    pictures = tuple(cv2.imencode(".png", np.full((64, 64, 3), grey, np.uint8))[1] for grey in (0, 40, 80))
    changes = np.zeros((2, 64, 64), np.bool_)
    changes[0, 16:24, 32:40] = True
    sizes = {"red block": 0.04, "blue block": 0.05, "green block": 0.03}
    scene = "KSGen/StackBlocks-v0"
    work = Work(scene, pictures, changes, (0, 1), frozenset(sizes), sizes)
    said = {(scene, things_in(text)): (index,) for index, text in enumerate(texts[:2])}
    works = Works((work,), texts, tuple(map(things_in, texts)), said, (2, 3))
    batches = ProgressBatches(works, torch.zeros(4, 5, 384), torch.ones(4, 5, dtype=torch.bool), np.array([0]))
    assert changed_cells(work, 0, np.zeros(2, np.int64)).max() == pytest.approx(0.25), "a quarter of one cell"
    seen = set()
    for seed in range(30):
        batch = batches(np.random.default_rng(seed), 4)
        assert batch.truth.shape == (4, SENTENCES, 3)
        seen |= {tuple(row) for row in batch.truth.flatten(0, 1).tolist()}
    assert {(0.0, 1.0, 1.0), (1.0, 1.0, 1.0)} <= seen, "steps done and not done; the upper block is the smaller"
    assert {(-1.0, 1.0, -1.0), (-1.0, 0.0, -1.0)} <= seen, "names of things that are there and that are not"
