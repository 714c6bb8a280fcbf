"""From camera frames of any size to the square pictures that the mini models see, and back without loss outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Square:
    """How a frame was put into a square: padded at its edges, then resized.

    Attributes:
        height, width: of the frame, in pixels.
        size: side of the square picture.
    """

    height: int
    width: int
    size: int

    @property
    def side(self) -> int:
        """Side of the padded frame before resizing."""
        return max(self.height, self.width)

    def to_square(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) → (size, size, 3); edges are repeated where the frame is not square."""
        import cv2

        if (self.height, self.width) == (self.size, self.size):
            return frame
        top, left = self._offsets()
        padded = cv2.copyMakeBorder(
            frame, top, self.side - self.height - top, left, self.side - self.width - left, cv2.BORDER_REPLICATE
        )
        method = cv2.INTER_AREA if self.side > self.size else cv2.INTER_CUBIC
        return cv2.resize(padded, (self.size, self.size), interpolation=method).astype(np.uint8, copy=False)

    def from_square(self, picture: NDArray[np.floating]) -> NDArray[np.float32]:
        """(s, s) or (s, s, C) float, of any side s → (H, W) or (H, W, C) float32."""
        import cv2

        if (self.height, self.width) == picture.shape[:2]:
            return picture.astype(np.float32, copy=False)
        grown = cv2.resize(picture.astype(np.float32), (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        top, left = self._offsets()
        return grown[top : top + self.height, left : left + self.width].astype(np.float32, copy=False)

    def _offsets(self) -> tuple[int, int]:
        return (self.side - self.height) // 2, (self.side - self.width) // 2


def lay_over(
    context: NDArray[np.uint8], colour: NDArray[np.float32], opacity: NDArray[np.float32], square: Square
) -> NDArray[np.uint8]:
    """Lay new pixels over a frame: (H, W, 3) uint8, (s, s, 3) in [-1, 1], (s, s) in [0, 1] → (H, W, 3) uint8.

    Where the opacity is below a hundredth the frame's own bytes stay.
    """
    alpha = square.from_square(opacity)[..., None]
    new = square.from_square((colour + 1.0) * 127.5)
    mixed = context + alpha * (new - context)
    return np.where(alpha < 0.01, context, np.rint(mixed).clip(0, 255)).astype(np.uint8)


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average (H, W, 3) over 2×2 pixels."""
    import cv2

    height, width = image.shape[:2]
    return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
