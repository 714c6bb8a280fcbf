"""Imaginers that real worker processes run in the tests, named by their path; real parts without heavy models."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from blob_parts import PushVideo, Ruler, make_parts

from ksgen_agent import Agent
from ksgen_agent.fake_server import make_key_step
from ksgen_agent.imaginer import ImaginerSpec
from ksgen_models.interfaces import never_cancelled


class Staged(PushVideo):
    """Before each clip it notes its process and step in a folder, and waits there for a file ``go-<step>`` if a file
    ``hold-<step>`` says so; a file ``die-<step>`` costs the process its life, once."""

    def __init__(self, folder: Path, obedient: bool) -> None:
        super().__init__()
        self.folder, self.obedient = folder, obedient

    def generate(self, request, region, *, check_cancelled=never_cancelled):
        (self.folder / f"began-{request.index}-{os.getpid()}-{time.monotonic_ns()}").touch()
        death = self.folder / f"die-{request.index}"
        if death.exists():
            if death.read_text() != "always":
                death.unlink()
            os._exit(17)
        while (self.folder / f"hold-{request.index}").exists():
            if self.obedient:
                check_cancelled()
            time.sleep(0.01)
        return super().generate(request, region, check_cancelled=check_cancelled)


def blobs(device: str | None = None) -> Agent:
    return Agent("blobs", parts=make_parts())


def ruled() -> Agent:
    return Agent("push", parts=replace(make_parts(), verifier=Ruler()))


def staged(folder: str, obedient: bool = True) -> Agent:
    return Agent("staged", parts=make_parts(video=Staged(Path(folder), obedient)))


class Curt:
    """Makes one key step and waits to be stopped, whereupon it just ends."""

    spec = ImaginerSpec("curt", "One key step, then silence.", 8.0, 384, ("hand_rate",), 1280, {})

    def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False, cancel):
        yield make_key_step(0)
        cancel.wait()


def broken() -> Agent:
    return Agent("no-such-preset")


def staged_by_environment() -> Agent:
    return staged(os.environ["KSGEN_TEST_STAGE"])
