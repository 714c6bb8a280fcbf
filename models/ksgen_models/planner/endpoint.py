"""The planner that asks a language model behind an OpenAI-compatible server.

vLLM, SGLang, Ollama, llama.cpp's server and ``transformers serve`` all speak this protocol: a POST of the conversation
to ``/chat/completions``, pictures as ``data:`` URLs, ``response_format`` with a JSON schema where the server can hold
its model to one. Nothing but the standard library is needed to ask, and Pillow for the picture.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ksgen_models.errors import (
    AuthenticationFailed,
    InvalidInput,
    ProtocolError,
    RemoteError,
    ServerBusy,
)
from ksgen_models.planner.chat import Answer, Message
from ksgen_models.planner.http_exchange import Reply, exchange, parse_address
from ksgen_models.planner.language import LanguagePlanner, PlannerSettings
from ksgen_models.planner.picture import as_data_url
from ksgen_models.planner.retrieval import RetrievalPlanner, default_retrieval

KEY_VARIABLE = "KSGEN_PLANNER_KEY"
"""Environment variable with the server's key, for those that want one."""

_MOST_BYTES = 4 << 20
_REFUSED_FORM = (400, 422, 501)


class EndpointChat:
    """A `ksgen_models.planner.chat.ChatModel` behind an OpenAI-compatible server; keeps no connection open."""

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        key: str | None = None,
        connect_limit: float = 5.0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        """Ask a server; nothing is sent yet.

        Args:
            url: e.g. ``http://127.0.0.1:8000/v1``; without a path, ``/v1`` is meant.
            model: name of the model there; None takes the first that the server lists.
            key: sent as a bearer token; None takes ``$KSGEN_PLANNER_KEY``, if set; ``""`` sends none.
            connect_limit: seconds for connecting.
            extra_body: further entries of the request, or other values for its own; None takes an entry out.

        Raises:
            InvalidInput: one of these cannot be used; a key is refused for a server elsewhere without TLS.
        """
        address = parse_address(url if _has_path(url) else f"{str(url).rstrip('/')}/v1")
        key = key if key is not None else os.environ.get(KEY_VARIABLE)
        if key and not (key.isascii() and key.isprintable()):
            raise InvalidInput(f"the key for {address} holds characters that no HTTP header takes")
        if key and not address.secure and not address.is_loopback:
            raise InvalidInput(f"the key for {address} would travel in the clear; use https, or a tunnel to 127.0.0.1")
        if not 0.0 < connect_limit < float("inf"):
            raise InvalidInput(f"connect_limit must be seconds above 0, got {connect_limit}")
        self.address = address
        self._model = model
        self._key = key or ""
        self._connect_limit = connect_limit
        self._extra = dict(extra_body or {})
        self._holds_to_schema = True

    def model_name(self, deadline: float) -> str:
        """The model that is asked.

        Raises:
            RemoteError: it was not named and the server, asked for its models, fails; see `answer`.
        """
        if self._model is None:
            listed = self._parsed(self._checked(self._send("GET", "/models", None, deadline)))
            try:
                self._model = str(listed["data"][0]["id"])
            except (KeyError, IndexError, TypeError) as exc:
                raise ProtocolError(f"{self.address} lists no model; name one: model=...") from exc
        return self._model

    def answer(
        self, messages: Sequence[Message], schema: Mapping[str, Any], *, most_tokens: int, deadline: float
    ) -> Answer:
        """As `ksgen_models.planner.chat.ChatModel.answer`.

        Raises:
            SubgoalTimeout: the deadline passed, or connecting took too long.
            ServerLost: nobody answers there, or the connection broke.
            ServerBusy: the server has no room (status 429 or 503).
            AuthenticationFailed: the server does not take the key (401 or 403).
            ProtocolError: the request is refused (another 4xx), or what came is no chat completion.
            RemoteError: the server failed inside (5xx).
        """
        body: dict[str, Any] = {
            "model": self.model_name(deadline),
            "messages": [_spoken(message) for message in messages],
            "temperature": 0,
            "max_tokens": most_tokens,
            "stream": False,
        }
        if self._holds_to_schema:
            form = {"type": "json_schema", "json_schema": {"name": "plan", "strict": True, "schema": dict(schema)}}
            reply = self._post({**body, "response_format": form}, deadline)
            if reply.status not in _REFUSED_FORM:
                return self._read(reply)
        # Either known from before, or to be found out: does the server take the conversation without the schema?
        plain = self._read(self._post(body, deadline))
        self._holds_to_schema = False
        return plain

    def _post(self, body: Mapping[str, Any], deadline: float) -> Reply:
        entries = {name: value for name, value in {**body, **self._extra}.items() if value is not None}
        return self._send("POST", "/chat/completions", json.dumps(entries).encode(), deadline)

    def _send(self, method: Literal["GET", "POST"], path: str, body: bytes | None, deadline: float) -> Reply:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return exchange(
            self.address,
            method,
            path,
            body=body,
            headers=headers,
            connect_limit=self._connect_limit,
            deadline=deadline,
            most_bytes=_MOST_BYTES,
        )

    def _read(self, reply: Reply) -> Answer:
        completion = self._parsed(self._checked(reply))
        try:
            choice = completion["choices"][0]
            text, finish = choice["message"].get("content"), choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError) as exc:
            raise ProtocolError(f"the reply of {self.address} is no chat completion (it lacks {exc!r:.100})") from exc
        if text is not None and not isinstance(text, str):
            raise ProtocolError(f"the answer of {self.address} is a {type(text).__name__}, not text")
        return Answer(text or "", cut_off=finish == "length")

    def _parsed(self, reply: Reply) -> Any:
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError) as exc:
            start = _printable(reply.body[:100].decode("utf-8", "replace"))
            raise ProtocolError(
                f"{self.address} did not answer with JSON but with {start!r}; is the URL right?"
            ) from exc

    def _checked(self, reply: Reply) -> Reply:
        if 200 <= reply.status < 300:
            return reply
        said = self._said(reply)
        if reply.status in (401, 403):
            raise AuthenticationFailed(f"{self.address} does not take the key ({said}); set ${KEY_VARIABLE}")
        if reply.status in (429, 503):
            raise ServerBusy(f"{self.address} is busy ({said})", retry_after=_seconds(reply.headers.get("retry-after")))
        if reply.status >= 500:
            raise RemoteError(f"{self.address} failed inside ({said}); its log says why")
        hint = "redirects are not followed" if reply.status < 400 else "check the URL and the model's name"
        raise ProtocolError(f"{self.address} refused the request ({said}); {hint}")

    def _said(self, reply: Reply) -> str:
        """Status and the server's own words, shortened, without the key that it may have repeated."""
        text = reply.body[:4000].decode("utf-8", "replace")
        if self._key:
            text = text.replace(self._key, "...")
        return f"status {reply.status}: {_printable(text)[:300]}".rstrip(": ")


