"""The clients: the same results as the local agent, finite limits, healing, and a core without sockets."""

import asyncio
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from blob_parts import TASK, make_frame, make_parts
from serving import running
from test_imagination import assert_same

import ksgen_agent
from ksgen_agent import (
    Agent,
    AsyncSubgoalClient,
    Cancelled,
    FakeServer,
    Imaginer,
    InvalidFrame,
    InvalidInput,
    InvalidTask,
    Limits,
    LowConfidence,
    NoHandFound,
    ProtocolError,
    ServerBusy,
    ServerLost,
    SubgoalClient,
    SubgoalTimeout,
)
from ksgen_agent.client.exchange import BEAT, Imagining
from ksgen_agent.fake_server import make_key_step
from ksgen_agent.imaginer import ImaginerSpec, further_options
from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import Blob, join
from ksgen_agent.wire.key_steps import pack_key_step, pack_plan
from ksgen_models.types import Plan

STEPS = [make_key_step(index, f"step {index}") for index in range(3)]
FRAME = np.full((64, 64, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("store"), imaginer="served_parts:blobs") as server:
        yield server


@pytest.fixture(scope="module")
def local():
    with Agent("blobs", parts=make_parts()) as agent:
        return agent.imagine(make_frame(), TASK, seed=5)


def assert_as_local(imagination, local):
    assert imagination.task == local.task
    assert imagination.plan == local.plan
    assert np.array_equal(imagination.frame, local.frame)
    assert set(local.timings) <= set(imagination.timings)
    for step, own in zip(imagination.steps, local.steps, strict=True):
        assert_same(step, own)


def test_the_remote_imagination_is_the_local_one_bit_by_bit(server, local):
    with SubgoalClient(server.address) as client:
        assert isinstance(client, Imaginer)
        assert client.spec.score_names == tuple(local.steps[0].scores)
        assert_as_local(client.imagine(make_frame(), TASK, seed=5), local)


def test_so_is_the_asynchronous_one_and_several_at_a_time(server, local):
    async def imagine_all():
        async with AsyncSubgoalClient(server.address) as client:
            assert (await client.spec()).preset == "blobs"
            return await asyncio.gather(*(client.imagine(make_frame(), TASK, seed=5) for _ in range(3)))

    for imagination in asyncio.run(imagine_all()):
        assert_as_local(imagination, local)


def test_a_large_frame_comes_back_at_the_working_size(server):
    with SubgoalClient(server.address) as client:
        imagination = client.imagine(make_frame(40, 1400, row=20), "push the block")
    assert imagination.frame.shape == imagination.steps[0].image.shape == (37, 1280, 3)


def test_candidates_and_trust_are_chosen_as_locally(server):
    choice = {"seed": 2, "candidates": 3}
    with Agent("blobs", parts=make_parts()) as agent:
        local = agent.imagine(make_frame(), TASK, **choice)

    async def ask():
        async with AsyncSubgoalClient(server.address) as client:
            with pytest.raises(LowConfidence) as caught:
                await client.imagine(make_frame(), TASK, least_trust=1.0, **choice)
            return await client.imagine(make_frame(), TASK, **choice), caught.value

    with SubgoalClient(server.address) as client:
        assert_as_local(client.imagine(make_frame(), TASK, **choice), local)
        with pytest.raises(InvalidInput, match="candidates is 17, the server draws at most 16"):
            client.imagine_stream(make_frame(), TASK, candidates=17)
    remote, refused = asyncio.run(ask())
    assert_as_local(remote, local)
    assert refused.score < 1.0 == refused.threshold


def test_an_imaginer_that_knows_no_candidates_says_so():
    class Plain:
        spec = ImaginerSpec("plain", "One clip of each step.", 8.0, 384, (), 1280, {})

        def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False):
            yield from ()

    assert further_options(Plain(), None) == {}
    for choice in ({"candidates": 2}, {"least_trust": 0.5}, {"from_here": False}):
        with pytest.raises(InvalidInput, match=f"{next(iter(choice))} is .* 'plain'"):
            further_options(Plain(), None, **choice)


