"""Replicas in a real, small Ray cluster behind a real subgoal server: the same protocol, and nothing lost with one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "ksgen_agent"))

from blob_parts import TASK, make_frame  # noqa: E402
from served_parts import blobs  # noqa: E402
from serving import Stage, running, until  # noqa: E402

from ksgen_agent import Cancelled, RemoteError, SubgoalClient, UnknownTask  # noqa: E402
from ksgen_models.errors import PresetError  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
PATIENCE = 300  # seconds for a replica to start on a busy machine


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage(tmp_path_factory.mktemp("ray") / "stage")


@pytest.fixture(scope="module")
def cluster(stage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "token").write_text("0" * 64)
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # 15 unless told otherwise: on a busy machine replicas would never start
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "KSGEN_TEST_STAGE": str(stage.folder),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        import ray  # whether it wants a token it reads from the environment, once, when it is imported
        from ray import serve

        from ksgen_launch import ray_serve

        context = ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
        try:
            serve.start(proxy_location="Disabled")
            application = ray_serve.app({"imaginer": "served_parts:staged_by_environment"})
            serve.run(application, name=ray_serve.APPLICATION, route_prefix=None)
            yield context.address_info["gcs_address"]
        finally:
            serve.shutdown()
            ray.shutdown()


@pytest.fixture
def imaginer(cluster, stage):
    from ksgen_launch import ray_serve

    stage.clear()
    yield ray_serve.imaginer()
    stage.clear()


def test_a_replica_imagines_what_an_agent_in_this_process_does(imaginer):
    local = blobs().imagine(make_frame(), TASK, seed=3)
    remote = imaginer.imagine(make_frame(), TASK, seed=3)
    assert remote.plan == local.plan
    for ours, theirs in zip(local.steps, remote.steps, strict=True):
        assert np.array_equal(ours.clip, theirs.clip)
        assert np.array_equal(ours.hands.keypoints, theirs.hands.keypoints, equal_nan=True)
        assert dict(ours.scores) == dict(theirs.scores)


def test_errors_of_the_imaginer_arrive_as_what_they_are(imaginer):
    with pytest.raises(UnknownTask, match="taxes") as unknown:
        imaginer.imagine(make_frame(), "do my taxes")
    assert unknown.value.nearest == (("push the block", 0.12),)


def test_cancelling_stops_the_replica_between_solver_steps(imaginer, stage):
    stage.say("hold-1")
    cancel = threading.Event()
    stream = imaginer.imagine_stream(make_frame(), TASK, cancel=cancel)
    assert next(stream).index == 0
    until(lambda: stage.began(1), "the second step")
    cancel.set()
    with pytest.raises(Cancelled):
        next(stream)
    # hold-1 is still there: a replica that went on waiting in it would not take this job
    assert len(imaginer.imagine(make_frame(), "push the block").steps) == 1
    assert len({name.split("-")[2] for name in stage.began()}) == 1


def test_a_job_that_kills_every_replica_is_given_up(imaginer, stage):
    stage.say("die-1", "always")
    with pytest.raises(RemoteError, match="3 replicas"):
        imaginer.imagine(make_frame(), TASK)


def test_a_server_in_front_speaks_the_usual_protocol_and_survives_a_replica(cluster, stage, tmp_path):
    stage.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster)
        settings = {"imaginer": "ksgen_launch.ray_serve:imaginer", "jobs_per_worker": 2, "start_seconds": PATIENCE}
        with running(tmp_path / "store", **settings) as server, SubgoalClient(server.address) as client:
            assert client.spec.preset == "staged"
            whole = client.imagine(make_frame(), TASK, seed=1)
            stage.clear()
            stage.say("die-1")
            again = client.imagine(make_frame(), TASK, seed=1)
            assert len(stage.began(0)) == 2  # it was run again, by another process
            assert len({name.split("-")[2] for name in stage.began(0)}) == 2
            assert [step.index for step in again.steps] == [0, 1, 2]
            for first, second in zip(whole.steps, again.steps, strict=True):
                assert np.array_equal(first.clip, second.clip)
            assert client.server_status().counts["workers_lost"] == 0
            with pytest.raises(UnknownTask, match="taxes"):
                client.imagine(make_frame(), "do my taxes")


def test_the_shipped_configuration_is_one_that_ray_understands():
    import yaml
    from ray.serve.schema import ServeDeploySchema

    from ksgen_agent.presets import find_preset
    from ksgen_launch import ray_serve

    path = TESTS.parent / "launch" / "ray-serve" / "ksgen-agent.yaml"
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text())).applications
    assert application.name == ray_serve.APPLICATION
    assert application.import_path == "ksgen_launch.ray_serve:app"
    find_preset(application.args["preset"])
    assert ray_serve.app(application.args)
    assert [deployment.name for deployment in application.deployments] == [ray_serve.ImaginerDeployment.name]
    with pytest.raises(PresetError, match="presets"):
        ray_serve.app({"presets": "mini"})


def test_without_a_cluster_it_is_said_what_to_do(tmp_path):
    code = "from ksgen_launch.ray_serve import imaginer; imaginer()"
    once = {"RAY_gcs_server_port_wait_time_s": "1"}  # instead of for minutes
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "RAY_AUTH_MODE": "disabled", **once}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=PATIENCE
    )
    assert "PresetError" in result.stderr
    assert "ray start --head" in result.stderr
