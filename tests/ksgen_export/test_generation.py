"""Generation jobs: what becomes of items, how a job goes on, and that its account adds up."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generation_parts import HERE, drawn_options, make_here, tree, write_photos
from hypothesis import given
from hypothesis import strategies as st

from ksgen_export.conversion import imagination_of_episode
from ksgen_export.episode import Episode
from ksgen_export.formats import FORMATS, open_source
from ksgen_export.generation import parts
from ksgen_export.generation.drawn import DrawnImaginer
from ksgen_export.generation.estimate import estimate
from ksgen_export.generation.items import Item, photo_items, read_task_list, scene_items
from ksgen_export.generation.job import DATASET, generate
from ksgen_export.generation.options import GenerationOptions
from ksgen_models.errors import DatasetError, InvalidInput, InvalidTask, KSGenError, UnknownTask
from ksgen_models.scores import trust

TASKS = ("push the square", "push it back")
STACK, LAMP = "KSGen/StackBlocks-v0", "KSGen/SwitchOnLamp-v0"


@pytest.fixture
def items(tmp_path: Path) -> tuple[Item, ...]:
    return photo_items(write_photos(tmp_path / "photos", 2), TASKS, range(2))


def account(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").splitlines()]


# Items


def test_scenes_become_items_scene_by_scene() -> None:
    made = scene_items((STACK, LAMP), range(3, 5), range(2))
    assert [(item.scene, item.task, item.seed) for item in made[:5]] == [
        (3, STACK, 0),
        (3, STACK, 1),
        (3, LAMP, 0),
        (3, LAMP, 1),
        (4, STACK, 0),
    ]
    assert made[0].slug == "StackBlocks-0000003-0000"
    assert len({item.slug for item in made}) == len(made) == 8


@pytest.mark.parametrize(
    ("asked", "error", "match"),
    [
        (((STACK,), range(1_999_999, 2_000_001), range(1)), InvalidInput, "kept for the final evaluation"),
        (((STACK,), range(0), range(1)), InvalidInput, "scenes are"),
        (((STACK,), range(1), range(-1, 1)), InvalidInput, "seeds are"),
        (((), range(1), range(1)), InvalidInput, "no tasks"),
        ((("KSGen/Juggle-v0",), range(1), range(1)), UnknownTask, "Juggle"),
    ],
)
def test_scenes_that_cannot_be_used_are_named(asked: tuple, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        scene_items(*asked)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=1, max_size=5, unique=True))
def test_ids_of_photos_are_unique_and_name_one_folder(tmp_path_factory: pytest.TempPathFactory, words: list) -> None:
    folder = tmp_path_factory.getbasetemp() / "two-of-a-name"
    if not folder.exists():
        write_photos(folder / "a b", 1)
        write_photos(folder / "c", 1)
    tasks = [f"do {index} {word}" for index, word in enumerate(words)]
    made = photo_items(folder, tasks, range(2))
    slugs = [item.slug for item in made]
    assert len(set(slugs)) == len(slugs) == 2 * len(tasks) * 2
    assert all(Path(slug).name == slug and slug.isascii() and not slug.startswith(".") for slug in slugs)
    assert slugs == [item.slug for item in photo_items(folder, tasks, range(2))]


def test_a_task_list_has_a_task_a_line(tmp_path: Path) -> None:
    path = tmp_path / "tasks.txt"
    path.write_text("# what to do\npush the square\n\n  lift it \n")
    assert read_task_list(path) == ("push the square", "lift it")
    path.write_text("# nothing\n")
    with pytest.raises(InvalidTask, match="holds no task"):
        read_task_list(path)
    with pytest.raises(InvalidTask, match="cannot be read"):
        read_task_list(tmp_path / "none.txt")
    with pytest.raises(DatasetError, match="no photos"):
        photo_items(tmp_path, TASKS, range(1))


# Options


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"format": "lerobott"}, "did you mean lerobot"),
        ({"episodes": "imagine"}, "did you mean imagined"),
        ({"least_scores": {"hand_rat": 0.5}}, "did you mean hand_rate"),
        ({"episodes": "true", "least_scores": {"trust": 0.5}}, "have no scores"),
        ({"episodes": "policy"}, "folder and the episodes"),
        ({"policy": "runs/bc"}, "folder and the episodes"),
        ({"subgoals": "true"}, "given to policies"),
        ({"keep_failures": True}, "only a robot can fail"),
        ({"candidates": 3, "episodes": "true"}, "not for 'true'"),
        ({"least_trust": 0.5, "episodes": "demonstration"}, "not for 'demonstration'"),
        ({"least_trust": 1.5}, "least_trust is 1.5"),
        ({"image_size": 16}, "image_size is 16"),
        ({"photo_size": (8, 8)}, "photo_size"),
    ],
)
def test_options_that_cannot_be_used_are_named(told: dict, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        GenerationOptions(**told)


def test_items_and_options_must_go_together(items: tuple[Item, ...], tmp_path: Path) -> None:
    scenes = scene_items((STACK,), range(1), range(2))
    wrong = [
        (items, GenerationOptions(episodes="true"), "photos can only be imagined"),
        (scenes, GenerationOptions(episodes="true"), "all the same, whatever the seed"),
        (scenes, GenerationOptions(photo_size=(64, 64)), "photo_size is for photos"),
        ((), GenerationOptions(), "nothing to generate"),
        ((*items, items[0]), drawn_options(), "the same id"),
    ]
    for asked, options, match in wrong:
        with pytest.raises(InvalidInput, match=match):
            generate(tmp_path / "out", asked, options, progress=False)
    assert not (tmp_path / "out").exists()


# Jobs


def test_every_item_is_accounted_for_and_what_failed_is_tried_again(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    good = (photos / "photo-0.png").read_bytes()
    (photos / "photo-0.png").write_bytes(good[:200])
    wanted = photo_items(photos, ("push the square", "do the taxes", "break the square"), range(2))
    options = GenerationOptions(
        imaginer=f"{HERE}:MoodyImaginer",
        imaginer_options={"folder": str(tmp_path)},
        least_scores={"hand_rate": 0.45},
    )
    first = generate(tmp_path / "out", wanted, options, workers=1, progress=False)
    assert (first.items, first.resumed) == (12, 0)
    assert first.written + first.rejected + first.failed == 12
    assert first.failed == 6 + 2  # all of the damaged photo; and what breaks
    assert {error.partition(":")[0] for _, error in first.failures} == {"InvalidFrame", "RuntimeError"}
    assert first.reasons["UnknownTask"] == 2
    (photos / "photo-0.png").write_bytes(good)
    (tmp_path / "mended").touch()

    second = generate(tmp_path / "out", wanted, options, workers=1, progress=False)
    assert (second.resumed, second.failed) == (4, 0)
    lines = account(tmp_path / "out")
    assert [line["id"] for line in lines] == [item.slug for item in wanted]
    assert Counter(line["status"] for line in lines) == Counter(
        {"written": second.written, "rejected": second.rejected}
    )
    assert second.written
    for line in lines:
        assert (line["episode"] is None) == bool(line["reasons"])
        if line["status"] == "rejected" and "taxes" not in line["task"]:
            assert line["scores"]["hand_rate"] < 0.45
            assert "hand_rate" in line["reasons"][0]
    dataset = open_source(second.dataset)
    kept = [line for line in lines if line["status"] == "written"]
    assert [line["episode"] for line in kept] == list(range(len(dataset)))
    assert [episode.record["item"]["photo"] for episode in dataset] == [line["photo"] for line in kept]
    assert [episode.task for episode in dataset] == [line["task"] for line in kept]

    assert not (tmp_path / "out" / "items").exists()
    third = generate(tmp_path / "out", wanted, options, workers=1, progress=False)
    assert third == replace(second, resumed=12)


@pytest.mark.parametrize("format_name", FORMATS)
def test_neither_order_nor_interruptions_change_the_dataset(
    format_name: str, items: tuple[Item, ...], tmp_path: Path
) -> None:
    options = drawn_options(format=format_name, least_scores={"hand_rate": 0.45})
    make_here(tmp_path / "one", list(items), options)
    make_here(tmp_path / "two", list(reversed(items))[:3], options)
    make_here(tmp_path / "two", list(items), options)
    for name in ("one", "two"):
        summary = generate(tmp_path / name, items, options, progress=False)
        assert summary.resumed == len(items)
        assert summary.written + summary.rejected == len(items)
        assert summary.written
    assert tree(tmp_path / "one" / DATASET) == tree(tmp_path / "two" / DATASET)


@pytest.mark.parametrize("format_name", ["robomimic", "minari"])
def test_episodes_come_back_as_they_were_imagined(format_name: str, items: tuple[Item, ...], tmp_path: Path) -> None:
    options = drawn_options(format=format_name)
    make_here(tmp_path / "out", list(items), options)
    dataset = open_source(generate(tmp_path / "out", items, options, progress=False).dataset)
    assert len(dataset) == len(items)
    found = imagination_of_episode(dataset[3])
    again = DrawnImaginer().imagine(found.frame, items[3].task, seed=items[3].seed)
    assert found.plan == again.plan
    for one, other in zip(found.steps, again.steps, strict=True):
        np.testing.assert_array_equal(one.clip, other.clip)
        np.testing.assert_array_equal(one.hands.keypoints, other.hands.keypoints)
        assert one.scores == pytest.approx(other.scores)


def test_what_a_killed_worker_left_is_done_again(items: tuple[Item, ...], tmp_path: Path) -> None:
    options, out = drawn_options(), tmp_path / "out"
    make_here(out, list(items), options)
    (out / "items" / items[1].slug / "outcome.json").write_text('{"status": "wri')
    (out / "items" / f".{items[2].slug}.0123.part").mkdir()
    assert parts.read_outcome(out, items[1]) is None
    make_here(out, [items[1]], options)
    summary = generate(out, items, options, progress=False)
    assert (summary.resumed, summary.written) == (len(items), len(items))
    assert not list(out.glob("items/.*"))


def test_a_job_killed_before_its_summary_joins_the_dataset_again(items: tuple[Item, ...], tmp_path: Path) -> None:
    options, out = drawn_options(), tmp_path / "out"
    make_here(out, list(items), options)
    (out / DATASET).mkdir()
    (out / DATASET / "half").touch()
    (out / f".{DATASET}.part").mkdir()
    with pytest.raises(DatasetError, match="not of a job"):
        generate(out, items, options, progress=False)
    (out / DATASET / "half").unlink()
    (out / DATASET).rmdir()
    summary = generate(out, items, options, progress=False)
    assert len(open_source(summary.dataset)) == len(items)
    (out / "summary.json").unlink()
    make_here(out, list(items), options)
    assert generate(out, items, options, progress=False).written == len(items)


def test_a_folder_is_for_one_job_one_run_and_one_imaginer(items: tuple[Item, ...], tmp_path: Path) -> None:
    options, out = drawn_options(), tmp_path / "out"
    make_here(out, list(items[:2]), options)
    with parts.locked(out), pytest.raises(DatasetError, match="another run is at work"):
        generate(out, items, options, progress=False)
    with pytest.raises(DatasetError, match="begun with another imaginer"):
        make_here(out, list(items), drawn_options(imaginer=f"{HERE}:other_imaginer"))
    generate(out, items[:2], options, progress=False)
    with pytest.raises(DatasetError, match="tasks, scenes, seeds or photos"):
        generate(out, items, options, progress=False)
    with pytest.raises(DatasetError, match="other least_scores"):
        generate(out, items[:2], drawn_options(least_scores={"trust": 0.1}), progress=False)


def test_the_most_trusted_candidate_is_written_and_what_cannot_be_trusted_is_rejected(
    items: tuple[Item, ...], tmp_path: Path
) -> None:
    def made(name: str, **choice: float) -> list[Episode]:
        summary = generate(tmp_path / name, items, drawn_options(**choice), workers=1, progress=False)
        assert summary.written == len(open_source(summary.dataset))
        return list(open_source(summary.dataset))

    one, four = made("one"), made("four", candidates=4)
    for single, best in zip(one, four, strict=True):
        for step, chosen in zip(single.key_steps[:1], best.key_steps[:1], strict=True):  # the same start
            assert trust(chosen.scores) >= trust(step.scores)
    chosen = {step.frame_provenance.candidate for episode in four for step in episode.key_steps}
    assert len(chosen) > 1
    # One clip now and then lacks a hand in a frame, the best of four hardly ever does: some pass, or none.
    best_of_one, best_of_four = (
        max(min(trust(step.scores) for step in episode.key_steps) for episode in episodes) for episodes in (one, four)
    )
    for candidates, least in ((1, best_of_one), (4, (best_of_four + 1) / 2)):
        out = tmp_path / f"strict-{candidates}"
        strict = generate(out, items, drawn_options(candidates=candidates, least_trust=least), progress=False)
        assert (0 < strict.written < len(items)) if candidates == 1 else strict.written == 0
        assert strict.reasons == {"LowConfidence": len(items) - strict.written}
        rejected = [line for line in account(out) if line["status"] == "rejected"]
        assert all(f"best of {candidates} clips" in line["reasons"][0] for line in rejected)


def test_candidates_of_an_imaginer_that_draws_none_are_refused(items: tuple[Item, ...], tmp_path: Path) -> None:
    options = drawn_options(imaginer=f"{HERE}:MoodyImaginer", imaginer_options={"folder": str(tmp_path)}, candidates=2)
    with pytest.raises(InvalidInput, match="draws no candidates"):
        generate(tmp_path / "out", items, options, workers=1, progress=False)


def test_a_job_of_which_nothing_passes_writes_an_account_and_no_dataset(
    items: tuple[Item, ...], tmp_path: Path
) -> None:
    options, out = drawn_options(least_scores={"trust": 1.0, "hand_rate": 1.0}), tmp_path / "out"
    make_here(out, list(items), options)
    summary = generate(out, items, options, progress=False)
    assert (summary.written, summary.rejected) == (0, len(items))
    assert not summary.dataset.exists()
    assert set(summary.reasons) <= {"trust", "hand_rate"}
    assert all(line["reasons"] for line in account(out))
    assert generate(out, items, options, progress=False).rejected == len(items)


def test_photos_of_two_sizes_need_one_that_they_are_brought_to(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos" / "a", 1, (64, 48))
    write_photos(tmp_path / "photos" / "b", 1, (60, 60))
    items = photo_items(tmp_path / "photos", TASKS[:1], range(1))
    with pytest.raises(InvalidInput, match=r"64×48.*60×60.*photo size"):
        generate(tmp_path / "out", items, drawn_options(), progress=False)
    options = drawn_options(photo_size=(48, 40))
    make_here(tmp_path / "out", list(items), options)
    dataset = open_source(generate(tmp_path / "out", items, options, progress=False).dataset)
    assert [episode.frames.shape[1:] for episode in dataset] == [(40, 48, 3)] * 2


def test_an_episode_of_another_schema_fails_by_name_and_the_rest_is_written(tmp_path: Path) -> None:
    items = photo_items(write_photos(tmp_path / "photos", 2), TASKS[:1], range(1))
    make_here(tmp_path / "out", list(items[:1]), drawn_options())
    write_photos(tmp_path / "other", 2, (64, 64))
    moved = [replace(item, folder=str(tmp_path / "other")) for item in items[1:]]
    make_here(tmp_path / "out", moved, drawn_options())
    summary = generate(tmp_path / "out", items, drawn_options(), progress=False)
    assert (summary.written, summary.failed) == (1, 1)
    assert "schema" in summary.failures[0][1]


def test_a_full_or_forbidden_folder_is_named(items: tuple[Item, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="choose another folder"):
        generate(tmp_path / "file", items, drawn_options(), progress=False)


# Estimates


def test_an_estimate_measures_and_leaves_the_folder_alone(items: tuple[Item, ...], tmp_path: Path) -> None:
    found = estimate(tmp_path / "out", items, drawn_options(least_scores={"hand_rate": 0.99}), workers=3)
    assert not (tmp_path / "out").exists()
    assert (found.items, found.workers, found.sampled) == (8, 3, 3)
    assert 0 <= found.passed < 3
    assert min(found.seconds, found.episode_bytes, found.part_bytes, found.free_bytes, found.hours) > 0
    assert found.dataset_bytes == found.episode_bytes * 8 < found.greatest_bytes


def test_an_estimate_of_what_cannot_be_made_says_why(items: tuple[Item, ...], tmp_path: Path) -> None:
    for photo in (tmp_path / "photos").iterdir():
        photo.write_bytes(b"no picture")
    with pytest.raises(KSGenError, match="InvalidFrame"):
        estimate(tmp_path / "out", items, drawn_options())
    with pytest.raises(InvalidInput, match="number of workers"):
        estimate(tmp_path / "out", items, drawn_options(), engine="ray")
