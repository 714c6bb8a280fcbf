"""The work behind ``ksgen-agent evaluate clips`` and ``evaluate preset``: rows, progress, report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray
from tqdm import tqdm

from ksgen_export.clips import open_any_clips
from ksgen_launch.choices import short_name
from ksgen_models.errors import InvalidInput, KSGenError, WeightsMissing
from ksgen_models.metrics.baselines import CODEC, FROZEN, NEAREST, FrozenFrame, NearestDemonstration, ThroughCodec
from ksgen_models.metrics.catalogue import METRICS, parse_metrics
from ksgen_models.metrics.clips import ClipSource
from ksgen_models.metrics.evaluation import BASELINE, GENERATED, Measured, Row, measure_rows, shared_keys
from ksgen_models.metrics.measure import FRAMES, Judge, Measurer
from ksgen_models.metrics.networks.loading import Choice, choose, find_network, load_network
from ksgen_models.metrics.report import Evaluation, number, write_evaluation
from ksgen_models.metrics.summary import ALL, Resampling, RowSummary, summarise

EXECUTABILITY = "executability"
_STORE = "measured"


@dataclass(frozen=True)
class Request:
    """What `evaluate_clips` is asked.

    Attributes:
        rows: name → folder of generated clips.
        real: folder of real clips.
        out: folder for the report.
        metrics: "all", or names joined by commas.
        own: network name → the user's own file, folder or hub id.
        train: folder of training clips.
        baselines: add the trivial baselines.
        limit: pairs a row.
        bootstrap, set_bootstrap: resamplings of means and of Fréchet distances.
        executability: have the robot do what the clips show; they are of Workbench scenes.
    """

    rows: dict[str, Path]
    real: Path
    out: Path
    metrics: str = "all"
    own: dict[str, str] = field(default_factory=dict)
    train: Path | None = None
    baselines: bool = True
    limit: int | None = None
    bootstrap: int = 1000
    set_bootstrap: int = 20
    executability: bool = False


def evaluate_clips(request: Request) -> None:
    """Measure all rows and write the report, saying on standard error what is going on."""
    asked = parse_metrics(request.metrics)
    judged = {EXECUTABILITY} if request.executability else set()
    choice = choose(asked, request.own, judged)
    for name, why in choice.missing.items():
        stand_in = METRICS[name].stand_in
        typer.echo(f"{METRICS[name].label} is not measured: {why}", err=True)
        if stand_in:
            typer.echo(f"    instead: {METRICS[stand_in].label}", err=True)
    if not choice.metrics:
        raise WeightsMissing("none of the metrics asked for can be measured here; see above how to get their networks")
    real = open_any_clips(request.real)
    rows = [Row(name, GENERATED, open_any_clips(folder)) for name, folder in request.rows.items()]
    if request.baselines:
        rows += _baselines(real, request.train)
    for row in rows:
        shared_keys(row.source, real, row.name)
    with _judges(choice) as judges, Measurer(choice, judges) as measurer:
        summaries = _measure(rows, real, measurer, request)
    settings = {
        "real clips": str(request.real),
        "frames of a clip": f"at most {FRAMES}, the first left out of all but hand tracking",
        "resamplings": f"{request.bootstrap} of means, {request.set_bootstrap} of Fréchet distances",
    }
    files = write_evaluation(Evaluation(summaries, choice, settings), request.out)
    _show(summaries, choice)
    for path in files:
        typer.echo(f"written: {path}")


@contextmanager
def _judges(choice: Choice) -> Iterator[dict[str, Judge]]:
    """Who measures what needs a robot; frees its tracker at the end."""
    if EXECUTABILITY not in choice.metrics:
        yield {}
        return
    from ksgen_envs.executors.executability import Executability
    from ksgen_models.hands.tracker import HandTracker

    with HandTracker() as tracker:
        yield {EXECUTABILITY: Executability(tracker)}


def _measure(rows: Sequence[Row], real: ClipSource, measurer: Measurer, request: Request) -> list[RowSummary]:
    total = sum(len(shared_keys(row.source, real, row.name)[: request.limit]) for row in rows)
    with tqdm(total=total, desc="clips", unit="clip") as bar:

        def progress(row: Row, pair: Measured) -> None:
            bar.set_postfix_str(row.name, refresh=False)
            bar.update()
            if pair.error:
                bar.write(f"{row.name}, {pair.key}: {pair.error}")

        measured = measure_rows(rows, real, measurer, request.out / _STORE, request.limit, progress)
    resampling = Resampling(request.bootstrap, request.set_bootstrap)
    return [summarise(row, measurer, resampling) for row in tqdm(measured, desc="table", unit="row")]


def _baselines(real: ClipSource, train: Path | None) -> list[Row]:
    """The trivial baselines; one whose weights are not here is left out, saying so."""
    rows = [Row(FROZEN, BASELINE, FrozenFrame(real))]
    try:
        codec = ThroughCodec(real)
        rows.append(Row(CODEC, BASELINE, codec, codec.identity))
    except KSGenError as exc:
        typer.echo(f'the row "{CODEC}" is left out: {exc}', err=True)
    if train is None:
        typer.echo(f'the row "{NEAREST}" is left out: name training clips with --train', err=True)
        return rows
    try:
        training = open_any_clips(train)
        with tqdm(total=len(training.entries()), desc="training clips", unit="clip") as bar:
            nearest = NearestDemonstration(real, training, _Describer(), lambda _: _tick(bar))
        rows.append(Row(NEAREST, BASELINE, nearest, nearest.identity))
    except WeightsMissing as exc:
        typer.echo(f'the row "{NEAREST}" is left out: {exc}', err=True)
    return rows


def _tick(bar: tqdm) -> None:
    bar.update()


class _Describer:
    """First frame and sentence as one vector: EfficientNet-Lite0 and MiniLM side by side, each of unit length."""

    def __init__(self) -> None:
        self._pictures = load_network(find_network("efficientnet_lite0"))
        self._sentences = load_network(find_network("minilm"))

    def __call__(self, frame: NDArray[np.uint8], text: str) -> NDArray[np.float32]:
        from ksgen_models.metrics.networks.efficientnet import frame_features

        seen = frame_features(self._pictures, frame[None])[0][0]
        return np.concatenate([seen / np.linalg.norm(seen), self._sentences.embed((text,))[0]])


def _show(rows: Iterable[RowSummary], choice: Choice) -> None:
    for row in rows:
        typer.echo(f"\n{row.name} ({row.clips} clips)")
        for name in choice.metrics:
            figure = row.splits.get(ALL, {}).get(name)
            if figure:
                low, high = number(figure.low), number(figure.high)
                interval = f"  [{low}, {high}]" if low != "–" else ""
                typer.echo(f"  {METRICS[name].label:<34} {number(figure.value)}{interval}")
    typer.echo("")


def named_folders(words: Sequence[str], option: str) -> dict[str, Path]:
    """``["NAME=PATH", …]`` as a table.

    Raises:
        InvalidInput: a word is of another form, or a name comes twice.
    """
    table: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise InvalidInput(f"{option} takes NAME=PATH, got {word!r}")
        if name in table:
            raise InvalidInput(f'{option} names "{name}" twice; give each a name of its own')
        table[name] = Path(path)
    return table


def imagine_scenes(preset: str, tasks: Sequence[str], seeds: range, out: Path) -> tuple[Path, Path]:
    """Write what a preset imagines of Workbench scenes and how the person does it; those there are kept.

    A scene that cannot be imagined is said to be so and has no generated clips.

    Returns:
        The folders of generated and of real clips, key step by key step of the same names.
    """
    from ksgen_agent import Agent
    from ksgen_agent.storage import MANIFEST
    from ksgen_envs.demonstrator import demonstrate
    from ksgen_models.demonstration import save_demonstration

    generated, real = out / "generated" / preset, out / "real"
    places = {
        (task, seed): (real / short_name(task) / f"{seed}.npz", generated / short_name(task) / str(seed))
        for seed in seeds
        for task in tasks
    }
    left = {
        scene: (episode, imagined)
        for scene, (episode, imagined) in places.items()
        if not (episode.is_file() and (imagined / MANIFEST).is_file())
    }
    if not left:
        return generated, real
    with Agent(preset) as agent:
        for (task, seed), (episode, imagined) in tqdm(left.items(), desc="scenes", unit="scene"):
            demonstration = demonstrate(task, seed)
            save_demonstration(demonstration, episode)
            try:
                agent.imagine(demonstration.frame, demonstration.task, seed=seed).save(imagined)
            except KSGenError as exc:
                tqdm.write(f"{short_name(task)} {seed}: {type(exc).__name__}: {exc}")
    return generated, real
