"""How people say it: several wordings of every step and every task.

The first wording of a step is the canonical one. Fields in braces are filled with what the scene holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

STEP_WORDINGS: Mapping[str, tuple[str, ...]] = {
    "stand_upright": (
        "Stand the {a} in the base",
        "Put the {a} into the base",
        "Place the {a} upright in the slot of the base",
        "Fit the {a} into its slot",
        "Set the {a} into the base",
        "Insert the {a} into the base",
        "Take the {a} and stand it in the base",
    ),
    "lay_lower": (
        "Lay the lower board across the uprights",
        "Put the lower board between the uprights",
        "Place the lower board on the ledges of the uprights",
        "Rest the lower board on the ledges",
        "Fit the lower board between the two uprights",
        "Take the lower board and lay it across the uprights",
    ),
    "lay_upper": (
        "Lay the upper board on top of the uprights",
        "Put the upper board on top",
        "Place the upper board across the top of the uprights",
        "Rest the upper board on top of the shelf",
        "Set the upper board on the uprights",
        "Take the upper board and lay it on top of the uprights",
    ),
    "stack": (
        "Put the {a} on the {b}",
        "Place the {a} on top of the {b}",
        "Stack the {a} on the {b}",
        "Set the {a} down on the {b}",
        "Lift the {a} onto the {b}",
        "Take the {a} and put it on the {b}",
        "Move the {a} onto the {b}",
    ),
    "into_bin": (
        "Put the {a} into the {b}",
        "Place the {a} in the {b}",
        "Drop the {a} into the {b}",
        "Move the {a} to the {b}",
        "Take the {a} and put it into the {b}",
        "Sort the {a} into the {b}",
        "Lay the {a} in the {b}",
    ),
    "open_drawer": (
        "Open the drawer",
        "Pull the drawer open",
        "Pull out the drawer",
        "Slide the drawer open",
        "Grab the knob and pull the drawer out",
        "Draw the drawer open",
    ),
    "into_drawer": (
        "Put the {a} into the drawer",
        "Place the {a} in the drawer",
        "Lay the {a} in the open drawer",
        "Move the {a} into the drawer",
        "Take the {a} and put it into the drawer",
        "Store the {a} in the drawer",
        "Set the {a} down inside the drawer",
    ),
    "close_drawer": (
        "Close the drawer",
        "Push the drawer shut",
        "Push the drawer in",
        "Slide the drawer closed",
        "Shut the drawer",
        "Push the drawer closed",
    ),
    "into_hole": (
        "Put the {a} into the {b}",
        "Insert the {a} into the {b}",
        "Stick the {a} in the {b}",
        "Place the {a} in the {b}",
        "Push the {a} into the {b}",
        "Take the {a} and put it into the {b}",
        "Fit the {a} into the {b}",
    ),
    "turn_knob": (
        "Turn the knob to the right",
        "Twist the knob to the right",
        "Turn the knob clockwise",
        "Rotate the knob to the right",
        "Grip the knob and turn it right",
        "Give the knob a turn to the right",
    ),
    "press_button": (
        "Press the button",
        "Push the button",
        "Press the {b} button",
        "Push the {b} button down",
        "Press down on the button",
        "Tap the button with a finger",
    ),
}

TASK_WORDINGS: Mapping[str, tuple[str, ...]] = {
    "shelf": (
        "assemble shelf",
        "assemble the shelf",
        "build the shelf",
        "put the shelf together",
        "set up the shelf",
        "make a shelf from the parts",
        "assemble the small shelf on the table",
        "build a shelf out of the base, the uprights and the boards",
        "put together the shelf, left side first",
    ),
    "shelf_right_first": (
        "assemble the shelf, right side first",
        "build the shelf starting on the right",
        "assemble the shelf, beginning with the right upright",
        "put the shelf together, right upright first",
        "set up the shelf, start with the right upright",
        "make the shelf, the right side before the left",
        "assemble the shelf from right to left",
        "build a shelf, the right upright comes first",
    ),
    "stack_blocks": (
        "stack the blocks",
        "stack all blocks",
        "build a tower",
        "pile up the blocks",
        "make a tower of the blocks",
        "stack the blocks, the largest at the bottom",
        "put the blocks on top of each other",
        "stack the blocks by size",
        "build a tower out of the blocks",
    ),
    "stack_order": (
        "stack {pairs}",
        "put {pairs}",
        "build a tower with {sequence}",
        "make a tower: {sequence}",
        "stack the blocks, {sequence}",
        "stack {full_pairs}",
        "put {full_pairs}",
        "pile up the blocks: {sequence}",
        "place {full_pairs}",
    ),
    "sort": (
        "sort the objects by colour",
        "sort the objects",
        "put everything into the bin of its colour",
        "sort everything into the bins by colour",
        "tidy up: each thing into the bin of its colour",
        "put each object into the matching bin",
        "sort these by colour",
        "clear the table into the bins by colour",
        "put all objects into the bins of their colours",
    ),
    "sort_order": (
        "put {pairs}",
        "place {pairs}",
        "sort {names} into the bins",
        "first put {pairs}",
        "move {pairs}",
        "sort {names} by colour, in this order",
        "tidy up {names}, in this order",
        "put {names} into the bins of their colours",
    ),
    "sort_one": (
        "put {pairs}",
        "place {pairs}",
        "move {pairs}",
        "sort only {names}",
        "put only {names} into its bin",
        "drop {pairs}",
        "tidy up {names}",
        "sort {names} into the bin of its colour",
    ),
    "store": (
        "put {names} into the drawer",
        "store {names} in the drawer",
        "put {names} away in the drawer",
        "put {names} in the drawer and close it",
        "open the drawer, put {names} in and close it",
        "place {names} inside the drawer",
        "tidy {names} away into the drawer",
        "hide {names} in the drawer",
        "stow {names} in the drawer",
    ),
    "pegs": (
        "insert the pegs",
        "put the pegs into the holes",
        "insert the pegs into the board",
        "put each peg into the hole of its colour",
        "put all pegs into their holes",
        "fit the pegs into the matching holes",
        "place the pegs in the peg board",
        "stick the pegs into the board by colour",
        "fill the peg board",
    ),
    "pegs_order": (
        "insert {names}, in this order",
        "put {names} into the board",
        "insert {names} into the holes",
        "put {names} into the holes, in this order",
        "fit {names} into the board",
        "stick {names} into the matching holes",
        "place {names} in the peg board",
        "insert the pegs: {names}",
    ),
    "pegs_one": (
        "insert only {names}",
        "put {names} into its hole",
        "insert {names}",
        "put {names} into the board",
        "fit {names} into the matching hole",
        "stick {names} into the board",
        "place only {names} in the peg board",
        "put {names} into the hole of its colour",
    ),
    "lamp": (
        "switch on the lamp",
        "turn on the lamp",
        "turn on the light",
        "switch the light on",
        "light the lamp",
        "make the lamp shine",
        "turn the lamp on",
        "switch the lamp on, the knob first",
        "turn the knob and press the button",
    ),
    "lamp_button_first": (
        "switch on the lamp, the button first",
        "press the button, then turn the knob",
        "turn on the lamp, beginning with the button",
        "switch the lamp on, first the button, then the knob",
        "turn on the light: button, then knob",
        "light the lamp, start with the button",
        "press the button and turn the knob to switch on the lamp",
        "turn on the lamp with the button and then the knob",
    ),
}

_CANONICAL_SHARE = 0.4


def step_wording(rng: np.random.Generator, kind: str, **fields: str) -> str:
    """A wording of a step, filled in; the canonical one in two of five cases."""
    wordings = STEP_WORDINGS[kind]
    chosen = 0 if rng.random() < _CANONICAL_SHARE else int(rng.integers(1, len(wordings)))
    return wordings[chosen].format(**fields)


def task_wording(rng: np.random.Generator, kind: str, **fields: str) -> str:
    """A wording of a task, filled in."""
    wordings = TASK_WORDINGS[kind]
    return wordings[int(rng.integers(len(wordings)))].format(**fields)


def listed(parts: Sequence[str], last: str = " and ") -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + last + parts[-1]
