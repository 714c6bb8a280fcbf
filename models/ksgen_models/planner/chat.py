"""What the planners of language models ask of one: a conversation in, an answer out, before a deadline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        text: what is said.
        picture: (H, W, 3) uint8 RGB shown with it, or None.
    """

    role: Literal["system", "user", "assistant"]
    text: str
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Answer:
    """What the model wrote.

    Attributes:
        text: may be anything.
        cut_off: it reached the most tokens allowed and may be incomplete.
    """

    text: str
    cut_off: bool = False


class ChatModel(Protocol):
    """A language model that answers."""

    def answer(
        self, messages: Sequence[Message], schema: Mapping[str, Any], *, most_tokens: int, deadline: float
    ) -> Answer:
        """Continue a conversation.

        Args:
            messages: the conversation so far; the last is the user's.
            schema: JSON schema that the answer is held to where the model can be held to one.
            most_tokens: length of the answer at most.
            deadline: on the clock of `time.monotonic`.

        Raises:
            SubgoalTimeout: the deadline passed.
            RemoteError: the server of a remote model failed, in any of its kinds.
        """
        ...
