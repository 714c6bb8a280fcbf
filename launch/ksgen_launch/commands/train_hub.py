"""``ksgen-agent train rom|video|kig|planner-library``: training of full-size models on the user's own data.

The options of the first three are the fields of `TrainConfig`; the table below says which kind has which, and what
they are called in help texts. One table, so that the three commands cannot drift apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ksgen_models.training.hub.config import PRECISIONS, SCHEDULES, TrainConfig

ALL, CLIPS = ("rom", "video", "kig"), ("rom", "video")

OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "data": (ALL, "Folder written by ksgen-agent curate."),
    "model": (ALL, "Checkpoint to start from: a folder in diffusers' layout, or a repository in the hub's cache."),
    "out": (ALL, "Folder of the run."),
    "revision": (ALL, "Commit, tag or branch of the repository."),
    "component": (CLIPS, "Which network, where the pipeline has two: transformer or transformer_2."),
    "start": (ALL, "Trained model (OUT/model) of the same backbone to start from, e.g. stage 1 for stage 2."),
    "rom": (("video",), "Trained region model (OUT/model of train rom), whose masks are learnt from."),
    "cache": (ALL, "Folder of encoded clips, to share between runs. Default: OUT/cache."),
    "resume": (ALL, "Go on from the newest checkpoint in OUT."),
    "steps": (ALL, "Optimiser steps."),
    "batch": (ALL, "Clips (or plans) a step on each device."),
    "accumulate": (ALL, "Batches whose gradients make one step."),
    "learning_rate": (ALL, "Peak of the schedule."),
    "schedule": (ALL, f"One of {', '.join(SCHEDULES)}."),
    "warmup": (ALL, "Steps of linear warm-up."),
    "weight_decay": (ALL, "Of AdamW."),
    "clip_norm": (ALL, "Largest norm of the gradient."),
    "rank": (ALL, "Of low-rank adapters (LoRA); 0: every weight of a video network, none of an image generator."),
    "whole_unet": (("kig",), "Train every weight of the image generator, too."),
    "precision": (ALL, f"One of {', '.join(PRECISIONS)}."),
    "gradient_checkpointing": (ALL, "Compute activations twice and keep fewer."),
    "averaging": (ALL, "Decay of the moving average of the weights; 0 keeps none."),
    "seed": (ALL, "Of weights, order and noise."),
    "height": (ALL, "Of the clips, pixels; 0: the model's own."),
    "width": (ALL, "Of the clips, pixels; 0: the model's own."),
    "frames": (CLIPS, "Of the clips; 0: as many as fit."),
    "no_text": (ALL, "Share of samples that see no sentence."),
    "alpha": (("video",), "Weight of the hand structure loss (IVG Eq. 6)."),
    "beta": (("rom",), "Weight of the mIoU loss (IVG Eq. 3)."),
    "decoded": (CLIPS, "Latent frames that are decoded for it."),
    "change": (("kig",), "Weight of the loss of where a step changes the picture."),
    "skill_width": (("kig",), "Width of a fresh Skill Transformer."),
    "skill_layers": (("kig",), "Its layers."),
    "plan_steps": (("kig",), "The longest plan that is read at once."),
    "checkpoint_every": (ALL, "Steps between checkpoints."),
    "keep": (ALL, "Checkpoints that are kept."),
    "validate_every": (ALL, "Steps between validations."),
    "validation_clips": (ALL, "Clips held out, of videos of their own where possible."),
    "validation_draws": (ALL, "Noise levels at which each is measured."),
    "samples": (ALL, "Of them, how many are drawn at each validation."),
    "sample_steps": (ALL, "Solver steps of a sample."),
    "metrics": (("video", "kig"), "Names joined by commas; empty: those of docs/training.md."),
}
_DEFAULTS: dict[str, dict[str, Any]] = {"kig": {"rank": 0}}


def register(app: typer.Typer) -> None:
    """Add the commands to ``ksgen-agent train``."""
    helps = {
        "rom": "Where hands will move: IVG's stage 1, on a video model with a mask channel.",
        "video": "Clips given the region of motion: IVG's stage 2, with the hand structure loss.",
        "kig": "Key-step images: the Skill Transformer on SDXL or Kolors.",
    }
    for kind, text in helps.items():
        app.command(kind, help=text)(_command(kind))
    app.command("planner-library")(planner_library)


def planner_library(
    files: Annotated[list[Path], typer.Argument(help="The source's files, in the order of docs/training.md.")],
    source: Annotated[str, typer.Option("--source", help="coin, crosstask, htstep, or own: step files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for library.json and sentences.safetensors.")],
) -> None:
    """Turn annotations or step files into a step library for the planner, with its sentences' vectors."""
    from ksgen_models.text import MiniLM
    from ksgen_models.training.hub.planner_library import make_library

    made = make_library(source, files, out, MiniLM())
    typer.echo(f"{made.procedures} procedures, {made.steps} steps, {made.sentences} sentences embedded")
    if made.repeated:
        typer.echo(f"{len(made.repeated)} procedures repeat another and were left out", err=True)
    typer.echo(f"library: {made.library}")


def _command(kind: str) -> Callable[..., None]:
    """A function with the kind's options, which typer reads off its signature."""

    def run(**given: Any) -> None:
        from ksgen_models.training.hub import runs

        config = _config(kind, given)
        model = getattr(runs, f"train_{kind}")(config)
        typer.echo(f"model: {model}")

    parameters = [_parameter(kind, name) for name, (kinds, _) in OPTIONS.items() if kind in kinds]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = f"train_{kind}"
    return run


def _config(kind: str, given: dict[str, Any]) -> TrainConfig:
    metrics = given.pop("metrics", "")
    if metrics:
        from ksgen_models.metrics.catalogue import parse_metrics

        given["metrics"] = parse_metrics(metrics)
    unused: dict[str, Any] = {"rom": {"alpha": 0.0}, "video": {"beta": 0.0}, "kig": {"alpha": 0.0, "beta": 0.0}}[kind]
    return TrainConfig(**given, **unused)


def _parameter(kind: str, name: str) -> inspect.Parameter:
    field = next(field for field in fields(TrainConfig) if field.name == name)
    default = _DEFAULTS.get(kind, {}).get(name, field.default)
    flag = f"--{name.replace('_', '-')}"
    names = (flag, f"--no-{flag[2:]}") if default is True else (flag,)
    words = ("/".join(names),)
    types: dict[str, Any] = {
        "Path": Path, "Path | None": Path | None, "str": str, "str | None": str | None, "int": int, "float": float,
        "bool": bool,
    }  # fmt: skip
    kept = "" if name == "metrics" else default
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if kept is MISSING else kept,
        annotation=Annotated[types.get(str(field.type), str), typer.Option(*words, help=OPTIONS[name][1])],
    )
