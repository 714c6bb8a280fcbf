"""The planner: retrieval, adaptation to words and frame, confidence, and what it refuses."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ksgen_envs.wordings import TASK_WORDINGS
from ksgen_models.assets import SENTENCE_ENCODER, is_present
from ksgen_models.errors import InvalidInput, InvalidTask, KSGenError, UnknownTask
from ksgen_models.library import WORKBENCH, Library, Procedure
from ksgen_models.library.vectors import embed_sentences, sentences_of
from ksgen_models.planner import RetrievalPlanner, SceneReading, default_library, is_workbench
from ksgen_models.planner.stacking import pairs_said, tower_said
from ksgen_models.planner.words import Mention, checked_task, mentions
from ksgen_models.text import MiniLM

pytestmark = pytest.mark.skipif(not is_present(SENTENCE_ENCODER), reason="run `ksgen-agent assets`")

FRAME = np.zeros((32, 32, 3), np.uint8)
TASKS = json.loads((Path(__file__).parent / "data" / "planner_tasks.json").read_text())


class KnownScene:
    """A reader that was told what the frame shows."""

    def __init__(self, scene: str, objects: tuple[str, ...], sizes: dict[str, float] | None = None) -> None:
        known = (*objects, "red block", "blue block", "white ball", "red peg", "drawer", "knob", "button")
        probabilities = {name: 0.95 if name in objects else 0.02 for name in known}
        self.reading = SceneReading({scene: 0.96}, probabilities, sizes or {})

    def read(self, frame: NDArray[np.uint8]) -> SceneReading:
        return self.reading


class Remembering:
    """The real encoder; the library's wordings, which every planner embeds, are embedded once for all tests."""

    def __init__(self, encoder: MiniLM) -> None:
        self.dimension = encoder.dimension
        self.embed = lru_cache(maxsize=None)(encoder.embed)


@pytest.fixture(scope="module")
def encoder() -> Remembering:
    return Remembering(MiniLM())


@pytest.fixture(scope="module")
def planner(encoder: Remembering) -> RetrievalPlanner:
    return RetrievalPlanner(default_library(), encoder)


BLOCKS = KnownScene("StackBlocks", ("red block", "blue block", "green block"), {"blue block": 3.0, "red block": 2.0})
BINS = KnownScene("SortObjects", ("red ball", "red block", "cyan ball", "red bin", "cyan bin"))
DRAWER = KnownScene("StoreInDrawer", ("red ball", "drawer"))
PEGS = KnownScene("InsertPegs", ("red peg", "cyan peg", "red hole", "cyan hole"))
LAMP = KnownScene("SwitchOnLamp", ("knob", "button"))


def steps(encoder: Remembering, task: str, scene: KnownScene | None = None) -> tuple[str, ...]:
    return RetrievalPlanner(default_library(), encoder, scene).plan(FRAME, task).steps


def errors(planner: RetrievalPlanner, known: str, foreign: str) -> tuple[list[str], list[str], list[str]]:
    """Known tasks rejected, known tasks taken for another, foreign tasks accepted."""
    rejected, wrong = [], []
    for entry in TASKS[known]:
        procedure, similarity = planner.retrieve(entry["task"])[0]
        if similarity < planner.threshold:
            rejected.append(entry["task"])
        elif procedure.id != entry["procedure"]:
            wrong.append(entry["task"])
    return rejected, wrong, [task for task in TASKS[foreign] if planner.retrieve(task)[0][1] >= planner.threshold]


# The threshold was chosen on "known" and "foreign"; the "fresh" lists were written afterwards. The "everyday" lists
# were written after the library had grown, and run once: plays on the library's own words ("mop up the enemy") are
# among their foreign tasks.
@pytest.mark.parametrize(
    ("prefix", "missed", "taken"), [("", 0.04, 0.05), ("fresh_", 0.04, 0.05), ("everyday_", 0.1, 0.12)]
)
def test_known_tasks_are_known_and_foreign_ones_are_not(
    planner: RetrievalPlanner, prefix: str, missed: float, taken: float
) -> None:
    known, foreign = f"{prefix}known", f"{prefix}foreign"
    rejected, wrong, accepted = errors(planner, known, foreign)
    assert len(rejected) + len(wrong) <= missed * len(TASKS[known]), (rejected, wrong)
    assert len(accepted) <= taken * len(TASKS[foreign]), accepted


