"""Keys: who is let in, who is not, and that a revoked key ends at once."""

import json
import stat
import subprocess
import sys

import pytest
import zmq
from blob_parts import make_frame
from serving import running, two_clients

from ksgen_agent import AuthenticationFailed, InvalidInput, Limits, ServerLost, SubgoalClient, SubgoalTimeout
from ksgen_agent.server.auth import CurveGate
from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.keys import KeyFolder
from ksgen_agent.wire.keys import ClientKey

SOON = Limits(connect=10)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return two_clients(tmp_path_factory.mktemp("keys") / "server")


@pytest.fixture(scope="module")
def server(keys, tmp_path_factory):
    with running(tmp_path_factory.mktemp("store"), keys=keys.folder, imaginer="served_parts:blobs") as server:
        with SubgoalClient(server.address, key=keys.folder / "alice.key") as client:
            assert client.spec.preset == "blobs"
        yield server


def test_a_known_key_is_let_in(server, keys):
    with SubgoalClient(server.address, key=keys.folder / "alice.key", limits=SOON) as client:
        assert len(client.imagine(make_frame(), "push the block").steps) == 1


def test_no_key_is_refused(server):
    with SubgoalClient(server.address, limits=SOON) as client, pytest.raises(AuthenticationFailed, match="key="):
        client.imagine(make_frame(), "push the block")


def test_a_key_that_is_not_on_the_list_is_refused(server, keys):
    public, secret = (key.decode() for key in zmq.curve_keypair())
    stranger = ClientKey("stranger", public, secret, keys.server_pair()[0].decode())
    with SubgoalClient(server.address, key=stranger, limits=SOON) as client, pytest.raises(AuthenticationFailed):
        client.ping()


def test_a_server_that_is_another_is_refused(server, keys):
    known = ClientKey.read(keys.folder / "alice.key")
    other = zmq.curve_keypair()[0].decode()
    key = ClientKey(known.name, known.public, known.secret, other)
    with SubgoalClient(server.address, key=key, limits=SOON) as client, pytest.raises(AuthenticationFailed):
        client.ping()


def test_a_key_against_a_server_without_keys_says_so(tmp_path, keys):
    with (
        running(tmp_path, imaginer="served_parts:blobs") as server,
        SubgoalClient(server.address, key=keys.folder / "alice.key", limits=SOON) as client,
        pytest.raises((AuthenticationFailed, SubgoalTimeout, ServerLost)),
    ):
        client.ping()


def test_new_keys_are_known_and_revoked_ones_end_while_the_server_runs(server, keys):
    keys.new_client("carol", keys.folder / "carol.key")
    with SubgoalClient(server.address, key=keys.folder / "carol.key", limits=SOON) as client:
        client.ping()
        keys.revoke("carol")
        with pytest.raises(AuthenticationFailed, match="not on the server's list"):
            client.ping()  # over the connection that stands
    with (
        SubgoalClient(server.address, key=keys.folder / "carol.key", limits=SOON) as client,
        pytest.raises(AuthenticationFailed),
    ):
        client.ping()  # over a new one


def test_a_client_sees_its_own_jobs_only(server, keys):
    with (
        SubgoalClient(server.address, key=keys.folder / "alice.key", limits=SOON) as alice,
        SubgoalClient(server.address, key=keys.folder / "bob.key", limits=SOON) as bob,
    ):
        alice.imagine(make_frame(), "push the block", request_id="private")
        assert alice.status("private").state == "done"
        with pytest.raises(Exception, match="no job 'private'"):
            bob.status("private")
        assert len(bob.imagine(make_frame(), "push it again", request_id="private").steps) == 1


def test_beyond_loopback_with_keys_is_allowed(tmp_path, keys):
    assert ServerConfig(tmp_path, "tcp://0.0.0.0:7447", keys=keys.folder).keys == keys.folder


def test_keys_that_should_be_there_and_are_not(tmp_path):
    with pytest.raises(AuthenticationFailed, match="keys new"):
        CurveGate(zmq.Context.instance(), tmp_path)


def test_key_files_are_for_their_owner_only_and_names_are_unique(tmp_path):
    folder = KeyFolder(tmp_path / "server")
    key = folder.new_client("robot-1", tmp_path / "robot-1.key")
    for path in (tmp_path / "robot-1.key", folder.folder / "server.json", folder.folder / "clients.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.secret not in repr(key)
    assert key.secret not in (folder.folder / "clients.json").read_text()
    assert ClientKey.read(tmp_path / "robot-1.key") == key
    with pytest.raises(InvalidInput, match="robot-1"):
        folder.new_client("robot-1", tmp_path / "again.key")
    with pytest.raises(InvalidInput, match="exists"):
        folder.new_client("robot-2", tmp_path / "robot-1.key")
    with pytest.raises(InvalidInput, match="no name"):
        folder.new_client("../robot", tmp_path / "x.key")
    with pytest.raises(InvalidInput, match="robot-1"):
        folder.revoke("robot-9")


def test_a_damaged_list_lets_nobody_in(tmp_path):
    folder = KeyFolder(tmp_path / "server")
    key = folder.new_client("robot", tmp_path / "robot.key")
    assert folder.name_of(key.public) == "robot"
    (folder.folder / "clients.json").write_text("{")
    assert folder.name_of(key.public) is None


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"format": "ksgen-client-key", "version": 1, "name": "x"})])
def test_what_is_no_key_file_is_said_to_be_none(text, tmp_path):
    path = tmp_path / "robot.key"
    path.write_text(text)
    with pytest.raises(AuthenticationFailed, match=r"keys new|damaged"):
        SubgoalClient(key=path)


def test_the_command_makes_lists_and_revokes(tmp_path):
    def keys(*words):
        command = [sys.executable, "-m", "ksgen_launch", "keys", *words, "--keys", str(tmp_path / "server")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    made = keys("new", "robot", "--out", str(tmp_path / "robot.key"))
    assert made.returncode == 0, made.stderr
    assert ClientKey.read(tmp_path / "robot.key").name == "robot"
    assert keys("list").stdout.startswith("robot  ")
    assert keys("revoke", "robot").returncode == 0
    assert keys("list").stdout == ""
    again = keys("revoke", "robot")
    assert again.returncode == 2
    assert "InvalidInput" in again.stderr
