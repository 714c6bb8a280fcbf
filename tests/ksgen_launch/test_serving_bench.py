"""The measurements of the server: small runs of each on real servers, and what they would notice."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from typer.testing import CliRunner

from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_launch.app import app
from ksgen_launch.serving_bench import baselines, chaos, crowd, hostile, latency, soak, table, throughput
from ksgen_launch.serving_bench.imaginer import MEGABYTE, SMALL, Sized, describe, draw, read, same
from ksgen_launch.serving_bench.processes import server_of
from ksgen_models.errors import InvalidTask, ProtocolError

FRAME = throughput.FRAME


def test_a_task_says_what_is_made():
    assert read(describe(4, MEGABYTE, 0.25)) == (4, 128, 12, 0.25)
    steps = Sized().imagine(FRAME, describe(2, SMALL), seed=5).steps
    assert [step.clip.shape for step in steps] == [(2, 32, 32, 3)] * 2
    with pytest.raises(InvalidTask, match="names no key steps"):
        read("push the block")


def test_a_megabyte_is_one():
    [(_, body)] = throughput._messages(describe(1, MEGABYTE))
    assert 1_000_000 <= len(body) < 1_100_000


def test_key_steps_differ_by_seed_and_index_and_a_changed_one_is_noticed():
    step = draw(32, 2, 7, 0)
    assert same(step, draw(32, 2, 7, 0))
    assert not same(step, draw(32, 2, 8, 0))
    assert not same(step, draw(32, 2, 7, 1))
    mask = step.region_of_motion.observed.copy()
    mask[3, 4] ^= True
    assert not same(step, replace(step, region_of_motion=replace(step.region_of_motion, observed=mask)))


@pytest.mark.parametrize(
    ("serve", "connect"),
    [
        (baselines.serve_blocking, baselines.connect_blocking),
        (baselines.serve_websocket, baselines.connect_websocket),
    ],
)
def test_the_other_servers_answer_with_all_key_steps(serve, connect):
    with server_of(serve) as server, ExitStack() as stack:
        assert connect(server.address, stack)(FRAME, describe(3, SMALL)) == 3


def test_the_other_servers_arrays_survive():
    arrays = {"picture": FRAME, "mask": np.array([[True, False]])}
    again = baselines.unpack(baselines.pack(arrays))
    assert all(np.array_equal(again[name], arrays[name]) and again[name].dtype == arrays[name].dtype for name in arrays)


def test_broken_messages_are_broken_in_many_ways_and_only_ever_refused():
    chance = random.Random(0)
    reasons, good = set(), 0
    for _ in range(3000):
        try:
            header, _ = codec.split(hostile.broken_message(chance))
            codec.decode(header, wire.FROM_CLIENT)
            good += 1
        except ProtocolError as exc:
            reasons.add(str(exc).partition(" ")[0])
    assert len(reasons) >= 8
    assert good < 1500


def test_an_honest_header_is_one():
    chance = random.Random(0)
    for _ in range(100):
        codec.decode(msgpack.packb(hostile.honest_header(chance)), wire.FROM_CLIENT)


@pytest.mark.slow
def test_throughput_is_measured_for_both(tmp_path):
    found = throughput.measure(tmp_path, rounds=1, requests=4)
    assert found["ratio"] == pytest.approx(found["subgoals_per_second"] / found["bare_per_second"])
    assert min(found["cpu_ms"].values()) >= 0


@pytest.mark.slow
def test_many_clients_are_compared_with_the_other_servers(tmp_path):
    found = crowd.compare(tmp_path, rounds=1, requests=8)
    assert found["over_blocking"] == pytest.approx(found["server"] / found["blocking"])
    assert set(found["cpu_ms"]) == {"server", "blocking", "websocket"}


@pytest.mark.slow
def test_a_slow_job_holds_up_a_blocking_server_and_not_ours(tmp_path):
    found = latency.measure_slow_job(tmp_path, requests=10, seconds=4.0)
    # The longest wait: on busy cores some requests pass before the slow job has begun.
    ours, blocking = (found[name]["beside_99"] / found[name]["alone_50"] for name in ("server", "blocking"))
    assert ours < blocking


@pytest.mark.slow
def test_a_crowd_is_answered_without_an_error(tmp_path):
    found = crowd.gather(tmp_path, clients=40)
    assert (found["answered"], found["errors"]) == (40, {})
    assert found["connections"] >= 40


@pytest.mark.slow
def test_jobs_survive_killed_workers_and_servers(tmp_path):
    found = chaos.measure(tmp_path, jobs=200, restarts=2)
    assert (found["lost"], found["twice"], found["wrong"], found["errors"]) == (0, 0, 0, {})
    assert found["servers_killed"] == 2
    assert found["workers_killed"] >= 1
    assert found["store_done"] == 200


@pytest.mark.slow
def test_broken_messages_harm_nobody(tmp_path):
    found = hostile.measure(tmp_path, messages=2000)
    assert found["alive"]
    assert found["refused"] > 1000
    assert found["honest"] > 0
    assert found["honest_errors"] == {}


@pytest.mark.slow
def test_only_a_good_key_is_served(tmp_path):
    refused = dict.fromkeys(("wrong", "revoked", "none"), "AuthenticationFailed")
    assert hostile.measure_keys(tmp_path) == {"good": "served"} | refused


@pytest.mark.slow
def test_mixed_load_is_served_without_an_error(tmp_path):
    log = tmp_path / "samples.jsonl"
    found = soak.measure(tmp_path, minutes=0.2, log=log)
    assert found["errors"] == []
    assert found["answered"] > 0
    assert len(found["samples"]) > 10
    assert found["samples"] == [json.loads(line) for line in log.read_text().splitlines()]
    assert min(*found["memory_mb"], *found["workers_memory_mb"], *found["workers_open_files"]) > 0


def test_the_command_knows_its_parts_and_says_what_is_not_reached(monkeypatch):
    row = table.Row("clients at once", "3 errors", "no error", False, {"errors": 3})
    monkeypatch.setattr(table, "measure", lambda folder, scale, parts: iter([row]))
    runner = CliRunner()
    shown = runner.invoke(app, ["bench", "serve", "--quick", "--part", "crowd", "--json"])
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)[0]["figures"] == {"errors": 3}
    assert "clients at once" in runner.invoke(app, ["bench", "serve", "--quick"]).stdout
    assert "there is no part 'crowed'" in str(runner.invoke(app, ["bench", "serve", "--part", "crowed"]).exception)
