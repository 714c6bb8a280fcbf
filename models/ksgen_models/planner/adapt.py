"""Retrieved steps made to fit: slots filled from the words of the task and from what the frame shows.

Each adapter takes a procedure, the task's words and the reading of the frame (or None) and returns the steps with
the names of the things that they touch. The words win over the frame; the frame fills what the words leave open;
where both are silent the procedure's generic steps remain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ksgen_models.library import Procedure
from ksgen_models.planner.perception import SceneReading
from ksgen_models.planner.stacking import pairs_said, tower_said
from ksgen_models.planner.words import Mention, colours, exceptions, mentions, placements, plain

SEEN = 0.5
SOLIDS = ("block", "ball", "cylinder")
_RIGHT_FIRST = re.compile(
    r"\bright (?:\w+ ){0,3}?first\b|\b(?:start|begin)\w* (?:\w+ ){0,4}?right\b|\bfirst (?:\w+ ){0,2}?right\b"
    r"|\bright to (?:the )?left\b|\bright (?:\w+ ){0,2}?(?:before|then) (?:\w+ ){0,2}?left\b"
)
_BUTTON_FIRST = re.compile(
    r"\bbutton first\b|\b(?:start|begin)\w* (?:\w+ ){0,4}?button\b|\bbutton\b(?!.*\bafter\b).*\bknob\b"
)
_LEFTWARDS = re.compile(r"\bleft\b|\banti ?clockwise\b|\bcounter ?clockwise\b")
_PUT_IN = re.compile(
    r"\b(?:put|store|stow|stash|hide|place|keep|drop|lock|tidy|lay|move) (?:away )?(?:the|my|this|that|a|an) "
    r"((?:\w+ ){1,3}?)(?:away |back )?(?:in|into|inside)\b"
)
_ANY = frozenset(["object", "thing", "item", "toy", "stuff", "things", "objects", "items", "toys", "everything"])


@dataclass(frozen=True)
class Adapted:
    """Steps that fit the task.

    Attributes:
        steps: sentences.
        touches: names of the things that they move or use, to be looked for in the frame; empty where the steps
            name nothing in particular.
    """

    steps: tuple[str, ...]
    touches: tuple[str, ...] = ()


Adapter = Callable[[Procedure, str, SceneReading | None], Adapted]


def adapt(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    """Make a procedure's steps fit the task's words and the frame.

    Raises:
        InvalidTask: the words contradict themselves.
    """
    return _ADAPTERS.get(procedure.id, _as_written)(procedure, task, reading)


def _as_written(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    return Adapted(procedure.steps)


def _shelf(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    left, right, *boards = procedure.steps
    sides = (right, left) if _RIGHT_FIRST.search(plain(task)) else (left, right)
    return Adapted((*sides, *boards))


def _lamp(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    turn, press = procedure.steps
    return Adapted((press, turn) if _BUTTON_FIRST.search(plain(task)) else (turn, press))


def _knob(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    (turn,) = procedure.steps
    leftwards = _LEFTWARDS.search(plain(task)) is not None
    return Adapted((turn.replace("right", "left"),) if leftwards else (turn,))


def _blocks(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    (template,) = procedure.steps
    pairs = pairs_said(task) or _up(_tower(task, reading))
    if not pairs:
        return Adapted(procedure.generic_steps)
    steps = tuple(template.format(a=upper, b=lower) for upper, lower in pairs)
    return Adapted(steps, _unique(f"{colour} block" for pair in pairs for colour in pair))


def _tower(task: str, reading: SceneReading | None) -> list[str]:
    """Colours from the bottom up."""
    said = tower_said(task)
    if said:
        return said
    named = colours(task)
    seen = [name.removesuffix(" block") for name in _seen(reading, ("block",))]
    left_out = {mention.colour for mention in exceptions(task)}
    chosen = named if len(named) > 1 else [colour for colour in seen if colour not in left_out]
    if reading is not None:
        sizes = reading.sizes
        chosen = sorted(chosen, key=lambda colour: -sizes.get(f"{colour} block", 0.0))
    if len(named) == 1 and named[0] in chosen:
        # One colour alone says where that block goes: "with the red block on top", "on the red block".
        chosen.remove(named[0])
        on_top = re.search(r"\btop(?! of)\b", plain(task)) is not None
        chosen = [*chosen, named[0]] if on_top else [named[0], *chosen]
    return _built_on(chosen, reading) if len(chosen) > 1 else []


def _built_on(chosen: list[str], reading: SceneReading | None) -> list[str]:
    """The same tower begun with what stands already, where the words leave the order open."""
    standing = {} if reading is None else {pair: p for pair, p in reading.on.items() if p >= SEEN}
    on = {lower.removesuffix(" block"): upper.removesuffix(" block") for upper, lower in standing}
    started = [colour for colour in chosen if colour in on and colour not in on.values()]
    if not started:
        return chosen
    tower = [started[0]]
    while (above := on.get(tower[-1])) is not None and above in chosen and above not in tower:
        tower.append(above)
    return [*tower, *(colour for colour in chosen if colour not in tower)]


def _up(tower: list[str]) -> list[tuple[str, str]]:
    return list(zip(tower[1:], tower[:-1], strict=True))


def _sort(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    (template,) = procedure.steps
    said = placements(task, "bin") or [(Mention("", ""), "")]
    moves: dict[str, str] = {}
    for thing, bin_colour in said:
        for name in _things(thing, reading, exceptions(task)):
            moves.setdefault(name, bin_colour or name.split()[0])
    if not moves:
        return Adapted(_generic_sort(procedure, said))
    steps = tuple(
        template.format(colour=name.split()[0], kind=name.split()[1], bin=bin_colour)
        for name, bin_colour in moves.items()
    )
    return Adapted(steps, tuple(moves))


def _generic_sort(procedure: Procedure, said: list[tuple[Mention, str]]) -> tuple[str, ...]:
    (generic,) = procedure.generic_steps
    kinds = [thing.kind for thing, _ in said if thing.kind]
    return tuple(generic.replace("object", kind) for kind in _unique(kinds)) or (generic,)


def _things(thing: Mention, reading: SceneReading | None, left_out: list[Mention]) -> list[str]:
    """Names of the objects that a mention means: itself if it is exact, else those seen that it fits."""
    if thing.colour and thing.kind:
        return [thing.name]
    seen = [name for name in _seen(reading, SOLIDS) if _fits(thing, name)]
    kept = [name for name in seen if not any(_fits(mention, name) for mention in left_out)]
    return kept or ([thing.name] if thing.colour else [])


def _drawer(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    opening, storing, closing = procedure.steps
    names = _stored(task, reading)
    if not names:
        return Adapted(procedure.generic_steps)
    return Adapted((opening, *(storing.format(object=name) for name in names), closing), tuple(names))


def _stored(task: str, reading: SceneReading | None) -> list[str]:
    said = [thing for thing in mentions(task) if thing.kind not in ("drawer", "bin", "hole")]
    if said:
        return list(_unique(name for thing in said for name in (_things(thing, reading, []) or [thing.name])))
    noun = _PUT_IN.search(plain(task))
    if noun and not _ANY & set(noun.group(1).split()):
        return [noun.group(1).strip()]
    seen = _seen(reading, SOLIDS)
    if reading is None or not seen:
        return []
    return [max(seen, key=lambda name: reading.objects[name])]


def _pegs(procedure: Procedure, task: str, reading: SceneReading | None) -> Adapted:
    (template,) = procedure.steps
    left_out = {mention.colour for mention in exceptions(task)}
    said = {thing.colour: hole for thing, hole in placements(task, "hole") if thing.colour}
    seen = [name.removesuffix(" peg") for name in _seen(reading, ("peg",))]
    moves = said or {colour: colour for colour in seen if colour not in left_out}
    if not moves:
        return Adapted(procedure.generic_steps)
    steps = tuple(template.format(a=peg, hole=hole) for peg, hole in moves.items())
    return Adapted(steps, tuple(f"{colour} peg" for colour in moves))


def _seen(reading: SceneReading | None, kinds: tuple[str, ...]) -> list[str]:
    """Names of "<colour> <kind>" objects that the frame shows, in the reader's order."""
    if reading is None:
        return []
    return [
        name for name, p in reading.objects.items() if p >= SEEN and len(name.split()) == 2 and name.endswith(kinds)
    ]


def _fits(thing: Mention, name: str) -> bool:
    colour, kind = name.split()
    return thing.colour in ("", colour) and thing.kind in ("", kind)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


_ADAPTERS: dict[str, Adapter] = {
    "assemble-shelf": _shelf,
    "stack-blocks": _blocks,
    "sort-objects": _sort,
    "store-in-drawer": _drawer,
    "insert-pegs": _pegs,
    "switch-on-lamp": _lamp,
    "turn-knob": _knob,
}
