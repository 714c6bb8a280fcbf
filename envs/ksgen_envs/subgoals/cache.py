"""An imaginer that remembers what it imagined."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import Imaginer, ImaginerSpec, StreamEnd
from ksgen_envs.subgoals.imagining import options_of
from ksgen_models.errors import InvalidInput
from ksgen_models.types import KeyStep

_Key = tuple[Any, ...]


class CachedImaginer:
    """Keeps the last imaginations by (frame, task, seed); satisfies `ksgen_agent.Imaginer`, from any thread.

    Worth it where scenes repeat exactly: fixed reset seeds, evaluation, several learners on one scene. An imagination
    of three key steps at 256 pixels takes about 12 MB. Errors are not kept.

    Args:
        imaginer: who imagines what is not known yet; never closed here.
        size: imaginations kept; the one unused for longest goes first.

    Attributes:
        hits, misses: how often an imagination that was asked for was known, and how often not.

    Raises:
        InvalidInput: ``size`` is below 1.
    """

    def __init__(self, imaginer: Imaginer, size: int = 32) -> None:
        if size < 1:
            raise InvalidInput(f"size is {size}; a cache keeps at least 1 imagination")
        self._imaginer = imaginer
        self._size = size
        self._kept: OrderedDict[_Key, Imagination] = OrderedDict()
        self._guard = threading.Lock()
        self.hits = self.misses = 0

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
        """As the imaginer inside, once for the same frame, task and seed.

        ``cancel`` is passed on where the imaginer inside takes it.
        """
        key = _key(frame, task, seed, allow_out_of_domain)
        known = self._look_up(key)
        if known is None:
            options = options_of(self._imaginer.imagine, allow_out_of_domain, cancel)
            known = self._keep(key, self._imaginer.imagine(frame, task, seed=seed, **options))
        return known

    def imagine_stream(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Generator[KeyStep, None, StreamEnd | None]:
        """The key steps, at once where `imagine` made them before; what is only streamed is not kept."""
        known = self._look_up(_key(frame, task, seed, allow_out_of_domain))
        if known is not None:
            yield from known.steps
            return StreamEnd(known.plan, known.timings)
        return (
            yield from self._imaginer.imagine_stream(frame, task, seed=seed, allow_out_of_domain=allow_out_of_domain)
        )

    @property
    def imagine_batch(self) -> Callable[..., list[Imagination | Exception]] | None:
        """As `BatchImaginer.imagine_batch`, asking only for what is not known; None where the imaginer has none."""
        return self._batch if callable(getattr(self._imaginer, "imagine_batch", None)) else None

    def _batch(
        self,
        frames: Sequence[NDArray[np.uint8]],
        tasks: Sequence[str],
        *,
        seeds: Sequence[int],
        allow_out_of_domain: bool = False,
        cancel: threading.Event | None = None,
    ) -> list[Imagination | Exception]:
        inside: Any = self._imaginer
        keys = [_key(*asked, allow_out_of_domain) for asked in zip(frames, tasks, seeds, strict=True)]
        found: dict[_Key, Imagination | Exception | None] = {key: self._look_up(key) for key in dict.fromkeys(keys)}
        missing = [keys.index(key) for key, known in found.items() if known is None]
        if missing:
            results = inside.imagine_batch(
                [frames[i] for i in missing],
                [tasks[i] for i in missing],
                seeds=[seeds[i] for i in missing],
                **options_of(inside.imagine_batch, allow_out_of_domain, cancel),
            )
            for i, result in zip(missing, results, strict=True):
                found[keys[i]] = result if isinstance(result, Exception) else self._keep(keys[i], result)
        return [result for key in keys if (result := found[key]) is not None]

    def _look_up(self, key: _Key) -> Imagination | None:
        with self._guard:
            known = self._kept.get(key)
            if known is None:
                self.misses += 1
            else:
                self.hits += 1
                self._kept.move_to_end(key)
            return known

    def _keep(self, key: _Key, imagination: Imagination) -> Imagination:
        with self._guard:
            self._kept[key] = imagination
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return imagination


def _key(frame: NDArray[np.uint8], task: str, seed: int, allow_out_of_domain: bool) -> _Key:
    digest = hashlib.sha256(np.ascontiguousarray(frame).data).digest()
    return digest, frame.shape, frame.dtype.str, task, int(seed), bool(allow_out_of_domain)