SIMULATOR_KINDS = {
    "shelf": "AssembleShelf", "stack": "StackBlocks", "sort": "SortObjects", "store": "StoreInDrawer",
    "pegs": "InsertPegs", "lamp": "SwitchOnLamp",
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(TASK_WORDINGS))
def test_every_instruction_of_the_simulator_is_understood(planner: RetrievalPlanner, kind: str) -> None:
    start = kind.split("_")[0]
    names = {"pegs": "the pink peg", "sort": "the cyan ball", "store": "the black cylinder"}
    pairs = {"stack": "white on pink, then black on white", "sort": "the cyan ball into the cyan bin"}
    fields = {
        "names": names.get(start, ""),
        "pairs": pairs.get(start, ""),
        "full_pairs": "the white block on the pink block, then the black block on the white block",
        "sequence": "pink at the bottom, then white, then black",
    }
    for wording in TASK_WORDINGS[kind]:
        task = wording.format(**fields)
        procedure, similarity = planner.retrieve(task)[0]
        assert procedure.scene == SIMULATOR_KINDS[start], task
        assert similarity >= planner.threshold, task
        if kind == "stack_order":
            expected = ("Put the white block on the pink block", "Put the black block on the white block")
            assert planner.plan(FRAME, task).steps == expected


def workbench_tasks() -> list[str]:
    """Every wording of the Workbench tasks that this project knows of: library, simulator, lists."""
    fields = {
        "names": "the pink peg",
        "pairs": "white on pink, then black on white",
        "full_pairs": "the white block on the pink block, then the black block on the white block",
        "sequence": "pink at the bottom, then white, then black",
    }
    own = {procedure.id: procedure for procedure in default_library().procedures if procedure.domain == WORKBENCH}
    listed = [entry["task"] for key in ("known", "fresh_known") for entry in TASKS[key] if entry["procedure"] in own]
    spoken = [sentence for procedure in own.values() for sentence in procedure.sentences()]
    return [*listed, *spoken, *(words.format(**fields) for kind in TASK_WORDINGS.values() for words in kind)]


def test_everyday_procedures_do_not_change_what_is_retrieved_for_workbench_tasks(
    planner: RetrievalPlanner, encoder: Remembering
) -> None:
    procedures = default_library().procedures
    alone = RetrievalPlanner(Library(tuple(p for p in procedures if p.domain == WORKBENCH)), encoder)
    tasks = workbench_tasks()
    assert len(tasks) > 400
    for task in tasks:
        (found, similarity), (expected, own) = planner.retrieve(task)[0], alone.retrieve(task)[0]
        assert found == expected, task
        assert similarity == pytest.approx(own, abs=1e-5)


def test_everyday_procedures_do_not_crowd_a_workbench_procedure_out(encoder: Remembering) -> None:
    # Six procedures are nearer to the task than the drawer's, but the frame shows the drawer.
    workbench = tuple(procedure for procedure in default_library().procedures if procedure.domain == WORKBENCH)
    task = "put the red ball away in the drawer please"
    nearer = tuple(Procedure(f"own-{n}", task + "!" * n, (), ("Do it",)) for n in range(6))
    planner = RetrievalPlanner(Library(workbench + nearer), encoder, DRAWER)
    assert all(procedure.id.startswith("own-") for procedure, _ in planner.retrieve(task))
    plan = planner.plan(FRAME, task)
    assert is_workbench(plan)
    assert plan.steps[0] == "Open the drawer"
    assert len(plan.evidence) == planner.k


def test_the_stored_vectors_are_the_encoders_own(encoder: Remembering) -> None:
    sentences = sentences_of(default_library())
    asked: list[str] = []

    class Counting:
        dimension = encoder.dimension

        def embed(self, some: tuple[str, ...]) -> NDArray[np.float32]:
            asked.extend(some)
            return encoder.embed(some)

    vectors = embed_sentences((*sentences, "a sentence that is not stored"), Counting())
    # Whoever changes the step files runs `python -m ksgen_models.library.vectors`.
    assert len(asked) < 10
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)
    some = [*range(0, len(sentences), 60), len(sentences)]
    exact = encoder.embed(tuple((*sentences, "a sentence that is not stored")[at] for at in some))
    assert np.abs(vectors[some] - exact).max() < 1e-3


def test_another_encoder_is_not_mixed_with_stored_vectors() -> None:
    class Other:
        dimension = 384

        def embed(self, some: tuple[str, ...]) -> NDArray[np.float32]:
            return np.tile(np.eye(1, 384, dtype=np.float32), (len(some), 1))

    assert (embed_sentences(sentences_of(default_library())[:20], Other())[:, 0] == 1.0).all()


def test_the_lists_of_tasks_are_not_the_library_itself() -> None:
    wordings = {text.lower() for procedure in default_library().procedures for text in procedure.sentences()}
    assert len(TASKS["known"]) >= 60 <= len(TASKS["foreign"])
    asked = [entry["task"] for entry in TASKS["known"] + TASKS["fresh_known"] + TASKS["everyday_known"]]
    assert not [task for task in asked if task.lower() in wordings]


