"""Operations of the server: metrics and health over real HTTP, the log, who is refused, what `status` shows."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
import zmq
from blob_parts import TASK, make_frame
from hypothesis import given
from hypothesis import strategies as st
from serving import HERE, WAIT, Stage, running, two_clients, until

from ksgen_agent import AuthenticationFailed, Cancelled, InvalidInput, Limits, SubgoalClient, UnknownTask
from ksgen_agent.server import health
from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.logs import Throttle, fields, set_up
from ksgen_agent.server.loop import Server
from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import Blob
from ksgen_agent.wire.keys import ClientKey

SOON = Limits(connect=10)


def get(address, path, **headers):
    """Status code, content type and text."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=WAIT) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.headers["Content-Type"], exc.read().decode()


def samples(address):
    """Every sample of /metrics by name and labels, as Prometheus' own parser reads them."""
    from prometheus_client.parser import text_string_to_metric_families

    code, content_type, text = get(address, "/metrics")
    assert code == 200
    assert content_type.startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage(tmp_path_factory.mktemp("operations") / "stage")


@pytest.fixture(scope="module")
def server(stage, tmp_path_factory):
    settings = {"imaginer": "served_parts:staged", "options": {"folder": str(stage.folder)}, "http_port": 0}
    with running(tmp_path_factory.mktemp("store"), **settings) as server:
        with SubgoalClient(server.address) as client:
            assert client.spec.preset == "staged"
        yield server


@pytest.fixture
def client(server, stage):
    stage.clear()
    with SubgoalClient(server.address, name="robot-1") as client:
        yield client
    stage.clear()


def test_metrics_count_what_happened(server, client, stage):
    before = samples(server.http_address)
    assert len(client.imagine(make_frame(), TASK).steps) == 3
    with pytest.raises(UnknownTask):
        client.imagine(make_frame(), "do my taxes")
    with pytest.raises(Exception, match="nobody"):
        client.status("nobody")
    stage.say("hold-0")
    stream = client.imagine_stream(make_frame(), TASK, request_id="held")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(next, stream)
        until(lambda: samples(server.http_address)["ksgen_jobs", ("state", "running")] == 1, "a running job")
        client.cancel("held")
        with pytest.raises(Cancelled):
            first.result(WAIT)
    ended = ("ksgen_jobs_ended_total", ("state", "cancelled"))
    until(lambda: samples(server.http_address)[ended] > before[ended], "the cancelled job")
    after = samples(server.http_address)

    def grew(name, *labels):
        return after[(name, *labels)] - before[(name, *labels)]

    assert grew("ksgen_jobs_accepted_total") == 3
    assert [grew("ksgen_jobs_ended_total", ("state", state)) for state in ("done", "failed", "cancelled")] == [1, 1, 1]
    assert grew("ksgen_key_steps_made_total") == grew("ksgen_key_steps_sent_total") == 3
    assert grew("ksgen_key_step_seconds_count", ("stage", "imagining")) == 3
    assert grew("ksgen_first_key_step_seconds_count") == 1
    assert grew("ksgen_job_queued_seconds_count") == 3
    assert grew("ksgen_job_running_seconds_sum", ("state", "done")) > 0
    assert after["ksgen_jobs", ("state", "running")] == after["ksgen_jobs", ("state", "queued")] == 0
    assert after["ksgen_workers", ("state", "ready")] == after["ksgen_workers_wanted",] == 1
    assert after["ksgen_workers_memory_bytes",] > 10 * 2**20
    assert after["ksgen_server_state", ("state", "serving")] == 1
    assert after["process_open_fds",] > 0


def test_an_error_shows_in_the_metrics_by_its_code(server, client):
    name = ("ksgen_refusals_total", ("reason", "invalid_task"))
    before = samples(server.http_address).get(name, 0)
    frame = make_frame()
    context = zmq.Context()
    try:
        peer = context.socket(zmq.DEALER)
        peer.connect(server.address)
        submit = wire.Submit("x", " ", Blob("raw", "uint8", frame.shape, 0, frame.nbytes))
        peer.send_multipart([codec.encode(submit), frame.tobytes()])
        assert peer.poll(1000 * WAIT)
    finally:
        context.destroy(linger=0)
    until(lambda: samples(server.http_address).get(name, 0) == before + 1, "the refusal")


def test_no_label_is_chosen_by_the_network(server, client):
    client.imagine(make_frame(), "push the block", request_id="a-secret-id")
    text = get(server.http_address, "/metrics")[2]
    for secret in ("a-secret-id", "robot-1", "push"):
        assert secret not in text