def test_bad_input_is_refused_before_anything_is_sent():
    with FakeServer(STEPS) as fake, SubgoalClient(fake.address) as client:
        with pytest.raises(InvalidFrame):
            client.imagine_stream(np.zeros((64, 64, 3), np.float32), "push")
        with pytest.raises(InvalidFrame, match="neither JPEG nor PNG"):
            client.imagine_stream(b"GIF89a", "push")
        with pytest.raises(InvalidTask):
            client.imagine_stream(FRAME, "  ")
        with pytest.raises(InvalidInput):
            client.imagine_stream(FRAME, "push", seed=-1)
        with pytest.raises(InvalidInput):
            client.imagine_stream(FRAME, "push", deadline=-1)
        with pytest.raises(InvalidInput, match="candidates"):
            client.imagine_stream(FRAME, "push", candidates=0)
        assert fake.submitted == []
    for wrong in ({"clip": "avi"}, {"address": "7447"}):
        with pytest.raises(InvalidInput):
            SubgoalClient(**wrong)
    with pytest.raises(InvalidInput):
        Limits(job=float("inf"))


def test_the_fake_server_answers_as_told():
    def answer(request):
        if request.task == "fail":
            raise NoHandFound("nobody there")
        return STEPS

    with FakeServer(answer, busy=1) as fake, SubgoalClient(fake.address) as client:
        with pytest.raises(ServerBusy) as busy:
            client.imagine(FRAME, "push")
        assert busy.value.retry_after == 0.05
        imagination = client.imagine(FRAME, "push", seed=4)
        assert [step.description for step in imagination.steps] == ["step 0", "step 1", "step 2"]
        assert fake.submitted[0].seed == 4
        with pytest.raises(NoHandFound, match="nobody"):
            client.imagine(FRAME, "fail")
        stream = client.imagine_stream(FRAME, "push")
        next(stream)
        stream.close()
        assert len(client.imagine(FRAME, "again").steps) == 3  # what was left of the closed one disturbs nobody


def test_a_broken_connection_is_taken_up_where_it_was():
    with FakeServer(STEPS, delay=0.1) as fake, SubgoalClient(fake.address) as client:
        stream = client.imagine_stream(FRAME, "push")
        assert next(stream).index == 0
        fake.break_connections()
        assert [step.index for step in stream] == [1, 2]
        assert len(fake.submitted) == 1


def test_many_clients_of_a_process_need_few_threads_and_do_not_end_with_one_another():
    with FakeServer([make_key_step(0)]) as server:
        clients = [SubgoalClient(server.address)]
        clients[0].ping()
        before = len(os.listdir("/proc/self/task"))
        clients += [SubgoalClient(server.address) for _ in range(20)]
        assert all(client.ping() > 0 for client in clients)
        assert len(os.listdir("/proc/self/task")) == before
        for client in clients[:-1]:
            client.close()
        assert len(clients[-1].imagine(FRAME, TASK).steps) == 1
        clients[-1].close()
        with SubgoalClient(server.address) as later:
            assert later.ping() > 0


def test_limits_run_out():
    with FakeServer(STEPS, delay=60) as fake:
        with SubgoalClient(fake.address, limits=Limits(first_step=0.2)) as client:
            with pytest.raises(SubgoalTimeout, match="no key step"):
                client.imagine(FRAME, "push", request_id="slow")
            assert client.ping() >= 0
        with SubgoalClient(fake.address, limits=Limits(reconnect=0.3)) as client:
            stream = client.imagine_stream(FRAME, "push")
            fake.fall_silent()
            with pytest.raises((ServerLost, SubgoalTimeout)):
                next(stream)
    nobody = SubgoalClient("tcp://127.0.0.1:9", limits=Limits(connect=0.2))
    with nobody as client, pytest.raises(SubgoalTimeout, match="no server"):
        client.imagine(FRAME, "push")


def test_the_callers_event_cancels():
    cancel = threading.Event()
    with FakeServer(STEPS, delay=60) as fake, SubgoalClient(fake.address) as client:
        threading.Timer(0.2, cancel.set).start()
        with pytest.raises(Cancelled):
            client.imagine(FRAME, "push", cancel=cancel, request_id="unwanted")
        ends = time.monotonic() + 10
        while fake.cancelled != ["unwanted"] and time.monotonic() < ends:
            client.ping()
        assert fake.cancelled == ["unwanted"]


