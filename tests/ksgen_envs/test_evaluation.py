"""Which instructions an imaginer is asked to tell apart."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ksgen_agent"))

from blob_parts import TASK, make_frame, make_parts

from ksgen_agent import Agent
from ksgen_envs.evaluation import _paired
from ksgen_envs.instruction_pairs import evaluate_pairs
from ksgen_envs.scene_store import SceneStore
from ksgen_models.errors import InvalidInput, UnknownTask


class Refuser:
    """An imaginer that knows no task, and remembers what it was asked."""

    spec = None

    def __init__(self):
        self.asked = []

    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        raise UnknownTask(task, ())

    def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False):
        self.asked.append(task)
        raise UnknownTask(task, ())
        yield


@pytest.mark.parametrize("task", ["KSGen/StackBlocks-v0", "KSGen/SortObjects-v0"])
def test_both_instructions_of_a_pair_name_what_comes_first(task):
    imaginer = Refuser()
    pairs = list(evaluate_pairs(imaginer, [task], range(500, 503)))
    assert len(pairs) == 3
    wanted = [target for pair in pairs for target in pair.wanted]
    for sentence, target in zip(imaginer.asked, wanted, strict=True):
        assert target.split()[0] in sentence.replace(",", "").replace(":", "").split()
    assert all(first != second for first, second in (pair.wanted for pair in pairs))
    assert not any(pair.followed for pair in pairs)  # who imagines nothing follows nothing


def test_a_pair_needs_two_orders():
    assert list(evaluate_pairs(Refuser(), ["KSGen/StoreInDrawer-v0"], range(500, 501))) == []


def test_candidates_reach_an_imaginer_that_knows_them_and_no_other(tmp_path):
    class Picky(Refuser):
        spec = SimpleNamespace(preset="picky")

        def imagine(self, frame, task, *, seed=0, candidates=1):
            self.asked.append(candidates)
            raise UnknownTask(task, ())

        def imagine_stream(self, frame, task, *, seed=0, candidates=1):
            yield from ()

    picky = Picky()
    with pytest.raises(UnknownTask):
        SceneStore(tmp_path, "picky", 3).imagination(picky, "KSGen/StackBlocks-v0", 500)
    assert picky.asked == [3]
    refuser = Refuser()
    refuser.spec = picky.spec
    with pytest.raises(InvalidInput, match="candidates is 3"):
        SceneStore(tmp_path, "picky", 3).imagination(refuser, "KSGen/StackBlocks-v0", 500)


class Elsewhere:
    """Imagines the same of every frame, with as many candidates as are asked for."""

    def __init__(self, agent):
        self.agent, self.spec, self.calls = agent, agent.spec, 0

    def imagine(self, frame, task, *, seed=0, candidates=1):
        self.calls += 1
        return self.agent.imagine(make_frame(), TASK, seed=seed, candidates=candidates)

    def imagine_stream(self, frame, task, *, seed=0, candidates=1):
        yield from ()


def test_an_imagination_is_kept_until_its_imaginer_is_another(tmp_path):
    calls = []
    for doubt in (0.0, 0.0, 0.1, 0.1):
        with Agent("mini", parts=make_parts(doubt=doubt)) as agent:
            imaginer = Elsewhere(agent)
            kept = SceneStore(tmp_path, "mini").imagination(imaginer, "KSGen/StackBlocks-v0", 500)
        assert kept.steps[0].provenance["doubt"] == doubt
        calls.append(imaginer.calls)
    assert calls == [1, 0, 1, 0]


def test_imaginations_of_more_candidates_are_kept_apart(tmp_path):
    with Agent("mini", parts=make_parts()) as agent:
        imaginer = Elsewhere(agent)
        for candidates in (1, 2, 1, 2):
            kept = SceneStore(tmp_path, "mini", candidates).imagination(imaginer, "KSGen/StackBlocks-v0", 500)
            assert kept.steps[0].provenance["candidates"] == candidates
    assert imaginer.calls == 2
    assert {folder.name for folder in (tmp_path / "generated").iterdir()} == {"mini", "mini-2-candidates"}


def test_steps_are_paired_by_what_they_move():
    def pair(imagined, demonstrated):
        steps = [SimpleNamespace(description=sentence) for sentence in imagined]
        true = [SimpleNamespace(target=target, description=f"Move the {target}") for target in demonstrated]
        return [(step.description, demonstrated[place]) for step, place in _paired(steps, true)]

    swapped = pair(["Put the red ball away", "Put the blue block away"], ["blue block", "red ball"])
    assert swapped == [("Put the blue block away", "blue block"), ("Put the red ball away", "red ball")]
    drawer = ["Open the drawer", "Put the ball into the drawer", "Close the drawer"]
    assert pair(drawer, ["drawer", "red block", "drawer"]) == list(
        zip(drawer, ["drawer", "red block", "drawer"], strict=True)
    )
    assert pair(["Open the drawer"], ["drawer", "red ball"]) == [("Open the drawer", "drawer")]
