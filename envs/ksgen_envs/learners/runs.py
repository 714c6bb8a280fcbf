"""Folders of trained policies: what they hold, and how a policy comes back to life.

``run.json`` says what kind of policy it is. A cloned one lies in ``policy.safetensors``; one that Stable-Baselines3
trained in ``policy.zip``, which is that library's own format and holds pickled objects: load only what you trust.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from ksgen_envs.learners.evaluation import Policy
from ksgen_envs.learners.inputs import ImaginerFor, InputSpec, make_env
from ksgen_models.errors import DatasetError, InvalidInput
from ksgen_models.interfaces import SentenceEncoder

if TYPE_CHECKING:
    from ksgen_envs.learners.acting import Manner
    from ksgen_envs.learners.chunk_policy import ChunkPolicy

DESCRIPTION, WEIGHTS, SB3_POLICY = "run.json", "policy.safetensors", "policy.zip"
CLONED, HINDSIGHT = "bc", "her"


@dataclass(frozen=True)
class Run:
    """A trained policy.

    Attributes:
        kind: ``"bc"`` or ``"her"``.
        env_ids: what it was trained in.
        inputs: what it takes; None for ``"her"``, which takes the environment's own observations.
        policy: acts in an environment of `env`.
        options: of `gymnasium.make` that its training had.
    """

    kind: str
    env_ids: tuple[str, ...]
    inputs: InputSpec | None
    policy: Policy
    options: dict[str, Any]

    def env(
        self,
        env_id: str,
        *,
        encoder: SentenceEncoder | None = None,
        imaginer_for: ImaginerFor | None = None,
        **options: Any,
    ) -> gymnasium.Env[Any, Any]:
        """An environment whose observations the policy takes.

        Args:
            env_id: one of `ksgen_envs.TASKS`.
            encoder: of sentences; a policy with the condition ``"subgoal"`` needs one.
            imaginer_for: who gives subgoals.
            options: further arguments of `gymnasium.make`.

        Raises:
            InvalidInput: the policy takes no subgoals, or lacks an encoder.
        """
        if self.inputs is not None:
            return make_env(env_id, self.inputs, encoder=encoder, imaginer_for=imaginer_for, **options)
        if imaginer_for is not None:
            raise InvalidInput(f"a policy of kind {self.kind!r} takes the environment's goals and no subgoals")
        return gymnasium.make(env_id, **{**self.options, **options})


def save_cloned(folder: Path, network: ChunkPolicy, env_ids: tuple[str, ...]) -> None:
    """Write a cloned policy."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{WEIGHTS}.part"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, partial)
    partial.replace(folder / WEIGHTS)
    write_description(folder, CLONED, env_ids, {"policy": asdict(network.spec)})


def write_description(folder: Path, kind: str, env_ids: tuple[str, ...], more: dict[str, Any]) -> None:
    """Write ``run.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": kind, "env_ids": list(env_ids), **more}, indent=1)
    (folder / DESCRIPTION).write_text(text, "utf-8")


def load_run(folder: Path, *, manner: Manner = "ensemble") -> Run:
    """The policy in a run's folder.

    Args:
        folder: of `ksgen-agent learn bc` or `her`.
        manner: how a cloned policy carries out its chunks.

    Raises:
        DatasetError: there is none, or it cannot be read.
    """
    try:
        held = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        kind, env_ids = str(held["kind"]), tuple(map(str, held["env_ids"]))
        if kind == HINDSIGHT:
            from ksgen_envs.learners.hindsight import HindsightPolicy

            return Run(kind, env_ids, None, HindsightPolicy.load(folder / SB3_POLICY), dict(held.get("options", {})))
        if kind != CLONED:
            raise DatasetError(
                f"{folder / DESCRIPTION} tells of a policy of kind {kind!r}; this version knows bc and her"
            )
        network = load_cloned(folder)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{folder} holds no trained policy ({exc}); train one with `ksgen-agent learn`") from exc
    from ksgen_envs.learners.acting import ChunkActor

    return Run(kind, env_ids, network.spec.inputs, ChunkActor(network, manner=manner), {})


def weights_hash(folder: Path) -> str:
    """SHA-256 of a cloned policy's weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def load_cloned(folder: Path) -> ChunkPolicy:
    """The network of a cloned policy.

    Raises:
        DatasetError: the weights are not the description's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ksgen_envs.learners.chunk_policy import ChunkPolicy, PolicySpec

    form = json.loads((folder / DESCRIPTION).read_text("utf-8"))["policy"]
    network = ChunkPolicy(PolicySpec(**{**form, "inputs": InputSpec(**form["inputs"])}))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (RuntimeError, SafetensorError) as exc:
        raise DatasetError(f"{folder / WEIGHTS} does not fit {DESCRIPTION} ({exc}); train again") from exc
    return network.eval()
