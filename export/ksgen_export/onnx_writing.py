"""From a PyTorch module to an ONNX file that is there whole or not at all."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ksgen_models.errors import PresetError

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 20


@dataclass(frozen=True)
class Export:
    """One model to be exported.

    Attributes:
        module: takes the tensors of ``example`` in their order, and gives tensors.
        example: name → tensor of each input. No two free sizes alike: the exporter takes equal ones for one and the
            same.
        outputs: name of each output.
        free: name of an input → its axes whose size may differ from the example's.
        strict: the exporter reads the module's Python instead of running it; sizes taken by ``len`` stay free.
    """

    module: nn.Module
    example: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    free: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    strict: bool = True


def write_export(export: Export, path: str | os.PathLike[str]) -> Path:
    """Write the ONNX model with torch's exporter; the file appears whole or not at all.

    Returns:
        The path written.

    Raises:
        PresetError: the packages onnx and onnxscript are not here.
    """
    import torch

    _need_exporter()
    some = torch.export.Dim.DYNAMIC
    axes = tuple(dict.fromkeys(export.free.get(name, ()), some) or None for name in export.example)
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet(), torch.no_grad():
        exported = torch.export.export(
            export.module.eval(), tuple(export.example.values()), dynamic_shapes=axes, strict=export.strict
        )
        program = torch.onnx.export(
            exported.run_decompositions({torch.ops.aten.cummax.default: _running_maximum}),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(export.example),
            output_names=list(export.outputs),
            verbose=False,
        )
        assert program is not None
        try:
            program.save(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _running_maximum(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """`torch.cummax` by what ONNX has: each place's maximum over those up to it, and where that is."""
    import torch

    first = x.movedim(dim, 0)  # (L, ...)
    places = torch.arange(first.shape[0], device=x.device)
    later = (places > places[:, None])[(..., *(first.dim() - 1) * (None,))]  # (L, L, 1, ...)
    values, indices = first[None].masked_fill(later, float("-inf")).max(dim=1)
    return values.movedim(0, dim), indices.movedim(0, dim)


def _need_exporter() -> None:
    for name in ("onnx", "onnxscript"):
        if find_spec(name) is None:
            raise PresetError(f"exporting to ONNX needs the package {name}; run: pip install 'ksgen-agent[export]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its own deprecations, and that there is no torchvision, which nothing here needs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
