"""What the commands of ``ksgen-agent learn`` have in common: episodes, imaginers, small evaluations on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ksgen_agent import Imaginer
    from ksgen_envs.learners.evaluation import Policy
    from ksgen_envs.learners.inputs import ImaginerFor, InputSpec
    from ksgen_models.interfaces import SentenceEncoder


class Curves:
    """Small evaluations while a policy is cloned, written to TensorBoard."""

    def __init__(
        self,
        out: Path,
        env_ids: tuple[str, ...],
        inputs: InputSpec,
        encoder: SentenceEncoder | None,
        every: int,
        scenes: range,
    ) -> None:
        self._out, self._env_ids, self._inputs, self._encoder = out, env_ids, inputs, encoder
        self._every, self._scenes = every, scenes

    def __enter__(self) -> Curves:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._out))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._writer.close()

    def cloned(self, updates: int, loss: float, network: Any) -> None:
        typer.echo(f"update {updates}: loss {loss:.4f}", err=True)
        if not self._every or updates % self._every:
            return
        from ksgen_envs.learners.acting import ChunkActor
        from ksgen_envs.learners.evaluation import Score, evaluate
        from ksgen_envs.learners.inputs import make_env

        for env_id in self._env_ids:
            env = make_env(env_id, self._inputs, encoder=self._encoder, truth=True)
            try:
                score = Score(tuple(evaluate(env, ChunkActor(network, manner="horizon"), self._scenes)))
            finally:
                env.close()
            typer.echo(f"update {updates}: {env_id} {score}", err=True)
            self._writer.add_scalar(f"success/{env_id}", score.success, updates)
            self._writer.add_scalar(f"key_steps/{env_id}", score.key_steps, updates)


def collect_episodes(
    env_id: str, folder: Path, recipe: Any, episodes: int, encoder: SentenceEncoder | None
) -> list[Path]:
    """Files of so many episodes, from the scene seeds 0 on; a scene that the expert fails in is passed over."""
    from tqdm import tqdm

    from ksgen_envs.learners.demonstrations import collect, episode_path
    from ksgen_envs.learners.inputs import make_env
    from ksgen_launch.choices import short_name

    env = make_env(env_id, recipe.inputs, encoder=encoder, truth=True)
    files: list[Path] = []
    try:
        with tqdm(total=episodes, desc=f"expert, {short_name(env_id)}", unit="episode") as bar:
            for scene, there in collect(env, folder, recipe, range(1_000_000)):
                if there:
                    files.append(episode_path(folder, env_id, scene))
                    bar.update()
                if len(files) == episodes:
                    break
    finally:
        env.close()
    return files


def key_step_success(env_id: str, policy: Policy, scenes: range) -> float:
    import gymnasium

    from ksgen_envs.learners.evaluation import KEY_STEP_LIMIT, Score
    from ksgen_envs.learners.evaluation import evaluate as episodes_of

    env = gymnasium.make(env_id, episode="key_step", max_episode_steps=KEY_STEP_LIMIT)
    try:
        return Score(tuple(episodes_of(env, policy, scenes))).success
    finally:
        env.close()


def open_imaginers(
    arms: tuple[str, ...],
    encoder: SentenceEncoder | None,
    preset: str,
    server: str,
    stack: Any,
    *,
    keep: Path | None = None,
) -> dict[str, ImaginerFor | None]:
    """Who gives subgoals, by arm; the stack closes them. Imaginations are kept in a folder, if one is given."""
    from ksgen_envs.learners.comparison import ARMS
    from ksgen_models.errors import InvalidInput

    made: dict[str, ImaginerFor | None] = {}
    for arm in arms:
        if arm not in ARMS:
            raise InvalidInput(f"subgoals are {arm!r}; give one of {', '.join(ARMS)}")
        if arm == "imagined":
            imaginer = _open_imaginer(preset, server, stack)
            if keep is not None:
                from ksgen_envs.subgoals import KeptImaginer

                imaginer = KeptImaginer(imaginer, keep)
            made[arm] = lambda env, imaginer=imaginer: imaginer
        elif arm == "true":
            from ksgen_envs.learners.true_subgoals import DemonstrationImaginer

            if encoder is None:
                raise InvalidInput("this policy was trained without subgoals; train with --condition subgoal")
            made[arm] = lambda env, words=encoder: DemonstrationImaginer(env, words, pictures=False)
        else:
            made[arm] = None
    return made


def _open_imaginer(preset: str, server: str, stack: Any) -> Imaginer:
    from ksgen_agent import Agent, SubgoalClient

    return stack.enter_context(SubgoalClient(server) if server else Agent(preset))


def sentence_encoder(inputs: InputSpec | None) -> SentenceEncoder | None:
    if inputs is None or inputs.kind != "subgoal":
        return None
    from ksgen_models.text import MiniLM

    return MiniLM()


def env_ids_of(text: str) -> tuple[str, ...]:
    from ksgen_envs.tasks import TASKS
    from ksgen_launch.choices import parse_tasks

    return parse_tasks(text, TASKS)


def only_one(env_ids: tuple[str, ...]) -> tuple[str]:
    from ksgen_models.errors import InvalidInput

    if len(env_ids) != 1:
        raise InvalidInput(f"give one environment, not {', '.join(env_ids)}")
    return (env_ids[0],)


def check_condition(text: str) -> Any:
    from ksgen_envs.learners.condition import CONDITION_SIZE
    from ksgen_models.errors import InvalidInput

    if text not in CONDITION_SIZE:
        raise InvalidInput(f"the condition is {text!r}; give one of {', '.join(CONDITION_SIZE)}")
    return text


def check_manner(text: str) -> Any:
    from ksgen_models.errors import InvalidInput

    if text not in ("ensemble", "horizon"):
        raise InvalidInput(f"the manner is {text!r}; give ensemble or horizon")
    return text


def figures_of(score: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "won": score.won,
        "episodes": len(score.outcomes),
        "success": score.success,
        "interval": score.interval,
        "key_steps": score.key_steps,
        "outcomes": [asdict(outcome) for outcome in score.outcomes],
    }
