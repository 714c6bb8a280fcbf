"""What the progress network learns from: the pictures between the steps of every episode, and what is true of them.

Episodes say which steps are done in which picture. That a sentence about other things is not done, or names things that
are not there, follows from the names of the scene's objects; which of two blocks is the smaller from their poses.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_models.demonstration import decode_picture, episode_meta, list_episodes, split_blobs
from ksgen_models.errors import DatasetError
from ksgen_models.training.train_key_step import CHANGED

_THING = re.compile(r"\b([a-z]+ (?:block|ball|cylinder|peg|bin|hole))\b")


@dataclass(frozen=True)
class Work:
    """One episode.

    Attributes:
        scene: env id.
        pictures: PNG bytes of S + 1 pictures (H, W, 3): before each step and after the last.
        changes: (S, H, W) bool, which pixels each step changes.
        texts: indices of the steps' sentences.
        objects: names of what is in the scene.
        sizes: name of each block → its height, metres.
    """

    scene: str
    pictures: tuple[NDArray[np.uint8], ...]
    changes: NDArray[np.bool_]
    texts: tuple[int, ...]
    objects: frozenset[str]
    sizes: dict[str, float]


@dataclass(frozen=True)
class Works:
    """All episodes of a data set.

    Attributes:
        works: the episodes.
        texts: distinct sentences of steps, then the names of things.
        things: what each text names, "<colour> <kind>" in the order of naming.
        said: scene and things → indices of the sentences that say so.
        names: indices of the texts that are names alone.
    """

    works: tuple[Work, ...]
    texts: tuple[str, ...]
    things: tuple[tuple[str, ...], ...]
    said: dict[tuple[str, tuple[str, ...]], tuple[int, ...]]
    names: tuple[int, ...]


def things_in(sentence: str) -> tuple[str, ...]:
    """What a sentence names by colour and kind, in order: ("green block", "red block")."""
    return tuple(_THING.findall(sentence.lower()))


def read_works(folders: Sequence[str | Path], *, limit: int | None = None) -> Works:
    """Read every episode of one or more data sets; of clips nothing is read.

    Raises:
        DatasetError: no episode there, or one cannot be read.
    """
    texts: dict[str, int] = {}
    said: dict[tuple[str, tuple[str, ...]], dict[int, None]] = defaultdict(dict)
    works = []
    for folder in folders:
        for path in list_episodes(folder)[:limit]:
            work, descriptions = _read(path, texts)
            works.append(work)
            for text, description in zip(work.texts, descriptions, strict=True):
                if things := things_in(description):
                    said[work.scene, things][text] = None
    every = sorted({name for work in works for name in work.objects if things_in(name)})
    names = tuple(texts.setdefault(name, len(texts)) for name in every)
    return Works(
        tuple(works),
        tuple(texts),
        tuple(things_in(text) for text in texts),
        {key: tuple(indices) for key, indices in said.items()},
        names,
    )


def _read(path: Path, texts: dict[str, int]) -> tuple[Work, list[str]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = episode_meta(archive["meta"], path)
            blobs = split_blobs(archive["images"], archive["images_at"])
            poses = archive["poses"]
    except DatasetError:
        raise
    except Exception as exc:
        raise DatasetError(f"{path} is not a readable episode ({exc}); delete it and generate it anew") from exc
    objects = meta["objects"]
    pictures = np.stack([decode_picture(blob) for blob in blobs]).astype(np.int16)
    work = Work(
        scene=meta["env_id"],
        pictures=tuple(blobs),
        changes=np.abs(np.diff(pictures, axis=0)).max(-1) > CHANGED * 127.5,
        texts=tuple(texts.setdefault(text, len(texts)) for text in meta["descriptions"]),
        objects=frozenset(objects),
        # A block's centre is half its height above the table.
        sizes={name: float(2 * pose[2]) for name, pose in zip(objects, poses[0], strict=True) if "block" in name},
    )
    return work, meta["descriptions"]
