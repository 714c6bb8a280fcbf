"""``ksgen-agent evaluate``: how good imaginations are, on Workbench scenes and as clips against real clips."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ksgen_launch.commands.ablation import ablation

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
    out: Annotated[Path, typer.Option("--out", help="Folder for figures.json and the scenes.")] = Path("out/evaluate"),
    preset: Annotated[str, typer.Option("--preset", help="Which models.")] = "mini",
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas.')] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Scenes of each task, A:B.")] = "1000000:1000009",
    pairs: Annotated[
        str, typer.Option("--pairs", help='Scenes given two instructions, A:B, or "none".')
    ] = "1000000:1000010",
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, help="Clips drawn of each key step; the most trusted is kept.")
    ] = 1,
    final_evaluation: Annotated[
        bool, typer.Option("--final-evaluation", help="Allow the seeds kept for the last measurement.")
    ] = False,
) -> None:
    """Compare imaginations with demonstrations of the same scenes, and see whether instructions are followed.

    Demonstrations and imaginations stay in the folder and are measured again by the next run, unless weights, precision
    or the like have changed. `evaluate clips` compares folders of clips with every metric of the papers; `evaluate
    preset` does so with what a preset imagines of Workbench scenes; `evaluate progress` sees whether work is continued;
    `evaluate ablation` shows what masks and hand structure loss are worth. The options above are not theirs.
    """
    if context.invoked_subcommand is not None:
        return
    from tqdm import tqdm

    from ksgen_agent import Agent
    from ksgen_envs.evaluation import evaluate_scenes
    from ksgen_envs.instruction_pairs import evaluate_pairs
    from ksgen_envs.scene_store import SceneStore
    from ksgen_envs.tasks import TASKS
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_launch.scene_summary import recorded, summary
    from ksgen_models.hands.tracker import HandTracker

    chosen = parse_tasks(tasks, TASKS)
    scene_seeds = parse_seeds(seeds)
    pair_seeds = range(0) if pairs == "none" else parse_seeds(pairs)
    with Agent(preset) as agent, HandTracker() as tracker:
        store = SceneStore(out, preset, candidates)
        scenes = evaluate_scenes(agent, tracker, chosen, scene_seeds, store, final_evaluation=final_evaluation)
        figures = list(tqdm(scenes, total=len(chosen) * len(scene_seeds), desc="scenes", unit="scene"))
        both = evaluate_pairs(agent, chosen, pair_seeds, final_evaluation=final_evaluation)
        followed = list(tqdm(both, total=len(chosen) * len(pair_seeds), desc="pairs", unit="pair"))
    table = summary(figures, followed)
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "summary": table,
        "scenes": [recorded(figure) for figure in figures],
        "pairs": [{**asdict(pair), "followed": pair.followed} for pair in followed],
    }
    (out / "figures.json").write_text(json.dumps(record, indent=1) + "\n")
    for name, value in table.items():
        typer.echo(f"{name:<52} {value:.3f}")
    typer.echo(f"written: {out / 'figures.json'}")


@app.command("progress")
def progress(
    preset: Annotated[str, typer.Argument(help="Which models.")] = "mini",
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas.')] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Scenes of each task, A:B.")] = "1000600:1000620",
    out: Annotated[Path, typer.Option("--out", help="Folder for progress.json.")] = Path("out/evaluate-progress"),
    final_evaluation: Annotated[
        bool, typer.Option("--final-evaluation", help="Allow the seeds kept for the last measurement.")
    ] = False,
) -> None:
    """Show scenes with 0 to 3 steps done; see whether exactly the missing steps are planned.

    A quarter of the scenes is shown with everything done, too, which is to be said.
    """
    from tqdm import tqdm

    from ksgen_agent import Agent
    from ksgen_envs.continuing import evaluate_continuing
    from ksgen_envs.datasets import check_seeds
    from ksgen_envs.tasks import TASKS
    from ksgen_launch.choices import parse_seeds, parse_tasks, short_name

    chosen, scene_seeds = parse_tasks(tasks, TASKS), parse_seeds(seeds)
    check_seeds(scene_seeds, final_evaluation)
    total = len(chosen) * len(scene_seeds)
    with Agent(preset) as agent:
        part = list(tqdm(evaluate_continuing(agent.plan, chosen, scene_seeds), total=total, desc="part done"))
        few = scene_seeds[: -(-len(scene_seeds) // 4)]
        whole = evaluate_continuing(agent.plan, chosen, few, all_done=True)
        everything = list(tqdm(whole, total=len(chosen) * len(few), desc="all done"))
    out.mkdir(parents=True, exist_ok=True)
    record = [{**asdict(one), "exact": one.exact} for one in (*part, *everything)]
    (out / "progress.json").write_text(json.dumps(record, indent=1) + "\n")
    rows = {"exactly the missing steps, 0 to 3 done": part, "of these, in the demonstration's order": []}
    rows |= {f"  {done} done": [one for one in part if one.done == done] for done in sorted({one.done for one in part})}
    rows |= {f"  {short_name(task)}": [one for one in part if one.env_id == task] for task in chosen}
    rows |= {"said to be done when all is done": everything}
    for name, ones in rows.items():
        right = sum(one.in_order for one in part) if not ones else sum(one.exact for one in ones)
        typer.echo(f"{name:<42} {right} of {len(ones or part)}")
    typer.echo(f"written: {out / 'progress.json'}")


@app.command("key-steps")
def key_steps(
    tasks: Annotated[str, typer.Option("--tasks", help='"all", or names joined by commas.')] = "all",
    seeds: Annotated[str, typer.Option("--seeds", help="Scenes of each task, A:B.")] = "1000500:1000510",
    begun: Annotated[int, typer.Option("--begun", min=0, help="Steps that the frame shows as done already.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for key-steps.json.")] = Path("out/evaluate-key-steps"),
    final_evaluation: Annotated[
        bool, typer.Option("--final-evaluation", help="Allow the seeds kept for the last measurement.")
    ] = False,
) -> None:
    """See where things are in the embedded KIG's k-th key-step image, with and without its Skill Transformer."""
    from tqdm import tqdm

    from ksgen_envs.datasets import check_seeds
    from ksgen_envs.key_step_places import evaluate_key_steps
    from ksgen_envs.tasks import TASKS
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_models.mini.ablation import without_skills
    from ksgen_models.mini.generate import QUALITIES, MiniKIG
    from ksgen_models.mini.networks import load_networks

    chosen, scene_seeds = parse_tasks(tasks, TASKS), parse_seeds(seeds)
    check_seeds(scene_seeds, final_evaluation)
    networks, settings = load_networks(), QUALITIES["balanced"]
    kigs = {"with": MiniKIG(networks, settings), "without": MiniKIG(without_skills(networks), settings)}
    found = list(tqdm(evaluate_key_steps(kigs, chosen, scene_seeds, begun=begun), desc="things", unit="thing"))
    out.mkdir(parents=True, exist_ok=True)
    record = [{**asdict(one), "in_place": one.in_place} for one in found]
    (out / "key-steps.json").write_text(json.dumps(record, indent=1) + "\n")
    for name in kigs:
        for step in sorted({one.step for one in found}):
            all_things = [one.in_place for one in found if one.generator == name and one.step == step]
            moved = [one.in_place for one in found if one.generator == name and one.step == step and one.moved]
            typer.echo(
                f"{name:<8} image {step}: all that the plan moves {sum(all_things)} of {len(all_things)}, "
                f"what step {step} moves {sum(moved)} of {len(moved)}"
            )
    typer.echo(f"written: {out / 'key-steps.json'}")


