"""What a caller of `Agent` sees: results, order, overlap, stopping, failure."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
from blob_parts import BLOCK, TASK, ColourTracker, PushVideo, find_colour, make_frame, make_parts

import ksgen_agent
from ksgen_agent import (
    Agent,
    Cancelled,
    Imaginer,
    InvalidInput,
    KSGenError,
    LowConfidence,
    PresetError,
    SubgoalTimeout,
    UnknownTask,
)
from ksgen_models.interfaces import never_cancelled
from ksgen_models.scores import ALWAYS_SCORED

WAIT = 20  # seconds after which a test that would hang fails instead


def test_imagine_gives_every_step_of_the_plan():
    with Agent("blobs", parts=make_parts()) as agent:
        imagination = agent.imagine(make_frame(), "  push the block\tthen push it again ", seed=3)
    assert imagination.task == "push the block then push it again"
    assert [step.description for step in imagination.steps] == list(imagination.plan.steps)
    assert [step.index for step in imagination.steps] == [0, 1]
    first, second = imagination.steps
    assert np.array_equal(first.image, imagination.frame)
    assert np.array_equal(first.goal, second.image)
    assert first.clip.shape == (8, 96, 128, 3)
    assert first.hands.valid[1:, 1].all()
    assert first.region_of_motion.observed.any()
    assert tuple(first.scores) == ALWAYS_SCORED
    assert first.scores["hand_rate"] == pytest.approx(7 / 8)
    assert first.scores["background_psnr"] == 60
    assert first.scores["goal_agreement"] > 0.9
    assert first.embedding.shape == (384,)


def test_provenance_says_where_a_step_comes_from():
    with Agent("blobs", parts=make_parts()) as agent:
        step = agent.imagine(make_frame(), "push the block", seed=7).steps[0]
    assert step.provenance["preset"] == "blobs"
    assert step.provenance["seed"] == 7
    assert step.provenance["prompt"] == "push the block"
    assert step.provenance["models"] == {"blobs/push": "0" * 64}
    assert step.provenance["packages"]["numpy"] == np.__version__
    assert 0.5 < step.provenance["domain_score"] <= 1


def test_timings_cover_every_stage():
    with Agent("blobs", parts=make_parts()) as agent:
        imagination = agent.imagine(make_frame(), TASK)
    timings = imagination.timings
    assert {"check", "domain", "plan", "key_step_images", "first_step", "total"} <= set(timings)
    assert set(imagination.step_timings(2)) == {"region", "clip", "hands", "scores"}
    assert all(value >= 0 for value in timings.values())
    assert timings["first_step"] <= timings["total"]


def test_same_seed_same_result_other_seed_another():
    with Agent("blobs", parts=make_parts()) as agent:
        one, two, three = (agent.imagine(make_frame(), TASK, seed=seed) for seed in (5, 5, 6))
        streamed = list(agent.imagine_stream(make_frame(), TASK, seed=5))
    for a, b, c in zip(one.steps, two.steps, streamed, strict=True):
        assert np.array_equal(a.clip, b.clip)
        assert np.array_equal(a.clip, c.clip)
        assert a.scores == b.scores == c.scores
    assert any(not np.array_equal(a.clip, b.clip) for a, b in zip(one.steps, three.steps, strict=True))


class ThirdTime(PushVideo):
    """Draws the push in the third candidate only."""

    def generate(self, request, region, *, check_cancelled=never_cancelled):
        clip = super().generate(request, region, check_cancelled=check_cancelled)
        return clip if request.candidate == 2 else np.stack([request.image] * len(clip))


def test_the_clip_to_be_trusted_most_is_kept_of_each_step():
    with Agent(parts=make_parts(video=ThirdTime())) as agent:
        one, three = (agent.imagine(make_frame(), TASK, candidates=number) for number in (1, 3))
        again = agent.imagine(make_frame(), TASK, candidates=3)
    assert [step.provenance["candidate"] for step in three.steps] == [2, 2, 2]
    assert all(step.scores["hand_rate"] > 0.5 for step in three.steps)
    assert all(step.scores["hand_rate"] == 0 for step in one.steps)
    assert all(np.array_equal(a.clip, b.clip) for a, b in zip(three.steps, again.steps, strict=True))


def test_a_step_that_cannot_be_trusted_ends_the_imagination():
    with Agent(parts=make_parts(video=ThirdTime())) as agent:
        stream = agent.imagine_stream(make_frame(), TASK, candidates=2, least_trust=0.5)
        with pytest.raises(LowConfidence, match="best of 2 clips") as caught:
            next(stream)
        assert caught.value.score < 0.5 == caught.value.threshold
        assert len(agent.imagine(make_frame(), TASK, candidates=3, least_trust=0.5).steps) == 3


class SecondTime(PushVideo):
    """Draws the push of some steps in their second candidate only, and counts what it draws."""

    def __init__(self, late, before=None):
        super().__init__(before)
        self.late, self.drawn = late, []

    def generate(self, request, region, *, check_cancelled=never_cancelled):
        clip = super().generate(request, region, check_cancelled=check_cancelled)
        self.drawn.append((request.index, request.candidate))
        still = request.index in self.late and request.candidate == 0
        return np.stack([request.image] * len(clip)) if still else clip


@pytest.mark.parametrize("late", [{0}, {1}, {2}, {0, 1, 2}, set()])
def test_a_step_whose_clip_is_doubted_is_drawn_once_more_and_no_other(late):
    video = SecondTime(late)
    with Agent(parts=make_parts(video=video, doubt=0.3)) as agent:
        steps = agent.imagine(make_frame(), TASK).steps
    assert [step.index for step in steps] == [0, 1, 2]
    assert [step.provenance["candidate"] for step in steps] == [int(index in late) for index in range(3)]
    assert all(step.scores["hand_rate"] > 0.5 for step in steps)
    assert sorted(video.drawn) == sorted([(index, 0) for index in range(3)] + [(index, 1) for index in late])


def test_a_doubted_step_is_drawn_a_third_time_and_not_a_fourth():
    with Agent(parts=make_parts(video=ThirdTime(), doubt=0.3)) as agent:
        steps = agent.imagine(make_frame(), TASK).steps
        assert [step.provenance["candidate"] for step in steps] == [2, 2, 2]
    video = SecondTime({0, 1, 2})
    with Agent(parts=make_parts(video=video, doubt=1.0)) as agent:  # nothing is good enough
        steps = agent.imagine(make_frame(), TASK).steps
        assert all(step.provenance["candidate"] > 0 for step in steps)
        assert sorted(video.drawn) == [(index, candidate) for index in range(3) for candidate in range(3)]
        with pytest.raises(LowConfidence, match="best of 3 clips"):
            agent.imagine(make_frame(), TASK, least_trust=1.0)


def test_where_a_second_clip_fails_the_first_arrives_before_the_failure():
    def before(request):
        if request.candidate == 1:
            raise RuntimeError("the solver diverged")

    with Agent(parts=make_parts(video=SecondTime({0}, before), doubt=0.3)) as agent:
        stream = agent.imagine_stream(make_frame(), TASK)
        assert next(stream).provenance["candidate"] == 0
        with pytest.raises(RuntimeError, match="diverged"):
            list(stream)


@pytest.mark.parametrize("choice", [{"candidates": 0}, {"candidates": 2.5}, {"least_trust": 1.5}, {"least_trust": "x"}])
def test_a_choice_of_candidates_that_makes_no_sense_is_refused(choice):
    with Agent(parts=make_parts()) as agent, pytest.raises(InvalidInput, match=next(iter(choice))):
        agent.imagine(make_frame(), TASK, **choice)


def test_a_step_arrives_while_the_next_is_still_being_drawn():
    first_received = threading.Event()

    def before(request):
        if request.index == 1:
            assert first_received.wait(WAIT), "step 0 was held back until step 1 existed"

    with Agent(parts=make_parts(video=PushVideo(before))) as agent:
        stream = agent.imagine_stream(make_frame(), TASK)
        assert next(stream).index == 0
        first_received.set()
        assert [step.index for step in stream] == [1, 2]


def test_extraction_overlaps_the_next_generation():
    meeting = threading.Barrier(2)  # the tracker on step k and the generator of step k + 1 must be here together
    clips = iter(range(3))

    def before_clip(request):
        if request.index > 0:
            meeting.wait(WAIT)

    def before_track():
        if next(clips) < 2:
            meeting.wait(WAIT)

    with Agent(parts=make_parts(video=PushVideo(before_clip), tracker=ColourTracker(before_track))) as agent:
        assert len(agent.imagine(make_frame(), TASK).steps) == 3


def test_closing_the_stream_stops_the_work():
    class Endless(PushVideo):
        def generate(self, request, region, *, check_cancelled=never_cancelled):
            while request.index == 1:
                check_cancelled()
            return super().generate(request, region, check_cancelled=check_cancelled)

    with Agent(parts=make_parts(video=Endless())) as agent:
        stream = agent.imagine_stream(make_frame(), TASK)
        assert next(stream).index == 0
        stream.close()
        assert len(agent.imagine(make_frame(), "push the block").steps) == 1  # nothing holds the models any more


def test_leaving_the_loop_early_is_enough():
    video = PushVideo()
    with Agent(parts=make_parts(video=video)) as agent:
        for step in agent.imagine_stream(make_frame(), TASK):
            assert step.index == 0
            break
        gc.collect()
        assert len(agent.imagine(make_frame(), "push the block").steps) == 1


@pytest.mark.parametrize("solver_step", [0, 2])
def test_cancel_is_honoured_between_solver_steps(solver_step):
    cancel = threading.Event()

    class Steps(list):
        def append(self, item):
            super().append(item)
            if item == (1, solver_step):
                cancel.set()

    video = PushVideo(solver_steps=Steps())
    with Agent(parts=make_parts(video=video)) as agent:
        with pytest.raises(Cancelled):
            agent.imagine(make_frame(), TASK, cancel=cancel)
        assert video.solver_steps[-1] == (1, solver_step)
        cancel.clear()
        assert len(agent.imagine(make_frame(), "push the block", cancel=cancel).steps) == 1


def test_a_deadline_that_passes_is_a_timeout():
    release = threading.Event()
    video = PushVideo(lambda request: release.wait(0.5))
    with Agent(parts=make_parts(video=video)) as agent, pytest.raises(SubgoalTimeout, match=r"0\.1 s"):
        agent.imagine(make_frame(), TASK, deadline=0.1)


@pytest.mark.parametrize("deadline", [0, -1, "soon", float("nan")])
def test_a_senseless_deadline_is_refused(deadline):
    with Agent(parts=make_parts()) as agent, pytest.raises(ksgen_agent.InvalidInput, match="deadline"):
        agent.imagine(make_frame(), TASK, deadline=deadline)


def test_a_failing_model_reaches_the_caller_after_the_finished_steps():
    def before(request):
        if request.index == 1:
            raise RuntimeError("the solver diverged")

    video = PushVideo(before)
    with Agent(parts=make_parts(video=video)) as agent:
        stream = agent.imagine_stream(make_frame(), TASK)
        assert next(stream).index == 0
        with pytest.raises(RuntimeError, match="diverged") as caught:
            next(stream)
        assert any("steps/1/clip" in note for note in caught.value.__notes__)
        video.before = None
        assert len(agent.imagine(make_frame(), TASK).steps) == 3


def test_a_failing_tracker_ends_the_generation_too():
    tracker = ColourTracker(lambda: 1 / 0)
    before = threading.active_count()
    with Agent(parts=make_parts(tracker=tracker)) as agent, pytest.raises(ZeroDivisionError):
        agent.imagine(make_frame(), TASK)
    assert threading.active_count() == before


def test_many_threads_share_one_agent():
    frames = [make_frame(column=10 + 4 * number) for number in range(6)]
    results = {}
    with Agent(parts=make_parts()) as agent:

        def work(number):
            results[number] = agent.imagine(frames[number], TASK, seed=number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        for number, frame in enumerate(frames):
            alone = agent.imagine(frame, TASK, seed=number)
            for a, b in zip(alone.steps, results[number].steps, strict=True):
                assert np.array_equal(a.clip, b.clip)


def test_a_stream_may_be_used_inside_another():
    with Agent(parts=make_parts()) as agent:
        for step in agent.imagine_stream(make_frame(), TASK):
            inner = agent.imagine(step.image, "push the block")
            assert find_colour(inner.frame, BLOCK)[1].min() == find_colour(step.image, BLOCK)[1].min()


def test_closing_the_agent_cancels_what_is_under_way():
    entered, leave = threading.Event(), threading.Event()

    def before(request):
        entered.set()
        leave.wait(WAIT)

    tracker = ColourTracker()
    agent = Agent(parts=make_parts(video=PushVideo(before), tracker=tracker))
    caught = []

    def work():
        try:
            agent.imagine(make_frame(), TASK)
        except KSGenError as exc:
            caught.append(exc)

    caller = threading.Thread(target=work)
    caller.start()
    assert entered.wait(WAIT)
    closing = threading.Thread(target=agent.close)
    closing.start()
    leave.set()
    caller.join(WAIT)
    closing.join(WAIT)
    assert isinstance(caught[0], Cancelled)
    agent.close()
    assert tracker.closed == 1
    with pytest.raises(KSGenError, match="closed"):
        agent.imagine(make_frame(), TASK)


def test_a_stream_of_a_closed_agent_is_cancelled():
    with Agent(parts=make_parts()) as agent:
        stream = agent.imagine_stream(make_frame(), TASK)
    with pytest.raises(Cancelled):
        next(stream)


def test_a_stream_keeps_its_agent_alive():
    stream = Agent(parts=make_parts()).imagine_stream(make_frame(), TASK)
    gc.collect()
    assert len(list(stream)) == 3


def test_an_agent_that_is_dropped_frees_its_models():
    tracker = ColourTracker()
    agent = Agent(parts=make_parts(tracker=tracker))
    agent.imagine(make_frame(), TASK)
    del agent
    gc.collect()
    assert tracker.closed == 1


def test_the_frame_is_taken_as_it_was_at_the_call():
    frame = make_frame()
    with Agent(parts=make_parts()) as agent:
        stream = agent.imagine_stream(frame, "push the block")
        frame[:] = 0  # a camera's buffer is used again
        assert np.array_equal(next(stream).image, make_frame())


def test_an_unknown_task_names_the_nearest():
    with Agent(parts=make_parts()) as agent, pytest.raises(UnknownTask, match="push the block") as caught:
        agent.imagine(make_frame(), "file my taxes")
    assert caught.value.nearest == (("push the block", 0.12),)


def test_a_strange_frame_is_refused_unless_allowed():
    strange = make_frame()
    strange[:50] = np.random.default_rng(0).integers(0, 255, (50, 128, 3))
    with Agent(parts=make_parts()) as agent:
        with pytest.raises(LowConfidence, match="allow_out_of_domain") as caught:
            agent.imagine(strange, "push the block")
        assert 0 < caught.value.score < caught.value.threshold == 0.5
        step = agent.imagine(strange, "push the block", allow_out_of_domain=True).steps[0]
        assert step.provenance["domain_score"] == pytest.approx(caught.value.score)


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(PresetError, match='did you mean "mini"'):
        Agent.from_preset("mimi")
    with pytest.raises(PresetError, match="choose one of"):
        Agent("xyzzy")


def test_a_device_that_a_preset_cannot_use_is_named():
    with pytest.raises(PresetError, match='"mini" runs on cpu, not on "cuda:1"'):
        Agent("mini", device="cuda:1")


def test_the_agent_is_an_imaginer():
    with Agent("blobs", parts=make_parts()) as agent:
        assert isinstance(agent, Imaginer)
        assert agent.spec.preset == "blobs"
        assert agent.spec.fps == 8
        assert agent.spec.embedding_dimension == 384
        assert agent.spec.score_names == ALWAYS_SCORED


def test_every_public_name_is_there_and_the_import_is_light():
    for name in ksgen_agent.__all__:
        assert getattr(ksgen_agent, name).__name__ == name
    heavy = ("torch", "diffusers", "transformers", "mediapipe", "mujoco", "cv2", "PIL", "jinja2", "scipy", "gymnasium")
    code = (
        "import sys, ksgen_agent\n"
        "for name in ksgen_agent.__all__: getattr(ksgen_agent, name)\n"
        f"found = [name for name in {heavy} if name in sys.modules]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_every_error_can_be_imported_from_the_front():
    from ksgen_models import errors

    tree = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, KSGenError)]
    assert all(getattr(ksgen_agent, error.__name__) is error for error in tree)
