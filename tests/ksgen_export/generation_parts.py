"""What the tests of generation share: photos, imaginers and works that worker processes can import."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ksgen_export.generation.drawn import DrawnImaginer
from ksgen_export.generation.items import Item
from ksgen_export.generation.options import GenerationOptions
from ksgen_models.errors import UnknownTask, WeightsMissing

HERE = "generation_parts"


class MoodyImaginer(DrawnImaginer):
    """Knows nothing of taxes, and breaks down over tasks that begin with "break" until a file says "mended"."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = Path(folder)

    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        if "taxes" in task:
            raise UnknownTask(task)
        if task.startswith("break") and not (self._folder / "mended").exists():
            raise RuntimeError("it broke")
        return super().imagine(frame, task, seed=seed)


class LethalImaginer(DrawnImaginer):
    """Costs its worker's life, once for each file ``die-N`` in a folder."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = Path(folder)

    def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
        for path in sorted(self._folder.glob("die-*")):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().imagine(frame, task, seed=seed)


def other_imaginer():
    """As drawn, by other models."""
    from dataclasses import replace

    class Other(DrawnImaginer):
        @property
        def spec(self):
            return replace(super().spec, provenance={"models": {"drawn": "2"}})

    return Other()


def shown(env_id: str, scene: int, size: int):
    """An imaginer that knows one scene: it imagines what the simulated person does there, with exact hands."""
    from ksgen_agent import Imagination, StreamEnd
    from ksgen_envs import demonstrate
    from ksgen_envs.executors.retarget_accuracy import key_step_of
    from ksgen_envs.executors.sight import Sight
    from ksgen_envs.learners.true_subgoals import exact_track
    from ksgen_models.types import Plan

    demonstration = demonstrate(env_id, scene, image_size=size)
    sight = Sight(demonstration.camera, size, size)
    steps = tuple(
        key_step_of(demonstration, index, exact_track(step.keypoints, sight))
        for index, step in enumerate(demonstration.steps)
    )

    class Shown(DrawnImaginer):
        def imagine(self, frame, task, *, seed=0, allow_out_of_domain=False):
            plan = Plan(task, tuple(step.description for step in steps), 1.0, "shown")
            return Imagination(task, frame, plan, steps, {})

        def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False):
            yield from steps
            return StreamEnd(self.imagine(frame, task).plan, {})

    return Shown()


def drawn_options(**changes) -> GenerationOptions:
    """Options with the imaginer that draws."""
    return GenerationOptions(
        **{"imaginer": "ksgen_export.generation.drawn:DrawnImaginer", "imaginer_options": {}, **changes}
    )


def write_photos(folder: Path, count: int, size: tuple[int, int] = (48, 48)) -> Path:
    """Photos of noise, (width, height)."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        noise = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(folder / f"photo-{index}.png")
    return folder


def make_here(folder: Path, items: list[Item], options: GenerationOptions) -> list:
    """Do items in this process, in this order, as a worker of a job in the folder would; their outcomes."""
    from ksgen_export.generation.worker import GenerationWork

    folder.mkdir(parents=True, exist_ok=True)
    with GenerationWork(folder, options)() as do:
        return [do(item) for item in items]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Squares:
    """A work for the engines: squares numbers, notes who did, and does what the number says.

    Below 0 the worker dies; 13 raises; 100 and more waits for a file ``go``.
    """

    folder: Path

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Callable[[int], tuple[int, int]]]:
        (self.folder / f"opened-{os.getpid()}").touch()
        yield self._square

    def _square(self, number: int) -> tuple[int, int]:
        (self.folder / f"began-{number}").touch()
        if number < 0:
            os._exit(3)
        if number == 13:
            raise ValueError("an unlucky number")
        while number >= 100 and not (self.folder / "go").exists():
            time.sleep(0.02)
        return number * number, os.getpid()


@dataclass(frozen=True)
class Unopenable:
    """A work without its weights."""

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Callable[[int], int]]:
        raise WeightsMissing("the weights are not here; run: ksgen-agent assets")
        yield
