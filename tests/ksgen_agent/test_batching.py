"""Several imaginations at a time on one set of models: joined where that is possible, and none spoils another."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from blob_parts import TASK, BoxRegions, PushVideo, make_frame, make_parts
from serving import WAIT, until
from test_imagination import assert_same

from ksgen_agent import Agent, Cancelled
from ksgen_agent.batching import ModelCalls
from ksgen_models.interfaces import never_cancelled

MOST = 4


class Model:
    """Doubles numbers, several in a call; a call can be held between two solver steps."""

    def __init__(self):
        self.calls, self.solver_steps = [], 0
        self.go = threading.Event()
        self.began = threading.Semaphore(0)

    def double(self, numbers, *, check_cancelled):
        self.calls.append(list(numbers))
        self.began.release()
        while not self.go.wait(0.001):
            check_cancelled()
            self.solver_steps += 1
        if 13 in numbers:
            raise ValueError("13 cannot be doubled")
        return [2 * number for number in numbers]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def calls():
    with ThreadPoolExecutor(1) as executor:
        yield ModelCalls(executor, MOST)


@pytest.fixture
def model():
    model = Model()
    yield model
    model.go.set()


def ask(pool, calls, model, number, check=never_cancelled):
    return pool.submit(calls.together, model.double, number, check)


def ask_all(pool, calls, model, numbers, checks=None):
    """One call under way, and behind it these numbers, in their order."""
    first = ask(pool, calls, model, 0)
    assert model.began.acquire(timeout=WAIT)
    results = []
    for place, number in enumerate(numbers):
        results.append(ask(pool, calls, model, number, (checks or {}).get(number, never_cancelled)))
        until(lambda so_far=place + 1: calls.waiting == so_far, "its place in the queue")
    model.go.set()
    assert first.result(WAIT) == 0
    return results


def test_what_waits_together_is_done_together_and_everybody_gets_his_own(pool, calls, model):
    results = ask_all(pool, calls, model, [1, 2, 3, 4, 5])
    assert [result.result(WAIT) for result in results] == [2, 4, 6, 8, 10]
    assert model.calls == [[0], [1, 2, 3, 4], [5]]


def test_nobody_waits_for_company(pool, calls, model):
    model.go.set()
    assert ask(pool, calls, model, 7).result(WAIT) == 14
    assert model.calls == [[7]]


def test_one_that_fails_fails_alone(pool, calls, model):
    good, bad, other = ask_all(pool, calls, model, [1, 13, 3])
    assert (good.result(WAIT), other.result(WAIT)) == (2, 6)
    with pytest.raises(ValueError, match="13 cannot"):
        bad.result(WAIT)


def test_one_that_is_stopped_leaves_at_once_and_the_others_go_on(pool, calls, model):
    stop = threading.Event()

    def check():
        if stop.is_set():
            raise Cancelled("enough")

    results = ask_all(pool, calls, model, [1, 2], {2: check})
    assert [result.result(WAIT) for result in results] == [2, 4]
    model.go.clear()
    first = ask(pool, calls, model, 0)
    until(lambda: model.calls[-1] == [0], "a call that is under way")
    stayed, left = ask(pool, calls, model, 1), ask(pool, calls, model, 2, check)
    until(lambda: calls.waiting == 2, "both wait")
    stop.set()
    with pytest.raises(Cancelled, match="enough"):
        left.result(WAIT)
    assert not first.done()
    assert not stayed.done()
    model.go.set()
    assert stayed.result(WAIT) == 2
    assert model.calls[-1] == [1], "what nobody waits for is not begun"


def test_a_call_that_nobody_waits_for_ends_between_solver_steps(pool, calls, model):
    stops = [threading.Event(), threading.Event()]

    def check_of(stop):
        def check():
            if stop.is_set():
                raise Cancelled("enough")

        return check

    held = ask(pool, calls, model, 0, check_of(stops[0]))
    assert model.began.acquire(timeout=WAIT)
    behind = ask(pool, calls, model, 1)
    stops[0].set()
    with pytest.raises(Cancelled):
        held.result(WAIT)
    until(lambda: model.calls[-1] == [1], "the next call, for which the first one had to end")
    model.go.set()
    assert behind.result(WAIT) == 2


class JoinedVideo(PushVideo):
    """Draws several clips in a call, and notes how many."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def generate_many(self, steps, *, check_cancelled=never_cancelled):
        self.sizes.append(len(steps))
        return [self.generate(*step, check_cancelled=check_cancelled) for step in steps]


class JoinedRegions(BoxRegions):
    def predict_many(self, requests, *, check_cancelled=never_cancelled):
        return [self.predict(request, check_cancelled=check_cancelled) for request in requests]


def joined(video):
    return make_parts(video=video, regions=JoinedRegions(), batch=MOST)


def test_imaginations_that_share_calls_are_those_that_each_is_alone(pool):
    frames = [make_frame(column=10 + 5 * place) for place in range(6)]
    with Agent("blobs", parts=make_parts()) as agent:
        alone = [agent.imagine(frame, TASK, seed=seed) for seed, frame in enumerate(frames)]
    video = JoinedVideo()
    with Agent("blobs", parts=joined(video)) as agent:
        together = list(pool.map(lambda one: agent.imagine(one[1], TASK, seed=one[0]), enumerate(frames)))
    assert sum(video.sizes) == sum(len(one.steps) for one in alone)
    for one, other in zip(alone, together, strict=True):
        for step, own in zip(one.steps, other.steps, strict=True):
            assert_same(step, own)


def test_an_agent_that_is_closed_lets_everybody_go(pool):
    entered, hold = threading.Event(), threading.Event()

    class Held(JoinedVideo):
        def generate_many(self, steps, *, check_cancelled=never_cancelled):
            entered.set()
            while not hold.wait(0.001):
                check_cancelled()
            return super().generate_many(steps, check_cancelled=check_cancelled)

    agent = Agent("blobs", parts=joined(Held()))
    results = [pool.submit(agent.imagine, make_frame(), TASK, seed=seed) for seed in range(MOST)]
    assert entered.wait(WAIT)
    agent.close()
    for result in results:
        assert isinstance(result.exception(WAIT), Cancelled)


@pytest.mark.slow
def test_the_embedded_models_draw_the_same_bits_alone_and_together(pool):
    from ksgen_envs import TASKS, Workbench
    from ksgen_envs.offscreen import first_picture

    benches = [Workbench(name, 1_000_000) for name in sorted(TASKS)[:2]]
    scenes = [(first_picture(bench), bench.instruction.task, seed) for seed, bench in enumerate(benches)]
    with Agent("mini-fast") as agent:
        together = list(pool.map(lambda scene: agent.imagine(scene[0], scene[1], seed=scene[2]), scenes))
        alone = [agent.imagine(frame, task, seed=seed) for frame, task, seed in scenes]
    for one, other in zip(alone, together, strict=True):
        for step, own in zip(one.steps, other.steps, strict=True):
            assert np.array_equal(step.clip, own.clip)
            assert_same(step, own)