@app.command("trust")
def trust(
    endings: Annotated[
        list[Path],
        typer.Argument(help="figures.json of `evaluate`, or lines of JSON with seed, scores and success. Repeatable."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for trust.json and trust.svg.")] = Path(
        "out/evaluate-trust"
    ),
    source: Annotated[str, typer.Option("--source", help="What the key steps are, for the record.")] = "",
) -> None:
    """Calibrate trust on key steps of scenes with even seeds, and see on those with odd seeds how well it foretells.

    To use the result, put its trust.json in the place of the package's own.
    """
    from ksgen_launch.trust_evaluation import calibrate, read_endings, reliability_picture
    from ksgen_models.calibration import save_trust

    known = read_endings(endings)
    model, said, share = calibrate(known, source)
    out.mkdir(parents=True, exist_ok=True)
    save_trust(model, out / "trust.json")
    (out / "trust.svg").write_text(reliability_picture(said))
    for name, weight in zip(model.names, model.weights, strict=True):
        typer.echo(f"weight of {name:<20} {weight:.2f}")
    typer.echo(f"fitted to {model.provenance['key_steps']} key steps, {model.provenance['succeeded']:.2f} succeeded")
    typer.echo(f"of {sum(number for *_, number in said.bins)} others:")
    for name, one in (("trust", said), ("share of successes", share)):
        typer.echo(
            f"  {name:<20} Brier {one.brier:.3f}, calibration error {one.expected_error:.3f}, ranking {one.ranking:.3f}"
        )
    for mean, ended, number in said.bins:
        typer.echo(f"  trusted {mean:.2f}: {ended:.2f} succeeded of {number}")
    typer.echo(f"written: {out / 'trust.json'}, {out / 'trust.svg'}")


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
    from ksgen_envs.datasets import check_seeds
    from ksgen_envs.tasks import TASKS
    from ksgen_launch.choices import parse_seeds, parse_tasks
    from ksgen_launch.clip_evaluation import Request, evaluate_clips, imagine_scenes, named_folders

    chosen, scene_seeds = parse_tasks(tasks, TASKS), parse_seeds(seeds)
    check_seeds(scene_seeds, final_evaluation)
    own = {key: str(path) for key, path in named_folders(network or [], "--network").items()}
    generated, real = imagine_scenes(preset, chosen, scene_seeds, out)
    evaluate_clips(Request({preset: generated}, real, out, metrics, own, train, executability=True))
