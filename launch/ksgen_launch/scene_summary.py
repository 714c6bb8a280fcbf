"""The figures of many scenes as one number each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ksgen_envs.evaluation import SceneFigures
    from ksgen_envs.instruction_pairs import InstructionPair


def recorded(figure: SceneFigures) -> dict[str, Any]:
    """A scene's figures as plain data, with what follows from them."""
    steps = [{**asdict(step), "landed": step.landed} for step in figure.steps]
    return {**asdict(figure), "steps": steps}


def summary(figures: list[SceneFigures], pairs: list[InstructionPair]) -> dict[str, float]:
    """The figures of all scenes as one number each; NaN where nothing was measured."""
    import numpy as np

    done = [figure for figure in figures if not figure.error]
    steps = [step for figure in done for step in figure.steps]

    def mean(values: list[float]) -> float:
        measured = [value for value in values if not np.isnan(value)]
        return float(np.mean(measured)) if measured else float("nan")

    generated, true = mean([f.generated_rate for f in done]), mean([f.true_rate for f in done])

    def median(values: list[float]) -> float:
        measured = [value for value in values if not np.isnan(value)]
        return float(np.median(measured)) if measured else float("nan")

    motion, motion_floor = mean([step.motion_iou for step in steps]), mean([step.motion_floor for step in steps])
    aligned, aligned_floor = ([getattr(step, name) for step in steps] for name in ("aligned_error", "aligned_floor"))
    return {
        "scenes": float(len(figures)),
        "scenes with an error": float(len(figures) - len(done)),
        "plans as long as the demonstration": mean([float(f.same_length) for f in done]),
        "hand found in generated clips": generated,
        "hand found in demonstrations": true,
        "hand found, generated over demonstrations": generated / true if true else float("nan"),
        "key steps compared": float(len(steps)),
        "RoM mIoU, predicted against true": motion,
        "RoM mIoU, one demonstration against another": motion_floor,
        "RoM mIoU over its floor": motion / motion_floor if motion_floor else float("nan"),
        "PSNR outside the region of change, least, dB": min(
            (step.outside_psnr for step in steps), default=float("nan")
        ),
        "PSNR outside the region of change, mean, dB": mean([step.outside_psnr for step in steps]),
        "PSNR outside the region of change, share of 40 dB": mean([float(step.outside_psnr >= 40) for step in steps]),
        "HS-Err frame by frame, median, palm lengths": median([step.keypoint_error for step in steps]),
        "HS-Err aligned in time, median, palm lengths": median(aligned),
        "HS-Err of one demonstration against another, median": median(aligned_floor),
        "HS-Err aligned, mean": mean(aligned),
        "HS-Err of one demonstration against another, mean": mean(aligned_floor),
        "moved thing within 2 cm of its true place": mean([float(step.landed) for step in steps]),
        "the same, where the plan is the demonstration's": mean(
            [float(step.landed) for step in steps if step.as_planned]
        ),
        "seconds an imagination, mean": mean([f.seconds for f in done]),
        "instruction pairs": float(len(pairs)),
        "instruction pairs followed": mean([float(pair.followed) for pair in pairs]),
        "single instructions followed": mean(
            [float(want == moved) for pair in pairs for want, moved in zip(pair.wanted, pair.moved, strict=True)]
        ),
    }
