"""The subgoal server against bare sockets that move the same bytes and against other kinds of servers; many clients.

`ksgen-agent bench serve` measures and tries to break much more; here are the ratios that `guard` watches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ksgen_launch.benchmarks.figures import LIMIT, MORE, PEER, Part, ratio
from ksgen_launch.benchmarks.rounds import Scale, grow, over, take_turns
from ksgen_launch.serving_bench import baselines, crowd, throughput
from ksgen_launch.serving_bench.imaginer import MEGABYTE, describe
from ksgen_launch.serving_bench.processes import run_client, server_of, subgoal_server

CLIENTS = (1, 4, 16, 64)
_REQUESTS = 160
_WORDS = {"blocking": "a blocking REQ/REP server", "websocket": "a websocket server"}


def measure(scale: Scale) -> Part:
    """Run the part; servers and clients have processes of their own."""
    with tempfile.TemporaryDirectory(prefix="ksgen-bench-") as scratch:
        folder = Path(scratch)
        bare = throughput.measure(folder, rounds=scale.rounds, requests=40)
        with ExitStack() as stack:
            addresses = _servers(folder, stack)
            task = describe(1, MEGABYTE)

            def rate(kind: str, clients: int = crowd.CLIENTS) -> float:
                return run_client(crowd.drive_many, kind, addresses[kind], task, _REQUESTS, clients)

            fills = throughput.FILLS * throughput.STEPS  # from then on the store's files are overwritten
            run_client(crowd.drive_many, "server", addresses["server"], task, fills)
            rates = take_turns(scale.rounds, {kind: _asking(rate, kind) for kind in addresses})
            title = "a key step of 1 MB, all clients asking"
            curve, growth = grow(
                scale, "serve-clients", title, "clients", "milliseconds an answer", CLIENTS,
                lambda clients: 1000 / rate("server", clients),
            )  # fmt: skip
    words = "key steps of 1 MB a second over a bare ROUTER/DEALER pair with the same bytes"
    ratios = [ratio("serve/bare", words, LIMIT, bare["ratios"], better=MORE, bar=0.85)]
    ratios += [
        ratio(f"serve/{kind}", f"{crowd.CLIENTS} clients, answers a second over {_WORDS[kind]}", PEER,
              over(rates["server"], found), better=MORE, bar=1.0)
        for kind, found in rates.items() if kind != "server"
    ]  # fmt: skip
    figures = {"key steps of 1 MB a second": bare["subgoals_per_second"], "the same, bare": bare["bare_per_second"]}
    how = "`ksgen-agent serve` with an imaginer that costs next to nothing, over loopback, processes of their own"
    return Part("serve", how, (*ratios, growth), figures, (curve,))


def _servers(folder: Path, stack: ExitStack) -> dict[str, str]:
    """Addresses of the server and of those that it is compared with; one whose library is not here is left out."""
    options = ("--jobs-per-worker", "2", *throughput.STORE)
    addresses = {"server": stack.enter_context(subgoal_server(folder / "compare", *options)).address}
    addresses["blocking"] = stack.enter_context(server_of(baselines.serve_blocking)).address
    if find_spec("websockets"):
        addresses["websocket"] = stack.enter_context(server_of(baselines.serve_websocket)).address
    return addresses


def _asking(rate: Callable[..., float], kind: str) -> Callable[[], Any]:
    return lambda: rate(kind)
