"""Every error that KSGen-Agent raises on purpose, in one tree.

::

    KSGenError
    ├── InvalidInput
    │   ├── InvalidFrame          the picture cannot be used (dtype, shape, NaN, size, unreadable file)
    │   ├── InvalidTask           the task text is empty or far too long
    │   └── InvalidClip           the clip or video file cannot be used
    ├── UnknownTask               the planner knows nothing like this task; names the nearest it knows
    ├── TaskDone                  the frame shows every step of the task as done; names them
    ├── MalformedAnswer           a language model's answers are no plan, also when told what was wrong
    ├── LowConfidence             a model was asked about something it does not know; carries the score
    ├── NoHandFound               no hand in any frame of a clip that needs one
    ├── OutOfReach                what was imagined lies outside what the robot can reach or hold
    ├── PresetError               no such preset, or it cannot run here
    ├── AssetError
    │   └── WeightsMissing        weights or networks are not on this machine; says what to run
    ├── DatasetError              a folder on disk is not what it should be
    ├── Cancelled                 the caller asked to stop
    └── RemoteError
        ├── SubgoalTimeout        a time limit of a remote call ran out
        ├── ServerBusy            the server's queue is full; try again later
        ├── ServerLost            the connection broke
        ├── AuthenticationFailed  the server does not know this key
        └── ProtocolError         the other side sent what the protocol does not allow

The library below is translated at one boundary (``raise … from exc``); a message carries the value that was
wrong and says what to do. The classes live here because the lowest package raises them; users import them from
``ksgen_agent``.
"""

from __future__ import annotations


class KSGenError(Exception):
    """Base of every error raised on purpose by KSGen-Agent."""


class InvalidInput(KSGenError, ValueError):
    """Something that the caller passed cannot be used."""


class InvalidFrame(InvalidInput):
    """The picture cannot be used: wrong dtype, shape or size, not finite, or not readable."""


class InvalidTask(InvalidInput):
    """The task text is empty, not text, or far too long."""


class InvalidClip(InvalidInput):
    """The clip or video file cannot be used."""


class UnknownTask(KSGenError):
    """The planner knows no procedure like this task.

    Attributes:
        task: the task as given.
        nearest: the nearest known tasks with their similarities in [-1, 1], best first.
    """

    def __init__(self, task: str, nearest: tuple[tuple[str, float], ...] = ()) -> None:
        self.task = task
        self.nearest = nearest
        known = ", ".join(f'"{name}" ({similarity:.2f})' for name, similarity in nearest)
        hint = f"; the nearest known tasks are {known}" if known else ""
        super().__init__(f'no known procedure fits the task "{task[:200]}"{hint}')


class TaskDone(KSGenError):
    """The frame shows that nothing is left to do.

    Attributes:
        task: the task as given.
        steps: its steps, all of them done.
        confidence: in [0, 1], that of the least certain of them.
    """

    def __init__(self, task: str, steps: tuple[str, ...] = (), confidence: float = 1.0) -> None:
        self.task = task
        self.steps = steps
        self.confidence = confidence
        super().__init__(
            f'every step of "{task[:200]}" is done in this frame (confidence {confidence:.2f}); '
            "an Agent imagines all of them again with from_here=False"
        )


class MalformedAnswer(KSGenError):
    """A language model was asked for a plan and answered with something else."""


class LowConfidence(KSGenError):
    """A model was asked about something outside what it knows.

    Attributes:
        score: the measured confidence in [0, 1].
        threshold: the least that is accepted.
    """

    def __init__(self, message: str, *, score: float, threshold: float) -> None:
        self.score = score
        self.threshold = threshold
        super().__init__(message)


class NoHandFound(KSGenError):
    """No hand was found in any frame of a clip that needs one."""


class OutOfReach(KSGenError):
    """A place lies outside the robot's workspace, or a thing is too wide for its gripper."""


class PresetError(KSGenError):
    """There is no such preset, or it cannot run on this machine."""


class AssetError(KSGenError):
    """An asset could not be fetched, verified or read."""


class WeightsMissing(AssetError):
    """Weights or networks are not on this machine; the message says what to run."""


class DatasetError(KSGenError):
    """A dataset folder is not what it should be."""


class Cancelled(KSGenError):
    """The caller asked to stop."""


class RemoteError(KSGenError):
    """Base of the errors of remote calls."""


class SubgoalTimeout(RemoteError, TimeoutError):
    """A time limit of a remote call ran out."""


class ServerBusy(RemoteError):
    """The server's queue is full.

    Attributes:
        retry_after: seconds after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class ServerLost(RemoteError, ConnectionError):
    """The connection to the server broke."""


class AuthenticationFailed(RemoteError):
    """The server does not know this key."""


class ProtocolError(RemoteError):
    """The other side sent something that the protocol does not allow."""
