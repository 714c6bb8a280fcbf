"""How a run trains: one frozen dataclass for every kind, checked when it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ksgen_models.errors import InvalidInput

SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine")
PRECISIONS = ("no", "bf16", "fp16")

# What a resumed run may change: none of these decides which weights a step leads to. (`steps` shapes the schedule; a
# longer run goes on from where the shorter one was.)
_FREE = ("out", "cache", "resume", "steps", "checkpoint_every", "keep", "validate_every", "samples", "sample_steps")
_FREE += ("metrics", "validation_draws")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run.

    Attributes:
        data: folder written by ``ksgen-agent curate``.
        model: checkpoint to start from: a folder of ``save_pretrained`` or a repository in the hub's cache.
        out: folder of the run.
        revision: of the repository.
        component: which network of the pipeline is trained, where it has several (the two experts of Wan 2.2); empty
            takes the first.
        cache: folder of encoded clips, to share between runs; None takes ``out/cache``.
        resume: go on from the newest checkpoint in ``out``.
        steps: optimiser steps.
        batch: clips a step on each device.
        accumulate: batches whose gradients are summed before a step.
        learning_rate: peak of the schedule.
        schedule: one of `SCHEDULES`.
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient.
        rank: of the low-rank adapters (LoRA); 0 trains every weight of a video network, and of an image generator
            none beside the Skill Transformer and its injection.
        whole_unet: train every weight of the image generator, too.
        precision: ``"bf16"``, ``"fp16"`` (mixed precision) or ``"no"``.
        gradient_checkpointing: compute activations twice and keep fewer.
        averaging: decay of the exponential moving average of the trained weights; 0 keeps none.
        seed: of initial weights, order and noise.
        height, width: of the clips, pixels; 0 takes the backbone's own.
        frames: of the clips; 0 takes as many as the clips have and the backbone allows, where the last frame may be
            held once.
        no_text: share of samples that see no sentence (or, for a network without text, no picture).
        change: weight of the loss that teaches the Skill Transformer where each step changes the picture.
        skill_width, skill_layers: of a fresh Skill Transformer.
        plan_steps: the longest plan that is read at once; longer videos make several.
        alpha: weight of the hand structure loss (IVG Eq. 6); 0 leaves the decoder out.
        beta: weight of the mIoU loss (IVG Eq. 3); 0 leaves the decoder out.
        decoded: latent frames of each clip that are decoded for these two.
        checkpoint_every, keep: steps between checkpoints, and how many are kept.
        validate_every: steps between validations; the first and the last step are validated always.
        validation_clips: clips held out, of videos of their own where there is more than one video.
        validation_draws: noise levels at which each of them is measured, the same each time.
        samples: of them, how many are drawn at each validation; 0 draws none.
        sample_steps: solver steps of a sample.
        metrics: names in `ksgen_models.metrics.catalogue.METRICS`.
        rom: a trained region model, whose masks stage 2 learns from; None takes the pseudo masks of the manifest.
        start: a trained model of the same backbone to start from, e.g. stage 1 for stage 2.
    """

    data: Path
    model: str
    out: Path
    revision: str | None = None
    component: str = ""
    cache: Path | None = None
    resume: bool = False
    steps: int = 2000
    batch: int = 1
    accumulate: int = 1
    learning_rate: float = 1e-4
    schedule: str = "cosine"
    warmup: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    rank: int = 32
    whole_unet: bool = False
    precision: str = "bf16"
    gradient_checkpointing: bool = True
    averaging: float = 0.999
    seed: int = 0
    height: int = 0
    width: int = 0
    frames: int = 0
    no_text: float = 0.1
    change: float = 0.1
    skill_width: int = 1024
    skill_layers: int = 4
    plan_steps: int = 8
    alpha: float = 1.0
    beta: float = 0.1
    decoded: int = 1
    checkpoint_every: int = 500
    keep: int = 2
    validate_every: int = 500
    validation_clips: int = 8
    validation_draws: int = 4
    samples: int = 4
    sample_steps: int = 20
    metrics: tuple[str, ...] = field(default=())
    rom: Path | None = None
    start: Path | None = None

    def __post_init__(self) -> None:
        """Raises `InvalidInput` for a value that cannot be meant."""
        whole = (
            "steps",
            "batch",
            "accumulate",
            "decoded",
            "checkpoint_every",
            "keep",
            "validate_every",
            "plan_steps",
            "skill_width",
            "skill_layers",
        )
        for name in (*whole, "validation_clips", "validation_draws", "sample_steps"):
            _least(name, getattr(self, name), 1)
        for name in ("rank", "height", "width", "frames", "warmup", "samples", "seed", "alpha", "beta", "change"):
            _least(name, getattr(self, name), 0)
        if not self.learning_rate > 0 or not self.clip_norm > 0:
            raise InvalidInput(f"learning rate {self.learning_rate} and clip norm {self.clip_norm} must be above 0")
        if not 0 <= self.averaging < 1 or not 0 <= self.no_text < 1:
            raise InvalidInput(f"averaging {self.averaging} and no_text {self.no_text} must be in [0, 1)")
        if self.rank and self.whole_unet:
            raise InvalidInput(
                "adapters beside weights that are all trained make no sense; give rank 0 or leave the rest"
            )
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)

    @property
    def cache_folder(self) -> Path:
        """Where encoded clips lie."""
        return self.cache or self.out / "cache"

    def fixed(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run that it goes on from, as JSON."""
        return {name: _plain(value) for name, value in asdict(self).items() if name not in _FREE}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _least(name: str, value: float, least: float) -> None:
    if value < least:
        raise InvalidInput(f"{name.replace('_', ' ')} is {value}; {least} is the least")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidInput(f'{name} is "{value}"; choose one of {", ".join(known)}')