class EndpointPlanner(LanguagePlanner):
    """Plans with a model behind an OpenAI-compatible server; satisfies `ksgen_models.interfaces.Planner`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000/v1",
        model: str | None = None,
        *,
        retrieval: RetrievalPlanner | None = None,
        settings: PlannerSettings | None = None,
        key: str | None = None,
        connect_limit: float = 5.0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        """Plan with a server; nothing is sent before the first plan.

        Args:
            url, model, key, connect_limit, extra_body: see `EndpointChat`.
            retrieval: finds the procedures for the prompt, and plans when the server fails; None takes the step
                library and the sentence encoder of the package.
            settings: None takes the defaults. For a model that takes no pictures pass
                ``PlannerSettings(picture_side=None)``.

        Raises:
            InvalidInput: the URL, the key or a limit cannot be used.
            WeightsMissing: the sentence encoder has not been fetched.
        """
        chat = EndpointChat(url, model, key=key, connect_limit=connect_limit, extra_body=extra_body)
        super().__init__(chat, retrieval or default_retrieval(), settings, f"endpoint {model or chat.address}")


def _has_path(url: object) -> bool:
    return isinstance(url, str) and "/" in url.partition("://")[2].rstrip("/")


def _spoken(message: Message) -> dict[str, Any]:
    if message.picture is None:
        return {"role": message.role, "content": message.text}
    picture = {"type": "image_url", "image_url": {"url": as_data_url(message.picture)}}
    return {"role": message.role, "content": [picture, {"type": "text", "text": message.text}]}


def _printable(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _seconds(retry_after: str | None) -> float:
    """``Retry-After`` in seconds, between 1 and 3600; the form that names a date counts as 1."""
    try:
        return min(max(float(retry_after or 1.0), 1.0), 3600.0)
    except ValueError:
        return 1.0
