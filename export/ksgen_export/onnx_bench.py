"""``python -m ksgen_export.onnx_bench``: export the networks to ONNX, and compare with PyTorch in speed and numbers.

Both run in float32 on the same inputs. A time is that of the fastest run after one that is not counted, which other
work on the machine disturbs least; the difference is the largest of any output over the largest value of that output.
With ``--out`` the models stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ksgen_models.errors import InvalidInput, KSGenError

if TYPE_CHECKING:
    from ksgen_export.onnx_writing import Export

HANDS, SENTENCES = "hands", "sentences"


@dataclass(frozen=True)
class Row:
    """One model's line.

    Attributes:
        name: of the model.
        megabytes: of the file.
        torch_ms, onnx_ms: time of the fastest call in milliseconds.
        difference: largest difference of an output over the largest absolute value of that output.
    """

    name: str
    megabytes: float
    torch_ms: float
    onnx_ms: float
    difference: float


def compare(name: str, export: Export, path: Path, *, device: str, threads: int, runs: int) -> Row:
    """Time a module and its exported model on the module's example, and compare what they say.

    Args:
        name: of the row.
        export: the module and what it takes.
        path: its ``.onnx`` file.
        device: ``"cpu"`` or ``"cuda"``, for both.
        threads: of both on the CPU.
        runs: timed calls of each.
    """
    import torch

    from ksgen_export.onnx_session import open_session

    torch.set_num_threads(threads)
    session = open_session(path, device, threads=threads)
    module = export.module.to(device).eval()
    tensors = [tensor.to(device) for tensor in export.example.values()]
    arrays = {key: tensor.numpy() for key, tensor in export.example.items()}

    def run_torch() -> Any:
        with torch.inference_mode():
            found = module(*tensors)
        if device != "cpu":
            torch.cuda.synchronize()
        return found

    torch_ms, expected = _timed(run_torch, runs)
    onnx_ms, found = _timed(lambda: session.run(None, arrays), runs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    worst = max(_difference(one.cpu().numpy(), other) for one, other in zip(expected, found, strict=True))
    return Row(name, path.stat().st_size / 1e6, torch_ms, onnx_ms, worst)


def exports(names: Sequence[str] | None = None) -> dict[str, Callable[[], Export]]:
    """Everything that can be exported: name → maker. The embedded models are loaded once, when first needed.

    Args:
        names: some of them; None for all.

    Returns:
        In the order of ``names``.

    Raises:
        InvalidInput: there is none of that name.
    """
    from functools import lru_cache

    from ksgen_export.onnx_mini import MINI_MODELS, mini_export
    from ksgen_models.mini.networks import load_networks

    loaded = lru_cache(load_networks)
    makers: dict[str, Callable[[], Export]] = {HANDS: _hands, SENTENCES: _sentences}
    for name in MINI_MODELS:
        makers[name] = lambda name=name: mini_export(name, loaded())
    unknown = sorted(set(names or ()) - set(makers))
    if unknown:
        raise InvalidInput(f"there is no model {', '.join(unknown)}; choose among {', '.join(makers)}")
    return {name: makers[name] for name in names or makers}


HEADER = "| model | MB | PyTorch ms | ONNX ms | times as fast | difference |\n|---|---|---|---|---|---|"


def line(row: Row) -> str:
    """A row of the Markdown table under `HEADER`."""
    return (
        f"| {row.name} | {row.megabytes:.1f} | {row.torch_ms:.1f} | {row.onnx_ms:.1f} | "
        f"{row.torch_ms / row.onnx_ms:.2f} | {row.difference:.1e} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, or 2 with one of the project's own errors on standard error."""
    about = "Export the networks to ONNX, and compare with PyTorch in speed and numbers."
    parser = argparse.ArgumentParser(prog="python -m ksgen_export.onnx_bench", description=about)
    parser.add_argument("models", nargs="*", help="some of them; all if none is named")
    parser.add_argument("--out", type=Path, help="folder that keeps the exported models")
    parser.add_argument("--exported", action="store_true", help="take the models that are in --out already")
    parser.add_argument("--device", default="cpu", help='"cpu" or "cuda"')
    parser.add_argument("--threads", type=int, default=1, help="of both on the CPU")
    parser.add_argument("--runs", type=int, default=5, help="timed calls of each")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    given = parser.parse_args(arguments)
    try:
        rows = _run(given)
        if given.json:
            print(json.dumps([asdict(row) for row in rows], indent=1))
        else:
            print(HEADER)
            for row in rows:
                print(line(row), flush=True)
    except KSGenError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> Iterator[Row]:
    """A row as soon as it is measured."""
    from ksgen_export.onnx_writing import write_export

    makers = exports(given.models or None)
    with nullcontext(str(given.out)) if given.out else tempfile.TemporaryDirectory() as folder:
        for name, make in makers.items():
            export = make()
            path = Path(folder) / f"{name}.onnx"
            if not (given.exported and path.is_file()):
                write_export(export, path)
            yield compare(name, export, path, device=given.device, threads=given.threads, runs=max(1, given.runs))


def _hands() -> Export:
    from ksgen_export.onnx import hand_tracker_export

    return hand_tracker_export()


def _sentences() -> Export:
    from ksgen_export.onnx_sentences import sentence_export

    return sentence_export()


def _timed(call: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Milliseconds of the fastest call, and what the call gives."""
    found = call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times), found


def _difference(expected: Any, found: Any) -> float:
    import numpy as np

    one, other = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    return float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-12))


if __name__ == "__main__":
    raise SystemExit(main())
