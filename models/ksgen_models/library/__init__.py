"""The step library: what people do, step by step, as JSON files beside this module.

A file holds procedures of one source::

    {
      "format": 1,
      "source": "ksgen",
      "procedures": [
        {
          "id": "stack-blocks",                  unique within all the files loaded together
          "task": "stack the blocks",            its name
          "domain": "workbench",                 "workbench": the mini preset's models know it; else "everyday"
          "scene": "StackBlocks",                only with domain "workbench": the Workbench task whose scene it needs
          "wordings": ["make a tower", "stack {a} on {b}"],
          "steps": ["Put the {a} block on the {b} block"],
          "generic_steps": ["Put one block on another block", "Put the next block on top"],
          "slots": {"a": ["red"], "b": ["blue"]}
        }
      ]
    }

``wordings`` are ways of asking for the task; a wording with slots in braces is read with the first example of every
slot, then with the second, and so on; a shorter list of examples starts again. Colours need one example only, best
red, blue and green in the order of the words: the planner compares a task with its colours exchanged for these, too.
``steps`` are the key steps in order; the planner fills their slots from the words of the task and from the frame, and
takes ``generic_steps`` where neither names anything. ``slots``, ``scene`` and ``generic_steps`` may be left out.

Readers of other people's annotation files (COIN, CrossTask, HT-Step) are in `ksgen_models.library.annotations`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ksgen_models.errors import DatasetError

FORMAT_VERSION = 1
WORKBENCH, EVERYDAY = "workbench", "everyday"
_FOLDER = Path(__file__).parent
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Procedure:
    """How one task is done.

    Attributes:
        id: unique within a library.
        task: its name, as one would ask for it.
        wordings: other ways to ask for it; may hold slots.
        steps: the key steps in order; may hold slots.
        domain: ``"workbench"`` for what the mini preset's models have learnt, else ``"everyday"``.
        source: ``"ksgen"`` for this project's own, else the name of the annotation set.
        scene: the Workbench task whose scene it needs, e.g. ``"StackBlocks"``; empty for everyday procedures.
        generic_steps: the steps when nothing fills the slots.
        slots: example values of every slot, for the wordings.
    """

    id: str
    task: str
    wordings: tuple[str, ...]
    steps: tuple[str, ...]
    domain: str = EVERYDAY
    source: str = "ksgen"
    scene: str = ""
    generic_steps: tuple[str, ...] = ()
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def sentences(self) -> tuple[str, ...]:
        """Its name and all wordings without repeats, slots filled with the examples."""
        spelt = (sentence for wording in (self.task, *self.wordings) for sentence in _spell(wording, self.slots))
        return tuple(dict.fromkeys(spelt))


@dataclass(frozen=True)
class Library:
    """Procedures to retrieve from.

    Attributes:
        procedures: with ids that differ.
    """

    procedures: tuple[Procedure, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for procedure in self.procedures:
            if procedure.id in seen:
                raise DatasetError(f'two procedures of a library have the id "{procedure.id}"; rename one')
            seen.add(procedure.id)

    def __len__(self) -> int:
        return len(self.procedures)

    def __add__(self, other: Library) -> Library:
        """Both together. Raises `DatasetError` when they share an id."""
        return Library(self.procedures + other.procedures)


def load_library(paths: Iterable[str | Path]) -> Library:
    """Read step files in this module's JSON form.

    Raises:
        DatasetError: a file is missing, is not JSON, or breaks the form; the message names the procedure.
    """
    return Library(tuple(procedure for path in paths for procedure in _read_file(Path(path))))


@lru_cache(maxsize=1)
def default_library() -> Library:
    """This project's own procedures: the Workbench tasks, and everyday ones with a file for each field."""
    return load_library((_FOLDER / "workbench.json", *sorted((_FOLDER / "everyday").glob("*.json"))))


def save_library(library: Library, path: str | Path) -> None:
    """Write procedures of one source in this module's JSON form.

    Raises:
        DatasetError: the procedures come from several sources; write one file for each.
    """
    sources = {procedure.source for procedure in library.procedures}
    if len(sources) > 1:
        raise DatasetError(f"a step file holds one source, these are {', '.join(sorted(sources))}; write one file each")
    document = {
        "format": FORMAT_VERSION,
        "source": next(iter(sources), "ksgen"),
        "procedures": [_to_json(procedure) for procedure in library.procedures],
    }
    Path(path).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _to_json(procedure: Procedure) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": procedure.id,
        "task": procedure.task,
        "domain": procedure.domain,
        "scene": procedure.scene,
        "wordings": list(procedure.wordings),
        "steps": list(procedure.steps),
        "generic_steps": list(procedure.generic_steps),
        "slots": {name: list(values) for name, values in procedure.slots.items()},
    }
    return {key: value for key, value in entry.items() if value}


def _read_file(path: Path) -> list[Procedure]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{path} is not a readable step file ({exc})") from exc
    if not isinstance(document, dict) or document.get("format") != FORMAT_VERSION:
        raise DatasetError(f'{path} is not a step file of format {FORMAT_VERSION}; it needs "format": {FORMAT_VERSION}')
    entries = document.get("procedures")
    if not isinstance(entries, list):
        raise DatasetError(f'{path} holds no list called "procedures"')
    return [_read_entry(entry, str(document.get("source", path.stem)), path) for entry in entries]


def _read_entry(entry: Any, source: str, path: Path) -> Procedure:
    name = entry.get("id", "without an id") if isinstance(entry, dict) else repr(entry)[:60]
    try:
        procedure = Procedure(
            id=_text(entry["id"]),
            task=_text(entry["task"]),
            wordings=_texts(entry.get("wordings", [])),
            steps=_texts(entry["steps"]),
            domain=_text(entry.get("domain", EVERYDAY)),
            source=source,
            scene=_text(entry["scene"]) if "scene" in entry else "",
            generic_steps=_texts(entry.get("generic_steps", [])),
            slots={slot: _texts(values) for slot, values in entry.get("slots", {}).items()},
        )
        procedure.sentences()
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise DatasetError(f"{path}: the procedure {name} breaks the form of a step file: {exc}") from exc
    if not procedure.steps:
        raise DatasetError(f"{path}: the procedure {name} has no steps")
    return procedure


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a text, got {value!r}")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"expected a list of texts, got {values!r}")
    return tuple(_text(value) for value in values)


def _spell(wording: str, slots: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The wording with its slots filled: once for every example."""
    names = set(_SLOT.findall(wording))
    if not names:
        return [wording]
    unknown = {name for name in names if not slots.get(name)}
    if unknown:
        raise ValueError(f'the wording "{wording}" has no example for {", ".join(sorted(unknown))}')
    count = max(len(slots[name]) for name in names)
    return [
        wording.format_map({name: slots[name][index % len(slots[name])] for name in names}) for index in range(count)
    ]
