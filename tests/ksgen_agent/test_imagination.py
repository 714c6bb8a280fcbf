"""Saving, loading, subgoals and the report of an imagination."""

import base64
import dataclasses
import html.parser
import io
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from blob_parts import TASK, make_frame, make_parts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ksgen_agent import Agent, DatasetError, Evidence, HandTrack, Imagination, KeyStep, Plan, RegionOfMotion, Subgoal
from ksgen_agent.report.page import ReportFilm
from ksgen_models.scores import SCORES


@pytest.fixture(scope="module")
def imagination():
    with Agent("blobs", parts=make_parts()) as agent:
        return agent.imagine(make_frame(), TASK, seed=11)


def assert_same(first, second):
    """Equal in every field, arrays in dtype and every bit of every value."""
    assert type(first) is type(second)
    if dataclasses.is_dataclass(first):
        for field in dataclasses.fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    elif isinstance(first, tuple):
        assert len(first) == len(second)
        for one, two in zip(first, second, strict=True):
            assert_same(one, two)
    else:
        assert first == second


def test_save_and_load_lose_nothing(imagination, tmp_path):
    folder = imagination.save(tmp_path / "deep" / "shelf")
    assert_same(Imagination.load(folder), imagination)
    assert [path.name for path in folder.parent.iterdir()] == ["shelf"]  # no partial folder is left


SMALL = st.integers(1, 5)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def imaginations(draw):
    height, width, frames = draw(SMALL), draw(SMALL), draw(SMALL)

    def array(dtype, *shape):
        return draw(hnp.arrays(dtype, shape))

    def picture():
        return array(np.uint8, height, width, 3)

    def key_step(index, description):
        track = HandTrack(
            keypoints=array(np.float32, frames, 2, 21, 3),
            world=array(np.float32, frames, 2, 21, 3),
            confidence=array(np.float32, frames, 2),
            valid=array(np.bool_, frames, 2),
            interpolated=array(np.bool_, frames, 2),
        )
        region = RegionOfMotion(
            predicted=array(np.float32, height, width),
            observed=array(np.bool_, height, width),
            per_frame=array(np.bool_, frames, height, width),
            change=array(np.float32, height, width),
        )
        scores = draw(st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=3))
        provenance = draw(st.dictionaries(TEXT, PLAIN, max_size=3))
        clip, fps = array(np.uint8, frames, height, width, 3), draw(st.floats(1, 60))
        embedding = array(np.float32, 4)
        return KeyStep(
            index, description, picture(), picture(), clip, fps, track, region, scores, provenance, embedding
        )

    sentences = tuple(draw(st.lists(TEXT, min_size=0, max_size=2)))
    evidence = tuple(
        Evidence(text, (text,), draw(st.floats(-1, 1)), "coin") for text in draw(st.lists(TEXT, max_size=2))
    )
    plan = Plan(draw(TEXT), sentences, draw(st.floats(0, 1)), draw(TEXT), evidence)
    steps = tuple(key_step(index, sentence) for index, sentence in enumerate(sentences))
    timings = draw(st.dictionaries(TEXT, st.floats(0, 100), max_size=3))
    return Imagination(plan.task, picture(), plan, steps, timings)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(imaginations())
def test_any_imagination_survives_the_disk(tmp_path_factory, imagined):
    folder = tmp_path_factory.mktemp("saved") / "it"
    assert_same(Imagination.load(imagined.save(folder)), imagined)
    shutil.rmtree(folder)


def test_saving_again_replaces_and_never_harms_what_is_not_ours(imagination, tmp_path):
    folder = imagination.save(tmp_path / "it")
    shorter = dataclasses.replace(imagination, steps=imagination.steps[:1])
    shorter.save(folder)
    assert len(Imagination.load(folder).steps) == 1
    assert not (folder / "step_01").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="choose another path"):
        imagination.save(tmp_path / "mine")
    with pytest.raises(DatasetError, match="cannot write"):
        imagination.save(tmp_path / "mine" / "thesis.txt" / "it")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_many_savers_of_one_folder_leave_one_whole_result(imagination, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(imagination.save, tmp_path / "it") for _ in range(12)]:
            job.result()
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert_same(Imagination.load(tmp_path / "it"), imagination)


