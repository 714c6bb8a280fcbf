from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from small_episodes import write_episodes

from ksgen_models.mini.reader import ReaderNetwork, Seen, parts_of
from ksgen_models.training.episodes import read_episodes
from ksgen_models.training.train_reader import CELL, ReaderBatches

COLOURS = ("red", "blue", "green", "white")
COLOURED = tuple(f"{colour} {kind}" for kind in ("ball", "block") for colour in COLOURS)
OBJECTS = (*COLOURED, "lower board", "upper board", "lamp")


def test_names_are_taken_apart_where_colours_share_a_kind():
    kinds, colours, parts = parts_of(OBJECTS)
    assert kinds == ("ball", "block", "lower board", "upper board", "lamp")
    assert colours == COLOURS
    assert parts[OBJECTS.index("blue block")] == (1, 1)
    assert parts[OBJECTS.index("lamp")] == (4, len(colours))


def test_a_thing_is_there_where_one_cell_shows_its_kind_and_its_colour():
    network = ReaderNetwork(8, 2, OBJECTS)
    kind, colour = torch.full((1, 5, 4, 4), -8.0), torch.full((1, 4, 4, 4), -8.0)
    for cell, (of_kind, of_colour) in {(0, 1): (0, 0), (2, 3): (1, 1)}.items():  # a red ball, a blue block
        kind[0, of_kind, *cell], colour[0, of_colour, *cell] = 8.0, 8.0
    kind[0, 4, 3, 3] = 8.0  # a lamp, of no colour in particular
    nothing = torch.zeros(1)
    logits = network.objects(Seen(nothing, kind, colour, nothing, nothing))[0]
    assert {name for name, logit in zip(OBJECTS, logits.tolist(), strict=True) if logit > 0} == {
        "red ball",
        "blue block",
        "lamp",
    }
    assert logits.isfinite().all()
    kind.requires_grad_(True)
    network.objects(Seen(nothing, kind, colour, nothing, nothing)).sum().backward()
    assert kind.grad is not None
    assert kind.grad.isfinite().all()


def test_training_says_in_which_cell_each_thing_is(tmp_path):
    episodes = read_episodes(write_episodes(tmp_path))
    batches = ReaderBatches(episodes, ("KSGen/StackBlocks-v0",), ("blue block", "red block"))
    batch = batches(np.random.default_rng(0), 16)
    side = batch.picture.shape[-1] // CELL
    assert not len(batch.places) or batch.places[:, 1:3].max() < side
    assert set(batch.places[:, 0].tolist()) <= set(np.flatnonzero(batch.workbench.numpy()))
    # Things in the middle of the picture are in its middle cells, wherever the picture was shifted to.
    held = replace(episodes[1], centres=np.full_like(episodes[1].centres, 0.5))
    found = replace(batches, episodes=[held] * 4)(np.random.default_rng(1), 32)
    assert len(found.places) == int(found.workbench.sum()) * len(held.objects)
    assert (found.places[:, 1:3] - side // 2).abs().max() <= 1