@pytest.mark.parametrize("task", ["assemble shelf", "assemble the shelf", "put together that small rack"])
def test_a_shelf_has_four_steps(planner: RetrievalPlanner, task: str) -> None:
    plan = planner.plan(FRAME, task)
    assert plan.steps == (
        "Stand the left upright in the base",
        "Stand the right upright in the base",
        "Lay the lower board across the uprights",
        "Lay the upper board on top of the uprights",
    )
    assert plan.confidence > 0.9
    assert plan.evidence[0].task == "assemble the shelf"
    assert plan.evidence[0].similarity > plan.evidence[1].similarity
    assert is_workbench(plan)


@pytest.mark.parametrize("task", ["assemble the shelf, right side first", "build the shelf starting on the right"])
def test_the_words_choose_the_side(encoder: Remembering, task: str) -> None:
    assert steps(encoder, task)[0] == "Stand the right upright in the base"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("stack red on blue, then green on red", ["red blue", "green red"]),
        ("build a tower with blue at the bottom, then red, then green", ["red blue", "green red"]),
        ("build a tower with green on top, red in the middle and blue at the bottom", ["red blue", "green red"]),
        ("stack the pink cube on top of the small white one", ["pink white"]),
        ("stack red on blue on green", ["blue green", "red blue"]),
        ("put the violet block on the teal block", ["purple cyan"]),
        ("put the red block under the blue one", ["blue red"]),
        ("stack the blocks from top to bottom green, red, blue", ["red blue", "green red"]),
    ],
)
def test_the_words_order_the_tower(encoder: Remembering, task: str, expected: list[str]) -> None:
    pairs = [pair.split() for pair in expected]
    assert list(steps(encoder, task)) == [f"Put the {upper} block on the {lower} block" for upper, lower in pairs]


def test_the_frame_orders_the_tower_when_the_words_do_not(encoder: Remembering) -> None:
    expected = ("Put the red block on the blue block", "Put the green block on the red block")
    assert steps(encoder, "stack the blocks", BLOCKS) == expected
    assert steps(encoder, "build a tower from the blocks with the red block on top", BLOCKS)[-1].startswith(
        "Put the red"
    )


def test_a_tower_that_rests_on_itself_is_refused(planner: RetrievalPlanner) -> None:
    with pytest.raises(InvalidTask, match="rests on itself"):
        planner.plan(FRAME, "stack red on blue, then blue on red")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("tidy the red ball away into its bin", ["red ball red"]),
        ("sort the objects by colour", ["red ball red", "red block red", "cyan ball cyan"]),
        ("put all the balls into their bins", ["red ball red", "cyan ball cyan"]),
        ("put everything red in the red bin", ["red ball red", "red block red"]),
        ("sort the objects into the bins except the red ball", ["red block red", "cyan ball cyan"]),
        ("move the red ball to the cyan bin", ["red ball cyan"]),
        ("put the cyan ball and the red block into their bins", ["cyan ball cyan", "red block red"]),
    ],
)
def test_sorting(encoder: Remembering, task: str, expected: list[str]) -> None:
    moves = [move.split() for move in expected]
    sentences = tuple(f"Put the {colour} {kind} into the {bin_colour} bin" for colour, kind, bin_colour in moves)
    assert steps(encoder, task, BINS) == sentences


def test_the_drawer_is_opened_and_closed_around_what_goes_in(encoder: Remembering) -> None:
    around = ("Open the drawer", "Put the {} into the drawer", "Close the drawer")
    for task, scene, name in (
        ("store the object in the drawer", DRAWER, "red ball"),
        ("store the object in the drawer", None, "object"),
        ("put the yellow cylinder in the drawer", None, "yellow cylinder"),
        ("put the pen in the drawer", None, "pen"),
    ):
        assert steps(encoder, task, scene) == tuple(step.format(name) for step in around)
    assert steps(encoder, "please open the drawer") == ("Open the drawer",)


def test_pegs(encoder: Remembering) -> None:
    assert steps(encoder, "insert the pegs", PEGS) == (
        "Put the red peg into the red hole",
        "Put the cyan peg into the cyan hole",
    )
    assert steps(encoder, "put the cyan peg in its hole", PEGS) == ("Put the cyan peg into the cyan hole",)
    assert steps(encoder, "put the red peg into the blue hole") == ("Put the red peg into the blue hole",)


def test_the_lamp_in_either_order(encoder: Remembering) -> None:
    turn, press = "Turn the knob to the right", "Press the button"
    assert steps(encoder, "turn on the light") == (turn, press)
    assert steps(encoder, "press the button, then turn the knob") == (press, turn)
    assert steps(encoder, "switch on the lamp, the button first", LAMP) == (press, turn)


