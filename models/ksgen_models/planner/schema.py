"""What a language model must answer with: a JSON object with the key steps, and the check that it did."""

from __future__ import annotations

import json
import re
from typing import Any

from ksgen_models.errors import MalformedAnswer

LONGEST_STEP = 200
"""Characters of a step at most."""

_LONGEST_ANSWER = 64_000
_MOST_STARTS = 64
_NUMBERING = re.compile(r"^\s*(?:step\s*)?\d{1,3}\s*[.):-]\s+", re.IGNORECASE)
_DECODER = json.JSONDecoder()


def plan_schema(most_steps: int) -> dict[str, Any]:
    """JSON schema of an answer: ``{"steps": ["…", …]}`` with 1 to ``most_steps`` sentences."""
    return {
        "type": "object",
        "properties": {
            "steps": {
                "type": "array",
                "items": {"type": "string", "minLength": 3, "maxLength": LONGEST_STEP},
                "minItems": 1,
                "maxItems": most_steps,
            }
        },
        "required": ["steps"],
        "additionalProperties": False,
    }


def read_steps(answer: str, most_steps: int) -> tuple[str, ...]:
    """The steps that an answer holds.

    Text around the JSON object, as chatty or thinking models write it, is passed over: of several objects with steps
    the last counts, since a model thinks before it answers. Numbering before a step is taken off.

    Args:
        answer: what the model wrote, of any size and content.
        most_steps: more steps than these are refused.

    Returns:
        1 to ``most_steps`` sentences of at most 200 characters, each on one line.

    Raises:
        MalformedAnswer: it holds no such object; the message says what is wrong, in words that the model can act on.
    """
    if len(answer) > _LONGEST_ANSWER:
        raise MalformedAnswer(f"the answer has {len(answer):,} characters, the most is {_LONGEST_ANSWER:,}")
    found = _objects(answer)
    if not found:
        raise MalformedAnswer('the answer holds no complete JSON object; write {"steps": [...]} and no more')
    steps = next((entry["steps"] for entry in reversed(found) if "steps" in entry), None)
    if steps is None:
        raise MalformedAnswer('the JSON object has no "steps"')
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise MalformedAnswer('"steps" must be a list of texts')
    if not 1 <= len(steps) <= most_steps:
        raise MalformedAnswer(f'"steps" holds {len(steps)} steps, it must hold 1 to {most_steps}')
    sentences = tuple(_sentence(step, number) for number, step in enumerate(steps, start=1))
    for number in range(1, len(sentences)):
        if sentences[number].lower() == sentences[number - 1].lower():
            raise MalformedAnswer(f"steps {number} and {number + 1} are the same")
    return sentences


def _sentence(step: str, number: int) -> str:
    sentence = " ".join(_NUMBERING.sub("", step).split()).rstrip(".")
    if not any(char.isalpha() for char in sentence):
        raise MalformedAnswer(f"step {number} holds no word")
    if not sentence.isprintable():
        raise MalformedAnswer(f"step {number} holds a character that cannot be printed")
    if len(sentence) > LONGEST_STEP:
        raise MalformedAnswer(f"step {number} has {len(sentence)} characters, the most is {LONGEST_STEP}")
    return sentence


def _objects(answer: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, those inside others left out."""
    found: list[dict[str, Any]] = []
    at = 0
    # A text of nothing but opening braces must not cost the square of its length.
    for _ in range(_MOST_STARTS):
        at = answer.find("{", at)
        if at < 0:
            break
        try:
            value, at = _DECODER.raw_decode(answer, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        found.append(value)
    return found