def test_openmetrics_is_spoken_to_whoever_asks_for_it(server):
    _, content_type, text = get(server.http_address, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_a_server_is_healthy_from_ready_to_drain(tmp_path):
    stage = Stage(tmp_path / "stage")
    stage.say("hold-0")
    settings = {"imaginer": "served_parts:staged", "options": {"folder": str(stage.folder)}, "http_port": 0}
    with (
        running(tmp_path / "store", **settings) as server,
        SubgoalClient(server.address) as client,
        ThreadPoolExecutor() as threads,
    ):
        assert get(server.http_address, "/livez")[0] == 200
        early, _, text = get(server.http_address, "/healthz")
        assert (early, json.loads(text)["status"]) == (503, "starting")
        until(lambda: get(server.http_address, "/healthz")[0] == 200, "the worker")
        job = threads.submit(client.imagine, make_frame(), "push the block")
        until(lambda: stage.began(0), "the job")
        until(lambda: _health(server)["jobs"] == {"queued": 0, "running": 1}, "the job to show")
        assert _health(server)["workers"] == {"ready": 1, "wanted": 1}
        server.drain()
        until(lambda: get(server.http_address, "/healthz")[0] == 503, "the drain")
        assert _health(server)["status"] == "draining"
        assert get(server.http_address, "/livez")[0] == 200
        stage.unsay("hold-0")
        assert len(job.result(WAIT).steps) == 1


def _health(server):
    return json.loads(get(server.http_address, "/healthz")[2])


def _status(state, *workers):
    return wire.ServerStatus(state, 1.0, {}, tuple({"state": worker} for worker in workers))


@pytest.mark.parametrize(
    ("status", "age", "said", "alive", "ready"),
    [
        (None, 0.0, "starting", True, False),
        (None, 1e3, "stuck", False, False),
        (_status("starting", "starting"), 0.1, "starting", True, False),
        (_status("serving", "ready"), 0.1, "ok", True, True),
        (_status("serving", "starting", "busy"), 0.1, "ok", True, True),
        (_status("serving", "starting"), 0.1, "no worker", True, False),
        (_status("serving"), 0.1, "no worker", True, False),
        (_status("draining", "busy"), 0.1, "draining", True, False),
        (_status("serving", "ready"), 1e3, "stuck", False, False),
    ],
)
def test_what_is_wrong_with_a_server_is_told_apart(status, age, said, alive, ready):
    assert health.judge(status, age) == health.Verdict(said, alive, ready)


def test_a_loop_that_does_not_turn_is_seen_from_outside(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "STUCK_SECONDS", 0.05)
    server = Server(ServerConfig(tmp_path, "tcp://127.0.0.1:*", http_port=0))
    try:  # its loop was never started
        until(lambda: get(server.http_address, "/livez")[0] == 503, "the verdict")
        assert _health(server) == {"status": "stuck"}
    finally:
        server.close()


def test_nobody_can_hold_the_health_port(server):
    host, port = server.http_address.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(40)]
    try:
        assert get(server.http_address, "/healthz")[0] == 200
        for noise in (os.urandom(2000), b"GET " + b"a" * 100_000, b"POST /metrics HTTP/1.1\r\n\r\n", b"\r\n\r\n"):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(noise)
        assert get(server.http_address, "/healthz")[0] == 200
        assert get(server.http_address, "/../../etc/passwd")[0] == 404
    finally:
        for connection in silent:
            connection.close()


def test_a_port_that_is_taken_is_named(server, tmp_path):
    port = int(server.http_address.rpartition(":")[2])
    with pytest.raises(InvalidInput, match=f"{port}.*another port"):
        Server(ServerConfig(tmp_path, "tcp://127.0.0.1:*", http_port=port))
    with pytest.raises(InvalidInput, match="http_port"):
        ServerConfig(tmp_path, http_port=70000)


