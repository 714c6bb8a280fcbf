"""The step library and the readers of other annotation sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ksgen_models.errors import DatasetError
from ksgen_models.library import EVERYDAY, WORKBENCH, default_library, load_library, save_library
from ksgen_models.library.annotations import coin_library, crosstask_library, htstep_library

SCENES = {"AssembleShelf", "StackBlocks", "SortObjects", "StoreInDrawer", "InsertPegs", "SwitchOnLamp"}


def test_the_default_library_covers_the_workbench_and_everyday_life() -> None:
    library = default_library()
    assert {procedure.scene for procedure in library.procedures if procedure.domain == WORKBENCH} == SCENES
    everyday = [procedure for procedure in library.procedures if procedure.domain == EVERYDAY]
    assert len(everyday) >= 200
    for procedure in everyday:
        assert 3 <= len(procedure.steps) <= 8
        assert len(procedure.sentences()) >= 3
        assert all(step[0].isupper() and step[-1].isalpha() for step in procedure.steps), procedure.id


def test_no_wording_belongs_to_two_procedures() -> None:
    owners: dict[str, str] = {}
    for procedure in default_library().procedures:
        for sentence in procedure.sentences():
            assert "{" not in sentence
            assert owners.setdefault(sentence.lower(), procedure.id) == procedure.id


def test_a_library_survives_saving_and_loading(tmp_path: Path) -> None:
    save_library(default_library(), tmp_path / "steps.json")
    assert load_library([tmp_path / "steps.json"]) == default_library()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": []}, "no steps"),
        ({"steps": "press"}, "list of texts"),
        ({"task": " "}, "expected a text"),
        ({"wordings": ["press the {what}"]}, "no example for what"),
    ],
)
def test_a_broken_procedure_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    entry = {"id": "press", "task": "press it", "steps": ["Press it"], **change}
    path = tmp_path / "steps.json"
    path.write_text(json.dumps({"format": 1, "procedures": [entry]}))
    with pytest.raises(DatasetError, match=says) as caught:
        load_library([path])
    assert "press" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "procedures": [3]}'])
def test_what_is_no_step_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(DatasetError, match=r"steps\.json"):
        load_library([tmp_path / "steps.json"])


def test_two_procedures_with_one_id_are_refused() -> None:
    with pytest.raises(DatasetError, match="assemble-shelf"):
        default_library() + default_library()


def test_coin(tmp_path: Path) -> None:
    def video(name: str, *labels: str) -> dict[str, Any]:
        # Out of order on purpose: the segments say what came first.
        shown = [{"id": "1", "segment": [float(at), at + 1.0], "label": label} for at, label in enumerate(labels)]
        return {"class": name, "annotation": shown[::-1], "subset": "training", "recipe_type": 1}

    database = {
        "a": video("ReplaceCDDriveWithSSD", "take out the drive", "put in the tray", "put in the tray"),
        "b": video("ReplaceCDDriveWithSSD", "take out the drive", "put in the tray"),
        "c": video("ReplaceCDDriveWithSSD", "put in the tray"),
        "d": video("BoilNoodles"),
    }
    (tmp_path / "COIN.json").write_text(json.dumps({"database": database}))
    (procedure,) = coin_library(tmp_path / "COIN.json").procedures
    assert procedure.task == "replace CD drive with SSD"
    assert procedure.steps == ("Take out the drive", "Put in the tray")
    assert (procedure.source, procedure.domain) == ("coin", EVERYDAY)


def test_crosstask(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks_primary.txt"
    tasks.write_text(
        "16815\nJack Up a Car\nhttps://example.org/car\n3\nbrake on,jack up,lower jack\n\n"
        "23521\nMake Jello Shots\nhttps://example.org/jello\n2\npour water,stir mixture\n\n"
    )
    jack, jello = crosstask_library(tasks).procedures
    assert (jack.task, jack.steps) == ("jack up a car", ("Brake on", "Jack up", "Lower jack"))
    assert jello.steps == ("Pour water", "Stir mixture")
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "16815_abc.csv").write_text("1,3.2,5.0\n2,9.0,12.5\n2,13.0,14.0\n")
    assert crosstask_library(tasks, folder).procedures[0].steps == ("Brake on", "Jack up")
    (folder / "16815_bad.csv").write_text("9,3.2,5.0\n")
    with pytest.raises(DatasetError, match="step 9 of 3"):
        crosstask_library(tasks, folder)


def test_htstep(tmp_path: Path) -> None:
    taxonomy = tmp_path / "taxonomy.csv"
    taxonomy.write_text(
        "global_step_index,activity,step_index,variation,variation_index,headline,paragraph\n"
        '0,Make Toast,0,none,1,Slice the bread.,"Thin, please."\n'
        "1,Make Toast,1,none,2,Push the lever.,\n"
        "2,Make Tea,0,With Milk,1,Warm the milk.,\n"
    )
    toast, tea = htstep_library(taxonomy).procedures
    assert (toast.task, toast.steps) == ("make toast", ("Slice the bread", "Push the lever"))
    assert tea.task == "make tea (with milk)"
    annotations = tmp_path / "annotations.json"
    segment = {"id": 1, "segment": [2.0, 4.0]}
    annotations.write_text(json.dumps({"v": {"subset": "train", "activity": "Make Toast", "annotations": [segment]}}))
    (toast,) = htstep_library(taxonomy, annotations).procedures
    assert toast.steps == ("Push the lever",)


@pytest.mark.parametrize("read", [coin_library, crosstask_library, htstep_library])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'{"database": {"a": 3}}', b"one\ntwo\n"])
def test_another_file_is_refused(tmp_path: Path, read: Any, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="file"):
        read(path)


@pytest.mark.parametrize("read", [coin_library, crosstask_library, htstep_library])
def test_a_missing_file_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        read(tmp_path / "nowhere")
