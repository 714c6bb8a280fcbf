"""Benchmarks: what is made of measured times, the regression guard, and the generated part of the docs."""

from __future__ import annotations

import itertools
import json
import re
import threading
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ksgen_launch.app import app
from ksgen_launch.benchmarks import figures, guard, page, plots, run, spans
from ksgen_launch.benchmarks.facts import differences, machine_facts
from ksgen_launch.benchmarks.figures import GROWTH, LESS, LIMIT, MORE, PEER, Benchmarks, Curve, Part, Table, ratio
from ksgen_launch.benchmarks.forwards import Timed, Watch
from ksgen_launch.benchmarks.profile import AGENT, account, tables
from ksgen_launch.benchmarks.rounds import QUICK, Scale, grow, over, take_turns
from ksgen_launch.benchmarks.run import PARTS, check_parts
from ksgen_models.errors import DatasetError, InvalidInput

runner = CliRunner()
seconds = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)


def on_grid(pieces) -> set[int]:
    """The unit cells that spans with whole ends cover."""
    return {cell for begin, end in pieces for cell in range(int(begin), int(end))}


@given(seconds, seconds)
def test_spans_are_sets_of_time(first: list, second: list) -> None:
    one, other = spans.union(first), spans.union(second)
    assert on_grid(one) == on_grid(first)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(one))
    assert on_grid(spans.overlap(one, other)) == on_grid(one) & on_grid(other)
    assert on_grid(spans.without(one, other)) == on_grid(one) - on_grid(other)
    assert spans.length(one) == len(on_grid(one))


def test_a_profile_counts_an_instant_once_and_explains_the_rest() -> None:
    generation, extraction, pool = 1, 2, 3
    stages = [
        Timed("planner", generation, 0.5, 2.0),
        Timed("KIG", generation, 2.0, 6.0),
        Timed("hand track", extraction, 6.0, 9.0),
    ]
    forwards = [
        Timed("Reader", generation, 1.0, 2.0),
        Timed("UNet", generation, 2.5, 5.5),
        Timed("HandLandmarker", pool, 6.5, 8.0),
        Timed("HandLandmarker", 4, 7.0, 8.5),
    ]
    profile = account(0.0, 10.0, forwards, stages)
    assert profile.total == 10
    assert profile.share == pytest.approx((1 + 3 + 2) / 10)
    assert profile.networks["HandLandmarker"] == (2, pytest.approx(3.0), pytest.approx(0.2))
    assert profile.rest["planner"] == pytest.approx(0.5)
    assert profile.rest["KIG"] == pytest.approx(1.0)
    assert profile.rest["hand track"] == pytest.approx(1.0)
    assert profile.rest[AGENT] == pytest.approx(1.5)
    assert sum(profile.rest.values()) == pytest.approx(profile.total * (1 - profile.share))
    assert profile.generation_share == pytest.approx(4 / 5.5)
    networks, rest = tables(profile)
    assert networks.rows[0][0] in ("UNet", "HandLandmarker")
    assert "60.0%" in networks.note
    assert all(row[3] for row in rest.rows)


def test_of_nested_calls_the_outermost_is_timed_on_each_thread() -> None:
    watch = Watch(keep=True)
    inner = watch.wrap(lambda value: value + 1, "inner")
    outer = watch.wrap(lambda value: inner(value) * 2, "outer")
    assert outer(3) == 8
    other = threading.Thread(target=inner, args=(1,))
    other.start()
    other.join()
    assert [call.label for call in watch.timed] == ["outer", "inner"]
    assert len({call.thread for call in watch.timed}) == 2
    assert [call.arguments for call in watch.calls] == [(3,), (1,)]
    with pytest.raises(ZeroDivisionError):
        watch.wrap(lambda: 1 / 0, "broken")()
    assert watch.timed[-1].label == "broken"
    assert outer(1) == 4


def test_a_ratio_is_the_median_of_its_rounds_with_their_spread() -> None:
    one = ratio("a/b", "a over b", LIMIT, over([2.0, 3.0, 8.0], [2.0, 2.0, 4.0]), better=LESS, bar=1.4)
    assert (one.value, one.runs) == (1.5, (1.0, 1.5, 2.0))
    assert one.spread == pytest.approx(1 / 3)
    assert not one.reached
    assert replace(one, bar=1.6).reached
    assert replace(one, better=MORE).reached


