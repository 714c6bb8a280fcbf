"""Learning curves of a training run, as a picture.

::

    python -m ksgen_models.training.curves runs/mini --out curves.png

One panel for each ``<network>.jsonl`` that `ksgen_models.training.fit` wrote there, with each of its losses by step:
the logged values pale, their running mean (over a twentieth of the run) in front.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput

_NO_LOSS = {"step", "gradient"}


def read_curves(log: Path) -> dict[str, NDArray[np.float64]]:
    """One network's log: of each loss by name (N, 2), the step and the value wherever it was logged.

    Raises:
        InvalidInput: there is nothing in it, or it is no such log.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for line in map(json.loads, log.read_text().splitlines()):
            for name in line.keys() - _NO_LOSS:
                found.setdefault(name, []).append((float(line["step"]), float(line[name])))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as exc:
        raise InvalidInput(f"{log} is no log of a training run ({exc!r}); give a folder that one wrote") from exc
    if not found:
        raise InvalidInput(f"{log} is an empty log; give a folder in which a training run has begun")
    return {name: np.array(found[name]) for name in sorted(found)}


def running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) → (N,), over a twentieth of the values around each; fewer at the ends."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], values.cumsum()])
    low = np.maximum(np.arange(len(values)) - reach, 0)
    high = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def draw_curves(logs: Sequence[Path], out: Path) -> None:
    """Draw the logs side by side to a picture file of any kind that matplotlib knows.

    Raises:
        InvalidInput: no log was given, or one is none.
    """
    if not logs:
        raise InvalidInput("there is no log of a training run; give a folder that `ksgen-agent train mini` wrote")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(logs), 3.2), layout="constrained")
    panels = figure.subplots(1, len(logs), squeeze=False)[0]
    for panel, log in zip(panels, logs, strict=True):
        for name, points in read_curves(log).items():
            steps, values = points.T
            (line,) = panel.plot(steps, running_mean(values), label=name, linewidth=1.6)
            panel.plot(steps, values, color=line.get_color(), alpha=0.2, linewidth=0.8)
        panel.set(title=log.stem, xlabel="step", yscale="log")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, frameon=False)
    figure.savefig(out, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of training runs")
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    given = parser.parse_args(arguments)
    try:
        draw_curves([log for run in given.runs for log in sorted(run.glob("*.jsonl"))], given.out)
    except InvalidInput as exc:
        parser.error(str(exc))


if __name__ == "__main__":
    main()
