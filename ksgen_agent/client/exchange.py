"""The client's protocol core: what to send, what a message means, when to give up. No sockets, no clocks, no threads.

A driver owns a connection and calls `advance` with the time and with what arrived, sends what the returned `Turn` says,
hands its key steps on, and waits as long as it says for the next message. The blocking client, the asynchronous one and
the tests are such drivers.

Healing is one rule: every `BEAT` seconds without news a job is fetched anew from the first missing key step. A server
that is sending it already only says how it stands; one that lost the connection, or was started again, goes on from
there; one that does not know the job is sent it again, under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ksgen_agent.client.limits import Limits
from ksgen_agent.imaginer import StreamEnd
from ksgen_agent.wire import codec, failures
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.key_steps import unpack_key_step, unpack_plan
from ksgen_models.errors import ProtocolError, RemoteError, ServerBusy, ServerLost, SubgoalTimeout
from ksgen_models.types import KeyStep

BEAT = 2.0  # seconds
_ASK_AGAIN = 0.25  # seconds, for a question whose answer was not final
Buffer = bytes | memoryview


class Turn(NamedTuple):
    """What a driver is to do now.

    Attributes:
        send: messages, each its frames.
        steps: key steps for the caller.
        wait: seconds to wait for a message at most before `advance` is called again.
        ended: whether this was the last turn; the exchange's ``result`` is there.
    """

    send: tuple[list[Buffer], ...] = ()
    steps: tuple[KeyStep, ...] = ()
    wait: float = 0.0
    ended: bool = False


class Imagining:
    """One job: submit it, or take an existing one up, and receive its key steps in order.

    Args:
        request: what to submit; None to take up a job that was submitted before.
        frame: its body.
        id: of the job.
        limits: see `Limits`.

    Attributes:
        result: `StreamEnd` when the last turn has been.
    """

    def __init__(self, request: wire.Submit | None, frame: Buffer | None, id: str, limits: Limits) -> None:
        self._request, self._frame, self._id, self._limits = request, frame, id, limits
        self._expected = 0
        self._began: float | None = None
        self._heard: float | None = None
        self._next_beat = 0.0
        self._submit_at: float | None = None  # when to ask a busy server again
        self.result: StreamEnd | None = None

    def advance(self, now: float, received: Sequence[Any] | None) -> Turn:
        """Go on.

        Args:
            now: seconds on a clock that stands still while the caller is busy with a key step.
            received: frames of the message that arrived; None when none did.

        Raises:
            KSGenError: the job failed, a time limit ran out, or the server broke the protocol.
        """
        if self._began is None:
            self._began = now
            return Turn(send=(self._opening(now),), wait=BEAT)
        if received is not None:
            self._heard = now
            return self._take(received, now)
        self._check_limits(now)
        send: list[list[Buffer]] = []
        if self._submit_at is not None:
            if now >= self._submit_at:
                self._submit_at = None
                send.append(self._opening(now))
        elif now >= self._next_beat:
            self._next_beat = now + BEAT
            send.append([codec.encode(wire.Fetch(self._id, self._expected))])
        return Turn(send=tuple(send), wait=self._wait(now))

    def abandon(self) -> tuple[list[Buffer], ...]:
        """What to send when nobody wants the rest."""
        if self._began is None or self.result is not None:
            return ()
        return ([codec.encode(wire.Cancel(self._id))],)

    def _opening(self, now: float) -> list[Buffer]:
        self._next_beat = now + BEAT
        if self._request is None or self._frame is None:
            return [codec.encode(wire.Fetch(self._id, self._expected))]
        return [codec.encode(replace(self._request, start=self._expected)), self._frame]

    def _take(self, received: Sequence[Any], now: float) -> Turn:
        header, body = codec.split(received)
        message = codec.decode(header, wire.FROM_SERVER)
        self._next_beat = now + BEAT
        if isinstance(message, wire.Error) and message.id in ("", self._id):
            return self._take_error(message, now)
        if getattr(message, "id", None) != self._id:  # of an earlier job on this connection
            return Turn(wait=self._wait(now))
        if isinstance(message, wire.Step):
            return self._take_step(message, body, now)
        if isinstance(message, wire.Done):
            if message.steps != self._expected:
                raise ProtocolError(f"the job ended after {message.steps} key steps, {self._expected} were received")
            self.result = StreamEnd(unpack_plan(message), message.timings)
            return Turn(ended=True)
        return Turn(wait=self._wait(now))

    def _take_step(self, message: wire.Step, body: memoryview | None, now: float) -> Turn:
        if message.index < self._expected:  # sent again after a reconnection
            return Turn(wait=self._wait(now))
        if message.index > self._expected:
            raise ProtocolError(f"key step {message.index} arrived where {self._expected} was expected")
        step = unpack_key_step(message, body)
        self._expected += 1
        return Turn(steps=(step,), wait=self._wait(now))

    def _take_error(self, message: wire.Error, now: float) -> Turn:
        if message.code == "unknown_job" and self._request is not None:
            return Turn(send=(self._opening(now),), wait=self._wait(now))
        error = failures.to_exception(message)
        began = self._began if self._began is not None else now
        if isinstance(error, ServerBusy) and now + error.retry_after <= began + self._limits.busy:
            self._submit_at = now + error.retry_after
            return Turn(wait=self._wait(now))
        raise error

    def _check_limits(self, now: float) -> None:
        limits = self._limits
        waited = now - (self._began or 0.0)
        if self._heard is None and waited > limits.connect:
            raise SubgoalTimeout(f"no server answered in {limits.connect:g} s; is one running at this address?")
        if self._heard is not None and self._submit_at is None and now - self._heard > limits.reconnect:
            raise ServerLost(
                f"the server has been silent for {limits.reconnect:g} s; what is finished is kept there, "
                f"take the job up with its id {self._id!r}"
            )
        if not self._expected and waited > limits.first_step:
            raise SubgoalTimeout(f"no key step arrived in {limits.first_step:g} s; allow more, or ask another server")
        if waited > limits.job:
            raise SubgoalTimeout(f"the job took longer than {limits.job:g} s; allow more or ask for less")

    def _wait(self, now: float) -> float:
        began = self._began if self._began is not None else now
        ends = [began + self._limits.job, self._next_beat if self._submit_at is None else self._submit_at]
        if self._heard is None:
            ends.append(began + self._limits.connect)
        elif self._submit_at is None:
            ends.append(self._heard + self._limits.reconnect)
        if not self._expected:
            ends.append(began + self._limits.first_step)
        return max(min(ends) - now, 0.0) + 1e-3


class Question:
    """One message and its answer.

    Args:
        message: asked again every quarter of a second until the answer is accepted.
        accept: whether a message is the answer.
        limit: seconds.

    Attributes:
        result: the answer when the last turn has been.
    """

    def __init__(self, message: wire.FromClient, accept: Callable[[wire.FromServer], bool], limit: float) -> None:
        self._message, self._accept, self._limit = message, accept, limit
        self._began: float | None = None
        self._ask_at = 0.0
        self._heard = False
        self.result: Any = None

    def advance(self, now: float, received: Sequence[Any] | None) -> Turn:
        """Go on; see `Imagining.advance`."""
        if self._began is None:
            self._began, self._ask_at = now, now + self._limit
            return Turn(send=([codec.encode(self._message)],), wait=self._limit)
        if received is not None:
            self._take(received, now)
            if self.result is not None:
                return Turn(ended=True)
        left = self._began + self._limit - now
        if left < 0:
            what = "the server was not ready" if self._heard else "no server answered"
            raise SubgoalTimeout(f"{what} in {self._limit:g} s; is the right one running at this address?")
        send: tuple[list[Buffer], ...] = ()
        if now >= self._ask_at:
            self._ask_at = self._began + self._limit
            send = ([codec.encode(self._message)],)
        return Turn(send=send, wait=max(min(left, self._ask_at - now), 0.0) + 1e-3)

    def abandon(self) -> tuple[list[Buffer], ...]:
        """Nothing: nobody works for a question."""
        return ()

    def _take(self, received: Sequence[Any], now: float) -> None:
        message = codec.decode(codec.split(received)[0], wire.FROM_SERVER)
        own = getattr(self._message, "id", "")
        if isinstance(message, wire.Error) and message.id in ("", own):
            raise failures.to_exception(message)
        if self._accept(message):
            self.result = message
        elif type(message) is wire.Spec:  # an answer, but not yet the whole one
            self._heard = True
            self._ask_at = now + _ASK_AGAIN


Exchange = Imagining | Question


def check_reply(value: Any, kind: type[Any]) -> Any:
    """The answer of a finished question, which can only be of this kind.

    Raises:
        RemoteError: it is not there.
    """
    if not isinstance(value, kind):
        raise RemoteError("the exchange ended without an answer")
    return value
