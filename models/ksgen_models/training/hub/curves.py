"""What a run shows while it goes on: TensorBoard curves and grids, the grids as PNG, validation as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_models.training.hub.cache import writing
from ksgen_models.training.hub.recipe import Validation

VALIDATION = "validation.jsonl"


class Curves:
    """Writes under a run's folder; on all but the main process it does nothing. `close` it."""

    def __init__(self, out: Path, step: int, active: bool) -> None:
        """Open the event file. What an earlier run wrote after ``step`` is taken back.

        Raises:
            DatasetError: it cannot be written.
        """
        self._out = out
        self._writer = None
        if active:
            from torch.utils.tensorboard import SummaryWriter

            with writing(out):
                self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)
                self._forget_after(step)

    def losses(self, step: int, figures: dict[str, float]) -> None:
        """Curves under ``train/``."""
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(f"train/{name}", value, step)

    def validation(self, step: int, found: Validation) -> None:
        """Curves and grids under ``validation/``, grids also in ``out/samples``.

        Raises:
            DatasetError: they cannot be written.
        """
        if self._writer is None:
            return
        with writing(self._out):
            for name, value in found.figures.items():
                if np.isfinite(value):
                    self._writer.add_scalar(f"validation/{name}", value, step)
            for name, picture in found.pictures.items():
                self._writer.add_image(f"validation/{name}", picture, step, dataformats="HWC")
                _write_png(self._out / "samples" / f"step-{step:06d}-{name}.png", picture)
            figures = {name: value if np.isfinite(value) else None for name, value in found.figures.items()}
            with (self._out / VALIDATION).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **figures}) + "\n")

    def close(self) -> None:
        """Write what is still in memory."""
        if self._writer is not None:
            self._writer.close()

    def _forget_after(self, step: int) -> None:
        """A resumed run validates some steps again: they stand there once."""
        path = self._out / VALIDATION
        if path.is_file():
            lines = path.read_text("utf-8").splitlines()
            kept = [line for line in lines if step and _step_of(line) <= step]
            path.write_text("".join(f"{line}\n" for line in kept), "utf-8")


def _step_of(line: str) -> float:
    """Infinity for half a line, as a killed run may leave it."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")


def grid(rows: list[NDArray[np.uint8]], columns: int = 6) -> NDArray[np.uint8]:
    """Clips (T, H, W, 3) of one size below each other, ``columns`` frames of each evenly over time, edged in white."""
    lines = []
    for clip in rows:
        chosen = np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int)
        edged = np.pad(clip[chosen], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(edged), axis=1))
    return np.concatenate(lines, axis=0)


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
