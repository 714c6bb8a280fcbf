"""The parts of the benchmarks on the real thing: small runs, and what they would notice."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ksgen_export.lerobot import bench as against_lerobot
from ksgen_launch.app import app
from ksgen_launch.benchmarks.figures import GROWTH, Part
from ksgen_launch.benchmarks.forwards import LANDMARKER, Watch, again, networks_of, staged, watched
from ksgen_launch.benchmarks.rounds import Scale
from ksgen_models.errors import DatasetError
from ksgen_models.interfaces import Parts

ONCE = Scale(rounds=1, whole_curves=False)


def check(part: Part, names: set[str]) -> None:
    """Every ratio is there, positive, and of one round; every curve has the two ends that its growth is made of."""
    assert {one.name for one in part.ratios} == names
    assert all(one.value > 0 and len(one.runs) == 1 for one in part.ratios)
    assert {one.name for one in part.ratios if one.kind == GROWTH} == {curve.name for curve in part.curves}
    for curve in part.curves:
        (first, low), (last, high) = curve.points
        assert first < last
        (growth,) = [one for one in part.ratios if one.name == curve.name]
        assert growth.value == pytest.approx(high / low)


def test_forward_calls_of_all_networks_are_timed_and_the_networks_left_as_they_were() -> None:
    import torch
    from torch import nn

    from ksgen_models.hands.landmarker import Landmarker

    class Codec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.seen: list[Any] = []

        def decode(self, x: Any) -> Any:
            self.seen.append(x)
            return self.layer(x)

        def forward(self, x: Any) -> Any:
            return self.decode(x)

    @dataclass(frozen=True)
    class Held:  # as the presets hold theirs: in dataclasses, shared between parts
        codec: Any
        others: tuple[Any, ...]

    Held.__module__ = "ksgen_models.held"
    codec, unet = Codec(), nn.Linear(2, 3)
    held = Held(codec, (unet,))
    planner = SimpleNamespace(plan=lambda frame, task: codec(frame), library="own")
    parts = Parts(planner, held, held, held, held, held, None, {})  # type: ignore[arg-type]
    assert networks_of(parts) == [codec, unet]

    before = Landmarker.detect
    watch, stages, x = Watch(keep=True), Watch(), torch.ones(1, 2)
    held_planner = staged(replace_parts(parts), stages).planner
    with watched(parts, watch):
        held_planner.plan(x, "task")  # type: ignore[arg-type]
        codec.decode(x)
        unet(x)
        assert Landmarker.detect is not before
    unet(x)
    assert [call.label for call in watch.timed] == ["Codec", "Codec", "Linear"]
    assert [call.label for call in stages.timed] == ["planner"]
    assert held_planner.library == "own"  # type: ignore[attr-defined]
    assert Landmarker.detect is before
    assert not {"forward", "decode"} & vars(codec).keys()

    again(watch.calls)
    assert len(codec.seen) == 4
    assert all(given is x for given in codec.seen)


def replace_parts(parts: Parts) -> Parts:
    """The same with parts that have the methods that stages are made of."""
    blank = SimpleNamespace(draw=None, predict=None, generate=None, track=None, embed=None)
    return Parts(parts.planner, blank, blank, blank, blank, blank, None, {})  # type: ignore[arg-type]


@pytest.mark.slow
def test_most_of_an_imagination_is_forward_calls_and_the_rest_is_explained() -> None:
    told = CliRunner().invoke(app, ["bench", "imagine", "--profile", "--json"], catch_exceptions=False)
    record = json.loads(told.stdout)
    (share,) = record["ratios"]
    networks, rest = record["tables"]
    assert 0.6 < share["value"] <= 1
    assert {"ClipModel", "KeyStepModel", "Autoencoder", LANDMARKER} <= {row[0] for row in networks["rows"]}
    left = sum(float(row[1]) for row in rest["rows"])
    assert left == pytest.approx(record["figures"]["whole, s"] * (1 - share["value"]), abs=0.02)
    assert all(row[3] for row in rest["rows"])


@pytest.mark.slow
def test_an_imagination_is_measured_against_its_forward_calls() -> None:
    from ksgen_launch.benchmarks import imagine

    part = imagine.measure(ONCE, "mini-fast")
    grown = {"imagine-steps", "imagine-size", "imagine-candidates"}
    check(part, {"imagine/forwards", "imagine/share"} | grown)
    assert part.figures["first key step, s"] < part.figures["whole, s"]


@pytest.mark.slow
def test_the_tracker_is_measured_against_one_detect_a_frame() -> None:
    from ksgen_launch.benchmarks import track

    part = track.measure(ONCE)
    check(part, {"track/simulated", "track-frames", "track-size"})
    found = [value for name, value in part.figures.items() if "with a hand" in name]
    assert all(value > 20 for value in found)


def test_the_simulated_clip_goes_on_without_a_jump() -> None:
    from ksgen_launch.benchmarks.track import simulated_clip

    clip, _ = simulated_clip(40)
    assert clip.shape == (40, 256, 256, 3)
    np.testing.assert_array_equal(clip[31], clip[32])


@pytest.mark.slow
def test_the_server_is_measured_against_bare_sockets_and_other_servers() -> None:
    from ksgen_launch.benchmarks import serve

    pytest.importorskip("websockets")
    check(serve.measure(ONCE), {"serve/bare", "serve/blocking", "serve/websocket", "serve-clients"})


def test_a_python_without_lerobot_is_a_named_error(tmp_path: Path) -> None:
    for python in (Path(sys.executable), tmp_path / "nothing"):
        with pytest.raises(DatasetError, match="holds"):
            against_lerobot._their_seconds(python, tmp_path)


@pytest.mark.slow
def test_the_writer_is_measured_against_encoding_alone() -> None:
    from ksgen_launch.benchmarks import export

    part = export.measure(ONCE)
    check(part, {"export/encode", "export-episodes"})
    (over_encoding, _) = part.ratios
    assert over_encoding.value > 0.9  # the writer encodes the same frames, and does more
