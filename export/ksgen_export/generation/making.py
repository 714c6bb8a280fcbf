"""How an item becomes an episode: one function for each kind of `ksgen_export.generation.options.EPISODES`.

Each opens what it needs once (models, environments) and then makes one episode after the other. What is measured of the
machine (timings) is left out of the episodes, so that the data set follows from the job alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ksgen_agent import Imaginer
from ksgen_agent.server.factories import make_imaginer
from ksgen_export.conversion import episode_of_demonstration, episode_of_imagination
from ksgen_export.episode import Episode
from ksgen_export.generation.frames import start_of
from ksgen_export.generation.items import Item
from ksgen_export.generation.options import GenerationOptions
from ksgen_models.errors import InvalidInput, LowConfidence, NoHandFound, OutOfReach, UnknownTask

REFUSALS = (UnknownTask, LowConfidence, NoHandFound, OutOfReach)
"""What models and robots say of an item that they cannot do, now or later; anything else may go well next time."""


@dataclass(frozen=True, eq=False)
class Made:
    """What came of an item.

    Attributes:
        episode: None where there is not even one frame.
        problem: why a robot did not do the task; empty where it did, and where there is no robot.
    """

    episode: Episode | None
    problem: str = ""


Maker = Callable[[Item], Made]
OpenImaginer = Callable[[], Imaginer]


@contextmanager
def open_maker(options: GenerationOptions) -> Iterator[tuple[Maker, Imaginer | None]]:
    """What makes the episodes that the options ask for, and the imaginer behind it.

    Raises:
        KSGenError: the imaginer or the policy cannot be loaded.
    """
    with ExitStack() as stack:
        imaginer = stack.enter_context(open_imaginer(options)) if options.imagines else None
        yield stack.enter_context(_open(options, imaginer)), imaginer


@contextmanager
def open_imaginer(options: GenerationOptions) -> Iterator[Imaginer]:
    """The imaginer of the options; closed at the end where it can be."""
    imaginer = make_imaginer(options.imaginer, options.imaginer_options)
    try:
        yield imaginer
    finally:
        close = getattr(imaginer, "close", None)
        if close is not None:
            close()


def _open(options: GenerationOptions, imaginer: Imaginer | None) -> AbstractContextManager[Maker]:
    if options.episodes == "demonstration":
        return demonstrations(options)
    if options.episodes == "imagined":
        assert imaginer is not None
        return imaginations(options, imaginer)
    from ksgen_export.generation import rollouts

    if options.episodes == "true":
        return rollouts.expert(options)
    if options.episodes == "policy":
        return rollouts.trained(options, imaginer)
    assert imaginer is not None
    return rollouts.retargeted(options, imaginer)


@contextmanager
def imaginations(options: GenerationOptions, imaginer: Imaginer) -> Iterator[Maker]:
    """Imagines each item's task from its frame.

    Raises:
        InvalidInput: candidates are asked for of an imaginer that draws none.
    """

    choice: dict[str, Any] = {"candidates": options.candidates, "least_trust": options.least_trust}
    if options.candidates == 1 and not options.least_trust:
        choice = {}  # which every imaginer understands
    elif not set(choice) <= set(inspect.signature(imaginer.imagine).parameters):
        raise InvalidInput(
            f"the imaginer {options.imaginer!r} draws no candidates; give more seeds and a least score of trust"
        )

    def make(item: Item) -> Made:
        frame, task = start_of(item, options)
        imagination = imaginer.imagine(
            frame, task, seed=item.seed, allow_out_of_domain=options.allow_out_of_domain, **choice
        )
        return Made(_named(episode_of_imagination(replace(imagination, timings={})), item))

    yield make


@contextmanager
def demonstrations(options: GenerationOptions) -> Iterator[Maker]:
    """Lets the simulated person do each item's scene, with the item's seed for the motion."""
    from ksgen_envs.demonstrator import demonstrate

    def make(item: Item) -> Made:
        assert item.scene is not None
        shown = demonstrate(item.task, item.scene, item.seed, image_size=options.image_size)
        return Made(_named(episode_of_demonstration(shown), item))

    yield make


def _named(episode: Episode, item: Item) -> Episode:
    """The episode with a record of what it was asked for."""
    return replace(episode, record={**episode.record, "item": item.as_dict()})
