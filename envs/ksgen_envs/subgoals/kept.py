"""An imaginer that keeps what it imagined on disk, so that many runs do the same scenes with the same imaginations."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import Imaginer, ImaginerSpec, StreamEnd
from ksgen_envs.subgoals.imagining import options_of
from ksgen_models.types import KeyStep


class KeptImaginer:
    """Keeps imaginations in a folder, by (imaginer, frame, task, seed); satisfies `ksgen_agent.Imaginer`.

    Imaginations of another preset, or of other weights, lie beside each other and are never mixed up. Errors are not
    kept. An imagination of three key steps at 256 pixels takes about 3 MB.

    Args:
        imaginer: who imagines what is not there yet; never closed here.
        folder: of the imaginations (`Imagination.load` reads each of its folders).
    """

    def __init__(self, imaginer: Imaginer, folder: str | Path) -> None:
        self._imaginer, self._folder = imaginer, Path(folder)

    @property
    def spec(self) -> ImaginerSpec:
        """Of the imaginer inside."""
        return self._imaginer.spec

    def imagine(
        self,
        frame: NDArray[np.uint8],
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        cancel: threading.Event | None = None,
    ) -> Imagination:
        """As the imaginer inside, which is asked once for the same frame, task and seed.

        ``cancel`` is passed on where the imaginer inside takes it.

        Raises:
            DatasetError: what lies in the folder cannot be read, or nothing can be written there.
        """
        place = self._folder / self._name(frame, task, seed, allow_out_of_domain)
        if place.is_dir():
            return Imagination.load(place)
        options = options_of(self._imaginer.imagine, allow_out_of_domain, cancel)
        imagined = self._imaginer.imagine(frame, task, seed=seed, **options)
        imagined.save(place)
        return imagined

    def imagine_stream(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Generator[KeyStep, None, StreamEnd | None]:
        """The key steps of `imagine`, all at once."""
        whole = self.imagine(frame, task, seed=seed, allow_out_of_domain=allow_out_of_domain)
        yield from whole.steps
        return StreamEnd(whole.plan, whole.timings)

    def _name(self, frame: NDArray[np.uint8], task: str, seed: int, allow_out_of_domain: bool) -> str:
        spec = self.spec
        asked = [
            spec.preset,
            spec.provenance,
            hashlib.sha256(np.ascontiguousarray(frame).data).hexdigest(),
            list(frame.shape),
            task,
            int(seed),
            bool(allow_out_of_domain),
        ]
        return hashlib.sha256(json.dumps(asked, default=str, sort_keys=True).encode()).hexdigest()[:32]