@pytest.mark.parametrize(
    "task",
    ["stack the blocks", "sort the objects", "store the object in the drawer", "insert the pegs", "switch on the lamp"],
)
def test_general_tasks_have_steps_without_a_reader(planner: RetrievalPlanner, task: str) -> None:
    plan = planner.plan(FRAME, task)
    assert plan.steps
    assert not any("{" in step for step in plan.steps)


def test_confidence_falls_when_the_frame_shows_something_else(encoder: Remembering) -> None:
    def confidence(task: str, scene: KnownScene) -> float:
        return RetrievalPlanner(default_library(), encoder, scene).plan(FRAME, task).confidence

    assert confidence("stack the blocks", BLOCKS) > 0.8
    assert confidence("stack the blocks", LAMP) < 0.1
    assert confidence("put the red ball into the red bin", BINS) > 0.8
    assert confidence("put the white ball into the red bin", BINS) < confidence("put the red ball in its bin", BINS)
    assert confidence("make a cup of tea", LAMP) < 0.1


def test_the_frame_decides_between_bin_and_drawer(encoder: Remembering) -> None:
    assert steps(encoder, "put the red ball away", DRAWER)[0] == "Open the drawer"
    assert steps(encoder, "put the red ball away", BINS) == ("Put the red ball into the red bin",)


def test_everyday_tasks_are_planned_and_marked(planner: RetrievalPlanner) -> None:
    plan = planner.plan(FRAME, "fry me an egg")
    assert plan.steps[0] == "Heat oil in the pan"
    assert not is_workbench(plan)


def test_an_unknown_task_names_the_nearest(planner: RetrievalPlanner) -> None:
    with pytest.raises(UnknownTask) as caught:
        planner.plan(FRAME, "file my taxes")
    assert len(caught.value.nearest) == 3
    assert caught.value.nearest[0][1] >= caught.value.nearest[2][1]
    assert "file my taxes" in str(caught.value)


@pytest.mark.parametrize(
    "task", ["", "  \n ", "a" * 2001, "stack\x00blocks", "\x1b[31mstack", 7, None, b"stack", "?!", "\ud800a"]
)
def test_what_is_no_task_is_refused(planner: RetrievalPlanner, task: object) -> None:
    with pytest.raises(InvalidTask):
        planner.plan(FRAME, task)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(task=st.text(max_size=200))
@example("stack " + "red on blue " * 100)
@example("put the red ball " * 100)
def test_any_text_gives_a_plan_or_a_named_error(planner: RetrievalPlanner, task: str) -> None:
    try:
        plan = planner.plan(FRAME, task)
    except KSGenError:
        return
    assert plan.steps
    assert 0.0 <= plan.confidence <= 1.0


WORDS = (
    *("stack", "put", "the", "red", "blue", "green", "block", "ball", "peg", "bin", "hole", "drawer"),
    *("on", "in", "its", "and", "then", ",", "top", "bottom", "under", "except", "all"),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=14), at=st.integers(0, 4))
def test_any_order_of_known_words_is_understood_or_refused(encoder: Remembering, words: list[str], at: int) -> None:
    scene = (BLOCKS, BINS, DRAWER, PEGS, LAMP)[at]
    planner = RetrievalPlanner(default_library(), encoder, scene)
    try:
        plan = planner.plan(FRAME, " ".join(words))
    except KSGenError:
        return
    assert plan.steps
    assert len(set(plan.steps)) == len(plan.steps)


def test_a_plan_repeats_exactly(encoder: Remembering) -> None:
    task = "put the black cylinder where it belongs"
    plans = [RetrievalPlanner(default_library(), made).plan(FRAME, task) for made in (encoder, Remembering(MiniLM()))]
    assert plans[0] == plans[1]


def test_impossible_settings_are_refused(encoder: Remembering) -> None:
    for library, k, threshold in ((Library(()), 5, 0.5), (default_library(), 0, 0.5), (default_library(), 5, 1.5)):
        with pytest.raises(InvalidInput):
            RetrievalPlanner(library, encoder, k=k, threshold=threshold)


def test_words() -> None:
    assert mentions("the red and blue blocks") == [Mention("red", "block"), Mention("blue", "block")]
    assert mentions("the red ball and the blue one") == [Mention("red", "ball"), Mention("blue", "ball")]
    assert mentions("Everything GREEN, in its bin!") == [Mention("green", ""), Mention("", "bin")]
    assert pairs_said("stack the blocks") == []
    assert tower_said("the red and the blue block") == []
    assert checked_task("  stack \n the\tblocks ") == "stack the blocks"
