"""The same policy given no subgoals, imagined ones, and true ones.

One network, trained once (condition ``"subgoal"``, a share of its training without any), does the same scenes three
times. What differs is who gives the subgoals; scene, instruction, robot, weights and what else is observed are the
same, so outcomes are compared scene by scene.

Results are written after every episode, and what is there already is kept, so a stopped comparison goes on where it
was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium

from ksgen_envs.executors.expert import Outcome
from ksgen_envs.learners.evaluation import Policy, Score, run_episode
from ksgen_envs.learners.inputs import ImaginerFor, InputSpec, make_env
from ksgen_envs.workbench import Workbench
from ksgen_models.errors import DatasetError, InvalidInput
from ksgen_models.interfaces import SentenceEncoder

ARMS = ("none", "imagined", "true")
_HEADINGS = {"none": "no"}
EPISODES, SUMMARY, TABLE = "episodes.jsonl", "comparison.json", "comparison.md"


@dataclass(frozen=True)
class Trial:
    """One episode.

    Attributes:
        arm: one of `ARMS`.
        env_id: the task.
        outcome: how it went.
        subgoals: whether there was a plan at the reset; False where the imaginer failed, and for ``"none"``.
        why: the imaginer's error, or "".
    """

    arm: str
    env_id: str
    outcome: Outcome
    subgoals: bool
    why: str = ""


def compare(
    policy: Policy,
    inputs: InputSpec,
    encoder: SentenceEncoder,
    imaginers: Mapping[str, ImaginerFor | None],
    env_ids: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    about: Mapping[str, Any],
    explicit: bool = False,
) -> Iterator[Trial]:
    """Do every scene of every task with every arm; yields trials, those done before first.

    Args:
        policy, inputs: trained with the condition ``"subgoal"``.
        encoder: of sentences.
        imaginers: who gives the subgoals, by arm.
        env_ids, seeds: the scenes.
        out: folder of the results.
        about: what identifies the policy and the imaginer; results of others are not mixed with these.
        explicit: do of each scene the first instruction whose words name every thing in its order and that has several
            key steps, and leave out scenes without one; else the scene's own.

    Raises:
        InvalidInput: the policy takes no subgoals.
        DatasetError: the folder holds another comparison.
    """
    if inputs.kind != "subgoal":
        raise InvalidInput("this policy was trained without subgoals; train one with --condition subgoal")
    done = _begin(out, dict(about))
    yield from done.values()
    choose = explicit_instruction if explicit else lambda env_id, seed: 0
    for env_id in env_ids:
        # One environment an arm for all scenes; arms in turn, so that a comparison that is stopped is a fair one.
        envs = {
            arm: make_env(env_id, inputs, encoder=encoder, imaginer_for=imaginer) for arm, imaginer in imaginers.items()
        }
        try:
            for seed in seeds:
                instruction = choose(env_id, seed)
                for arm, env in envs.items():
                    if instruction is not None and (arm, env_id, seed) not in done:
                        trial = _try(arm, env_id, env, policy, seed, instruction)
                        _append(out / EPISODES, trial)
                        yield trial
        finally:
            for env in envs.values():
                env.close()


def explicit_instruction(env_id: str, seed: int) -> int | None:
    """Index of a scene's first instruction with several key steps that its words tell one by one; None: none."""
    for index, instruction in enumerate(Workbench(env_id, seed).instructions()):
        if instruction.explicit and len(instruction.steps) > 1:
            return index
    return None


def scores(trials: Sequence[Trial]) -> dict[tuple[str, str], Score]:
    """Score by (env id, arm), and by ("all", arm) over all tasks."""
    grouped: dict[tuple[str, str], list[Outcome]] = {}
    for trial in trials:
        grouped.setdefault((trial.env_id, trial.arm), []).append(trial.outcome)
        grouped.setdefault(("all", trial.arm), []).append(trial.outcome)
    return {key: Score(tuple(outcomes)) for key, outcomes in grouped.items()}


@dataclass(frozen=True)
class Pairing:
    """Two arms on the same scenes.

    Attributes:
        first, second: arms.
        scenes: both did.
        only_first, only_second: scenes that only one of them did with success.
        p: two-sided exact sign test of the two counts (McNemar's exact test).
    """

    first: str
    second: str
    scenes: int
    only_first: int
    only_second: int
    p: float


