"""One imagination under way: two lines of work and the caller who waits for key steps.

The generation thread checks the domain, plans, draws the key-step images, and then, step by step, predicts the region
and draws the clip. Each clip goes to the extraction thread (hands, observed RoM, scores) while the generation thread
goes on with the next step. The caller gets a key step as soon as its own extraction is done; where that doubts what was
drawn, one more clip of the step is drawn between two others, and another one if that is doubted, too. Nothing here
waits for the caller, so a slow caller cannot hold up somebody else's imagination.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.control import StopSignal
from ksgen_agent.draft import Draft
from ksgen_models.errors import LowConfidence
from ksgen_models.interfaces import Parts, RegionPrediction, StepRequest, StepVerifier
from ksgen_models.progress import left_to_do
from ksgen_models.scores import score_step, step_agreement
from ksgen_models.types import HandTrack, KeyStep, Plan, RegionOfMotion

T = TypeVar("T")
_FURTHER = 2  # clips of a key step whose best one is doubted, drawn one after the other
_POLL = 0.05  # seconds between two looks at the stop signal while nothing arrives


@dataclass(frozen=True)
class Order:
    """What was asked for, checked.

    Attributes:
        frame: (H, W, 3) uint8.
        task: normalised.
        seed: in [0, 2**63).
        allow_out_of_domain: go on although the frame is of a kind the models do not know.
        candidates: clips drawn of each key step, of which the one to be trusted most is kept.
        least_trust: below which no clip is accepted, see `ksgen_models.scores.trust`.
        from_here: leave out the steps that the frame shows as done, where the preset sees progress.
        provenance: what is the same for every key step.
    """

    frame: NDArray[np.uint8]
    task: str
    seed: int
    allow_out_of_domain: bool
    candidates: int
    least_trust: float
    from_here: bool
    provenance: Mapping[str, Any]


class Run:
    """One imagination under way.

    Attributes:
        plan: the plan, as soon as it is written.
        timings: seconds by stage: ``check``, ``domain``, ``plan``, ``key_step_images``, ``steps/<k>/region``,
            ``steps/<k>/clip``, ``steps/<k>/hands``, ``steps/<k>/scores``, ``first_step`` and ``total``.
    """

    def __init__(
        self, parts: Parts, order: Order, stop: StopSignal, generation: Executor, extraction: Executor, check: float
    ) -> None:
        self.plan: Plan | None = None
        self.timings: dict[str, float] = {"check": check}
        self._parts = parts
        self._order = order
        self._stop = stop
        self._generation = generation
        self._extraction = extraction
        self._arrivals: queue.SimpleQueue[Future[KeyStep] | None] = queue.SimpleQueue()
        self._extractions: list[Future[Any]] = []
        self._unsettled: list[tuple[Draft, Future[bool]]] = []  # with whether nothing more is to be drawn

    def cancel(self) -> None:
        """Ask the work to end; whoever iterates over `steps` gets `Cancelled`."""
        self._stop.set()

    def steps(self) -> Generator[KeyStep, None, None]:
        """Yield the key steps in order; whichever way it ends, no work of this run goes on afterwards."""
        self._stop.check()
        began = time.perf_counter() - self.timings["check"]
        job = self._generation.submit(self._generate)
        try:
            while (arrival := self._await_arrival()) is not None:
                step = self._await_result(arrival)
                self.timings.setdefault("first_step", time.perf_counter() - began)
                yield step
            self.timings["total"] = time.perf_counter() - began
        finally:
            self._stop.set()
            job.cancel()
            wait([job])
            for extraction in self._extractions:
                extraction.cancel()
            wait(self._extractions)

    def _await_arrival(self) -> Future[KeyStep] | None:
        while True:
            self._stop.check()
            try:
                return self._arrivals.get(timeout=_POLL)
            except queue.Empty:
                continue

    def _await_result(self, arrival: Future[T]) -> T:
        while True:
            try:
                return arrival.result(timeout=_POLL)
            except NotYet:
                if arrival.done():  # the work itself raised a timeout
                    raise
            self._stop.check()

    def _generate(self) -> None:
        """The generation thread's work; its failure reaches the caller as the last arrival."""
        try:
            self._generate_steps()
        except BaseException as exc:
            failed: Future[KeyStep] = Future()
            failed.set_exception(exc)
            self._arrivals.put(failed)
            for draft, _ in self._unsettled:  # nothing more is drawn of them; what there is arrives before the failure
                self._extracting(draft.settle, 0.0, self._order.least_trust)
        finally:
            self._arrivals.put(None)

    def _generate_steps(self) -> None:
        parts, order, check = self._parts, self._order, self._stop.check
        check()
        with self._stage("domain"):
            domain = check_domain(parts, order.frame, order.allow_out_of_domain)
        check()
        with self._stage("plan"):
            plan = write_plan(parts, order.frame, order.task, order.from_here)
            embeddings = parts.sentence_encoder.embed(plan.steps)
        self.plan = plan
        check()
        with self._stage("key_step_images"):
            images = parts.image_generator.draw(order.frame, plan.steps, seed=order.seed, check_cancelled=check)
        provenance = {**order.provenance, "seed": order.seed, "task": order.task, "domain_score": domain}
        provenance |= {"candidates": order.candidates, "least_trust": order.least_trust}
        for index, description in enumerate(plan.steps):
            request = StepRequest(index, description, images[index], images[index + 1], order.seed)
            said = {**provenance, "prompt": description, "steps": len(plan.steps)}
            draft = Draft(request, embeddings[index], said)
            for _ in range(order.candidates):
                self._add_clip(draft, plan)
            self._unsettled.append((draft, self._settling(draft)))
            self._arrivals.put(draft.promise)
            self._look_again([one for one in self._unsettled if one[1].done()], plan)
        while self._unsettled:
            self._look_again(list(self._unsettled), plan)

    def _look_again(self, drafts: Sequence[tuple[Draft, Future[bool]]], plan: Plan) -> None:
        """Draw one more clip of those whose clips are doubted; those not looked at yet are waited for."""
        for draft, settled in drafts:
            enough = self._await_result(settled)
            if not enough:
                self._add_clip(draft, plan)  # where that fails it is unsettled still
                self._unsettled.append((draft, self._settling(draft)))
            self._unsettled.remove((draft, settled))

    def _settling(self, draft: Draft) -> Future[bool]:
        """Have a draft settled when its clips are there, at the latest with `_FURTHER` more than were asked for."""
        more = len(draft.clips) < self._order.candidates + _FURTHER
        return self._extracting(draft.settle, self._parts.doubt if more else 0.0, self._order.least_trust)

    def _add_clip(self, draft: Draft, plan: Plan) -> None:
        request = replace(draft.request, candidate=len(draft.clips))
        said = {**draft.provenance, "candidate": request.candidate}
        region, clip = self._draw(request)
        draft.clips.append(self._extracting(self._extract, request, region, clip, said, draft.embedding, plan))

    def _draw(self, request: StepRequest) -> tuple[RegionPrediction, NDArray[np.uint8]]:
        check = self._stop.check
        with self._stage(f"steps/{request.index}/region"):
            region = self._parts.region_model.predict(request, check_cancelled=check)
        check()
        with self._stage(f"steps/{request.index}/clip"):
            clip = self._parts.video_generator.generate(request, region, check_cancelled=check)
        check()
        return region, clip

    def _extracting(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Hand work to the extraction thread, which does one thing after the other."""
        future = self._extraction.submit(work, *arguments)
        self._extractions.append(future)
        return future

    def _extract(
        self,
        request: StepRequest,
        region: RegionPrediction,
        clip: NDArray[np.uint8],
        provenance: Mapping[str, Any],
        embedding: NDArray[np.float32],
        plan: Plan,
    ) -> KeyStep:
        """The extraction thread's work on one step."""
        self._stop.check()
        parts = self._parts
        fps = parts.video_generator.fps
        with self._stage(f"steps/{request.index}/hands"):
            hands = parts.tracker.track(clip, fps)
        with self._stage(f"steps/{request.index}/scores"):
            observed = observe_region(region, hands)
            agreement = text_agreement(parts.verifier, plan, request.index, clip) if parts.verifier else None
            scores = score_step(request.image, request.goal, clip, hands, observed, agreement)
        return KeyStep(
            index=request.index,
            description=request.description,
            image=request.image,
            goal=request.goal,
            clip=clip,
            fps=float(fps),
            hands=hands,
            region_of_motion=observed,
            scores=scores,
            provenance=provenance,
            embedding=np.asarray(embedding, np.float32),
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except Exception as exc:
            exc.add_note(f"(while imagining {self._order.task!r}, stage {name})")
            raise
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - began


def write_plan(parts: Parts, frame: NDArray[np.uint8], task: str, from_here: bool) -> Plan:
    """The procedure for a task, without what the frame shows as done where the preset sees that.

    Raises:
        UnknownTask: no procedure fits.
        TaskDone: nothing is left of it.
    """
    plan = parts.planner.plan(frame, task)
    if parts.verifier is None or not from_here or getattr(parts.planner, "as_told", False):
        return plan
    return left_to_do(plan, parts.verifier.verify(frame, plan.steps))


def check_domain(parts: Parts, frame: NDArray[np.uint8], allow_out_of_domain: bool) -> float | None:
    """Measure whether the models know frames of this kind; None where the preset knows no bounds of its own.

    Raises:
        LowConfidence: the score is below the preset's threshold and that was not allowed.
    """
    check = parts.domain_check
    if check is None:
        return None
    score = float(check.score(frame))
    if not score >= check.threshold and not allow_out_of_domain:
        raise LowConfidence(
            f"the frame does not look like a scene that these models know (score {score:.2f}, at least "
            f"{check.threshold:.2f} is needed); pass allow_out_of_domain=True to imagine all the same",
            score=score,
            threshold=check.threshold,
        )
    return score


def text_agreement(verifier: StepVerifier, plan: Plan, index: int, clip: NDArray[np.uint8]) -> float:
    """How well what a clip (T, H, W, 3) changes agrees with its step's sentence, in [0, 1]: see `step_agreement`.

    Args:
        verifier: looks at the clip's first and last frame.
        plan: whose steps, with those that were done before it, are asked about together.
        index: of the clip's step among the plan's.
    """
    procedure = (*plan.done, *plan.steps)
    before, after = ([one.done for one in verifier.verify(frame, procedure)] for frame in (clip[0], clip[-1]))
    return step_agreement(before, after, len(plan.done) + index)


def observe_region(region: RegionPrediction, hands: HandTrack) -> RegionOfMotion:
    """Join what was predicted, (H, W), with what the hand track of the clip shows (IVG §3.1.1)."""
    from ksgen_models.rom import observed_region

    height, width = region.motion.shape
    per_frame, union = observed_region(hands, height, width)
    return RegionOfMotion(predicted=region.motion, observed=union, per_frame=per_frame, change=region.change)
