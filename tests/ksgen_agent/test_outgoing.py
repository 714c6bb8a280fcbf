"""Key steps are sent from the files they lie in: those files must not change before they have left."""

from __future__ import annotations

from mmap import mmap
from pathlib import Path

import numpy as np
import pytest
import zmq
from serving import WAIT, running, until

from ksgen_agent import Limits, SubgoalClient
from ksgen_agent.server.outgoing import Outgoing
from ksgen_agent.server.store import Store
from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import Blob
from ksgen_agent.wire.key_steps import unpack_key_step
from ksgen_launch.serving_bench.imaginer import FACTORY, MEGABYTE, describe, draw, same

FRAME = np.full((32, 32, 3), 128, np.uint8)
STEPS = 12


@pytest.fixture
def sockets():
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender, context.socket(zmq.PULL) as receiver:
        sender.setsockopt(zmq.LINGER, 0)
        port = sender.bind_to_random_port("tcp://127.0.0.1")
        receiver.connect(f"tcp://127.0.0.1:{port}")
        yield sender, receiver


def test_a_job_is_on_its_way_until_the_last_of_it_has_left(sockets):
    sender, receiver = sockets
    outgoing = Outgoing()
    size = 32 * 2**20  # more than the buffers of a connection hold
    for job in (1, 2, 1):
        body = mmap(-1, size)
        sender.send(body, copy=False)
        outgoing.note(job, body)
        del body
    assert outgoing.jobs() == {1, 2}
    assert not outgoing.full()
    for _ in range(3):
        assert len(receiver.recv(copy=False)) == size
    until(lambda: not outgoing.jobs(), "all of it to leave")


def test_what_a_slow_reader_is_being_sent_is_not_overwritten(tmp_path):
    with running(tmp_path / "store", imaginer=FACTORY, store_bytes=8 * 2**20) as server, zmq.Context() as context:
        slow = context.socket(zmq.DEALER)
        slow.setsockopt(zmq.RCVHWM, 1)
        slow.setsockopt(zmq.LINGER, 0)
        slow.connect(server.address)
        request = wire.Submit(
            "slow", describe(STEPS, MEGABYTE), Blob("raw", "uint8", FRAME.shape, 0, FRAME.nbytes), seed=1
        )
        with SubgoalClient(server.address, limits=Limits(busy=WAIT)) as client:  # full while the end is on its way
            _ = client.spec
            slow.send_multipart([codec.encode(request), FRAME.tobytes()])
            until(lambda: client.server_status().counts["steps_sent"] == STEPS, "all to be handed over")
            for seed in range(2, 8):  # more than the store holds
                client.imagine(FRAME, describe(4, MEGABYTE), seed=seed)
        received = []
        while len(received) < STEPS:
            assert slow.poll(1000 * WAIT)
            header, *body = slow.recv_multipart(copy=False)
            message = codec.decode(header.buffer, wire.FROM_SERVER)
            if isinstance(message, wire.Step):
                received.append(unpack_key_step(message, body[0].buffer))
        slow.close()
    assert all(same(step, draw(128, 12, 1, index)) for index, step in enumerate(received))


def test_a_body_that_was_cut_short_is_not_sent(tmp_path):
    store = Store(tmp_path, 10**9, 10**9)
    Path(store.path(1)).write_bytes(bytes(100))
    assert store.read(1, 100) == bytes(store.map(1, 100)) == bytes(100)
    for read in (store.read, store.map):
        with pytest.raises(OSError, match="cut short"):
            read(1, 101)
        with pytest.raises(FileNotFoundError):
            read(2, 100)
    store.close()


def test_frames_of_forgotten_jobs_are_overwritten_whole(tmp_path):
    """A shorter frame in a file that held a longer one."""
    store = Store(tmp_path, 1000, 10**9)
    long, short = memoryview(bytes(range(256)) * 8), memoryview(b"short")
    blob = Blob("jpeg", "uint8", (), 0, 1)
    first = store.add("", "", wire.Submit("a", "push", blob), 1.0, 2.0, long)
    first.state, first.finished = "done", 1.5
    store.update(first)
    assert store.forget(2.0, set()) == 1
    second = store.add("", "", wire.Submit("b", "push", blob), 1.0, 2.0, short)
    assert second.frame_file == first.frame_file
    assert Path(store.path(second.frame_file)).read_bytes() == short
    assert store.bytes == len(short)
    store.close()


def test_what_a_lost_worker_wrote_and_could_not_tell_of_is_taken_back(tmp_path):
    store = Store(tmp_path, 10**9, 10**9)
    spares, new = store.lend(4)
    assert spares == ()
    for file in range(new, new + 3):
        Path(store.path(file)).write_bytes(b"a body")
    store.clear(new, used={new, new + 1})
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [str(new), str(new + 1)]
    assert store.lend(4)[1] > new + 2  # numbers are never given again
    store.close()


def test_no_two_starts_of_a_server_give_a_file_the_same_number(tmp_path):
    """A worker of a killed server may still be writing when the next one has started."""
    firsts = []
    for _ in range(2):
        store = Store(tmp_path, 10**9, 10**9)
        firsts.append(store.lend(0)[1])
        store.close()
    assert firsts[1] - firsts[0] > 10**9
