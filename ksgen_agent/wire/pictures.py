"""Pictures and clips compressed for the wire; needs Pillow and PyAV, so only who asks for compression needs them."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidFrame, PresetError, ProtocolError

_FORMATS = {"jpeg": "JPEG", "png": "PNG"}
_JPEG_QUALITY = 92
_MP4_QUALITY = "18"  # x264's constant rate factor


def guess_encoding(blob: bytes) -> str:
    """``"jpeg"`` or ``"png"`` by the first bytes.

    Raises:
        InvalidFrame: neither.
    """
    if blob[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if blob[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    raise InvalidFrame(
        "the frame's bytes are neither JPEG nor PNG; pass such a file's bytes or a (H, W, 3) uint8 array"
    )


def encode_picture(image: NDArray[np.uint8], encoding: str) -> bytes:
    """Compress a (H, W, 3) uint8 picture as ``"jpeg"`` or ``"png"``."""
    pillow = _need("PIL.Image")
    buffer = io.BytesIO()
    options = {"quality": _JPEG_QUALITY, "subsampling": 0} if encoding == "jpeg" else {"compress_level": 1}
    pillow.fromarray(image).save(buffer, _FORMATS[encoding], **options)
    return buffer.getvalue()


def decode_picture(blob: Any, encoding: str, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Decompress a picture to (H, W, 3) uint8; its size is read from the file and checked before any pixel is.

    Args:
        blob: the file's bytes.
        encoding: ``"jpeg"`` or ``"png"``; no other decoder is tried.
        shape: what was declared; None takes any size that `ksgen_agent.frames` accepts.

    Raises:
        InvalidFrame: it is damaged, of another format, or not of the declared size.
    """
    pillow, ops = _need("PIL.Image"), _need("PIL.ImageOps")
    from ksgen_agent.frames import GREATEST_SIDE

    try:
        with pillow.open(io.BytesIO(blob), formats=[_FORMATS[encoding]]) as image:
            if max(image.size) > GREATEST_SIDE:
                raise InvalidFrame(f"the picture is {image.width} × {image.height} pixels, over {GREATEST_SIDE}")
            if shape is not None and shape != (image.height, image.width, 3):
                raise InvalidFrame(f"the picture is {image.width} × {image.height} pixels, declared was {shape}")
            upright = ops.exif_transpose(image) if shape is None else image
            return np.array(upright.convert("RGB"))
    except InvalidFrame:
        raise
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as exc:
        raise InvalidFrame(f"the picture is no readable {encoding} ({exc})") from exc


def encode_clip(clip: NDArray[np.uint8], fps: float) -> bytes:
    """Compress a (T, H, W, 3) uint8 clip as H.264 in MP4; odd sides are cut by one pixel."""
    av = _need("av")
    height, width = clip.shape[1] // 2 * 2, clip.shape[2] // 2 * 2  # 4:2:0 chroma wants even sizes
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": _MP4_QUALITY}
        for image in clip[:, :height, :width]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_clip(blob: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Decompress an MP4 clip to its declared (T, H, W, 3); the row or column that an odd side lost is repeated.

    Raises:
        ProtocolError: it is damaged or not of the declared size.
    """
    av = _need("av")
    if len(shape) != 4 or shape[3] != 3:
        raise ProtocolError(f"a clip has shape (T, H, W, 3), declared was {shape}")
    frames, height, width = shape[:3]
    images: list[NDArray[np.uint8]] = []
    try:
        with av.open(io.BytesIO(blob), format="mp4") as container:
            stream = container.streams.video[0]
            if (stream.height, stream.width) != (height // 2 * 2, width // 2 * 2):
                raise ProtocolError(f"the clip is {stream.width} × {stream.height} pixels, declared was {shape}")
            for frame in container.decode(stream):
                images.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                if len(images) > frames or images[-1].shape[:2] != (height // 2 * 2, width // 2 * 2):
                    break
    except ProtocolError:
        raise
    except Exception as exc:  # FFmpeg's errors have no common class that covers a missing stream
        raise ProtocolError(f"the clip is no readable MP4 ({exc})") from exc
    if len(images) != frames or any(image.shape != images[0].shape for image in images):
        raise ProtocolError(f"the clip has {len(images)} frames, or frames of several sizes; declared was {shape}")
    return np.pad(np.stack(images), ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _need(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as exc:
        raise PresetError(
            f"compressed pictures and clips need {module.partition('.')[0]}; "
            "send and ask for raw ones, or pip install 'ksgen-agent[imagine]'"
        ) from exc
