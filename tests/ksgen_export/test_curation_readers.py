"""Annotation files in the published formats come out as step segments, and a bad entry costs no good one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ksgen_export.curation.readers import READERS, read_annotations
from ksgen_export.curation.readers.ego4d import sentence
from ksgen_export.curation.segments import StepSegment
from ksgen_models.errors import DatasetError, InvalidInput


def write_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def coin(folder: Path, annotation: list[Any]) -> Path:
    entry = {"class": "ReplaceCDDriveWithSSD", "recipe_type": 0, "duration": 90.0, "subset": "training"}
    return write_json(folder / "COIN.json", {"database": {"abc": entry | {"annotation": annotation}}})


def test_coin(tmp_path: Path) -> None:
    steps = [
        {"id": "213", "segment": [70.5, 80.0], "label": "take out the screw"},
        {"id": "212", "segment": [60.0, 69.0], "label": "take out the laptop CD drive "},
    ]
    found = read_annotations("coin", [coin(tmp_path, steps)])
    task = "replace CD drive with SSD"
    assert found.segments == (
        StepSegment("abc", 60.0, 69.0, "take out the laptop CD drive", task, "coin"),
        StepSegment("abc", 70.5, 80.0, "take out the screw", task, "coin"),
    )
    assert not found.problems


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "1", "segment": [9.0, 3.0], "label": "backwards"},
        {"id": "1", "segment": [-1.0, 3.0], "label": "before the start"},
        {"id": "1", "segment": [1.0], "label": "no end"},
        {"id": "1", "segment": [1.0, "x"], "label": "no number"},
        {"id": "1", "segment": [1.0, float("inf")], "label": "no end"},
        {"id": "1", "segment": [1.0, 2.0]},
        {"id": "1", "segment": [1.0, 2.0], "label": " "},
        None,
        3,
    ],
)
def test_a_bad_entry_is_named_and_the_good_ones_stay(tmp_path: Path, bad: Any) -> None:
    good = {"id": "2", "segment": [60.0, 69.0], "label": "take out the drive"}
    found = read_annotations("coin", [coin(tmp_path, [bad, good])])
    assert [segment.description for segment in found.segments] == ["take out the drive"]
    assert [problem.video for problem in found.problems] == ["abc"]
    assert found.problems[0].message


def test_crosstask(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks_primary.txt"
    tasks.write_text(
        "23521\nMake Jello Shots\nhttps://www.wikihow.com/Make-Jello-Shots\n3\npour water,pour powder,stir mixture\n\n"
        "59684\nBuild Simple Floating Shelves\nhttps://www.wikihow.com/x\n2\ncut shelve,attach shelve\n"
    )
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "23521_a_b-c.csv").write_text("2,31.5,40.0\n1,10.0,20.0\n7,50,60\n")
    (folder / "99999_other.csv").write_text("1,1,2\n")
    found = read_annotations("crosstask", [tasks, folder])
    assert [(segment.video, segment.start, segment.description) for segment in found.segments] == [
        ("a_b-c", 10.0, "pour water"),
        ("a_b-c", 31.5, "pour powder"),
    ]
    assert found.segments[0].task == "make jello shots"
    assert [problem.video for problem in found.problems] == ["a_b-c"]


def test_htstep(tmp_path: Path) -> None:
    taxonomy = tmp_path / "taxonomy.csv"
    taxonomy.write_text(
        "global_step_index,activity,step_index,variation,variation_index,headline,paragraph\n"
        '17,Make Pizza,0,none,0,"Roll out the dough.","Use a pin, and flour."\n'
    )
    video = {
        "activity": "Make Pizza",
        "annotations": [{"id": 17, "segment": [3.0, 9.5]}, {"id": 99, "segment": [1, 2]}],
    }
    found = read_annotations("htstep", [write_json(tmp_path / "annotations.json", {"vid": video}), taxonomy])
    assert found.segments == (StepSegment("vid", 3.0, 9.5, "Roll out the dough", "make pizza", "htstep"),)
    assert len(found.problems) == 1


def test_epic_kitchens(tmp_path: Path) -> None:
    table = tmp_path / "EPIC_100_train.csv"
    table.write_text(
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
        "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
        "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,3,door,3,['door'],[3]\n"
        "P01_01_1,P01,P01_01,01:00:02.629,01:01:04.37,01:01:06.17,262,370,turn on light,turn-on,6,light,114,"
        "['light'],[114]\n"
        "P01_01_2,P01,P01_01,x,soon,later,1,2,wait,wait,0,,0,[],[]\n"
    )
    found = read_annotations("epic-kitchens", [table])
    assert [(segment.start, segment.stop, segment.description) for segment in found.segments] == [
        (0.14, 3.37, "open door"),
        (3664.37, 3666.17, "turn on light"),
    ]
    assert len(found.problems) == 1


def test_ego4d_goal_steps_take_the_innermost_steps(tmp_path: Path) -> None:
    def step(start: float, stop: float, text: str, **more: Any) -> dict[str, Any]:
        return {"start_time": start, "end_time": stop, "step_description": text, "is_relevant": "essential", **more}

    inner = [step(0, 5, "turn on stove"), step(5, 9, "chat", is_relevant="irrelevant")]
    steps = [step(0, 9, "toast bread", segments=inner), step(9, 20, "make omelette", segments=[])]
    video = {"video_uid": "u-1", "goal_description": "Make omelette", "segments": steps}
    found = read_annotations("ego4d", [write_json(tmp_path / "goalstep_train.json", {"videos": [video, {"x": 1}, 3]})])
    assert [segment.description for segment in found.segments] == ["turn on stove", "make omelette"]
    assert {segment.task for segment in found.segments} == {"make omelette"}
    assert len(found.problems) == 2


def test_ego4d_hands_and_objects(tmp_path: Path) -> None:
    def action(start: float, text: str, **more: Any) -> dict[str, Any]:
        shown = {"start_sec": start, "end_sec": start + 8, "narration_text": text, "is_valid_action": True}
        return shown | {"is_rejected": False} | more

    actions = [
        action(1.0, "#C C picks the knife"),
        action(4.0, "#C C cuts", is_rejected=True),
        action(6.0, "#O laughs", is_valid_action=False),
    ]
    video = {"video_uid": "u-2", "annotated_intervals": [{"clip_uid": "c", "narrated_actions": actions}]}
    found = read_annotations("ego4d", [write_json(tmp_path / "fho_main.json", {"videos": [video]})])
    assert found.segments == (StepSegment("u-2", 1.0, 9.0, "picks the knife", "", "ego4d"),)


@pytest.mark.parametrize(
    ("narration", "says"), [("#C C picks the #unsure", "picks the"), ("#c c  walks", "walks"), ("plain", "plain")]
)
def test_narrations_lose_their_tags(narration: str, says: str) -> None:
    assert sentence(narration) == says


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b"\xff\xfe", b"a,b\n1,2\n"])
def test_what_is_no_annotation_file_is_named(tmp_path: Path, source: str, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    files = [path] * len(READERS[source].files)
    with pytest.raises(DatasetError, match=str(path)):
        read_annotations(source, files)


def test_an_unknown_data_set_and_too_few_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="coin"):
        read_annotations("youcook", [tmp_path])
    with pytest.raises(InvalidInput, match=r"taxonomy\.csv"):
        read_annotations("htstep", [tmp_path])
