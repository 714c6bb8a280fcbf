"""Encoded clips on disk: the VAE and the text encoder see each clip and sentence once, not once an epoch.

An entry is a safetensors file named by the hash of everything it depends on (content of the clip, weights that encode,
size), so that nothing stale is ever read and several runs may share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ksgen_models.errors import DatasetError, KSGenError

Tensors = dict[str, Tensor]
_CHUNK = 1 << 22


class Cache:
    """Tensors by what they were made from."""

    def __init__(self, folder: Path) -> None:
        """The folder appears with the first entry."""
        self.folder = folder
        self._closed = False

    def close(self) -> None:
        """From now on everything must be there: what entries are made with is about to be freed."""
        self._closed = True

    def get(self, key: dict[str, Any], make: Callable[[], Tensors]) -> Tensors:
        """Read an entry, made first where it is missing or damaged.

        Raises:
            DatasetError: it cannot be written, or is missing after `close`.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = self.folder / name[:2] / f"{name}.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError, ValueError) as exc:
            if self._closed:
                raise DatasetError(
                    f"{path} was there and cannot be read any more ({exc}); go on with --resume"
                ) from exc
            made = {part: tensor.detach().cpu().contiguous() for part, tensor in make().items()}
        partial = path.with_name(f".{name}.{os.getpid()}.part")
        with writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                save_file(made, partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        return made


def weights_digest(folder: Path) -> str:
    """Hash of a component's configuration and weights; of an absent one, of nothing."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the system and the libraries say of a full disk or a read-only folder into a `DatasetError`."""
    from safetensors import SafetensorError

    try:
        yield
    except KSGenError:
        raise
    except (OSError, SafetensorError, RuntimeError) as exc:  # torch.save raises the last
        raise DatasetError(
            f"cannot write to {folder}: {exc!s:.300}; what was written before is kept, make room or choose another "
            "folder and go on with --resume"
        ) from exc
