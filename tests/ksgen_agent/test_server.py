"""The server, with real sockets and real worker processes: nothing finished is lost, nothing hostile harms it."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq
from blob_parts import TASK, make_frame
from hypothesis import given
from hypothesis import strategies as st
from serving import WAIT, Stage, running, serve_process, until

from ksgen_agent import (
    Cancelled,
    DatasetError,
    InvalidFrame,
    InvalidInput,
    Limits,
    LowConfidence,
    PresetError,
    ProtocolError,
    RemoteError,
    ServerBusy,
    SubgoalClient,
    SubgoalListener,
    SubgoalTimeout,
    UnknownTask,
)
from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.jobs import FairQueue, StoredStep
from ksgen_agent.server.loop import Server
from ksgen_agent.server.store import Store
from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import Blob


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage(tmp_path_factory.mktemp("server") / "stage")


@pytest.fixture(scope="module")
def server(stage, tmp_path_factory):
    settings = {
        "imaginer": "served_parts:staged",
        "options": {"folder": str(stage.folder)},
        "queue_per_client": 3,
        "most_frame_bytes": 5 * 2**20,
    }
    store = tmp_path_factory.mktemp("store")
    with running(store, publish="tcp://127.0.0.1:*", **settings) as server:
        with SubgoalClient(server.address) as client:
            assert client.spec.preset == "staged"
        yield server


@pytest.fixture
def client(server, stage):
    stage.clear()
    with SubgoalClient(server.address) as client:
        yield client
    stage.clear()


def test_a_step_is_pushed_while_the_next_is_still_being_drawn(client, stage):
    stage.say("hold-1")
    stream = client.imagine_stream(make_frame(), TASK)
    assert next(stream).index == 0
    stage.unsay("hold-1")
    assert [step.index for step in stream] == [1, 2]


def test_the_same_id_is_the_same_job(client, server, stage):
    stage.say("hold-1")
    with SubgoalClient(server.address) as other, ThreadPoolExecutor() as threads:
        first = threads.submit(client.imagine, make_frame(), TASK, request_id="twice")
        until(lambda: stage.began(1), "the first step")
        second = threads.submit(other.imagine, make_frame(), TASK, request_id="twice")
        until(lambda: other.status("twice").steps == 1, "the second client's question")
        stage.unsay("hold-1")
        one, two = first.result(WAIT), second.result(WAIT)
    again = client.imagine(make_frame(), TASK, request_id="twice")
    assert len(stage.began()) == 3
    for a, b, c in zip(one.steps, two.steps, again.steps, strict=True):
        assert np.array_equal(a.clip, b.clip)
        assert np.array_equal(a.clip, c.clip)


def test_another_request_under_the_same_id_is_refused(client):
    client.imagine(make_frame(), "push the block", request_id="mine")
    for frame, task, candidates in (
        (make_frame(), "push it again", 1),
        (make_frame(row=50), "push the block", 1),
        (make_frame(), "push the block", 2),
    ):
        with pytest.raises(ProtocolError, match="mine"):
            client.imagine(frame, task, candidates=candidates, request_id="mine")


def test_cancelling_stops_the_work_between_solver_steps(client, stage):
    stage.say("hold-1")
    stream = client.imagine_stream(make_frame(), TASK, request_id="unwanted")
    next(stream)
    client.cancel("unwanted")
    with pytest.raises(Cancelled):
        next(stream)
    worker = client.server_status().workers[0]
    stage.clear()
    assert len(client.imagine(make_frame(), "push the block").steps) == 1
    assert client.server_status().workers[0]["pid"] == worker["pid"]
    assert client.status("unwanted").state == "cancelled"


def test_closing_the_stream_cancels_the_job(client, stage):
    stage.say("hold-1")
    stream = client.imagine_stream(make_frame(), TASK, request_id="closed")
    next(stream)
    stream.close()
    until(lambda: client.status("closed").state == "cancelled", "the cancellation")


def test_a_waiting_job_can_be_cancelled(client, server, stage):
    stage.say("hold-0")
    with SubgoalClient(server.address, name="other") as other, ThreadPoolExecutor() as threads:
        running_job = threads.submit(client.imagine, make_frame(), "push the block", request_id="ahead")
        until(lambda: stage.began(0), "the first job")
        waiting = threads.submit(other.imagine, make_frame(), "push the block", request_id="behind")
        until(lambda: len(other.server_status().counts) and other.server_status().counts["queued"] == 1, "the queue")
        assert other.status("behind").position == 1
        other.cancel("behind")
        with pytest.raises(Cancelled):
            waiting.result(WAIT)
        stage.unsay("hold-0")
        assert len(running_job.result(WAIT).steps) == 1


def test_a_full_queue_says_when_to_come_back(client, stage):
    stage.say("hold-0")
    names = [f"full-{number}" for number in range(4)]
    with ThreadPoolExecutor() as threads:
        jobs = [threads.submit(client.imagine, make_frame(), "push the block", request_id=names[0])]
        until(lambda: stage.began(0), "the first job")
        jobs += [threads.submit(client.imagine, make_frame(), "push the block", request_id=name) for name in names[1:]]
        until(lambda: client.server_status().counts["queued"] == 3, "the queue")
        with pytest.raises(ServerBusy) as busy:
            client.imagine(make_frame(), "push the block")
        assert busy.value.retry_after > 0
        stage.unsay("hold-0")
        assert all(len(job.result(WAIT).steps) == 1 for job in jobs)


def test_a_patient_client_waits_for_room(server, client, stage):
    stage.say("hold-0")
    with SubgoalClient(server.address, limits=Limits(busy=WAIT), name="x") as patient, ThreadPoolExecutor() as threads:
        jobs = [threads.submit(patient.imagine, make_frame(), "push the block") for _ in range(6)]
        until(lambda: client.server_status().counts["queued"] == 3, "the queue")
        stage.unsay("hold-0")
        assert all(len(job.result(WAIT).steps) == 1 for job in jobs)


def test_a_deadline_ends_the_job_on_the_server_too(client, stage):
    stage.say("hold-0")
    with pytest.raises(SubgoalTimeout):
        client.imagine(make_frame(), TASK, deadline=0.3, request_id="late")
    until(lambda: client.status("late").state in ("failed", "cancelled"), "the end of the job")


def test_a_worker_that_dies_is_replaced_and_its_job_run_again(client, stage):
    before = client.server_status().workers[0]["pid"]
    stage.say("die-1")
    imagination = client.imagine(make_frame(), TASK, request_id="survivor")
    assert [step.index for step in imagination.steps] == [0, 1, 2]
    assert len(stage.began(0)) == 2
    assert client.server_status().workers[0]["pid"] != before


def test_errors_of_the_imaginer_arrive_as_what_they_are(client):
    with pytest.raises(UnknownTask, match="taxes") as unknown:
        client.imagine(make_frame(), "do my taxes")
    assert unknown.value.nearest == (("push the block", 0.12),)
    with pytest.raises(LowConfidence) as low:
        client.imagine(np.zeros((64, 64, 3), np.uint8), "push the block")
    assert low.value.score < low.value.threshold


def test_a_picture_file_travels_as_it_is(client, server):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(make_frame()).save(file, "PNG")
    local = client.imagine(make_frame(), "push the block")
    assert np.array_equal(client.imagine(file.getvalue(), "push the block").steps[0].clip, local.steps[0].clip)
    with SubgoalClient(server.address, frames="png", images="png") as packed:
        imagination = packed.imagine(make_frame(), "push the block")
    assert np.array_equal(imagination.steps[0].goal, local.steps[0].goal)
    with pytest.raises(InvalidFrame):
        client.imagine(file.getvalue()[:200], "push the block")


def test_a_topic_is_broadcast(client, server, stage):
    stage.say("hold-0")
    with SubgoalListener(server.publish_address, "robot/1", timeout=0.2) as listener, ThreadPoolExecutor() as threads:
        job = threads.submit(client.imagine, make_frame(), "push the block then push", topic="robot/1/shelf")
        until(lambda: stage.began(0), "the job")
        with pytest.raises(SubgoalTimeout):  # and the subscription has arrived meanwhile
            next(iter(listener))
        stage.unsay("hold-0")
        heard = []
        ends = time.monotonic() + WAIT
        while len(heard) < 2 and time.monotonic() < ends:
            try:
                heard.append(next(iter(listener)))
            except SubgoalTimeout:
                continue
        steps = job.result(WAIT).steps
    assert [(topic, step.index) for topic, step in heard] == [("robot/1/shelf", 0), ("robot/1/shelf", 1)]
    assert np.array_equal(heard[1][1].clip, steps[1].clip)


def test_an_unknown_job_is_named(client):
    for ask in (client.status, client.cancel, lambda name: next(client.take_up(name))):
        with pytest.raises(ProtocolError, match="never-seen"):
            ask("never-seen")


def raw_socket(context, server):
    peer = context.socket(zmq.DEALER)
    peer.setsockopt(zmq.LINGER, 0)
    peer.connect(server.address)
    return peer


def hostile_messages():
    blob = ["raw", "uint8", [64, 64, 3], 0, 64 * 64 * 3]
    good = {"v": 1, "type": "submit", "id": "a", "task": "push", "frame": blob}
    yield [b""]
    yield [b"\xdf\xff\xff\xff\xff"]
    yield [os.urandom(300), os.urandom(300)]
    yield [b"a", b"b", b"c"]
    yield [msgpack.packb({**good, "v": 9}), b""]
    yield [msgpack.packb(good)]
    yield [msgpack.packb(good), b"short"]
    yield [
        msgpack.packb({**good, "frame": ["raw", "float32", [64, 64, 3], 0, 4 * 64 * 64 * 3]}),
        bytes(4 * 64 * 64 * 3),
    ]
    yield [msgpack.packb({**good, "frame": ["raw", "uint8", [2**20, 2**20, 3], 0, 3 * 2**40]}), b""]
    yield [msgpack.packb({**good, "task": " "}), bytes(64 * 64 * 3)]
    yield [msgpack.packb({**good, "candidates": 17}), bytes(64 * 64 * 3)]
    yield [msgpack.packb({"v": 1, "type": "fetch", "id": "nobody"})]


def test_bad_messages_get_an_error_and_harm_nobody(client, server):
    context = zmq.Context()
    try:
        for frames in hostile_messages():
            peer = raw_socket(context, server)
            peer.send_multipart(frames)
            assert peer.poll(1000 * WAIT), frames[0][:40]
            assert isinstance(codec.decode(peer.recv(), wire.FROM_SERVER), wire.Error)
    finally:
        context.destroy(linger=0)
    assert len(client.imagine(make_frame(), "push the block").steps) == 1


def test_a_version_that_is_not_spoken_is_named(server):
    context = zmq.Context()
    try:
        peer = raw_socket(context, server)
        peer.send(msgpack.packb({"v": 2, "type": "hello"}))
        error = codec.decode(peer.recv(), wire.FROM_SERVER)
    finally:
        context.destroy(linger=0)
    assert error.code == "version"


def test_what_is_too_large_never_reaches_the_server(client, server):
    context = zmq.Context()
    try:
        peer = raw_socket(context, server)
        peer.send(bytes(6 * 2**20))
        assert not peer.poll(300)
    finally:
        context.destroy(linger=0)
    assert client.ping() >= 0
    with pytest.raises(InvalidFrame, match="bytes"):
        client.imagine(np.zeros((1600, 1600, 3), np.uint8), "push the block")


def test_noise_on_the_port_harms_nobody(client, server):
    host, port = server.address.removeprefix("tcp://").split(":")
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(1000), b"\xff" + bytes(8) + b"\x7f"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(noise)
    assert client.ping() >= 0


def test_a_client_that_does_not_read_holds_up_nobody(client, server, stage):
    context = zmq.Context()
    try:
        peer = raw_socket(context, server)
        peer.setsockopt(zmq.RCVHWM, 1)
        frame = make_frame(240, 320)
        blob = Blob("raw", "uint8", frame.shape, 0, frame.nbytes)
        peer.send_multipart([codec.encode(wire.Submit("lazy", TASK, blob)), frame.tobytes()])
        until(lambda: _state(client, "lazy") == "done", "the lazy client's job")
        assert len(client.imagine(make_frame(), TASK).steps) == 3
        indices = [codec.decode(peer.recv_multipart()[0], wire.FROM_SERVER) for _ in range(5)]
    finally:
        context.destroy(linger=0)
    assert [getattr(message, "index", None) for message in indices] == [None, 0, 1, 2, None]


def _state(client, name):
    try:
        return client.status(name).state
    except ProtocolError:
        return None


# Whole servers in processes of their own.


@pytest.mark.slow
def test_a_server_that_is_killed_loses_nothing_that_was_finished(tmp_path):
    stage = Stage(tmp_path / "stage")
    store = tmp_path / "store"
    stage.say("hold-1")
    with serve_process(store, stage.folder) as (process, address), SubgoalClient(address) as client:
        stream = client.imagine_stream(make_frame(), TASK, request_id="kept")
        first = next(stream)
        until(lambda: stage.began(1), "the second step")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with serve_process(store, stage.folder, address), SubgoalClient(address) as later:
            found = later.take_up("kept")
            assert np.array_equal(next(found).clip, first.clip)  # while the job has only begun again
            stage.unsay("hold-1")
            assert [step.index for step in stream] == [1, 2]  # the client of before noticed nothing
            assert [step.index for step in found] == [1, 2]
            assert later.status("kept").state == "done"


@pytest.mark.slow
def test_sigterm_lets_the_running_job_finish_and_keeps_the_waiting_one(tmp_path):
    stage = Stage(tmp_path / "stage")
    store = tmp_path / "store"
    stage.say("hold-0")
    with (
        ThreadPoolExecutor() as threads,
        serve_process(store, stage.folder) as (process, address),
        SubgoalClient(address) as client,
    ):
        jobs = [threads.submit(client.imagine, make_frame(), "push it", request_id="running")]
        until(lambda: stage.began(0), "the first job")
        jobs.append(threads.submit(client.imagine, make_frame(), "push it", request_id="waiting"))
        until(lambda: client.server_status().counts["queued"] == 1, "the second job")
        process.send_signal(signal.SIGTERM)
        until(lambda: client.server_status().state == "draining", "the drain")
        with pytest.raises(ServerBusy, match="about to stop"):
            client.imagine(make_frame(), "push it")
        stage.unsay("hold-0")
        assert len(jobs[0].result(WAIT).steps) == 1
        assert process.wait(WAIT) == 0
        with serve_process(store, stage.folder, address):
            assert len(jobs[1].result(WAIT).steps) == 1


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_server(tmp_path):
    stage = Stage(tmp_path / "stage")
    with serve_process(tmp_path / "store", stage.folder) as (process, address), SubgoalClient(address) as client:
        assert client.spec.preset == "staged"
        worker = client.server_status().workers[0]["pid"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: not _alive(worker), "the end of the worker")


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_job_that_kills_every_worker_is_given_up(tmp_path):
    stage = Stage(tmp_path / "stage")
    stage.say("die-1", "always")
    settings = {"imaginer": "served_parts:staged", "options": {"folder": str(stage.folder)}, "attempts": 2}
    with (
        running(tmp_path / "store", **settings) as server,
        SubgoalClient(server.address) as client,
        pytest.raises(RemoteError, match="2 workers died"),
    ):
        client.imagine(make_frame(), TASK)


@pytest.mark.slow
def test_an_imaginer_that_does_not_heed_a_cancellation_is_killed(tmp_path):
    stage = Stage(tmp_path / "stage")
    stage.say("hold-1")
    settings = {
        "imaginer": "served_parts:staged",
        "options": {"folder": str(stage.folder), "obedient": False},
        "stop_seconds": 0.2,
    }
    with running(tmp_path / "store", **settings) as server, SubgoalClient(server.address) as client:
        stream = client.imagine_stream(make_frame(), TASK, request_id="stubborn")
        next(stream)
        before = client.server_status().workers[0]["pid"]
        client.cancel("stubborn")
        with pytest.raises(Cancelled):
            next(stream)
        stage.unsay("hold-1")
        assert len(client.imagine(make_frame(), "push the block").steps) == 1
        assert client.server_status().workers[0]["pid"] != before


def test_an_imaginer_that_ends_early_when_cancelled_has_not_done_its_job(tmp_path):
    with running(tmp_path / "store", imaginer="served_parts:Curt") as server, SubgoalClient(server.address) as client:
        stream = client.imagine_stream(make_frame(), TASK, request_id="half")
        next(stream)
        client.cancel("half")
        with pytest.raises(Cancelled):
            next(stream)
        assert client.status("half").state == "cancelled"


def test_a_server_whose_imaginer_cannot_be_loaded_says_why(tmp_path):
    server = Server(ServerConfig(tmp_path / "store", "tcp://127.0.0.1:*", imaginer="served_parts:broken"))
    with pytest.raises(PresetError, match="no-such-preset"):
        server.run()


# Where it may listen, and what it keeps.


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:7447", "tcp://*:7447", "tcp://192.168.1.5:1", "tcp://[::]:7447"])
def test_listening_beyond_this_machine_needs_keys(address, tmp_path):
    with pytest.raises(InvalidInput, match="keys new"):
        ServerConfig(tmp_path, address)
    assert ServerConfig(tmp_path, address, insecure=True).address == address
    with pytest.raises(InvalidInput, match="keys new"):
        ServerConfig(tmp_path, publish=address)


@pytest.mark.parametrize("address", ["7447", "http://localhost:80", "tcp://127.0.0.1", "tcp://:7447", "ipc://"])
def test_what_is_no_address_is_said_to_be_none(address, tmp_path):
    with pytest.raises(InvalidInput, match="no address"):
        ServerConfig(tmp_path, address)


def test_two_servers_do_not_share_a_store(tmp_path):
    first = Server(ServerConfig(tmp_path, "tcp://127.0.0.1:*"))
    try:
        with pytest.raises(DatasetError, match="another server"):
            Server(ServerConfig(tmp_path, "tcp://127.0.0.1:*"))
    finally:
        first.close()


def _finish(store, name, size, finished):
    submit = wire.Submit(name, "push", Blob("raw", "uint8", (1, 1, 3), 0, 3))
    job = store.add("", "", submit, finished - 1, finished + 1, memoryview(b"rgb"))
    _, file = store.lend(0)
    Path(store.path(file)).write_bytes(bytes(size))
    job.steps.append(StoredStep(b"header", size, file))
    store.add_step(job.key, 0, job.steps[0])
    job.state, job.finished, job.end = "done", finished, b"end"
    store.update(job)
    return job


def test_the_oldest_finished_jobs_are_forgotten_first(tmp_path):
    store = Store(tmp_path, most_bytes=2500, most_seconds=1e6)
    jobs = [_finish(store, f"job-{number}", 1000, finished=100 + number) for number in range(4)]
    assert store.forget(now=200, keep={jobs[0].key}) == 2
    assert [store.find("", job.id) is not None for job in jobs] == [True, False, False, True]
    assert store.bytes == 2 * 1003
    assert len(store.lend(8)[0]) == 2  # their files serve later key steps
    assert store.forget(now=2e6, keep=set()) == 2
    assert store.bytes == 0
    store.close()


def test_what_a_killed_server_left_half_done_is_swept(tmp_path):
    store = Store(tmp_path, 10**6, 1e6)
    job = _finish(store, "whole", 10, finished=100)
    store.commit()
    (tmp_path / "files" / "77").write_bytes(b"of a job that was never committed")
    store.close()
    store = Store(tmp_path, 10**6, 1e6)
    assert store.find("", "whole").steps == job.steps
    assert store.read(job.steps[0].file, 10) == bytes(10)
    assert not (tmp_path / "files" / "77").exists()
    store.close()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=40))
def test_clients_take_turns_and_keep_their_own_order(events):
    queue, waiting, key = FairQueue(1000, 1000), {}, 0
    for client, kind in events:
        if kind:
            key += 1
            queue.put(client, key)
            waiting.setdefault(client, []).append(key)
            continue
        expected = {jobs[0] for jobs in waiting.values() if jobs}
        got = queue.pop()
        assert (got is None) == (not expected)
        if got is not None:
            assert got in expected
            next(jobs for jobs in waiting.values() if jobs and jobs[0] == got).pop(0)
    order = []
    positions = {key: queue.position(key) for jobs in waiting.values() for key in jobs}
    owners = {key: client for client, jobs in waiting.items() for key in jobs}
    while (got := queue.pop()) is not None:
        order.append(got)
    assert [positions[key] for key in order] == list(range(1, len(order) + 1))
    for client in "abc":
        mine = [key for key in order if owners[key] == client]
        assert mine == sorted(mine)
    for number, key in enumerate(order[:-1]):  # nobody is served twice while another waits
        others = {owners[later] for later in order[number + 1 :]} - {owners[key]}
        assert not others or owners[order[number + 1]] != owners[key]
