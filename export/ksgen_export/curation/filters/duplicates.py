"""Near-duplicates by a perceptual hash: 256 bits a frame, the signs of its lowest frequencies (pHash, Zauner 2010).

An index of what was kept holds every frame's hash in parts of 16 bits. Hashes that differ in fewer bits than there are
parts share at least one part, so that looking up the parts misses nothing (Manku, Jain & Das Sarma 2007) and a subclip
need not be held against all others. In a large job it grows by about 2 kB a subclip.
"""

from __future__ import annotations

from array import array
from collections import Counter

import cv2
import numpy as np
from numpy.typing import NDArray

from ksgen_export.curation.filters.scaling import grey

_PICTURE, _KEPT = 64, 16
_PARTS = _KEPT * _KEPT // 16
MOST_BITS = _PARTS - 1
"""The index finds every frame that differs in so many bits or fewer."""


def frame_hashes(frames: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Hashes of the frames (T, H, W, 3) uint8: (T, 16) uint16, 256 bits a frame."""
    hashes = []
    for frame in frames:
        picture = cv2.resize(grey(frame, 256), (_PICTURE, _PICTURE), interpolation=cv2.INTER_AREA).astype(np.float32)
        low = cv2.dct(cv2.GaussianBlur(picture, (0, 0), 1.0))[1 : _KEPT + 1, 1 : _KEPT + 1]
        hashes.append(np.packbits(low > np.median(low)).view(np.uint16))
    return np.array(hashes, np.uint16).reshape(len(frames), _PARTS)


def bits_apart(first: NDArray[np.uint16], second: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Number of bits that differ between hashes (..., 16); the shapes are broadcast."""
    return np.asarray(np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64))


class DuplicateIndex:
    """What was kept so far, to find a subclip that was there before, also when it begins some frames later."""

    def __init__(self, bits: int) -> None:
        """Frames are the same when they differ in at most ``bits`` bits, at most `MOST_BITS`."""
        self._bits = min(bits, MOST_BITS)
        self._buckets: dict[int, array[int]] = {}  # part and its value to numbers of frames
        self._hashes = np.zeros((1024, _PARTS), np.uint16)  # by number of the frame; grows by doubling
        self._owners = array("I")  # by number of the frame: number of its subclip
        self._names: list[str] = []

    def add(self, name: str, hashes: NDArray[np.uint16]) -> None:
        """Remember a subclip by its frames' hashes (T, 16)."""
        for frame in hashes:
            number = len(self._owners)
            if number == len(self._hashes):
                self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._hashes[number] = frame
            self._owners.append(len(self._names))
            for key in _keys(frame):
                self._buckets.setdefault(key, array("I")).append(number)
        self._names.append(name)

    def find(self, hashes: NDArray[np.uint16]) -> tuple[str, float]:
        """The subclip that has most of these frames, and the share of the frames that anything kept has.

        Returns:
            Name and share in [0, 1]; an empty name and 0 when nothing kept has any of the frames.
        """
        owners: Counter[int] = Counter()
        seen = 0
        for frame in hashes:
            found = {self._owners[number] for number in self._near(frame)}
            owners.update(found)
            seen += bool(found)
        return (self._names[owners.most_common(1)[0][0]], seen / len(hashes)) if owners else ("", 0.0)

    def _near(self, frame: NDArray[np.uint16]) -> list[int]:
        """Numbers of the remembered frames that are the same as this one."""
        numbers = sorted({number for key in _keys(frame) for number in self._buckets.get(key, ())})
        apart = bits_apart(self._hashes[numbers], frame)
        return [number for number, bits in zip(numbers, apart, strict=True) if bits <= self._bits]


def _keys(frame: NDArray[np.uint16]) -> list[int]:
    return [(part << 16) | value for part, value in enumerate(frame.tolist())]
