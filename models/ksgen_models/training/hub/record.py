"""What lies beside trained weights and says what they are and what they go with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ksgen_models.errors import AssetError, WeightsMissing

if TYPE_CHECKING:
    from ksgen_models.training.hub.config import TrainConfig

RECORD = "training.json"


@dataclass(frozen=True)
class Record:
    """A trained model.

    Attributes:
        kind: ``"rom"``, ``"video"`` or ``"kig"``.
        model, revision: checkpoint that it was trained from, as it was named.
        pipeline, component: class of that checkpoint, and which network of it.
        rank: of the adapters; 0 where every weight was trained.
        height, width, frames, fps: of the clips; of key-step images, of one picture.
        steps: optimiser steps.
        versions: of the packages.
    """

    kind: str
    model: str
    revision: str | None
    pipeline: str
    component: str
    rank: int
    height: int
    width: int
    frames: int
    fps: float
    steps: int
    versions: dict[str, str]

    @classmethod
    def of(
        cls,
        kind: str,
        config: TrainConfig,
        pipeline: str,
        component: str,
        rank: int,
        size: tuple[int, int, int, float],
    ) -> Record:
        """Of a run; ``size`` is height, width, frames and fps."""
        used = {name: version(name) for name in ("torch", "diffusers", "transformers", "peft", "accelerate")}
        folder = Path(config.model).expanduser()
        model = str(folder.resolve()) if folder.is_dir() else config.model
        return cls(kind, model, config.revision, pipeline, component, rank, *size, config.steps, used)

    def write(self, folder: Path) -> None:
        """Into the folder of the trained model."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: str | Path, kind: str | None = None) -> Record:
        """Of a trained model, of a kind or of any.

        Raises:
            WeightsMissing: the folder holds none.
            AssetError: it is of another kind, or damaged.
        """
        path = Path(folder) / RECORD
        if not path.is_file():
            raise WeightsMissing(f"{folder} holds no trained model: no {RECORD}; name OUT/model of a ksgen-agent train")
        try:
            there = json.loads(path.read_text("utf-8"))
            record = cls(**{field.name: there[field.name] for field in fields(cls)})
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise AssetError(f"{path} cannot be read ({exc!r}); train again") from exc
        if kind is not None and record.kind != kind:
            raise AssetError(f'{folder} holds a model of the kind "{record.kind}"; one of the kind "{kind}" is needed')
        return record
