"""Checkpoints in diffusers' folder layout: say exactly what they lack.

A folder is whole when every component that ``model_index.json`` names has its configuration and all its weights, as
safetensors, each file as long as its own header says. Pickles are refused. Nothing of the weights is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksgen_models.errors import PresetError, WeightsMissing

INDEX = "model_index.json"
_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format
_LARGEST_JSON = 50_000_000
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of weight files that can run code when they are read."""
_POINTER = b"version https://git-lfs"
_TOKENIZERS = (
    ("tokenizer.json",),
    ("spiece.model",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_PROCESSORS = (("preprocessor_config.json",), ("processor_config.json",), ("video_preprocessor_config.json",))


@dataclass(frozen=True)
class Component:
    """One component of a checkpoint.

    Attributes:
        name: as the pipeline calls it, e.g. ``"transformer"``.
        library, class_name: what loads it.
        weights: its safetensors files; empty for schedulers, tokenizers and processors.
        size: bytes of all ``weights``.
    """

    name: str
    library: str
    class_name: str
    weights: tuple[Path, ...]
    size: int


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk.

    Attributes:
        folder: where it is.
        pipeline: name of the pipeline class that it was saved from.
        components: in the order of the index.
        variant: e.g. ``"fp16"`` where files are named so, or None.
    """

    folder: Path
    pipeline: str
    components: tuple[Component, ...]
    variant: str | None

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(component.size for component in self.components)


def check_checkpoint(
    folder: str | Path, *, pipeline: str | Collection[str] | None = None, skip: Collection[str] = ()
) -> Checkpoint:
    """Look whether a diffusers folder is whole, without loading any of it.

    Args:
        folder: where ``model_index.json`` lies.
        pipeline: name of the class that it must be of, or several that will do, or None for any.
        skip: components that the caller does not load, e.g. a safety checker.

    Raises:
        WeightsMissing: files are missing or cut short; names every one of them.
        PresetError: it is whole but of another class, or its weights are pickles.
    """
    folder = Path(folder)
    found = check_class(folder, pipeline)
    index = read_json(folder / INDEX)
    components, faults, variants = [], [], set()
    for name, library, class_name in _listed(index):
        if name in skip:
            continue
        weights, variant, wrong = _inspect(folder / name, name, class_name)
        faults += wrong
        variants.add(variant)
        size = sum(path.stat().st_size for path in weights if path.is_file())
        components.append(Component(name, library, class_name, weights, size))
    if faults:
        raise WeightsMissing(
            f"the checkpoint in {folder} is not whole: {'; '.join(faults)}. Fetch these files again: the same download "
            "command goes on where it stopped"
        )
    return Checkpoint(folder, found, tuple(components), next(iter(variants - {None}), None))


def check_class(folder: str | Path, pipeline: str | Collection[str] | None = None) -> str:
    """Name of the pipeline class that a diffusers folder was saved from.

    Raises:
        WeightsMissing: it is no such folder.
        PresetError: the class is none of those that will do.
    """
    index = Path(folder) / INDEX
    if not index.is_file():
        raise WeightsMissing(f"{folder} has no {INDEX}: it is no diffusers checkpoint, or its download never finished")
    found = str(read_json(index).get("_class_name"))
    wanted = (pipeline,) if isinstance(pipeline, str) else tuple(pipeline or (found,))
    if found not in wanted:
        raise PresetError(f"{folder} holds a {found}, and {' or '.join(wanted)} is needed; name such a checkpoint")
    return found


def listed_components(folder: str | Path) -> tuple[str, ...]:
    """Names of the components in a folder's index; none where there is no index."""
    index = Path(folder) / INDEX
    return tuple(name for name, _, _ in _listed(read_json(index))) if index.is_file() else ()


def checkpoint_size(folder: str | Path) -> int:
    """Bytes of all safetensors files below a folder, each counted once."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object from disk.

    Raises:
        WeightsMissing: it is none, as after a broken download.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError("it is far too large")
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no object")
        return data
    except (OSError, ValueError) as exc:
        raise WeightsMissing(f"{path} cannot be read ({exc}); fetch it again") from exc


def safetensors_fault(path: Path) -> str | None:
    """What is wrong with a safetensors file by its header and length; None where they agree. Reads only the header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
        if start == _POINTER:
            return "is a Git LFS pointer and not the file; run git lfs pull"
        length = int.from_bytes(start[:8], "little")
        if size < 8 or length > min(_LARGEST_HEADER, size - 8):
            return f"is cut short or no safetensors file ({size} bytes)"
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "has a damaged header"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"has {size} of {expected} bytes"


def _listed(index: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, library, class) of all components that are there."""
    return [
        (name, value[0], value[1])
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and all(value)
    ]


def _inspect(folder: Path, name: str, class_name: str) -> tuple[tuple[Path, ...], str | None, list[str]]:
    """The weight files of one component, their variant, and what is wrong."""
    if not folder.is_dir():
        return (), None, [f"the folder {name}/ is missing"]
    if class_name.endswith("Scheduler"):
        return (), None, _any_of(folder, name, (("scheduler_config.json",),))
    if "Tokenizer" in class_name:
        return (), None, _any_of(folder, name, _TOKENIZERS)
    if class_name.endswith(("Processor", "FeatureExtractor", "ProcessorFast", "ProcessorPil")):
        return (), None, _any_of(folder, name, _PROCESSORS)
    faults = _any_of(folder, name, (("config.json",),))
    weights, variant, wrong = _weights(folder, name)
    return weights, variant, faults + wrong


def _any_of(folder: Path, name: str, choices: tuple[tuple[str, ...], ...]) -> list[str]:
    """Nothing when all files of one choice are there."""
    if any(all((folder / file).is_file() for file in files) for files in choices):
        return []
    return [f"{name}/ lacks {' or '.join(' with '.join(files) for files in choices)}"]


def _weights(folder: Path, name: str) -> tuple[tuple[Path, ...], str | None, list[str]]:
    """Full precision files where they are, else those of a variant (``model.fp16.safetensors``)."""
    for stem in ("diffusion_pytorch_model", "model"):
        for variant in (None, "fp16", "bf16"):
            tag = f".{variant}" if variant else ""
            index = folder / f"{stem}.safetensors.index{tag}.json"
            single = folder / f"{stem}{tag}.safetensors"
            if index.is_file():
                shards = sorted(set(read_json(index).get("weight_map", {}).values()))
                return _checked(folder, name, shards, variant)
            if single.is_file():
                return _checked(folder, name, [single.name], variant)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise PresetError(
            f"{folder} has its weights as pickles only ({pickles[0]}), which can run code and are refused; take a "
            "revision with safetensors, or convert it: load it where you trust it and save_pretrained it"
        )
    return (), None, [f"{name}/ has no weights (*.safetensors)"]


def _checked(
    folder: Path, name: str, files: list[str], variant: str | None
) -> tuple[tuple[Path, ...], str | None, list[str]]:
    faults = []
    for file in files:
        path = folder / file
        if Path(file).name != file:
            faults.append(f"{name}/ lists {file!r}, which lies outside the folder")
        elif not path.is_file():
            faults.append(f"{name}/{file} is missing")
        elif (fault := safetensors_fault(path)) is not None:
            faults.append(f"{name}/{file} {fault}")
    return tuple(folder / file for file in files), variant, faults
