"""The frame that an item begins with, and what is to be done in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.frames import WORKING_SIDE, read_frame
from ksgen_export.generation.items import Item
from ksgen_export.generation.options import GenerationOptions
from ksgen_models.errors import InvalidInput


def start_of(item: Item, options: GenerationOptions) -> tuple[NDArray[np.uint8], str]:
    """The item's frame, (H, W, 3) uint8, and its task in words.

    Raises:
        InvalidFrame: the photo cannot be read.
    """
    if item.scene is None:
        photo = read_frame(Path(item.folder) / item.photo)
        return (fit_photo(photo, options.photo_size) if options.photo_size else photo), item.task
    from ksgen_envs import Workbench
    from ksgen_envs.offscreen import first_picture

    bench = Workbench(item.task, item.scene, image_size=options.image_size)
    return first_picture(bench), bench.instruction.task


def fit_photo(photo: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The photo at (width, height), cropped to that shape around its middle: nothing is stretched."""
    from PIL import Image, ImageOps

    return np.array(ImageOps.fit(Image.fromarray(photo), size, Image.Resampling.LANCZOS))


def check_photos(items: Sequence[Item], size: tuple[int, int] | None) -> None:
    """Check that all photos come to one size, by their heads alone; those that cannot be read are passed over.

    Raises:
        InvalidInput: they do not.
    """
    if size is not None:
        return
    found: dict[tuple[int, int], str] = {}
    for item in {item.photo: item for item in items if item.photo}.values():
        if (measured := _working_size(Path(item.folder) / item.photo)) is not None:
            found.setdefault(measured, item.photo)
        if len(found) > 1:
            (one, first), (other, second) = list(found.items())[:2]
            raise InvalidInput(
                f"{first} has {one[0]}×{one[1]} pixels and {second} has {other[0]}×{other[1]}; a data set has one "
                "size, give a photo size that all are brought to"
            )


def _working_size(path: Path) -> tuple[int, int] | None:
    """(width, height) that `read_frame` would give."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            # A picture lying on its side is turned upright when it is read.
            if image.getexif().get(0x0112, 1) >= 5:
                width, height = height, width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    scale = min(1.0, WORKING_SIDE / max(width, height))
    return round(width * scale), round(height * scale)
