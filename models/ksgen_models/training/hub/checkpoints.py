"""Checkpoints that a run goes on from as if it had never stopped.

One folder a checkpoint, ``out/checkpoints/step-000500``, which appears whole or not at all. accelerate writes what is
in it: weights, optimiser, schedule, averaged weights, random states and the number of the step, which is also the
place in the data. Frozen weights are not copied, except in sharded training (FSDP, DeepSpeed).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from ksgen_models.errors import DatasetError
from ksgen_models.training.hub.adapt import trained_names
from ksgen_models.training.hub.cache import writing

_TRAINED = "trained.safetensors"
_NAME = re.compile(r"step-(\d+)")
SETTINGS = "run.json"


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, accelerator: Accelerator, out: Path, keep: int) -> None:
        """Nothing is written yet.

        Args:
            accelerator: holds everything that is saved; models must be prepared already.
            out: folder of the run.
            keep: how many stay.
        """
        self._accelerator = accelerator
        self._folder = out / "checkpoints"
        self._keep = keep
        sharded = (DistributedType.FSDP, DistributedType.DEEPSPEED)
        if accelerator.distributed_type not in sharded:
            accelerator.register_save_state_pre_hook(self._save_trained)
            accelerator.register_load_state_pre_hook(self._load_trained)

    def save(self, step: int) -> None:
        """Write the checkpoint of a step and remove those that are too many.

        Raises:
            DatasetError: it cannot be written; those that are there stay.
        """
        target = self._folder / f"step-{step:06d}"
        partial = self._folder / f".{target.name}.part"
        main = self._accelerator.is_main_process
        if main:
            shutil.rmtree(partial, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        try:
            with writing(self._folder):
                partial.mkdir(parents=True, exist_ok=True)
                self._accelerator.save_state(str(partial), safe_serialization=True)
                self._accelerator.wait_for_everyone()
                if main:
                    shutil.rmtree(target, ignore_errors=True)
                    partial.replace(target)
        finally:
            if main:
                shutil.rmtree(partial, ignore_errors=True)
        if main:
            for old in self._found()[: -self._keep]:
                shutil.rmtree(old, ignore_errors=True)
        self._accelerator.wait_for_everyone()

    def load_newest(self) -> bool:
        """Go back to the newest checkpoint; False where there is none.

        Raises:
            DatasetError: it cannot be read.
        """
        found = self._found()
        if not found:
            return False
        try:
            self._accelerator.load_state(str(found[-1]))
        except Exception as exc:
            raise DatasetError(
                f"the checkpoint {found[-1]} cannot be read ({exc!s:.300}); delete it, and the run goes on from the "
                "one before it"
            ) from exc
        return True

    def _found(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        paths = self._folder.glob("step-*") if self._folder.is_dir() else ()
        return sorted((path for path in paths if _NAME.fullmatch(path.name)), key=lambda path: int(path.name[5:]))

    def _save_trained(self, models: list[torch.nn.Module], weights: list[Any], folder: str) -> None:
        from safetensors.torch import save_file

        weights.clear()  # accelerate would write the frozen weights too
        if self._accelerator.is_main_process:
            (model,) = (self._accelerator.unwrap_model(model) for model in models)
            trained = set(trained_names(model))
            state = {name: weight for name, weight in model.named_parameters() if name in trained}
            save_file({name: weight.detach().cpu().contiguous() for name, weight in state.items()},
                      Path(folder) / _TRAINED)  # fmt: skip

    def _load_trained(self, models: list[torch.nn.Module], folder: str) -> None:
        from safetensors.torch import load_file

        model = self._accelerator.unwrap_model(models.pop())
        state = load_file(Path(folder) / _TRAINED)
        if set(state) != set(trained_names(model)):
            raise ValueError("it holds other weights than this run trains")
        model.load_state_dict(state, strict=False)


def check_settings(out: Path, settings: Mapping[str, Any], resume: bool) -> None:
    """Keep a run's settings beside it, and refuse to go on with others.

    Raises:
        DatasetError: ``out`` holds a run and ``resume`` is not set, or that run was made with other settings.
    """
    path = out / SETTINGS
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        if not resume:
            raise DatasetError(f"{out} holds a run already; add --resume to go on with it, or give another --out")
        try:
            there = dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as exc:
            raise DatasetError(f"{path} cannot be read ({exc}); give another --out") from exc
        other = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
        if other:
            told = ", ".join(f"{name} {there.get(name)!r} then and {wanted.get(name)!r} now" for name in other[:3])
            raise DatasetError(f"{out} holds a run with other settings ({told}); give these again or another --out")
        return
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=2) + "\n", "utf-8")
