"""The order of a tower, from the words of the task."""

from __future__ import annotations

import re

from ksgen_models.errors import InvalidTask
from ksgen_models.planner.words import colours, plain

_ON = re.compile(r"\b(?:on top of|on to|onto|on|upon|over|above|atop)$")
_UNDER = re.compile(r"\b(?:under|underneath|beneath|below)$")
_TOP_DOWN = re.compile(r"\btop (?:to|down to) (?:the )?bottom\b|\bfrom (?:the )?top\b|\btop down\b")
_PLACE = re.compile(r"\b(?:(top)(?! of)|(bottom|base|lowest|underneath))\b")


def pairs_said(task: str) -> list[tuple[str, str]]:
    """What goes on what: "stack red on blue, then green on red" → [("red", "blue"), ("green", "red")].

    Returns:
        (upper, lower) colours, in an order in which a block is only put on one that already stands in its place;
        empty when the words speak of no pair.

    Raises:
        InvalidTask: the pairs contradict one another.
    """
    named = set(colours(task))
    parts = re.split(r"\b(" + "|".join(sorted(named)) + r")\b", _spelt(task)) if named else []
    pairs: list[tuple[str, str]] = []
    # parts: text, colour, text, colour, … text
    for at in range(1, len(parts) - 2, 2):
        first, between, second = parts[at], _without_filler(parts[at + 1]), parts[at + 2]
        if _ON.search(between):
            pairs.append((first, second))
        elif _UNDER.search(between):
            pairs.append((second, first))
    return _supports_first(list(dict.fromkeys(pairs)), task)


def tower_said(task: str) -> list[str]:
    """The colours from the bottom up, where the words give an order: "blue at the bottom, then red, then green".

    Returns:
        Colours from the bottom up; empty when the words give no order or name fewer than two colours.
    """
    text, named = _spelt(task), colours(task)
    if len(named) < 2:
        return []
    if _TOP_DOWN.search(text):
        return named[::-1]
    places = _places(text, named)
    bottom, top = places.get("bottom"), places.get("top")
    if bottom is None and top is None:
        return named if re.search(r"\bthen\b|\bbottom (?:up|to top)\b", text) else []
    if (bottom == named[-1] and bottom != top) or (top == named[0] and bottom != named[0]):
        named = named[::-1]
    # With only the ends said, the others keep the order in which they were named.
    middle = [colour for colour in named if colour not in (bottom, top)]
    return [*filter(None, [bottom]), *middle, *([top] if top and top != bottom else [])]


def _places(text: str, named: list[str]) -> dict[str, str]:
    """Which colour is said to be at the bottom and which on top: the nearest in the same clause."""
    places: dict[str, str] = {}
    for clause in re.split(r",|\bthen\b|\band\b|\bwith\b", text):
        here = [word for word in clause.split() if word in named]
        said = _PLACE.search(clause)
        if here and said:
            places["top" if said.group(1) else "bottom"] = here[0]
    return places


def _supports_first(pairs: list[tuple[str, str]], task: str) -> list[tuple[str, str]]:
    ordered: list[tuple[str, str]] = []
    left = list(pairs)
    while left:
        ready = next((pair for pair in left if all(pair[1] != other[0] for other in left)), None)
        if ready is None:
            raise InvalidTask(
                f'"{task[:200]}" asks for a stack that rests on itself ({left[0][0]} and {left[0][1]}); '
                "name a block for the bottom"
            )
        ordered.append(ready)
        left.remove(ready)
    return ordered


def _spelt(task: str) -> str:
    """Plain words, with "violet" said as "purple" and the like, as `colours` returns them."""
    return " ".join((colours(word) or [word])[0] for word in plain(task).split())


def _without_filler(words: str) -> str:
    """ "block on top of the small" → "block on top of": what stands before the second colour's own words."""
    return re.sub(r"(?:\s+(?:the|a|that|small|big|large|little|wooden))*\s*$", "", words)