def test_only_metrics_need_prometheus(tmp_path):
    code = f"""
import sys
from pathlib import Path
sys.modules["prometheus_client"] = None
from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.loop import Server
Server(ServerConfig(Path({str(tmp_path)!r}), "tcp://127.0.0.1:*")).close()
try:
    Server(ServerConfig(Path({str(tmp_path)!r}), "tcp://127.0.0.1:*", http_port=0))
except Exception as exc:
    print(type(exc).__name__, exc)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("InvalidInput")
    assert "ksgen-agent[server]" in result.stdout


# What is said of a job and of the server over the protocol.


def test_every_reply_of_a_job_carries_the_servers_timings(server, client):
    frame = make_frame()
    blob = Blob("raw", "uint8", frame.shape, 0, frame.nbytes)
    context = zmq.Context()
    try:
        peer = context.socket(zmq.DEALER)
        peer.connect(server.address)
        heard = []
        for name, task in (("timed", "push the block"), ("timed-out", "do my taxes")):
            peer.send_multipart([codec.encode(wire.Submit(name, task, blob)), frame.tobytes()])
            while not heard or not isinstance(heard[-1], wire.Done | wire.Error) or heard[-1].id != name:
                assert peer.poll(1000 * WAIT)
                heard.append(codec.decode(peer.recv_multipart()[0], wire.FROM_SERVER))
    finally:
        context.destroy(linger=0)
    status, step, done, _, error = heard
    assert status.timings.keys() == {"queued", "running"}
    assert step.timings.keys() == {"queued", "since_start", "imagining", "packing"}
    assert 0 < step.timings["imagining"] <= step.timings["since_start"]
    assert {"server/queued", "server/running"} <= done.timings.keys()
    assert done.timings["server/running"] >= step.timings["since_start"]
    assert error.code == "unknown_task"
    assert error.timings.keys() == {"queued", "running"}


def test_the_status_shows_what_runs_and_what_waits(client, stage):
    spent = client.server_status().timings
    stage.say("hold-1")
    with ThreadPoolExecutor() as threads:
        jobs = [threads.submit(client.imagine, make_frame(), TASK, request_id="shown-and-long")]
        until(lambda: stage.began(1), "the second step")
        jobs.append(threads.submit(client.imagine, make_frame(), "push the block", request_id="behind"))
        until(lambda: client.server_status().counts["queued"] == 1, "the queue")
        until(lambda: client.server_status().jobs[0]["steps"] == 1, "the first step")
        status = client.server_status()
        stage.unsay("hold-1")
        assert [len(job.result(WAIT).steps) for job in jobs] == [3, 1]
    first, second = status.jobs
    worker = status.workers[0]
    assert worker["uptime"] > 0
    assert worker["memory"] > 10 * 2**20
    assert (first["id"], first["client"], first["state"], first["steps"]) == ("shown-an", "robot-1", "running", 1)
    assert first["worker"] == worker["number"]
    assert (second["id"], second["state"], second["worker"]) == ("behind", "queued", 0)
    until(lambda: not client.server_status().jobs, "the end of both")
    assert client.server_status().timings["running"] > spent["running"]


# The log.


def logged(kind, *events):
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        root.handlers = []
        set_up(kind, logging.INFO, stream)
        for message, values in events:
            logging.getLogger("ksgen_agent.server").warning(message, extra=fields(**values))
    finally:
        root.handlers, root.level = handlers, level
        logging.captureWarnings(False)
    return stream.getvalue()


@given(st.text(), st.text(), st.floats(), st.integers())
def test_whatever_it_holds_an_event_is_one_line(message, client, seconds, number):
    values = {"client": client, "seconds": seconds, "number": number}
    for kind in ("text", "json"):
        line = logged(kind, (message.replace("%", ""), values))
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        line.encode("utf-8")
    assert json.loads(line)["client"] == client


def test_both_formats_say_the_same():
    events = (("a job ended", {"job": "7f", "client": "robot 1", "worker": None, "running": 1.23456789}),)
    text = logged("text", *events)
    assert re.fullmatch(
        r'\S+ \S+ WARNING ksgen_agent\.server a job ended job=7f client="robot 1" running=1\.235\n', text
    )
    record = json.loads(logged("json", *events))
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "level": "warning",
        "logger": "ksgen_agent.server",
        "message": "a job ended",
        "job": "7f",
        "client": "robot 1",
        "running": 1.234568,
    }


def test_a_format_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="text, json"):
        set_up("xml")


def test_a_flood_is_held_back_and_counted():
    now = [0.0]
    throttle = Throttle(1.0, clock=lambda: now[0])
    assert [throttle.admit("a") for _ in range(5)] == [0, None, None, None, None]
    assert throttle.admit("b") == 0
    now[0] = 1.5
    assert [throttle.admit("a"), throttle.admit("a")] == [4, None]


@pytest.mark.slow
def test_the_command_logs_json_from_server_and_workers(tmp_path):
    stage = Stage(tmp_path / "stage")
    stage.say("die-1")
    command = [sys.executable, "-m", "ksgen_launch", "serve", "--bind", "tcp://127.0.0.1:*", "--insecure"]
    command += ["--store", str(tmp_path / "store"), "--log-format", "json", "--log-level", "debug", "--http-port", "0"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([HERE, *filter(None, sys.path)]),
        "KSGEN_TEST_STAGE": str(stage.folder),
    }
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(
            [*command, "--imaginer", "served_parts:staged_by_environment"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[2]
            metrics = process.stdout.readline().split()[2]
            with SubgoalClient(address, name="robot-7") as client:
                assert len(client.imagine(make_frame(), TASK, request_id="the-job").steps) == 3
            # What is told over HTTP is a moment old, and a moment ago there was no worker.
            until(lambda: get(metrics.removesuffix("/metrics"), "/healthz")[0] == 200, "the server is well again")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT) == 0
        finally:
            process.kill()
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    said = {record["message"]: record for record in records}
    assert said["a job is accepted"]["job"] == "the-job"
    assert said["a worker died and is replaced"]["code"] == 17
    assert said["a job lost its worker and runs again"]["job"] == "the-job"
    ended = said["a job ended"]
    assert (ended["job"], ended["client"], ended["state"], ended["worker"]) == ("the-job", "robot-7", "done", 2)
    assert ended["running"] > 0
    assert ended["queued"] >= 0


# Who is refused.


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return two_clients(tmp_path_factory.mktemp("keys") / "server")


@pytest.fixture(scope="module")
def locked(keys, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    with running(store, keys=keys.folder, imaginer="served_parts:blobs", http_port=0) as server:
        yield server


def stranger(keys):
    public, secret = (key.decode() for key in zmq.curve_keypair())
    return ClientKey("stranger", public, secret, keys.server_pair()[0].decode())


def astray(keys):
    known = ClientKey.read(keys.folder / "alice.key")
    return ClientKey("alice", known.public, known.secret, zmq.curve_keypair()[0].decode())


@pytest.mark.parametrize(
    ("reason", "key"),
    [("no_key", lambda _: None), ("unknown_key", stranger), ("wrong_server_key", astray)],
)
def test_a_connection_that_is_refused_is_logged_and_counted(reason, key, locked, keys, caplog):
    with (
        caplog.at_level(logging.WARNING, "ksgen_agent.server"),
        SubgoalClient(locked.address, key=key(keys), limits=SOON) as client,
    ):
        with pytest.raises(AuthenticationFailed):
            client.ping()
        until(lambda: _reasons(caplog, reason), "the log")
    until(lambda: samples(locked.http_address).get(("ksgen_refusals_total", ("reason", reason))), "the metric")


def test_a_revoked_key_is_logged_with_whose_it_was(locked, keys, caplog):
    key = keys.new_client("carol", keys.folder / "carol.key")
    with caplog.at_level(logging.WARNING, "ksgen_agent.server"):
        with SubgoalClient(locked.address, key=key, limits=SOON) as standing:
            standing.ping()
            keys.revoke("carol")
            with pytest.raises(AuthenticationFailed):
                standing.ping()
        with SubgoalClient(locked.address, key=key, limits=SOON) as fresh, pytest.raises(AuthenticationFailed):
            fresh.ping()
        until(lambda: _reasons(caplog, "revoked_key"), "the log")
    record = _reasons(caplog, "revoked_key")[0]
    assert (record["client"], record["key"]) == ("carol", key.public)
    assert not any(key.secret in record.getMessage() for record in caplog.records)
    # The name may be given again; the old key stays refused.
    again = keys.new_client("carol", keys.folder / "carol-2.key")
    assert keys.name_of(again.public) == "carol"
    assert keys.name_of(key.public) is None
    assert keys.revoked_name(key.public) == "carol"


def _reasons(caplog, reason):
    found = [getattr(record, "ksgen_fields", {}) for record in caplog.records]
    return [values for values in found if values.get("reason") == reason]


def test_with_keys_the_jobs_of_others_count_and_are_not_named(locked, keys):
    with (
        SubgoalClient(locked.address, key=keys.folder / "alice.key", limits=SOON) as alice,
        SubgoalClient(locked.address, key=keys.folder / "bob.key", limits=SOON) as bob,
        ThreadPoolExecutor() as threads,
    ):
        jobs = [threads.submit(alice.imagine, make_frame(), TASK, request_id=f"alice-{n}") for n in range(2)]
        seen_by_alice, seen_by_bob = [], []
        while not all(job.done() for job in jobs):
            seen_by_alice += alice.server_status().jobs
            seen_by_bob += bob.server_status().jobs
        assert all(len(job.result(WAIT).steps) == 3 for job in jobs)
    assert seen_by_alice
    assert not seen_by_bob
