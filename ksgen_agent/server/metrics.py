"""What Prometheus is told: counts and states as of the last look at the server, and how long things took.

Names follow Prometheus' conventions: base units, ``_total`` for what only grows. Labels take few values, all from this
project's own lists: no client, job or key is ever one. prometheus_client is imported when a `Metrics` is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ksgen_agent.server.config import ServerConfig
from ksgen_agent.wire import messages as wire
from ksgen_models.errors import InvalidInput

if TYPE_CHECKING:
    from prometheus_client.core import Metric

SERVER_STATES = ("starting", "serving", "draining")
WORKER_STATES = ("starting", "ready", "busy")
_REFUSED = "refused/"  # before the code or reason in a server's counts
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
_COUNTERS = (
    ("ksgen_jobs_accepted", "Jobs that were accepted since the start.", "accepted"),
    ("ksgen_key_steps_made", "Key steps that workers finished since the start.", "steps"),
    ("ksgen_key_steps_sent", "Key steps sent to clients since the start.", "steps_sent"),
    ("ksgen_workers_lost", "Worker processes that died or were killed since the start.", "workers_lost"),
)


class Metrics:
    """The metrics of one server. `note` and the observations are the server's; `render` is any thread's.

    Args:
        config: of the server; its limits are shown beside what they limit.

    Raises:
        InvalidInput: prometheus_client is not installed.
    """

    def __init__(self, config: ServerConfig) -> None:
        try:
            from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
        except ModuleNotFoundError as exc:
            raise InvalidInput(
                "metrics over HTTP need prometheus_client: pip install 'ksgen-agent[server]', or name no HTTP port"
            ) from exc
        self._config = config
        self._status: wire.ServerStatus | None = None
        self._registry = CollectorRegistry()
        common: dict[str, Any] = {"registry": self._registry, "buckets": _SECONDS}
        self._queued = Histogram("ksgen_job_queued_seconds", "How long jobs that ended had waited.", **common)
        self._running = Histogram(
            "ksgen_job_running_seconds", "How long jobs that ended were worked on.", ["state"], **common
        )
        self._first = Histogram("ksgen_first_key_step_seconds", "From a job's start to its first key step.", **common)
        self._stages = Histogram("ksgen_key_step_seconds", "What each key step took.", ["stage"], **common)
        for state in ("done", "failed", "cancelled"):  # there from the start, so that rates begin at nought
            self._running.labels(state)
        for stage in ("imagining", "packing"):
            self._stages.labels(stage)
        self._registry.register(_Latest(self))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def step_made(self, step: wire.Step) -> None:
        """Note what a key step took."""
        for stage in ("imagining", "packing"):
            self._stages.labels(stage).observe(step.timings.get(stage, 0.0))
        if step.index == 0:
            self._first.observe(step.timings.get("since_start", 0.0))

    def job_ended(self, state: str, timings: Mapping[str, float]) -> None:
        """Note how long a job waited and ran."""
        self._queued.observe(timings["queued"])
        self._running.labels(state).observe(timings["running"])

    def note(self, status: wire.ServerStatus) -> None:
        """What `render` is to show from now on."""
        self._status = status

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics in the format that an HTTP ``Accept`` header asks for, and its content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def families(self) -> Iterator[Metric]:
        """The metrics that are read off the last status."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        status, config = self._status, self._config
        yield InfoMetricFamily("ksgen_server", "What serves.", {"imaginer": _imaginer_name(config)})
        yield GaugeMetricFamily("ksgen_queue_limit", "Jobs that may wait.", config.queue)
        yield GaugeMetricFamily("ksgen_store_limit_bytes", "Beyond this, ended jobs are forgotten.", config.store_bytes)
        yield GaugeMetricFamily("ksgen_workers_wanted", "Worker processes that there should be.", config.workers)
        if status is None:
            return
        counts = status.counts
        for name, help_text, key in _COUNTERS:
            yield CounterMetricFamily(name, help_text, counts[key])
        ended = {state: counts[state] for state in ("done", "failed", "cancelled")}
        yield _labelled(CounterMetricFamily, "ksgen_jobs_ended", "Jobs that ended.", "state", ended)
        refused = {key.removeprefix(_REFUSED): value for key, value in counts.items() if key.startswith(_REFUSED)}
        text = "Messages answered with an error, by code, and connections refused because of their key, by reason."
        yield _labelled(CounterMetricFamily, "ksgen_refusals", text, "reason", refused)
        waiting = {state: counts[state] for state in ("queued", "running")}
        yield _labelled(GaugeMetricFamily, "ksgen_jobs", "Jobs that wait, and that are worked on.", "state", waiting)
        workers = {state: sum(worker["state"] == state for worker in status.workers) for state in WORKER_STATES}
        yield _labelled(GaugeMetricFamily, "ksgen_workers", "Worker processes.", "state", workers)
        memory = sum(worker["memory"] for worker in status.workers)
        yield GaugeMetricFamily("ksgen_workers_memory_bytes", "Resident memory of all workers.", memory)
        states = {state: int(status.state == state) for state in SERVER_STATES}
        yield _labelled(GaugeMetricFamily, "ksgen_server_state", "1 for the state it is in.", "state", states)
        yield GaugeMetricFamily("ksgen_store_bytes", "What the store holds.", counts["stored_bytes"])
        yield GaugeMetricFamily("ksgen_uptime_seconds", "Since the start.", status.uptime)


class _Latest:
    """A collector of prometheus_client."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families()


def _labelled(kind: Any, name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = kind(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _imaginer_name(config: ServerConfig) -> str:
    return str(config.options.get("preset", config.imaginer))
