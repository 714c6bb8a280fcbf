"""`ksgen-agent top`: rates are differences, the picture shows what the server says, and the command says it once."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from ksgen_agent import FakeServer
from ksgen_agent.fake_server import make_key_step
from ksgen_agent.wire.messages import ServerStatus
from ksgen_launch.top_view import Rates, Window, view


def look(uptime, *, done=0, failed=0, steps=0, queued=0.0, running=0.0, **counts):
    return ServerStatus(
        "serving",
        uptime,
        {"done": done, "failed": failed, "cancelled": 0, "steps": steps, **counts},
        (),
        timings={"queued": queued, "running": running},
    )


def test_rates_are_means_over_the_window():
    window = Window(seconds=10.0)
    assert window.add(look(100.0, done=5, steps=20, queued=50.0, running=30.0)) is None
    rates = window.add(look(104.0, done=7, failed=2, steps=28, queued=54.0, running=42.0))
    assert rates == Rates(jobs=1.0, steps=2.0, queued=1.0, running=3.0)
    quiet = window.add(look(125.0, done=7, failed=2, steps=28, queued=54.0, running=42.0))
    assert quiet == Rates(jobs=0.0, steps=0.0, queued=None, running=None)


def test_a_server_that_was_started_again_begins_anew():
    window = Window()
    window.add(look(5000.0, done=100))
    assert window.add(look(1.0, done=0)) is None
    rates = window.add(look(3.0, done=4))
    assert rates is not None
    assert rates.jobs == 2.0


def test_no_time_has_no_rates():
    window = Window()
    window.add(look(5.0))
    assert window.add(look(5.0)) is None


def picture(status, rates=None):
    console = Console(file=io.StringIO(), width=110, color_system=None)
    console.print(view(status, rates, "tcp://gpu-box:7447"))
    return console.file.getvalue()


def test_the_picture_shows_workers_jobs_and_what_is_not_shown():
    worker = {"number": 3, "pid": 77, "state": "busy", "device": "cuda:1", "jobs": 1, "uptime": 3700.0, "memory": 2**31}
    jobs = tuple(
        {"id": f"job-{n}", "client": "robot-1", "state": "queued", "steps": 0, "seconds": 1.5, "worker": 0}
        for n in range(30)
    )
    status = ServerStatus("draining", 90061.0, {"queued": 400, "running": 1, "refused": 12}, (worker,), jobs)
    lines = picture(status, Rates(0.5, 2.0, 12.345, None)).splitlines()
    assert lines[0].split() == ["tcp://gpu-box:7447", "draining", "up", "1", "d", "1", "h"]
    text = "\n".join(lines)
    for words in ("queue 400", "running 1", "jobs 0.50/s", "key steps 2.00/s", "waited 12.35 s", "refused 12"):
        assert words in text
    assert next(line.split() for line in lines if "cuda:1" in line)[3:] == [
        "cuda:1",
        "1",
        "2048",
        "MiB",
        "1",
        "h",
        "1",
        "min",
    ]
    assert "job-19" in text
    assert "job-20" not in text
    assert "and 381 more" in text


def test_what_others_chose_does_not_move_the_cursor():
    job = {"id": "\x1b[2J[red]x", "client": "a\nb", "state": "running", "steps": 1, "seconds": 2.0, "worker": 1}
    text = picture(ServerStatus("serving", 1.0, {"running": 1}, (), (job,)))
    assert "\x1b" not in text
    assert "?[2J[red]x" in text
    assert "a?b" in text


def test_a_server_that_says_less_is_shown_too():
    assert "serving" in picture(ServerStatus("serving", 1.0, {"jobs": 2}, ({"pid": "?"},)))


@pytest.mark.parametrize("option", ["--once", "--json"])
def test_the_command_asks_a_real_server(option):
    with FakeServer([make_key_step(0)]) as server:
        command = [sys.executable, "-m", "ksgen_launch", "top", server.address, option]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    if option == "--json":
        assert json.loads(result.stdout)["state"] == "serving"
    else:
        assert server.address in result.stdout
        assert "worker" in result.stdout


def test_no_server_is_one_line():
    command = [sys.executable, "-m", "ksgen_launch", "top", "tcp://127.0.0.1:9", "--once"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "SubgoalTimeout: no server answered" in result.stderr
    assert "Traceback" not in result.stderr