def test_everybody_has_a_turn_in_every_round() -> None:
    order: list[str] = []

    def work(name: str):
        return lambda: float(order.append(name) or len(order))

    found = take_turns(2, {"a": work("a"), "b": work("b")})
    assert order == ["a", "b", "a", "b"]
    assert found == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_a_curve_has_the_same_ratio_whether_it_is_measured_whole_or_at_its_ends() -> None:
    wholly, one = grow(Scale(2), "n", "t", "x", "y", (1, 2, 4), lambda size: 3.0 * size)
    ends, other = grow(QUICK, "n", "t", "x", "y", (1, 2, 4), lambda size: 3.0 * size)
    assert wholly.points == ((1.0, 3.0), (2.0, 6.0), (4.0, 12.0))
    assert ends.points == ((1.0, 3.0), (4.0, 12.0))
    assert (one.name, one.value, one.kind) == (other.name, other.value, GROWTH)
    assert one.value == 4


def sample(**values: float) -> Benchmarks:
    """Figures of two parts, some ratios changed."""
    made = {"imagine/forwards": 1.2, "serve/bare": 0.9} | values
    imagine = Part(
        "imagine",
        "An imagination",
        (ratio("imagine/forwards", "imagine over forward calls", LIMIT, [made["imagine/forwards"]] * 3, better=LESS),),
        {"whole, s": 9.5},
        (Curve("imagine-steps", "imagine", "key steps", "seconds", ((1.0, 2.5), (4.0, 9.5))),),
        (Table("The rest", ("stage", "seconds"), (("KIG | planner", "0.2"),), "All of it."),),
    )
    runs = [made["serve/bare"] * factor for factor in (0.9, 1.0, 1.1)]
    serve = Part("serve", "A server", (ratio("serve/bare", "over bare", PEER, runs, better=MORE, bar=0.85),))
    return Benchmarks({"cpu": "A", "cores": 2, "load": 0.1, "packages": {"torch": "2.0"}}, (imagine, serve))


def test_figures_survive_the_file_and_other_files_are_refused(tmp_path: Path) -> None:
    path = figures.write_figures(sample(), tmp_path / "deep" / "figures.json")
    assert figures.read_figures(path) == sample()
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "version": 99}))
    with pytest.raises(DatasetError, match="version 99"):
        figures.read_figures(path)
    for text in ("", "[]", '{"format": "ksgen-benchmarks", "version": 1}'):
        path.write_text(text)
        with pytest.raises(DatasetError, match="bench all"):
            figures.read_figures(path)
    with pytest.raises(DatasetError):
        figures.read_figures(tmp_path / "nowhere.json")


def test_the_guard_names_what_became_worse_beyond_noise_and_nothing_else() -> None:
    def worse(**values: float) -> list[str]:
        return [change.now.name for change in guard.compare(sample(), sample(**values)).worse]

    assert worse() == []
    assert worse(**{"imagine/forwards": 1.2 * 1.14}) == []
    assert worse(**{"imagine/forwards": 1.2 * 1.16}) == ["imagine/forwards"]
    assert worse(**{"imagine/forwards": 0.5}) == []
    assert worse(**{"serve/bare": 0.9 * 0.72}) == []  # its rounds lie ± 10 % apart: 30 % is noise
    assert worse(**{"serve/bare": 0.9 * 0.68}) == ["serve/bare"]
    assert worse(**{"serve/bare": 2.0}) == []


def test_the_guard_compares_the_parts_that_were_measured_and_tells_the_machines_apart() -> None:
    later = sample()
    later = Benchmarks({"cpu": "B", "cores": 2, "packages": {"torch": "2.1"}}, later.parts[:1])
    verdict = guard.compare(sample(), later)
    assert [change.now.name for change in verdict.changes] == ["imagine/forwards"]
    assert (verdict.gone, verdict.new) == ((), ())
    assert verdict.machines == ("cpu: A then, B now", "torch: 2.0 then, 2.1 now")
    assert verdict.busy == ()
    assert guard.compare(sample(), Benchmarks({**later.machine, "load": 1.5}, later.parts)).busy == ("now",)
    lacking = Benchmarks(later.machine, (replace(later.parts[0], ratios=()),))
    assert guard.compare(sample(), lacking).gone == ("imagine/forwards",)
    assert guard.compare(lacking, later).new == ("imagine/forwards",)


def test_the_command_fails_when_something_became_worse(tmp_path: Path) -> None:
    before = figures.write_figures(sample(), tmp_path / "before.json")
    good = figures.write_figures(sample(), tmp_path / "good.json")
    bad = figures.write_figures(sample(**{"imagine/forwards": 2.4}), tmp_path / "bad.json")
    told = runner.invoke(app, ["bench", "check", "--against", str(before), "--now", str(good)])
    assert told.exit_code == 0, told.output
    assert "15%" in told.output
    told = runner.invoke(app, ["bench", "check", "--against", str(before), "--now", str(bad)])
    assert told.exit_code == 1
    assert "became worse: imagine/forwards" in told.output
    assert re.search(r"WORSE +imagine/forwards +1\.2 → 2\.4", told.output)
    assert "same   serve/bare" in told.output


