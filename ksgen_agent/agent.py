"""`Agent`: a preset's models, put together to imagine a task from a camera frame."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib import metadata
from typing import Any

from ksgen_agent.batching import ModelCalls, share
from ksgen_agent.control import StopSignal
from ksgen_agent.frames import WORKING_SIDE, check_candidates, check_frame, check_seed, check_task
from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import ImaginerSpec, StreamEnd
from ksgen_agent.presets import Preset, find_preset, load_parts
from ksgen_agent.run import Order, Run, write_plan
from ksgen_models.errors import KSGenError, PresetError
from ksgen_models.interfaces import Parts, Planner
from ksgen_models.progress import StepVerdict
from ksgen_models.scores import ALWAYS_SCORED, SCORE_NAMES
from ksgen_models.types import KeyStep, Plan

_PACKAGES = ("ksgen-agent", "numpy", "torch", "diffusers", "transformers", "mediapipe", "onnxruntime")


class Agent:
    """Imagines tasks at key-step level; satisfies `ksgen_agent.Imaginer`.

    Any number of threads may call one agent, and a stream that its caller consumes slowly does not hold up the others.
    Generation is done for one call after the other, or, where the preset can, for several at a time: their key steps
    share calls of the models (`ksgen_agent.batching`). Use it as a context manager or call `close`.

    Args:
        preset: name of a preset, see `ksgen_agent.presets.PRESETS`.
        parts: models of your own instead of the preset's; ``preset`` is then only the name that the record carries.
            The agent closes ``parts.tracker`` when it is closed itself.
        planner: writes the plans instead of the preset's planner, e.g. `ksgen_models.planner.EndpointPlanner`.
        device: where to run, e.g. ``"cpu"`` or ``"cuda"``; None for the preset's own choice.
        loading: of hub presets: ``weights``, ``settings``, ``options`` and ``download``, see
            `ksgen_models.hub.parts.load_hub_parts`.

    Raises:
        PresetError: no such preset, or it cannot run here.
        WeightsMissing: its weights are not on this machine.
    """

    def __init__(
        self,
        preset: str = "mini",
        *,
        parts: Parts | None = None,
        planner: Planner | None = None,
        device: str | None = None,
        **loading: Any,
    ) -> None:
        if parts is None:
            chosen = find_preset(preset)
            parts = load_parts(chosen, device, **loading)
        elif loading:
            raise TypeError(f"{', '.join(loading)} make no sense with parts that are loaded already")
        else:
            chosen = Preset(preset, "Parts that the caller put together.", loader="", needs=(), extra="")
        if planner is not None:
            record = {**parts.provenance, "planner": getattr(planner, "source", type(planner).__name__)}
            parts = replace(parts, planner=planner, provenance=record)
        # One thread for the models, which are shared, one for the tracker, and one for each imagination that may be
        # under way. Threads start with the first call.
        self._generation = ThreadPoolExecutor(parts.batch, thread_name_prefix="ksgen-generation")
        self._models = ThreadPoolExecutor(1, thread_name_prefix="ksgen-models")
        self._extraction = ThreadPoolExecutor(1, thread_name_prefix="ksgen-extraction")
        self._parts = share(parts, ModelCalls(self._models, parts.batch)) if parts.batch > 1 else parts
        self._runs: weakref.WeakSet[Run] = weakref.WeakSet()
        self._guard = threading.Lock()
        self._release = weakref.finalize(self, _release, parts, self._generation, self._models, self._extraction)
        self._spec = ImaginerSpec(
            preset=chosen.name,
            description=chosen.description,
            fps=float(parts.video_generator.fps),
            embedding_dimension=parts.sentence_encoder.dimension,
            score_names=ALWAYS_SCORED if parts.verifier is None else SCORE_NAMES,
            working_side=WORKING_SIDE,
            provenance=_plain({**parts.provenance, "doubt": parts.doubt}),
        )

    @classmethod
    def from_preset(
        cls, name: str, *, planner: Planner | None = None, device: str | None = None, **loading: Any
    ) -> Agent:
        """Make an agent of a named preset.

        Arguments and errors are those of the class.
        """
        return cls(name, planner=planner, device=device, **loading)

    @property
    def spec(self) -> ImaginerSpec:
        """What this agent is and what its results look like."""
        return self._spec

    def imagine(
        self,
        frame: Any,
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
        from_here: bool = True,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
    ) -> Imagination:
        """Imagine the whole task.

        Args:
            frame: the camera's picture, (H, W, 3) uint8 RGB or a Pillow image; see `ksgen_agent.frames.check_frame`.
            task: what is to be done, in words.
            seed: the same seed gives the same result, bit by bit, on one machine.
            allow_out_of_domain: go on although the frame is of a kind the models do not know.
            candidates: clips drawn of each key step, of which the one to be trusted most is kept; each costs its time.
                A preset may draw up to two more of a step that it doubts, see `ksgen_models.interfaces.Parts`.
            least_trust: in [0, 1]; a key step whose best clip is trusted less ends the imagination. See
                `ksgen_models.scores.trust`.
            from_here: leave out the steps that the frame shows as done, with presets that see progress; they are then
                in ``plan.done``. False imagines every step of the procedure.
            deadline: seconds that it may take, or None.
            cancel: set it from another thread to stop.

        Raises:
            InvalidFrame, InvalidTask, InvalidInput: the input cannot be used.
            UnknownTask: the planner knows nothing like the task.
            TaskDone: the frame shows every step of it as done.
            LowConfidence: the models do not know frames of this kind, or no clip of a key step can be trusted enough.
            Cancelled: ``cancel`` was set, or the agent was closed meanwhile.
            SubgoalTimeout: ``deadline`` passed.
        """
        choice = (candidates, least_trust)
        order, run = self._begin(frame, task, seed, allow_out_of_domain, choice, from_here, deadline, cancel)
        steps = tuple(run.steps())
        end = _end(run)
        return Imagination(task=order.task, frame=order.frame, plan=end.plan, steps=steps, timings=end.timings)

    def imagine_stream(
        self,
        frame: Any,
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
        from_here: bool = True,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
    ) -> Generator[KeyStep, None, StreamEnd]:
        """Yield each key step as soon as it exists, with the same results as `imagine`; return plan and timings.

        Arguments and errors are those of `imagine`; unusable input is refused by the call itself, before the first
        step is asked for. Work starts with the first ``next`` and goes on while the caller uses a step; closing the
        generator stops it.
        """
        choice = (candidates, least_trust)
        return self._stream(self._begin(frame, task, seed, allow_out_of_domain, choice, from_here, deadline, cancel)[1])

    def plan(self, frame: Any, task: str, *, from_here: bool = True) -> Plan:
        """What is to be done, in words; nothing is drawn, and no imagination under way is waited for.

        Arguments and errors are those of `imagine`.
        """
        if not self._release.alive:
            raise KSGenError("this agent is closed; make a new one")
        return write_plan(self._parts, check_frame(frame), check_task(task), from_here)

    def verify(self, frame: Any, steps: Sequence[str]) -> tuple[StepVerdict, ...]:
        """Say of each step of one procedure whether a frame shows it as done.

        It waits for no imagination under way. What became undone is found by `ksgen_models.progress.since`.

        Args:
            frame: as of `imagine`.
            steps: sentences, such as ``(*plan.done, *plan.steps)``; the steps of a procedure are best asked together.

        Returns:
            One verdict for each step.

        Raises:
            InvalidFrame, InvalidTask: the input cannot be used.
            PresetError: this preset does not see progress.
        """
        if not self._release.alive:
            raise KSGenError("this agent is closed; make a new one")
        if self._parts.verifier is None:
            raise PresetError(f'the preset "{self._spec.preset}" cannot see how far the work is; "mini" can')
        return self._parts.verifier.verify(check_frame(frame), tuple(check_task(step) for step in steps))

    def _stream(self, run: Run) -> Generator[KeyStep, None, StreamEnd]:
        # A generator of the agent's own: it keeps the agent from being freed while somebody still iterates.
        yield from run.steps()
        return _end(run)

    def close(self) -> None:
        """Stop what is under way (its callers get `Cancelled`) and free the models; a second call does nothing."""
        with self._guard:
            for run in list(self._runs):
                run.cancel()
            self._release()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _begin(
        self,
        frame: Any,
        task: str,
        seed: int,
        allow_out_of_domain: bool,
        choice: tuple[Any, Any],
        from_here: bool,
        deadline: float | None,
        cancel: threading.Event | None,
    ) -> tuple[Order, Run]:
        began = time.perf_counter()
        stop = StopSignal(deadline, cancel)
        candidates, least_trust = check_candidates(*choice)
        order = Order(
            frame=check_frame(frame),
            task=check_task(task),
            seed=check_seed(seed),
            allow_out_of_domain=bool(allow_out_of_domain),
            candidates=candidates,
            least_trust=least_trust,
            from_here=bool(from_here),
            provenance={
                **self._spec.provenance,
                "preset": self._spec.preset,
                "packages": package_versions(),
            },
        )
        with self._guard:
            if not self._release.alive:
                raise KSGenError("this agent is closed; make a new one")
            check = time.perf_counter() - began
            run = Run(self._parts, order, stop, self._generation, self._extraction, check)
            self._runs.add(run)
        return order, run


@cache
def package_versions() -> dict[str, str]:
    """Versions of the installed packages that decide what comes out."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _plain(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The record in JSON's own types, so that what is saved and loaded again is equal."""
    return json.loads(json.dumps(dict(provenance), default=str))


def _release(parts: Parts, *executors: Executor) -> None:
    for executor in executors:
        executor.shutdown(wait=True, cancel_futures=True)
    parts.tracker.close()


def _end(run: Run) -> StreamEnd:
    """What is known when all key steps of a run have been taken."""
    assert run.plan is not None, "the key steps came out of it"
    return StreamEnd(run.plan, dict(run.timings))
