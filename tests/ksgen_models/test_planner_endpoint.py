"""The endpoint planner against a server that answers well, badly, late or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from endpoint_server import Act, BadEndpoint, completion, http, plan_of

from ksgen_models.assets import SENTENCE_ENCODER, is_present
from ksgen_models.errors import (
    AuthenticationFailed,
    InvalidInput,
    InvalidTask,
    MalformedAnswer,
    ProtocolError,
    RemoteError,
    ServerBusy,
    ServerLost,
    SubgoalTimeout,
)
from ksgen_models.planner import EndpointPlanner, PlannerSettings, RetrievalPlanner, is_workbench
from ksgen_models.planner.retrieval import default_retrieval

pytestmark = pytest.mark.skipif(not is_present(SENTENCE_ENCODER), reason="run `ksgen-agent assets`")

FRAME = np.zeros((480, 640, 3), np.uint8)
STRICT = PlannerSettings(fall_back=False, time_limit=30.0)
STEPS = ("Take the kettle to the tap", "Pour the water into the cup")
KNOWN, UNKNOWN = "make a cup of tea", "recite the alphabet backwards"


@pytest.fixture(scope="module")
def retrieval() -> RetrievalPlanner:
    return default_retrieval()


def plan(server: BadEndpoint, retrieval: RetrievalPlanner, settings: PlannerSettings = STRICT, **options: Any) -> Any:
    planner = EndpointPlanner(server.url, "m", retrieval=retrieval, settings=settings, **options)
    return planner.plan(FRAME, KNOWN)


def test_the_model_sees_the_frame_the_nearest_procedures_and_the_schema(retrieval: RetrievalPlanner) -> None:
    with BadEndpoint(plan_of(*STEPS)) as server:
        found = plan(server, retrieval, PlannerSettings(picture_side=64, most_steps=7))
    assert found.steps == STEPS
    assert found.source == "endpoint m"
    assert found.evidence[0].task == KNOWN
    assert 0.3 < found.confidence <= 1.0
    (request,) = server.requests
    system, user = request["messages"]
    assert "at most 7" in system["content"]
    picture, words = user["content"]
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert "1. Fill the kettle with water" in words["text"]
    assert words["text"].endswith(f'The task: "{KNOWN}"')
    assert request["response_format"]["json_schema"]["schema"]["properties"]["steps"]["maxItems"] == 7


def test_a_task_beyond_the_library_is_planned_with_less_confidence(retrieval: RetrievalPlanner) -> None:
    with BadEndpoint(plan_of("Recite Z, Y and X", "Go on until A")) as server:
        planner = EndpointPlanner(server.url, "m", retrieval=retrieval, settings=STRICT)
        found = planner.plan(FRAME, UNKNOWN)
    assert found.steps == ("Recite Z, Y and X", "Go on until A")
    assert found.confidence < 0.5
    assert not is_workbench(found)


def test_no_picture_is_sent_to_a_model_that_reads_words_alone(retrieval: RetrievalPlanner) -> None:
    with BadEndpoint(plan_of(*STEPS)) as server:
        plan(server, retrieval, PlannerSettings(picture_side=None))
    assert all(isinstance(message["content"], str) for message in server.requests[0]["messages"])


def test_a_malformed_answer_is_sent_back_with_what_is_wrong(retrieval: RetrievalPlanner) -> None:
    acts = (completion("Boil water!"), completion('{"steps": ["Pour', "length"), plan_of(*STEPS))
    with BadEndpoint(*acts) as server:
        assert plan(server, retrieval).steps == STEPS
    second, third = server.requests[1]["messages"], server.requests[2]["messages"]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert second[2]["content"] == "Boil water!"
    assert "no complete JSON object" in second[3]["content"]
    assert len(third) == 4
    assert "cut off" in third[3]["content"]


def test_repairs_are_bounded_and_then_the_plan_is_retrieved(
    retrieval: RetrievalPlanner, caplog: pytest.LogCaptureFixture
) -> None:
    with BadEndpoint(completion("no")) as server:
        found = plan(server, retrieval, PlannerSettings(repairs=3))
    assert len(server.requests) == 4
    assert found.source == "retrieval"
    assert found.steps[0] == "Fill the kettle with water"
    assert "in 4 answers" in caplog.text


MALFORMED: dict[str, bytes] = {
    "words": completion("First, boil water. Then pour it."),
    "nothing": completion(None),
    "wrong schema": completion('{"plan": ["a"]}'),
    "no steps": completion('{"steps": []}'),
    "too many steps": plan_of(*(f"Turn it {n} times" for n in range(40))),
    "a huge answer": completion("{" * 1_000_000),
    "a huge step": plan_of("a" * 5000),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_answers_that_are_no_plan(name: str, retrieval: RetrievalPlanner) -> None:
    with BadEndpoint(MALFORMED[name]) as server, pytest.raises(MalformedAnswer, match="endpoint m gave no plan"):
        plan(server, retrieval)
    assert len(server.requests) == 3


def drop(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


HUGE_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n" + b" " * 0x500000
BROKEN: dict[str, tuple[Act, type[Exception], str]] = {
    "no answer at all": (drop, ServerLost, "broke"),
    "half an answer": (http('{"choices": ', length=999), ServerLost, "before the end"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", ProtocolError, "does not speak HTTP"),
    "no JSON": (http("<html>It works!</html>"), ProtocolError, "did not answer with JSON"),
    "not even text": (http(b"\xff\xfe\x00{"), ProtocolError, "did not answer with JSON"),
    "deep JSON": (http("[" * 100_000), ProtocolError, "did not answer with JSON"),
    "no choices": (http('{"choices": []}'), ProtocolError, "no chat completion"),
    "a list": (http("[1, 2]"), ProtocolError, "no chat completion"),
    "no message": (http('{"choices": [{"message": null}]}'), ProtocolError, "no chat completion"),
    "content of parts": (completion([{"text": "a"}]), ProtocolError, "a list, not text"),
    "announced too large": (http("", length=1 << 40), ProtocolError, "announces"),
    "too large": (HUGE_CHUNK, ProtocolError, "more than"),
    "500": (http('{"error": {"message": "CUDA out of memory"}}', 500), RemoteError, "CUDA out of memory"),
    "502": (http("", 502), RemoteError, "status 502"),
    "404": (http('{"error": "model m not found"}', 404), ProtocolError, "model m not found.*check the URL"),
    "refused with and without a schema": (http("context too long", 400), ProtocolError, "context too long"),
    "redirect": (http("", 307, "Location: http://127.0.0.1:1/\r\n"), ProtocolError, "not followed"),
    "401": (http("wrong key", 401), AuthenticationFailed, "KSGEN_PLANNER_KEY"),
    "429": (http("", 429, "Retry-After: 7\r\n"), ServerBusy, "busy"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_server_is_named(name: str, retrieval: RetrievalPlanner) -> None:
    act, kind, says = BROKEN[name]
    with BadEndpoint(act) as server, pytest.raises(kind, match=says) as caught:
        plan(server, retrieval)
    assert isinstance(caught.value, RemoteError)
    if isinstance(caught.value, ServerBusy):
        assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_server_that_never_finishes_runs_into_the_time_limit(how: str, retrieval: RetrievalPlanner) -> None:
    def act(connection: socket.socket) -> None:
        getattr(server, how)(connection)

    with BadEndpoint(act) as server, pytest.raises(SubgoalTimeout, match="did not answer"):
        plan(server, retrieval, PlannerSettings(fall_back=False, time_limit=0.5))


def test_the_time_limit_holds_for_all_repairs_together(retrieval: RetrievalPlanner) -> None:
    def act(connection: socket.socket) -> None:
        server.hang(connection)

    with BadEndpoint(completion("no"), act) as server, pytest.raises(SubgoalTimeout):
        plan(server, retrieval, PlannerSettings(fall_back=False, time_limit=1.0))
    assert len(server.requests) <= 2


def test_nobody_there(retrieval: RetrievalPlanner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ServerLost, match="is the server running"):
        EndpointPlanner(url, "m", retrieval=retrieval, settings=STRICT).plan(FRAME, KNOWN)
    found = EndpointPlanner(url, "m", retrieval=retrieval).plan(FRAME, KNOWN)
    assert found.source == "retrieval"


def test_a_task_that_retrieval_does_not_know_either_raises_what_the_model_did(retrieval: RetrievalPlanner) -> None:
    with BadEndpoint(http("", 500)) as server, pytest.raises(RemoteError, match="failed inside") as caught:
        EndpointPlanner(server.url, "m", retrieval=retrieval).plan(FRAME, UNKNOWN)
    assert "no fall-back" in "".join(caught.value.__notes__)


def test_a_server_without_schemas_is_asked_without_one_from_then_on(retrieval: RetrievalPlanner) -> None:
    refusal = http('{"error": "response_format is not supported"}', 422)
    with BadEndpoint(refusal, plan_of(*STEPS), plan_of(*STEPS)) as server:
        planner = EndpointPlanner(server.url, "m", retrieval=retrieval, settings=STRICT)
        assert planner.plan(FRAME, KNOWN).steps == planner.plan(FRAME, KNOWN).steps == STEPS
    assert ["response_format" in request for request in server.requests] == [True, False, False]


def test_the_first_model_is_taken_when_none_is_named(retrieval: RetrievalPlanner) -> None:
    listed = http('{"object": "list", "data": [{"id": "qwen"}, {"id": "other"}]}')
    with BadEndpoint(plan_of(*STEPS), models=listed) as server:
        EndpointPlanner(server.url, retrieval=retrieval, settings=STRICT).plan(FRAME, KNOWN)
        assert server.requests[0]["model"] == "qwen"
    with (
        BadEndpoint(plan_of(*STEPS), models=http('{"data": []}')) as server,
        pytest.raises(ProtocolError, match="name"),
    ):
        EndpointPlanner(server.url, retrieval=retrieval, settings=STRICT).plan(FRAME, KNOWN)


def test_entries_of_the_request_can_be_added_changed_and_taken_out(retrieval: RetrievalPlanner) -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 99, "temperature": 0.5}
    with BadEndpoint(plan_of(*STEPS)) as server:
        plan(server, retrieval, extra_body=extra)
    (request,) = server.requests
    assert "max_tokens" not in request
    assert (request["max_completion_tokens"], request["temperature"]) == (99, 0.5)


def test_the_key_is_sent_and_never_said(retrieval: RetrievalPlanner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSGEN_PLANNER_KEY", "s3cret-key")
    with BadEndpoint(http("no such key: s3cret-key", 401)) as server:
        with pytest.raises(AuthenticationFailed) as caught:
            plan(server, retrieval)
        assert "Authorization: Bearer s3cret-key" in server.headers[0]
    assert "s3cret" not in str(caught.value)
    with pytest.raises(InvalidInput, match="in the clear") as refused:
        EndpointPlanner("http://10.0.0.7:8000/v1", retrieval=retrieval)
    assert "s3cret" not in str(refused.value)
    for key in ("a\r\nX: y", "schlüssel"):
        with pytest.raises(InvalidInput, match="no HTTP header"):
            EndpointPlanner(retrieval=retrieval, key=key)


def test_bad_input_is_the_callers_fault_and_reaches_no_server(retrieval: RetrievalPlanner) -> None:
    with BadEndpoint(plan_of(*STEPS)) as server:
        planner = EndpointPlanner(server.url, "m", retrieval=retrieval)
        for frame, task in ((FRAME, ""), (FRAME, "a\x00b"), (FRAME[..., 0], KNOWN), (None, KNOWN)):
            with pytest.raises(InvalidInput):
                planner.plan(frame, task)  # type: ignore[arg-type]
        with pytest.raises(InvalidTask):
            planner.plan(FRAME, 7)  # type: ignore[arg-type]
    assert server.requests == []


def test_many_threads_may_plan_at_once(retrieval: RetrievalPlanner) -> None:
    found: list[Any] = []
    with BadEndpoint(plan_of(*STEPS)) as server:
        planner = EndpointPlanner(server.url, "m", retrieval=retrieval, settings=STRICT)
        work: Callable[[], None] = lambda: found.append(planner.plan(FRAME, KNOWN).steps)  # noqa: E731
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [STEPS] * 8