def test_cancelling_the_task_cancels_the_job():
    async def give_up(fake):
        async with AsyncSubgoalClient(fake.address) as client:
            task = asyncio.create_task(client.imagine(FRAME, "push", request_id="unwanted"))
            while not fake.submitted:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while not fake.cancelled:
                await client.server_status()

    with FakeServer(STEPS, delay=60) as fake:
        asyncio.run(asyncio.wait_for(give_up(fake), 20))
        assert fake.cancelled == ["unwanted"]


# The core, without sockets and clocks.


def submit():
    blob = Blob("raw", "uint8", FRAME.shape, 0, FRAME.nbytes)
    return Imagining(wire.Submit("job", "push", blob), FRAME.tobytes(), "job", Limits(connect=5, reconnect=30, job=100))


def message(value, body=None):
    return [codec.encode(value)] if body is None else [codec.encode(value), body]


def step_message(index, name="job"):
    packed, pieces = pack_key_step(name, STEPS[index])
    return message(packed, join(pieces))


def sent(turn):
    return [codec.decode(frames[0], wire.FROM_CLIENT) for frames in turn.send]


DONE = message(wire.Done("job", 3, pack_plan(Plan("push", ("a", "b", "c"), 1.0, "fake"))))


def test_steps_of_other_jobs_and_second_copies_are_dropped():
    exchange = submit()
    assert isinstance(sent(exchange.advance(0, None))[0], wire.Submit)
    got = []
    for received in (
        step_message(0, "an earlier job"),
        step_message(0),
        step_message(0),
        message(wire.Error("an earlier job", "internal", "boom")),
        step_message(1),
        message(wire.Pong(3)),
        step_message(2),
    ):
        got += [step.index for step in exchange.advance(1, received).steps]
    assert got == [0, 1, 2]
    assert exchange.advance(2, DONE).ended
    assert exchange.result.plan.steps == ("a", "b", "c")


def test_silence_is_healed_by_asking_from_the_first_missing_step():
    exchange = submit()
    exchange.advance(0, None)
    exchange.advance(1, step_message(0))
    assert sent(exchange.advance(1 + BEAT, None)) == [wire.Fetch("job", 1)]
    assert sent(exchange.advance(1.1 + BEAT, None)) == []
    again = sent(exchange.advance(4, message(wire.Error("job", "unknown_job", "who?"))))
    assert [(type(one), one.id, one.start) for one in again] == [(wire.Submit, "job", 1)]
    with pytest.raises(ServerLost, match="job"):
        exchange.advance(4 + 31, None)


def test_a_server_that_breaks_the_order_is_no_server():
    for wrong in (step_message(1), DONE, [b"\xc1"], [b"a", b"b", b"c"]):
        exchange = submit()
        exchange.advance(0, None)
        with pytest.raises(ProtocolError):
            exchange.advance(1, wrong)


def test_every_wait_is_finite_and_every_limit_is_kept():
    exchange = submit()
    turn = exchange.advance(0, None)
    now = 0.0
    while now < 5:
        assert 0 < turn.wait < 10
        now += turn.wait
        turn = exchange.advance(now, None) if now <= 5 else turn
    with pytest.raises(SubgoalTimeout, match="no server"):
        exchange.advance(now, None)
    exchange = submit()
    exchange.advance(0, None)
    exchange.advance(1, step_message(0))
    for now in range(2, 101):
        exchange.advance(now, message(wire.JobStatus("job", "running")))
    with pytest.raises(SubgoalTimeout, match="longer than 100"):
        exchange.advance(101, None)


def test_the_client_runs_with_numpy_pyzmq_and_msgpack_alone(server):
    from test_imports import BLOCKER, HEAVY  # tests/ is on the path

    code = BLOCKER.format(blocked=set(HEAVY)) + (
        "import numpy as np\n"
        "from ksgen_agent import SubgoalClient\n"
        "frame = np.full((64, 1400, 3), (90, 110, 100), np.uint8)\n"
        "frame[60:72, 20:32] = (200, 30, 30)\n"
        f"with SubgoalClient({server.address!r}) as client:\n"
        "    print(client.imagine(frame, 'push the block').steps[0].clip.shape)\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("(8, 59, 1280, 3)")


def test_public_names_are_there():
    for name in ("SubgoalClient", "AsyncSubgoalClient", "SubgoalListener", "FakeServer", "Limits", "StreamEnd"):
        assert getattr(ksgen_agent, name).__doc__
