"""Opening exported models with onnxruntime, on the CPU or on a GPU.

The package decides what there is: ``pip install 'ksgen-agent[imagine]'`` brings onnxruntime, which runs on the CPU;
``pip install 'ksgen-agent[gpu]'`` brings onnxruntime-gpu, which runs on both. The two hold the same Python module:
with both installed, whichever came last is the one there is, so uninstall onnxruntime first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksgen_models.errors import AssetError, PresetError, WeightsMissing

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_GPU = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def open_session(path: str | os.PathLike[str], device: str = "auto", *, threads: int | None = None) -> InferenceSession:
    """Load a model that was exported.

    Args:
        path: the ``.onnx`` file.
        device: ``"auto"`` (a GPU where onnxruntime has one, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        threads: on the CPU; None lets onnxruntime choose.

    Raises:
        WeightsMissing: the file is not there.
        PresetError: there is no such device, or the installed onnxruntime has no part for it.
        AssetError: the file is no model that it can run.
    """
    import onnxruntime

    path = Path(path)
    if not path.is_file():
        raise WeightsMissing(f"there is no {path}; export it first, see `python -m ksgen_export.onnx_bench --help`")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: its warnings tell of its own optimiser
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = choose_providers(device, tuple(onnxruntime.get_available_providers()))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as exc:
        raise AssetError(f"onnxruntime cannot run {path} ({exc!s:.300}); export it anew") from exc
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    # onnxruntime falls back to the CPU by itself when the GPU's libraries do not load.
    if device != "auto" and wanted not in session.get_providers():
        raise PresetError(
            f'device "{device}" was asked for and onnxruntime cannot use it; see that the CUDA and cuDNN libraries of '
            'its version are installed, or take device="cpu"'
        )
    return session


def choose_providers(device: str, available: tuple[str, ...]) -> tuple[Any, ...]:
    """What onnxruntime is to run on, best first.

    Args:
        device: as for `open_session`.
        available: what the installed package has.

    Raises:
        PresetError: there is no such device, or no part for it.
    """
    kind, _, index = device.partition(":")
    if device == "auto":
        return (_GPU, _CPU) if _GPU in available else (_CPU,)
    if device == "cpu":
        return (_CPU,)
    if kind != "cuda" or not (index.isdecimal() or device == "cuda"):
        raise PresetError(f'there is no device "{device}"; name "auto", "cpu", "cuda" or "cuda:0"')
    if _GPU not in available:
        raise PresetError(
            f'device "{device}" was asked for and the installed onnxruntime runs on the CPU only; run: '
            "pip uninstall onnxruntime && pip install 'ksgen-agent[gpu]'"
        )
    return ((_GPU, {"device_id": int(index or 0)}), _CPU)