def test_all_parts_are_measured_shown_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[run.Wish] = []

    def measure(wish: run.Wish, begin) -> list[Part]:
        asked.append(wish)
        begin("imagine")
        return list(sample().parts)

    monkeypatch.setattr(run, "measure", measure)
    words = ["bench", "all", "--quick", "--rounds", "2", "--out", str(tmp_path / "out"), "--write", str(tmp_path)]
    told = runner.invoke(app, [*words, "--part", "serve", "--part", "imagine"])
    assert told.exit_code == 0, told.output
    assert "measuring imagine" in told.output
    assert "imagine over forward calls" in told.output
    (wish,) = asked
    assert (wish.parts, wish.scale) == (("imagine", "serve"), replace(QUICK, rounds=2))
    for path in re.findall(r"written: (.*)", told.output):
        assert Path(path).is_file()
    found = figures.read_figures(tmp_path / "out/figures.json")
    assert found.parts == sample().parts
    assert found.machine["cores"] >= 1
    assert "## Speed" in (tmp_path / "benchmarks.md").read_text()


def test_the_docs_get_figures_plots_and_a_part_that_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text("# Benchmarks\n\nBy hand.\n\n## More by hand\n\nEnd.\n")
    figures.write_figures(sample(), tmp_path / "out.json")
    told = runner.invoke(app, ["bench", "report", str(tmp_path / "out.json"), "--write", str(tmp_path)])
    assert told.exit_code == 0, told.output
    text = (tmp_path / "benchmarks.md").read_text()
    assert text.startswith("# Benchmarks\n\nBy hand.\n\n## More by hand\n\nEnd.\n")
    assert "| imagine over forward calls | limit |  | **1.20 ± 0%** |" in text
    assert "| over bare | instead of it | at least 0.85 | **0.900 ± 10%** |" in text
    assert "KIG \\| planner" in text
    assert "busy" not in text
    assert figures.read_figures(tmp_path / "benchmarks/figures.json") == sample()
    linked = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert linked == ["benchmarks/imagine-steps.svg"]
    assert all((tmp_path / name).is_file() for name in linked)
    missed = sample(**{"serve/bare": 0.5})
    page.write_docs(replace(missed, machine={**missed.machine, "load": 1.8}), tmp_path)
    again = (tmp_path / "benchmarks.md").read_text()
    assert again.count("## Speed") == 1
    assert "**missed: 0.500 ± 10%**" in again
    assert "The machine was busy" in again
    assert again.startswith("# Benchmarks\n\nBy hand.\n\n## More by hand\n\nEnd.\n")


def test_a_page_with_one_mark_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "benchmarks.md").write_text(f"text\n{page.BEGIN}\n")
    with pytest.raises(DatasetError, match="by hand"):
        page.write_docs(sample(), tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "benchmarks.md"]
    with pytest.raises(DatasetError, match="no folder"):
        page.write_docs(sample(), tmp_path / "nowhere")


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6),
    st.lists(st.integers(1, 10_000), min_size=1, max_size=6, unique=True),
    st.text(min_size=1, max_size=20),
)
def test_every_curve_makes_a_plot_within_its_card(ys: list[float], xs: list[int], title: str) -> None:
    points = tuple((float(x), y) for x, y in zip(sorted(xs), ys, strict=False))
    title = "".join(letter for letter in title if letter.isprintable()) or "t"
    drawn = ElementTree.fromstring(plots.plot(Curve("c", title, "x", "y < z", points)))
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    dots = [mark for mark in drawn.iter() if mark.tag.endswith("circle")]
    assert len(dots) == len(points)
    assert all(0 < float(d.attrib["cx"]) < width and 0 < float(d.attrib["cy"]) < height for d in dots)
    heights = [float(dot.attrib["cy"]) for dot in dots]
    order = sorted(range(len(points)), key=lambda index: points[index][1])
    assert [heights[index] for index in order] == sorted(heights, reverse=True)


def test_facts_name_the_machines_parts_and_no_names_of_it() -> None:
    import socket

    facts = machine_facts()
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert facts["packages"]["numpy"]
    assert socket.gethostname() not in json.dumps(facts)
    assert differences(facts, facts) == []


def test_parts_come_in_their_order_and_others_are_refused() -> None:
    assert check_parts(None) == PARTS
    assert check_parts(["export", "track"]) == ("track", "export")
    with pytest.raises(InvalidInput, match="no part 'trak'"):
        check_parts(["trak"])
