"""``ksgen-agent learn``: train policies on the Workbench, measure them, compare what subgoals are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ksgen_launch.learning import (
    Curves,
    check_condition,
    check_manner,
    collect_episodes,
    env_ids_of,
    figures_of,
    key_step_success,
    only_one,
    open_imaginers,
    sentence_encoder,
)

if TYPE_CHECKING:
    from ksgen_envs.learners.evaluation import Policy

app = typer.Typer(help="Train policies, measure them, compare what subgoals are worth.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", help="The run's folder.")]
Envs = Annotated[str, typer.Option("--env", help='"all", or environments joined by commas, e.g. KSGen/StackBlocks-v0.')]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in OUT.")]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a trained policy.")]
Final = Annotated[bool, typer.Option("--final-evaluation", help="Allow the seeds kept for the last measurement.")]
EvaluationSeeds = Annotated[str, typer.Option("--seeds", help="Scenes of each task, A:B.")]
_DEVELOPMENT = "1000000:1000050"


@app.callback()
def learn() -> None:
    """Train policies, measure them, compare what subgoals are worth."""


@app.command("bc")
def bc(
    env: Envs,
    out: Out,
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Of the expert, for each environment.")] = 200,
    condition: Annotated[str, typer.Option("--condition", help="What the policy is told: goal or subgoal.")] = "goal",
    pixels: Annotated[int, typer.Option("--pixels", help="See a picture of this size, not the state; 0: state.")] = 0,
    updates: Annotated[int, typer.Option("--updates", min=1, help="Of the weights.")] = 20_000,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Steps of episodes in an update.")] = 256,
    chunk: Annotated[int, typer.Option("--chunk", min=1, help="Actions predicted at a time.")] = 20,
    noise: Annotated[float, typer.Option("--noise", min=0, help="Disturbances of the expert, in actions.")] = 0.4,
    evaluate_every: Annotated[
        int, typer.Option("--evaluate-every", min=0, help="Updates from one small evaluation to the next; 0: never.")
    ] = 5_000,
    evaluation_scenes: Annotated[int, typer.Option("--evaluation-scenes", min=1, help="Of each of these.")] = 10,
    demonstrations: Annotated[
        Path | None, typer.Option("--demonstrations", help="Folder of episodes; OUT/demonstrations by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of weights and batches.")] = 0,
    resume: Resume = False,
) -> None:
    """Behaviour cloning: collect the scripted expert's episodes, and train a chunked-action policy from them.

    Episodes that are there already are kept. Scenes are those of the seeds from 0 on.
    """
    from ksgen_envs.learners import cloning
    from ksgen_envs.learners.chunk_policy import PolicySpec
    from ksgen_envs.learners.demonstrations import Recipe
    from ksgen_envs.learners.inputs import InputSpec

    inputs = InputSpec(check_condition(condition), pixels)
    recipe = cloning.CloningRecipe(PolicySpec(inputs, chunk), updates=updates, batch=batch, seed=seed)
    env_ids = env_ids_of(env)
    encoder = sentence_encoder(inputs)
    folder = demonstrations or out / "demonstrations"
    files = [
        path
        for env_id in env_ids
        for path in collect_episodes(env_id, folder, Recipe(inputs, noise), episodes, encoder)
    ]
    with Curves(
        out, env_ids, inputs, encoder, evaluate_every, range(1_000_000, 1_000_000 + evaluation_scenes)
    ) as curves:
        cloning.train(files, out, recipe, env_ids=env_ids, resume=resume, tell=curves.cloned)
    typer.echo(f"policy: {out.resolve()}")


@app.command("her")
def her(
    env: Annotated[str, typer.Option("--env", help="The environment, e.g. KSGen/StackBlocks-v0.")],
    out: Out,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Environment steps in all.")] = 500_000,
    reward: Annotated[str, typer.Option("--reward", help="sparse or dense.")] = "sparse",
    expert_episodes: Annotated[
        int, typer.Option("--expert-episodes", min=0, help="Put into the replay buffer first; 0 for plain SAC + HER.")
    ] = 100,
    checkpoint_every: Annotated[int, typer.Option("--checkpoint-every", min=1, help="Environment steps.")] = 25_000,
    evaluate_every: Annotated[
        int, typer.Option("--evaluate-every", min=0, help="Steps from one small evaluation to the next; 0: never.")
    ] = 50_000,
    evaluation_scenes: Annotated[int, typer.Option("--evaluation-scenes", min=1, help="Of each of these.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    resume: Resume = False,
) -> None:
    """SAC with hindsight experience replay, by Stable-Baselines3, on single key steps."""
    from ksgen_envs.learners import hindsight

    (env_id,) = only_one(env_ids_of(env))
    recipe = hindsight.HindsightRecipe(reward=reward, expert_episodes=expert_episodes, seed=seed)
    scenes = range(1_000_000, 1_000_000 + evaluation_scenes)

    def tell(made: int, policy: Policy) -> dict[str, float]:
        typer.echo(f"{made} environment steps", err=True)
        if not evaluate_every or made % evaluate_every:
            return {}
        success = key_step_success(env_id, policy, scenes)
        typer.echo(f"{made} environment steps: single key steps done {success:.1%}", err=True)
        return {"key_step_success": success}

    hindsight.train(env_id, out, recipe, steps=steps, resume=resume, every=checkpoint_every, tell=tell)
    typer.echo(f"policy: {out.resolve()}")


@app.command("evaluate")
def evaluate(
    run: RunFolder,
    env: Annotated[str, typer.Option("--env", help="As for bc; by default what the policy was trained in.")] = "",
    seeds: EvaluationSeeds = _DEVELOPMENT,
    subgoals: Annotated[str, typer.Option("--subgoals", help="none, imagined or true.")] = "none",
    manner: Annotated[str, typer.Option("--manner", help="Of carrying out chunks: ensemble or horizon.")] = "ensemble",
    episode: Annotated[
        str, typer.Option("--episode", help="instruction, or key_step: one key step each.")
    ] = "instruction",
    films: Annotated[int, typer.Option("--films", min=0, help="MP4s of the first scenes of each task.")] = 1,
    preset: Annotated[str, typer.Option("--preset", help="Who imagines.")] = "mini",
    server: Annotated[str, typer.Option("--server", help="Imagine there, e.g. tcp://127.0.0.1:7447.")] = "",
    final_evaluation: Final = False,
) -> None:
    """Success of a trained policy with Wilson's 95 % intervals, and films; figures go to RUN/evaluation.json."""
    from contextlib import ExitStack

    from tqdm import tqdm

    from ksgen_envs.learners.evaluation import KEY_STEP_LIMIT, Score, check_seeds, film, run_episode
    from ksgen_envs.learners.runs import load_run
    from ksgen_launch.choices import parse_seeds, short_name

    scenes = check_seeds(parse_seeds(seeds), final_evaluation=final_evaluation)
    trained = load_run(run, manner=check_manner(manner))
    env_ids = env_ids_of(env) if env else trained.env_ids
    encoder = sentence_encoder(trained.inputs)
    figures: dict[str, Any] = {"seeds": seeds, "subgoals": subgoals, "episode": episode, "manner": manner, "tasks": {}}
    limit = {"max_episode_steps": KEY_STEP_LIMIT} if episode == "key_step" else {}
    with ExitStack() as stack:
        imaginer_for = open_imaginers((subgoals,), encoder, preset, server, stack)[subgoals]
        for env_id in env_ids:
            made = trained.env(env_id, encoder=encoder, imaginer_for=imaginer_for, episode=episode, **limit)
            try:
                outcomes = []
                for index, scene in enumerate(tqdm(scenes, desc=short_name(env_id), unit="scene")):
                    if index < films:
                        path = run / "films" / f"{short_name(env_id)}-{scene}-{subgoals}.mp4"
                        outcomes.append(film(made, trained.policy, scene, path))
                        typer.echo(f"film: {path.resolve()}")
                    else:
                        outcomes.append(run_episode(made, trained.policy, scene))
            finally:
                made.close()
            score = Score(tuple(outcomes))
            typer.echo(f"{env_id}: {score}")
            figures["tasks"][env_id] = figures_of(score)
    _write_json(run / "evaluation.json", figures)


