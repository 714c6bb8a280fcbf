"""The dataset formats by name, and what a path on disk holds.

The three formats are ``lerobot``, ``robomimic`` and ``minari``. As a source serve further: ``imagination`` (a folder of
`Imagination.save`), a folder of such folders, and ``demonstrations`` (a folder of `ksgen-agent generate-demos`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ksgen_export.conversion import episode_of_demonstration, episode_of_imagination
from ksgen_export.episode import Episode, EpisodeWriter
from ksgen_models.errors import DatasetError, InvalidInput

FORMATS = ("lerobot", "robomimic", "minari")


class EpisodeSource(Protocol):
    """Episodes that are read one at a time."""

    @property
    def folder(self) -> Path:
        """Where they lie."""
        ...

    def __len__(self) -> int:
        """Number of episodes."""
        ...

    def __getitem__(self, index: int) -> Episode:
        """Read an episode; `DatasetError` where a file of it is missing or damaged."""
        ...

    def __iter__(self) -> Iterator[Episode]:
        """Read one after the other."""
        ...


def open_writer(format_name: str, folder: str | Path, **options: Any) -> EpisodeWriter:
    """A writer of one of `FORMATS`.

    Args:
        format_name: the format.
        folder: of the dataset.
        options: of the writer's class.

    Raises:
        InvalidInput: there is no such format.
        DatasetError: something else lies in the folder.
    """
    if format_name == "lerobot":
        from ksgen_export.lerobot.writer import LeRobotWriter

        return LeRobotWriter(folder, **options)
    if format_name == "robomimic":
        from ksgen_export.robomimic import RobomimicWriter

        return RobomimicWriter(folder, **options)
    if format_name == "minari":
        from ksgen_export.minari import MinariWriter

        return MinariWriter(folder, **options)
    near = difflib.get_close_matches(format_name, FORMATS, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InvalidInput(f"there is no format {format_name!r}, there are {', '.join(FORMATS)}{hint}")


def open_source(path: str | Path) -> EpisodeSource:
    """Whatever episodes a folder holds.

    Raises:
        DatasetError: it holds none that this release knows.
    """
    folder = Path(path)
    if (folder / "meta/info.json").exists():
        from ksgen_export.lerobot.reader import LeRobotReader

        return LeRobotReader(folder)
    if (folder / "dataset.hdf5").exists():
        from ksgen_export.robomimic import RobomimicReader

        return RobomimicReader(folder)
    if (folder / "data/metadata.json").exists():
        from ksgen_export.minari import MinariReader

        return MinariReader(folder)
    if (folder / "imagination.json").exists():
        return FolderSource(folder, [folder])
    if found := sorted(inner.parent for inner in folder.glob("**/imagination.json")):
        return FolderSource(folder, found)
    if found := sorted(inner for inner in folder.glob("*/*.npz") if not inner.name.startswith(".")):
        return FolderSource(folder, [inner for inner in found if not inner.stem.endswith("-stills")])
    raise DatasetError(
        f"{folder} holds no dataset, imagination or demonstration; give a folder that `ksgen-agent export`, "
        "`ksgen-agent imagine` or `ksgen-agent generate-demos` wrote"
    )


class FolderSource:
    """Saved imaginations or demonstrations as episodes, in the order of their names.

    Args:
        folder: where they lie.
        paths: of each: a folder of `Imagination.save`, or an ``.npz`` file of `save_demonstration`.
    """

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self._folder, self._paths = folder, tuple(paths)

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self._folder

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Episode:
        """Read an episode.

        Raises:
            DatasetError: it is missing or damaged.
        """
        path = self._paths[index]
        if path.suffix == ".npz":
            from ksgen_models.demonstration import load_demonstration

            return episode_of_demonstration(load_demonstration(path))
        from ksgen_agent import Imagination

        return episode_of_imagination(Imagination.load(path))

    def __iter__(self) -> Iterator[Episode]:
        return (self[index] for index in range(len(self)))