def test_a_record_that_is_not_plain_is_refused(imagination, tmp_path):
    odd = dataclasses.replace(imagination.steps[0], provenance={"model": object()})
    with pytest.raises(DatasetError, match="plain numbers"):
        dataclasses.replace(imagination, steps=(odd,)).save(tmp_path / "it")
    assert not list(tmp_path.iterdir())


def _edit_manifest(folder, **changes):
    manifest = json.loads((folder / "imagination.json").read_text())
    (folder / "imagination.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "holds no imagination.json"),
        (lambda folder: (folder / "imagination.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "imagination.json").write_text("[" * 100_000), "cannot be read"),
        (lambda folder: (folder / "imagination.json").write_text("[1]"), "not the record"),
        (lambda folder: _edit_manifest(folder, version=99), "version 99"),
        (lambda folder: _edit_manifest(folder, plan=3), "not a readable imagination"),
        (lambda folder: _edit_manifest(folder, steps=None), "not a readable imagination"),
        (lambda folder: _edit_manifest(folder, files={}), "not a readable imagination"),
        (lambda folder: (folder / "frame.png").unlink(), "frame.png cannot be read"),
        (lambda folder: (folder / "step_01/clip.png").write_bytes(b""), "clip.png is damaged"),
        (lambda folder: (folder / "step_00/arrays.npz").write_bytes(b"PK"), "arrays.npz is damaged"),
    ],
)
def test_a_damaged_folder_is_named(imagination, tmp_path, damage, message):
    folder = imagination.save(tmp_path / "it")
    damage(folder)
    with pytest.raises(DatasetError, match=message):
        Imagination.load(folder)


def test_subgoals_are_what_their_space_says(imagination):
    space = Subgoal.space(96, 128, frames=8)
    subgoals = imagination.subgoals()
    assert [(subgoal.index, subgoal.total) for subgoal in subgoals] == [(0, 3), (1, 3), (2, 3)]
    for subgoal, step in zip(subgoals, imagination.steps, strict=True):
        observation = subgoal.as_observation()
        assert space.contains(observation)
        assert list(observation) == list(space.keys()) or set(observation) == set(space.keys())
        assert subgoal.text == step.description
        assert np.array_equal(subgoal.goal, step.goal)
        assert not subgoal.keypoints[0].any()  # no hand yet in the first frame
        assert not subgoal.keypoints_valid[0].any()
        assert subgoal.keypoints_valid[1:, 1].all()
        assert np.array_equal(subgoal.keypoints[1:, 1], step.hands.keypoints[1:, 1])
        assert np.array_equal(subgoal.region_of_motion, step.region_of_motion.observed)
        assert subgoal.scores == pytest.approx([step.scores.get(spec.name, spec.low) for spec in SCORES])
    assert not Subgoal.space(96, 128, frames=16).contains(subgoals[0].as_observation())


def test_a_subgoal_without_hands_keeps_to_the_space(imagination):
    step = imagination.steps[0]
    track = HandTrack(
        keypoints=np.full_like(step.hands.keypoints, np.nan),
        world=np.full_like(step.hands.world, np.nan),
        confidence=np.zeros_like(step.hands.confidence),
        valid=np.zeros_like(step.hands.valid),
        interpolated=step.hands.interpolated,
    )
    region = dataclasses.replace(step.region_of_motion, observed=np.zeros((96, 128), bool))
    bare = dataclasses.replace(step, hands=track, region_of_motion=region, scores={"hand_rate": float("nan")})
    subgoal = Subgoal.from_key_step(bare, total=1)
    assert Subgoal.space(96, 128, frames=8).contains(subgoal.as_observation())
    assert np.array_equal(subgoal.region_of_motion, region.predicted >= 0.5)
    assert not subgoal.keypoints.any()


class Page(html.parser.HTMLParser):
    """Collects what a page refers to and shows."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.images, self.identifiers = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.addresses += [attributes[name] for name in ("src", "srcset", "href", "action") if attributes.get(name)]
        self.identifiers.add(attributes.get("id"))
        if tag == "img":
            self.images.append(attributes)


def test_the_report_is_one_self_contained_page(imagination, tmp_path):
    path = imagination.report(tmp_path / "pages" / "report.html")
    text = path.read_text()
    page = Page(text)
    assert list(path.parent.iterdir()) == [path]
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(|<script|<link(?! rel=\"icon\" href=\"data:)", text)
    assert len(page.images) == 1 + 5 * 3
    assert all(image["alt"] for image in page.images)
    assert {"step-1", "step-2", "step-3"} <= page.identifiers
    for shown in ("push it to the edge", "Background held", "60.0 dB", "0.83", "blobs", "clauses", "hand in 7 of 8"):
        assert shown in text


def test_the_clips_of_the_report_play_and_loop(imagination, tmp_path):
    page = Page(imagination.report(tmp_path / "report.html").read_text())
    clip, hands = (Image.open(io.BytesIO(base64.b64decode(page.images[at]["src"].partition(",")[2]))) for at in (2, 3))
    for animation in (clip, hands):
        assert animation.format == "WEBP"
        assert animation.n_frames == 8
        assert animation.info["loop"] == 0
    hands.seek(4)
    clip.seek(4)
    skeleton = np.asarray(hands.convert("RGB").resize(clip.size), int) - np.asarray(clip.convert("RGB"), int)
    assert (np.abs(skeleton).max(axis=-1) > 60).sum() > 50  # something is drawn on it


def test_a_film_of_what_was_done_with_it_is_shown_after_the_plan(imagination, tmp_path):
    frames = np.stack([np.full((40, 120, 3), 40 * shade, np.uint8) for shade in range(5)])
    film = ReportFilm("A robot <tries> it", "2 of 3 done", frames, fps=10)
    text = imagination.report(tmp_path / "report.html", film=film).read_text()
    page = Page(text)
    assert len(page.images) == 2 + 5 * 3
    assert "A robot &lt;tries&gt; it" in text
    assert "2 of 3 done" in text
    moving = Image.open(io.BytesIO(base64.b64decode(page.images[1]["src"].partition(",")[2])))
    assert (moving.n_frames, moving.size) == (5, (120, 40))


def test_text_in_the_report_is_escaped(imagination, tmp_path):
    rude = "<script>alert(1)</script>"
    step = dataclasses.replace(imagination.steps[0], description=rude, provenance={"preset": rude})
    plan = dataclasses.replace(imagination.plan, steps=(rude,), source=rude)
    page = dataclasses.replace(imagination, task=rude, plan=plan, steps=(step,)).report(tmp_path / "report.html")
    assert "<script" not in page.read_text()
    assert "&lt;script&gt;" in page.read_text()


def test_a_loaded_imagination_reports_the_same(imagination, tmp_path):
    again = Imagination.load(imagination.save(tmp_path / "it"))
    one, two = (each.report(tmp_path / name).read_text() for each, name in ((imagination, "1.html"), (again, "2.html")))
    assert one == two


def test_an_imagination_without_steps_still_reports(imagination, tmp_path):
    empty = dataclasses.replace(imagination, steps=(), timings={})
    assert "0 key steps" in empty.report(tmp_path / "report.html").read_text()


def test_a_report_that_cannot_be_written_is_named(imagination, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot write the report"):
        imagination.report(tmp_path / "file" / "report.html")
    with pytest.raises(DatasetError, match="cannot write the report"):
        imagination.report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