@app.command("compare")
def compare(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the results; RUN/comparison by default.")] = None,
    env: Annotated[str, typer.Option("--env", help="As for bc; by default what the policy was trained in.")] = "",
    seeds: EvaluationSeeds = _DEVELOPMENT,
    arms: Annotated[str, typer.Option("--arms", help="Which, joined by commas.")] = "none,imagined,true",
    instructions: Annotated[
        str,
        typer.Option(
            "--instructions",
            help="explicit: one that names every thing in its order and has several key steps; own: the scene's own.",
        ),
    ] = "explicit",
    imaginations: Annotated[
        Path | None, typer.Option("--imaginations", help="Folder that keeps them; OUT/imaginations by default.")
    ] = None,
    manner: Annotated[str, typer.Option("--manner", help="Of carrying out chunks: ensemble or horizon.")] = "ensemble",
    preset: Annotated[str, typer.Option("--preset", help="Who imagines.")] = "mini",
    server: Annotated[str, typer.Option("--server", help="Imagine there, e.g. tcp://127.0.0.1:7447.")] = "",
    final_evaluation: Final = False,
) -> None:
    """The same policy on the same scenes given no subgoals, imagined ones and true ones: a table with intervals.

    Stopped and started again with the same options, it goes on where it was.
    """
    from contextlib import ExitStack

    from ksgen_envs.learners import comparison
    from ksgen_envs.learners.evaluation import check_seeds
    from ksgen_envs.learners.runs import load_run, weights_hash
    from ksgen_launch.choices import parse_seeds
    from ksgen_models.errors import InvalidInput

    scenes = check_seeds(parse_seeds(seeds), final_evaluation=final_evaluation)
    trained = load_run(run, manner=check_manner(manner))
    if trained.inputs is None or trained.inputs.kind != "subgoal":
        raise InvalidInput(f"{run} takes no subgoals; train with `ksgen-agent learn bc --condition subgoal`")
    if instructions not in ("explicit", "own"):
        raise InvalidInput(f"instructions is {instructions!r}; give explicit or own")
    encoder = sentence_encoder(trained.inputs)
    assert encoder is not None
    folder = out or run / "comparison"
    about = {
        "policy": weights_hash(run),
        "manner": manner,
        "imaginer": server or preset,
        "instructions": instructions,
    }
    with ExitStack() as stack:
        kept = imaginations or folder / "imaginations"
        imaginers = open_imaginers(tuple(arms.split(",")), encoder, preset, server, stack, keep=kept)
        trials = []
        asked = comparison.compare(
            trained.policy,
            trained.inputs,
            encoder,
            imaginers,
            env_ids_of(env) if env else trained.env_ids,
            scenes,
            folder,
            about=about,
            explicit=instructions == "explicit",
        )
        for trial in asked:
            trials.append(trial)
            word = "done" if trial.outcome.success else f"not done, at {trial.outcome.stuck_at!r}"
            typer.echo(f"{trial.env_id} scene {trial.outcome.scene_seed}, {trial.arm} subgoals: {word}", err=True)
    typer.echo(comparison.write_summary(trials, folder, about))
    typer.echo(f"comparison: {folder.resolve()}")


def _write_json(path: Path, figures: dict[str, Any]) -> None:
    import json

    path.write_text(json.dumps(figures, indent=1), "utf-8")
    typer.echo(f"figures: {path.resolve()}")