def pair(trials: Sequence[Trial], first: str, second: str) -> Pairing:
    """Compare two arms scene by scene, over all tasks."""
    from scipy.stats import binomtest

    won: dict[str, dict[tuple[str, int], bool]] = {first: {}, second: {}}
    for trial in trials:
        if trial.arm in won:
            won[trial.arm][trial.env_id, trial.outcome.scene_seed] = trial.outcome.success
    both = won[first].keys() & won[second].keys()
    ahead = sum(won[first][scene] and not won[second][scene] for scene in both)
    behind = sum(won[second][scene] and not won[first][scene] for scene in both)
    p = float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0
    return Pairing(first, second, len(both), ahead, behind, p)


def write_summary(trials: Sequence[Trial], out: Path, about: Mapping[str, Any]) -> str:
    """Write ``comparison.json`` and ``comparison.md``; returns the latter's text."""
    by_group = scores(trials)
    arms = [arm for arm in ARMS if any(trial.arm == arm for trial in trials)]
    pairings = [pair(trials, second, first) for first, second in pairwise(arms)]
    without = {arm: sum(trial.arm == arm and not trial.subgoals for trial in trials) for arm in arms if arm != "none"}
    rows = {
        f"{env_id} / {arm}": {
            "won": score.won,
            "episodes": len(score.outcomes),
            "success": score.success,
            "interval": score.interval,
            "key_steps": score.key_steps,
        }
        for (env_id, arm), score in by_group.items()
    }
    summary = {
        "about": dict(about),
        "scores": rows,
        "pairs": [asdict(pairing) for pairing in pairings],
        "episodes_without_a_plan": without,
    }
    (out / SUMMARY).write_text(json.dumps(summary, indent=1), "utf-8")
    text = _table(by_group, arms, pairings, without)
    (out / TABLE).write_text(text, "utf-8")
    return text


def _table(
    by_group: Mapping[tuple[str, str], Score],
    arms: Sequence[str],
    pairings: Sequence[Pairing],
    without: Mapping[str, int],
) -> str:
    env_ids = list(dict.fromkeys(env_id for env_id, _ in by_group if env_id != "all"))
    lines = [
        "| task | " + " | ".join(f"{_HEADINGS.get(arm, arm)} subgoals" for arm in arms) + " |",
        "|---" * (len(arms) + 1) + "|",
    ]
    for env_id in [*env_ids, "all"]:
        cells = [_cell(by_group.get((env_id, arm))) for arm in arms]
        lines.append(f"| {env_id} | " + " | ".join(cells) + " |")
    lines += ["", "Whole tasks done, 95 % interval (Wilson), and the mean share of key steps done.", ""]
    lines += [
        f"{p.first} against {p.second}, the same {p.scenes} scenes: only {p.first} {p.only_first}, only {p.second} "
        f"{p.only_second}, exact sign test p = {p.p:.3g}."
        for p in pairings
    ]
    lines += [f"{arm}: {count} episodes had no plan." for arm, count in without.items() if count]
    return "\n".join(lines) + "\n"


def _cell(score: Score | None) -> str:
    if score is None:
        return "–"
    low, high = score.interval
    share = f"{score.won}/{len(score.outcomes)} = {score.success:.0%} ({low:.0%}–{high:.0%})"
    return f"{share}; key steps {score.key_steps:.0%}"


def _try(arm: str, env_id: str, env: gymnasium.Env[Any, Any], policy: Policy, seed: int, instruction: int) -> Trial:
    plans = _PlanWatch(env)
    outcome = run_episode(plans, policy, seed, instruction=instruction)
    return Trial(arm, env_id, outcome, plans.has_plan, plans.why)


class _PlanWatch(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Notes whether the reset brought a plan."""

    has_plan, why = False, ""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        told = info.get("subgoal", {})
        self.has_plan, self.why = bool(told.get("valid", False)), str(told.get("error", ""))
        return observation, info


def _begin(out: Path, about: dict[str, Any]) -> dict[tuple[str, str, int], Trial]:
    # The trials that are there already.
    out.mkdir(parents=True, exist_ok=True)
    path = out / EPISODES
    if not path.is_file():
        path.write_text(json.dumps({"about": about}) + "\n", "utf-8")
        return {}
    try:
        first, *lines = path.read_text("utf-8").splitlines()
        known = json.loads(first)["about"]
        trials = [_trial(json.loads(line)) for line in lines]
    except (ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{path} is no comparison ({exc}); use another --out") from exc
    if known != json.loads(json.dumps(about)):
        raise DatasetError(f"{path} is a comparison of {known}, not of {about}; use another --out")
    return {(trial.arm, trial.env_id, trial.outcome.scene_seed): trial for trial in trials}


def _trial(held: dict[str, Any]) -> Trial:
    return Trial(held["arm"], held["env_id"], Outcome(**held["outcome"]), held["subgoals"], held["why"])


def _append(path: Path, trial: Trial) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(trial)) + "\n")
