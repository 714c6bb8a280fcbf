"""What a task's words name: colours, kinds of things, and which thing goes where."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

from ksgen_models.errors import InvalidTask

LONGEST_TASK = 2000

_COLOURS = {
    name: name
    for name in ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black", "brown")
} | {
    "grey": "grey", "gray": "grey", "violet": "purple", "lilac": "purple", "turquoise": "cyan", "teal": "cyan",
    "magenta": "pink", "scarlet": "red", "crimson": "red",
}  # fmt: skip
_ANY_COLOUR = re.compile(r"\b(?:" + "|".join(_COLOURS) + r")\b", re.IGNORECASE)
_KINDS = {
    "block": "block", "cube": "block", "brick": "block",
    "ball": "ball", "sphere": "ball", "marble": "ball",
    "cylinder": "cylinder", "tube": "cylinder",
    "peg": "peg", "pin": "peg", "dowel": "peg",
    "hole": "hole", "slot": "hole", "socket": "hole",
    "bin": "bin", "tray": "bin", "container": "bin", "basket": "bin", "bucket": "bin",
    "drawer": "drawer",
}  # fmt: skip
_PASSED_OVER = frozenset(
    ("the", "a", "an", "and", "or", "small", "big", "large", "little", "tiny", "wooden", "plastic", "one", "ones")
)
_JOINING = frozenset(["and", "or", "the", "a"])
_STANDARD_COLOURS = ("red", "blue", "green")
_EXCEPT = re.compile(r"\b(?:except|but not|apart from|other than|but leave|leaving|without touching|not)\b")


@dataclass(frozen=True)
class Mention:
    """A thing as the words name it.

    Attributes:
        colour: e.g. ``"red"``; empty when none is said.
        kind: ``"block"``, ``"ball"``, ``"cylinder"``, ``"peg"``, ``"hole"``, ``"bin"`` or ``"drawer"``; empty for
            "everything red" or "the red one".
    """

    colour: str
    kind: str

    @property
    def name(self) -> str:
        """As a sentence would say it: "red block", "red object", "block"."""
        return " ".join(part for part in (self.colour, self.kind or "object") if part)


def checked_task(task: object) -> str:
    """The task with its white space tidied.

    Raises:
        InvalidTask: it is not text, is empty, is longer than 2,000 characters, or holds control characters.
    """
    if not isinstance(task, str):
        raise InvalidTask(f"a task must be text, got {type(task).__name__}; pass a sentence such as 'assemble shelf'")
    if len(task) > LONGEST_TASK:
        raise InvalidTask(f"the task has {len(task):,} characters, the most is {LONGEST_TASK:,}; say it more briefly")
    bad = next((char for char in task if unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n\r"), None)
    if bad is not None:
        raise InvalidTask(f"the task holds the control character {bad!r} at {task.index(bad)}; take it out")
    if not any(char.isalnum() for char in task):
        raise InvalidTask(f"the task {task[:60]!r} holds no word; pass a sentence such as 'assemble shelf'")
    return " ".join(task.split())


def plain(task: str) -> str:
    """Lower case, and only letters, digits, commas and single spaces: what the rules below match on."""
    kept = re.sub(r"[^\w,]+", " ", task.lower().replace("_", " "))
    return re.sub(r"\s*,\s*", " , ", " ".join(kept.split())).strip()


def mentions(task: str) -> list[Mention]:
    """Every thing that the words name, in order, without those after "except"; see `exceptions`."""
    return _mentions(_EXCEPT.split(plain(task), maxsplit=1)[0])


def exceptions(task: str) -> list[Mention]:
    """The things that the words leave out: "everything except the red ball"."""
    parts = _EXCEPT.split(plain(task), maxsplit=1)
    return _mentions(parts[1]) if len(parts) == 2 else []


def colours(task: str) -> list[str]:
    """The colours named, in order, each once."""
    return list(dict.fromkeys(found.colour for found in mentions(task) if found.colour))


def with_standard_colours(task: str) -> str:
    """The task with the first colour named exchanged for red, the second for blue, the third for green.

    Which colours are named does not change what is to be done, but it does change a sentence's embedding.
    """
    standard: dict[str, str] = {}

    def exchanged(found: re.Match[str]) -> str:
        colour = _COLOURS[found.group().lower()]
        if colour not in standard and len(standard) < len(_STANDARD_COLOURS):
            standard[colour] = _STANDARD_COLOURS[len(standard)]
        return standard.get(colour, colour)

    return _ANY_COLOUR.sub(exchanged, task)


def placements(task: str, target: str) -> list[tuple[Mention, str]]:
    """Which thing goes into which target: "the red ball and the blue one into the green bin".

    Args:
        task: the words.
        target: kind of the targets, e.g. ``"bin"``.

    Returns:
        A pair for each thing: the thing, and the target's colour; where the words do not say it, the thing's own
        colour, which is empty when that is not said either.
    """
    pairs: list[tuple[Mention, str]] = []
    waiting: list[Mention] = []
    for found in mentions(task):
        if found.kind != target:
            waiting.append(found)
            continue
        pairs += [(thing, found.colour or thing.colour) for thing in waiting]
        waiting = []
    return pairs + [(thing, thing.colour) for thing in waiting]


def _mentions(text: str) -> list[Mention]:
    words = text.split()
    found: list[tuple[int, int, Mention]] = []  # first word, word after the last, mention
    at = 0
    while at < len(words):
        colour = _COLOURS.get(words[at], "")
        end = at + 1 if colour else at
        while colour and end < len(words) and words[end] in _PASSED_OVER - _JOINING:
            end += 1
        kind = _kind(words[end]) if end < len(words) else ""
        if not colour and not kind:
            at += 1
            continue
        found.append((at, end + bool(kind), Mention(colour, kind)))
        at = end + bool(kind)
    return _shared_kinds(words, found)


def _shared_kinds(words: list[str], found: list[tuple[int, int, Mention]]) -> list[Mention]:
    """In "the red and blue blocks" both are blocks; in "the red ball and the blue one" both are balls."""
    things = [mention for _, _, mention in found]
    for index in reversed(range(len(found) - 1)):
        between = words[found[index][1] : found[index + 1][0]]
        joined = all(word in _JOINING or word == "," for word in between)
        if things[index].colour and not things[index].kind and joined:
            things[index] = replace(things[index], kind=things[index + 1].kind)
    for index in range(1, len(found)):
        start, end, _ = found[index]
        says_one = any(word in ("one", "ones") for word in words[start:end])
        if says_one and not things[index].kind:
            things[index] = replace(things[index], kind=things[index - 1].kind)
    return things


def _kind(word: str) -> str:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _KINDS:
            return _KINDS[form]
    return ""
