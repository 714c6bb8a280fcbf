"""What `launch/` ships for operations fits the command line that it starts, and the tools that read it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from ksgen_launch.app import app

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
UNIT = LAUNCH / "systemd" / "ksgen-agent.service"


def options_of(words):
    """What `ksgen-agent` understands of its arguments; refuses what it does not know."""
    group = typer.main.get_command(app)
    name, *rest = words
    command = group.get_command(None, name)  # type: ignore[attr-defined]
    return command.make_context(name, list(rest)).params


def unit(key):
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_unit_starts_what_there_is():
    program, *words = shlex.split(unit("ExecStart")[0])
    assert program.endswith("/bin/ksgen-agent")
    assert words.pop() == "$KSGEN_SERVE_OPTIONS"
    example = re.search(r"^# +KSGEN_SERVE_OPTIONS=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert example is not None
    found = options_of([*words, *shlex.split(example[1])])
    assert found["http_port"] == 7448
    assert found["http_host"] == "127.0.0.1"
    assert found["device"] == ["cuda:0"]


def test_the_unit_waits_longer_than_the_drain():
    words = shlex.split(unit("ExecStart")[0])
    assert float(unit("TimeoutStopSec")[0]) > float(words[words.index("--drain-seconds") + 1])
    assert unit("KillMode") == ["mixed"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    program = tmp_path / "ksgen-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/ksgen-agent/bin/ksgen-agent", str(program)))
    result = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "ksgen-agent.service" not in result.stderr


def dockerfile():
    text = (LAUNCH / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def test_the_image_starts_what_there_is():
    found = dict(dockerfile())
    assert json.loads(found["ENTRYPOINT"]) == ["ksgen-agent"]
    options = options_of(json.loads(found["CMD"]))
    assert options["bind"] == "tcp://0.0.0.0:7447"
    assert not options["insecure"]
    assert found["EXPOSE"].split() == ["7447", str(options["http_port"])]
    assert found["USER"] != "root"


def test_the_image_copies_only_what_its_ignore_file_lets_through():
    ignore = (LAUNCH / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = [words.split() for name, words in dockerfile() if name == "COPY" and "--from" not in words]
    sources = {source for words in copied for source in words[:-1]}
    assert sources == allowed
    assert all((LAUNCH.parent / source).exists() for source in sources)


def test_compose_starts_what_there_is():
    services = yaml.safe_load((LAUNCH / "docker" / "compose.yaml").read_text())["services"]
    server = services["server"]
    options = options_of([word.replace("${KSGEN_PRESET:-mini}", "mini") for word in server["command"]])
    assert options["drain_seconds"] < int(server["stop_grace_period"].removesuffix("s"))
    build = LAUNCH / "docker" / server["build"]["context"] / server["build"]["dockerfile"]
    assert build.samefile(LAUNCH / "docker" / "Dockerfile")
    published = [str(port).split(":")[-1] for port in server["ports"]]
    assert str(options["http_port"]) not in published
    scrape = yaml.safe_load((LAUNCH / "docker" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == [f"server:{options['http_port']}"]
