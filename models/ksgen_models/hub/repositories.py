"""Find a checkpoint: a folder, a copy of a hub repository, the hub's cache and, only when asked for, the hub."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from ksgen_models.errors import WeightsMissing
from ksgen_models.hub.checkpoints import PICKLES

FOLDER = "KSGEN_WEIGHTS"
"""Environment variable: a folder in which the repository ``owner/name`` lies at ``owner/name``."""


def find_checkpoint(
    source: str | Path, revision: str | None = None, *, download: bool = False, patterns: Collection[str] | None = None
) -> Path:
    """The folder of a checkpoint.

    Args:
        source: a folder that ``save_pretrained`` wrote, or a repository of the hub (``"owner/name"``, or
            ``"owner/name@revision"``), which is looked for below the folder that the environment variable
            ``KSGEN_WEIGHTS`` names, then in the hub's cache.
        revision: commit, tag or branch of the repository; without meaning for a folder.
        download: fetch what the cache lacks.
        patterns: of the repository's files that are needed, as `fnmatch` has them; None for all. Pickles never are.

    Raises:
        WeightsMissing: it is not here, or the hub cannot be reached; says what to run.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not is_repository(source):
        raise WeightsMissing(f"there is no folder {folder}; name one that save_pretrained wrote")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, _, pinned = str(source).partition("@")
    revision = pinned or revision
    if (mirrored := mirror_of(repository)).is_dir():
        return mirrored
    try:
        found = snapshot_download(
            repository,
            revision=revision,
            local_files_only=not download,
            allow_patterns=list(patterns) if patterns else None,
            ignore_patterns=[f"*{suffix}" for suffix in PICKLES],
        )
    except LocalEntryNotFoundError as exc:
        where = "not on this machine and the hub cannot be reached" if download else "not on this machine"
        raise WeightsMissing(f"{repository} is {where}; {how_to_get(repository, revision, patterns)}") from exc
    except Exception as exc:
        raise WeightsMissing(
            f"{repository} cannot be fetched ({type(exc).__name__}: {exc!s:.200}); check its name and revision, accept "
            f"its licence and log in where the hub asks for that, and {how_to_get(repository, revision, patterns)}"
        ) from exc
    return Path(found)


def is_repository(source: str | Path) -> bool:
    """Whether this can be the name of a hub repository, ``"owner/name"``, and is no path."""
    if isinstance(source, Path) or source.startswith(("/", ".", "~")) or "\\" in source:
        return False
    owner, slash, name = source.partition("@")[0].partition("/")
    return bool(owner and slash and name) and "/" not in name


def mirror_of(repository: str) -> Path:
    """Where a repository lies below ``KSGEN_WEIGHTS``; a folder that does not exist where that is not set."""
    return Path(os.environ.get(FOLDER) or os.devnull).expanduser() / repository


def how_to_get(repository: str, revision: str | None = None, patterns: Collection[str] | None = None) -> str:
    """What to run to have a repository, or those of its files that match the patterns, here."""
    pinned = f" --revision {revision}" if revision else ""
    some = "".join(f" --include '{pattern}'" for pattern in patterns or ())
    return (
        f"run: hf download {repository}{pinned}{some} (without network: on another machine, with --local-dir, and copy "
        f"the folder to ${FOLDER}/{repository}), or name a folder that has it"
    )
