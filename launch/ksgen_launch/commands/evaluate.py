"""``ksgen-agent evaluate``: how good imaginations are, on Workbench scenes and as clips against real clips."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ksgen_launch.commands.ablation import ablation

if TYPE_CHECKING:
    from ksgen_envs.evaluation import InstructionPair, SceneFigures

MetricNames = Annotated[str, typer.Option("--metrics", help='"all", or names joined by commas.')]
OwnNetworks = Annotated[
    list[str] | None, typer.Option("--network", help="A feature network of yours, NAME=PATH. Repeatable.")
]
TrainingClips = Annotated[
    Path | None, typer.Option("--train", help="Training clips, for the nearest demonstration's row.")
]
app = typer.Typer(help="Measure imaginations and clips.", invoke_without_command=True)
app.command("ablation")(ablation)


@app.callback()
def evaluate(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Folder for figures.json.")] = Path("out/evaluate"),
    preset: Annotated[str, typer.Option("--preset", help="Which models.")] = "mini",
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas.')] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Scenes of each task, A:B.")] = "1000000:1000009",
    pairs: Annotated[
        str, typer.Option("--pairs", help='Scenes given two instructions, A:B, or "none".')
    ] = "1000000:1000010",
    final_evaluation: Annotated[
        bool, typer.Option("--final-evaluation", help="Allow the seeds kept for the last measurement.")
    ] = False,
) -> None:
    """Compare imaginations with demonstrations of the same scenes, and see whether instructions are followed.

    `evaluate clips` compares folders of clips with every metric of the papers; `evaluate preset` does so with what a
    preset imagines of Workbench scenes; `evaluate ablation` shows what masks and hand structure loss are worth. The
    options above belong to none of them.
    """
    if context.invoked_subcommand is not None:
        return
    from tqdm import tqdm

    from ksgen_agent import Agent
    from ksgen_envs.evaluation import evaluate_pairs, evaluate_scenes
    from ksgen_envs.tasks import TASKS
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_models.hands.tracker import HandTracker

    chosen = parse_tasks(tasks, TASKS)
    scene_seeds = parse_seeds(seeds)
    pair_seeds = range(0) if pairs == "none" else parse_seeds(pairs)
    with Agent(preset) as agent, HandTracker() as tracker:
        scenes = evaluate_scenes(agent, tracker, chosen, scene_seeds, final_evaluation=final_evaluation)
        figures = list(tqdm(scenes, total=len(chosen) * len(scene_seeds), desc="scenes", unit="scene"))
        both = evaluate_pairs(agent, chosen, pair_seeds, final_evaluation=final_evaluation)
        followed = list(tqdm(both, total=len(chosen) * len(pair_seeds), desc="pairs", unit="pair"))
    table = summary(figures, followed)
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "summary": table,
        "scenes": [asdict(figure) for figure in figures],
        "pairs": [{**asdict(pair), "followed": pair.followed} for pair in followed],
    }
    (out / "figures.json").write_text(json.dumps(record, indent=1) + "\n")
    for name, value in table.items():
        typer.echo(f"{name:<52} {value:.3f}")
    typer.echo(f"written: {out / 'figures.json'}")


@app.command("clips")
def clips(
    generated: Annotated[Path, typer.Argument(help="Folder of generated clips.")],
    real: Annotated[Path, typer.Argument(help="Folder of real clips with the same names.")],
    also: Annotated[list[str] | None, typer.Option("--also", help="Another row, NAME=DIR. Repeatable.")] = None,
    name: Annotated[str, typer.Option("--name", help="What GENERATED is called; else its folder's name.")] = "",
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and what was measured.")] = Path(
        "out/evaluate-clips"
    ),
    metrics: MetricNames = "all",
    network: OwnNetworks = None,
    train: TrainingClips = None,
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Add the trivial baselines.")] = True,
    limit: Annotated[int | None, typer.Option("--limit", min=2, help="Only so many clips a row.")] = None,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Resamplings of means; 0 for none.")] = 1000,
    set_bootstrap: Annotated[
        int, typer.Option("--set-bootstrap", min=0, help="Resamplings of Fréchet distances; 0 for none.")
    ] = 20,
    executability: Annotated[
        bool, typer.Option("--executability", help="Have the robot do what clips of Workbench scenes show.")
    ] = False,
) -> None:
    """Compare folders of clips with real clips: FID, FVD, CLIP, DINO, BLIP, EgoVLP, HS-Err and more.

    Each folder holds video files, demonstrations, saved imaginations, or a LeRobot, robomimic or Minari dataset. A
    metric whose network is not here is named together with how to get it; its stand-in, under a name of its own, and
    all others are measured. A stopped run goes on where it was.
    """
    from ksgen_launch.clip_evaluation import Request, evaluate_clips, named_folders

    rows = named_folders([f"{name or generated.resolve().name}={generated}", *(also or [])], "--also")
    own = {key: str(path) for key, path in named_folders(network or [], "--network").items()}
    sizes = (limit, bootstrap, set_bootstrap)
    evaluate_clips(Request(rows, real, out, metrics, own, train, baselines, *sizes, executability))


@app.command("preset")
def preset_clips(
    preset: Annotated[str, typer.Argument(help="Which models.")] = "mini",
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas.')] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Scenes of each task, A:B.")] = "1000000:1000005",
    out: Annotated[Path, typer.Option("--out", help="Folder for clips, report and what was measured.")] = Path(
        "out/evaluate-preset"
    ),
    metrics: MetricNames = "all",
    network: OwnNetworks = None,
    train: TrainingClips = None,
    final_evaluation: Annotated[
        bool, typer.Option("--final-evaluation", help="Allow the seeds kept for the last measurement.")
    ] = False,
) -> None:
    """The same for what a preset imagines of Workbench scenes, and whether the robot can do it."""
    from ksgen_envs.evaluation import check_seeds
    from ksgen_envs.tasks import TASKS
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_launch.clip_evaluation import Request, evaluate_clips, imagine_scenes, named_folders

    chosen, scene_seeds = parse_tasks(tasks, TASKS), parse_seeds(seeds)
    check_seeds(scene_seeds, final_evaluation)
    own = {key: str(path) for key, path in named_folders(network or [], "--network").items()}
    generated, real = imagine_scenes(preset, chosen, scene_seeds, out)
    evaluate_clips(Request({preset: generated}, real, out, metrics, own, train, executability=True))


def summary(figures: list[SceneFigures], pairs: list[InstructionPair]) -> dict[str, float]:
    """The figures of all scenes as one number each; NaN where nothing was measured."""
    import numpy as np

    done = [figure for figure in figures if not figure.error]

    def mean(values: list[float]) -> float:
        measured = [value for value in values if not np.isnan(value)]
        return float(np.mean(measured)) if measured else float("nan")

    generated, true = mean([f.generated_rate for f in done]), mean([f.true_rate for f in done])
    errors = [value for f in done for value in f.keypoint_error if not np.isnan(value)]
    return {
        "scenes": float(len(figures)),
        "scenes with an error": float(len(figures) - len(done)),
        "plans as long as the demonstration": mean([float(f.same_length) for f in done]),
        "hand found in generated clips": generated,
        "hand found in demonstrations": true,
        "hand found, generated over demonstrations": generated / true if true else float("nan"),
        "RoM mIoU, predicted against true": mean([value for f in done for value in f.motion_iou]),
        "PSNR outside the region of change, least, dB": min(
            (value for f in done for value in f.outside_psnr), default=float("nan")
        ),
        "PSNR outside the region of change, mean, dB": mean([value for f in done for value in f.outside_psnr]),
        "HS-Err, median, palm lengths": float(np.median(errors)) if errors else float("nan"),
        "seconds an imagination, mean": mean([f.seconds for f in done]),
        "instruction pairs": float(len(pairs)),
        "instruction pairs followed": mean([float(pair.followed) for pair in pairs]),
        "single instructions followed": mean(
            [float(want == moved) for pair in pairs for want, moved in zip(pair.wanted, pair.moved, strict=True)]
        ),
    }
