"""Readers of the annotation files of COIN, CrossTask, HT-Step, EPIC-KITCHENS and Ego4D, as published.

Each takes paths and gives `Annotations`. A file that is not the data set's raises `DatasetError`; a single entry that
makes no sense is a `Problem`, and the rest is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ksgen_export.curation.readers.coin import read_coin
from ksgen_export.curation.readers.crosstask import read_crosstask
from ksgen_export.curation.readers.ego4d import read_ego4d
from ksgen_export.curation.readers.epic import read_epic_kitchens
from ksgen_export.curation.readers.htstep import read_htstep
from ksgen_export.curation.segments import Annotations
from ksgen_models.errors import InvalidInput

__all__ = ["READERS", "Reader", "read_annotations", "read_coin", "read_crosstask", "read_ego4d", "read_epic_kitchens"]
__all__ += ["read_htstep"]


@dataclass(frozen=True)
class Reader:
    """How one data set is read.

    Attributes:
        read: the reader; takes as many paths as ``files``.
        files: what each path is, for people.
    """

    read: Callable[..., Annotations]
    files: tuple[str, ...]


READERS: dict[str, Reader] = {
    "coin": Reader(read_coin, ("COIN.json",)),
    "crosstask": Reader(read_crosstask, ("tasks_primary.txt or tasks_related.txt", "the annotations folder")),
    "htstep": Reader(read_htstep, ("the annotations JSON", "taxonomy.csv")),
    "epic-kitchens": Reader(read_epic_kitchens, ("EPIC_100_train.csv or another of its split files",)),
    "ego4d": Reader(read_ego4d, ("goalstep_*.json or fho_main.json",)),
}
"""The data sets by name."""


def read_annotations(source: str, files: Sequence[str | Path]) -> Annotations:
    """Read a data set's annotation files.

    Args:
        source: a key of `READERS`.
        files: the files that the reader takes, in its order.

    Raises:
        InvalidInput: there is no such data set, or it takes another number of files.
        DatasetError: a file cannot be read or is not the data set's.
    """
    if source not in READERS:
        raise InvalidInput(f'no annotations are called "{source}"; known are {", ".join(READERS)}')
    reader = READERS[source]
    if len(files) != len(reader.files):
        expected = "; ".join(reader.files)
        raise InvalidInput(f"{source} takes {len(reader.files)} annotation paths ({expected}), not {len(files)}")
    return reader.read(*files)
