"""A human demonstration of a task, and how it lies on disk.

The simulator makes demonstrations (`ksgen_envs.demonstrate`) and training reads them; the types live here, in the
lowest package, so that training needs no simulator.

On disk a data set is a folder of episodes, ``<task>/<seed>.npz`` (``<seed>-<motion_seed>.npz`` where a motion seed
was given), each a plain NumPy archive without pickled objects:

================  ==========================================================================================
``meta``          UTF-8 JSON as uint8: format version, env id, seeds, task, descriptions, objects, look, fps
``frame``         PNG bytes, uint8
``images``        PNG bytes of the S key-step images and the goal image of the last step, joined
``images_at``     (S + 2,) int64 offsets into ``images``
``clips``         JPEG bytes (quality 95, no chroma subsampling) of the S × 16 clip frames, joined
``clips_at``      (S × 16 + 1,) int64 offsets into ``clips``
``keypoints``     (S, 16, 2, 21, 3) float32
``visible``       (S, 16, 2, 21) bool
``region_of_motion``, ``region_of_change``   (S, H, W) bool, packed along the last axis with ``numpy.packbits``
``poses``         (S + 1, N, 7) float32, position and quaternion (w, x, y, z) of the N objects before each step
                  and after the last
``camera``        (3, 3) intrinsics over (3, 4) world-to-camera, joined to (6, 4) float64 with a zero column
================  ==========================================================================================

An episode of stills (``<seed>-stills.npz``) has the same arrays, but zero frames a clip instead of 16. Where each step
was done in K ways it also has ``ways``, (S, K, 16, 2, 21, 3) float32, the keypoints of each.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import DatasetError

CLIP_FRAMES = 16
CLIP_FPS = 8.0
FORMAT_VERSION = 2
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in OpenCV's convention: x right, y down, z forward.

    Attributes:
        intrinsics: (3, 3) float64, in pixels of the (H, W) it renders.
        world_to_camera: (3, 4) float64, metres.
    """

    intrinsics: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]

    def project(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Project world points (..., 3) to (..., 3): x and y in pixels, z the camera depth in metres."""
        rotation, translation = self.world_to_camera[:, :3], self.world_to_camera[:, 3]
        seen = np.asarray(points, np.float64) @ rotation.T + translation
        depth = seen[..., 2:]
        pixels = seen @ self.intrinsics.T
        with np.errstate(divide="ignore", invalid="ignore"):  # a point in the camera has no place in the picture
            return np.concatenate([pixels[..., :2] / depth, depth], axis=-1)


@dataclass(frozen=True)
class HandLook:
    """How the demonstrating person's hands look.

    Attributes:
        skin: RGB in [0, 1].
        sleeve: RGB in [0, 1].
    """

    skin: tuple[float, float, float]
    sleeve: tuple[float, float, float]


@dataclass(frozen=True)
class DemonstrationStep:
    """One key step as a person did it.

    Attributes:
        description: the step's sentence.
        target: name of the object that the step moves, one of the demonstration's ``objects``.
        image: (H, W, 3) uint8, the clip's first frame.
        clip: (16, H, W, 3) uint8; here and below zero frames where only stills were made.
        keypoints: (16, 2, 21, 3) float32; x and y normalised, z camera depth in metres; NaN where the hand is absent.
        visible: (16, 2, 21) bool, inside the picture and not hidden behind anything.
        region_of_motion: (H, W) bool, convex hulls of the hands' keypoints, united over time.
        region_of_change: (H, W) bool, every pixel that differs from the key-step image in some frame.
        ways: (K, 16, 2, 21, 3) float32, ``keypoints`` of other ways to do the step, or None where none were asked for.
    """

    description: str
    target: str
    image: NDArray[np.uint8]
    clip: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    visible: NDArray[np.bool_]
    region_of_motion: NDArray[np.bool_]
    region_of_change: NDArray[np.bool_]
    ways: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Demonstration:
    """A task done by a person from start to end.

    Attributes:
        env_id: the Workbench task, e.g. ``"KSGen/StackBlocks-v0"``.
        seed: scene seed.
        motion_seed: seed of how it is done.
        task: one wording of the instruction.
        frame: (H, W, 3) uint8, the camera's picture before any hand appears.
        goal: (H, W, 3) uint8, the camera's picture when all is done and the hands are gone.
        camera: the camera that took every picture.
        fps: frames a second of the clips.
        look: the person's skin and sleeve.
        objects: names of the scene's objects, as one would say them, in the order of ``poses``.
        steps: the key steps, in order.
        poses: (S + 1, N, 7) float32, the objects before each step and after the last.
    """

    env_id: str
    seed: int
    motion_seed: int
    task: str
    frame: NDArray[np.uint8]
    goal: NDArray[np.uint8]
    camera: Camera
    fps: float
    look: HandLook
    objects: tuple[str, ...]
    steps: tuple[DemonstrationStep, ...]
    poses: NDArray[np.float32]

    def images(self) -> NDArray[np.uint8]:
        """(S + 1, H, W, 3): the key-step images and the goal."""
        return np.stack([*(step.image for step in self.steps), self.goal])


def save_demonstration(demonstration: Demonstration, path: str | Path) -> None:
    """Write one episode; the file appears whole or not at all."""
    steps = demonstration.steps
    images, images_at = _join([_encode(image, ".png") for image in demonstration.images()])
    clips, clips_at = _join([_encode(frame, ".jpg") for step in steps for frame in step.clip])
    camera = np.zeros((6, 4))
    camera[:3, :3] = demonstration.camera.intrinsics
    camera[3:] = demonstration.camera.world_to_camera
    meta = {
        "format": FORMAT_VERSION,
        "env_id": demonstration.env_id,
        "seed": demonstration.seed,
        "motion_seed": demonstration.motion_seed,
        "task": demonstration.task,
        "descriptions": [step.description for step in steps],
        "targets": [step.target for step in steps],
        "objects": list(demonstration.objects),
        "look": asdict(demonstration.look),
        "fps": demonstration.fps,
        "size": list(demonstration.frame.shape[:2]),
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        frame=np.frombuffer(_encode(demonstration.frame, ".png"), np.uint8),
        images=images,
        images_at=images_at,
        clips=clips,
        clips_at=clips_at,
        keypoints=np.stack([step.keypoints for step in steps]),
        visible=np.stack([step.visible for step in steps]),
        region_of_motion=np.packbits(np.stack([step.region_of_motion for step in steps]), axis=-1),
        region_of_change=np.packbits(np.stack([step.region_of_change for step in steps]), axis=-1),
        poses=demonstration.poses,
        camera=camera,
        **cast(Any, _ways(steps)),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(buffer.getvalue())
    partial.replace(path)


def _ways(steps: tuple[DemonstrationStep, ...]) -> dict[str, NDArray[np.float32]]:
    ways = [step.ways for step in steps if step.ways is not None]
    return {"ways": np.stack(ways)} if len(ways) == len(steps) else {}


def load_demonstration(path: str | Path) -> Demonstration:
    """Read one episode.

    Raises:
        DatasetError: the file is not an episode of this format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
        meta = episode_meta(data["meta"], path)
        images = [decode_picture(blob) for blob in split_blobs(data["images"], data["images_at"])]
        frames = [decode_picture(blob) for blob in split_blobs(data["clips"], data["clips_at"])]
        height, width = meta["size"]
        length = data["keypoints"].shape[1]  # frames a clip
        clips = np.array(frames, np.uint8).reshape(len(meta["descriptions"]), length, height, width, 3)
        motion, change = (
            np.unpackbits(data[name], axis=-1, count=width).astype(bool)
            for name in ("region_of_motion", "region_of_change")
        )
        ways = data.get("ways")
        steps = tuple(
            DemonstrationStep(
                description=description,
                target=meta["targets"][index],
                image=images[index],
                clip=clips[index],
                keypoints=data["keypoints"][index],
                visible=data["visible"][index],
                region_of_motion=motion[index],
                region_of_change=change[index],
                ways=None if ways is None else ways[index],
            )
            for index, description in enumerate(meta["descriptions"])
        )
        return Demonstration(
            env_id=meta["env_id"],
            seed=meta["seed"],
            motion_seed=meta["motion_seed"],
            task=meta["task"],
            frame=decode_picture(data["frame"]),
            goal=images[-1],
            camera=Camera(data["camera"][:3, :3], data["camera"][3:]),
            fps=meta["fps"],
            look=HandLook(tuple(meta["look"]["skin"]), tuple(meta["look"]["sleeve"])),
            objects=tuple(meta["objects"]),
            steps=steps,
            poses=data["poses"],
        )
    except DatasetError:
        raise
    except Exception as exc:
        raise DatasetError(f"{path} is not a readable episode ({exc}); delete it and generate it anew") from exc


def episode_meta(packed: NDArray[np.uint8], path: str | Path) -> dict[str, Any]:
    """The JSON in an episode's ``meta``.

    Raises:
        DatasetError: it is of another format.
        ValueError, KeyError: it is no episode's.
    """
    meta = json.loads(packed.tobytes())
    if meta["format"] != FORMAT_VERSION:
        raise DatasetError(f"{path}: format {meta['format']}, this version reads {FORMAT_VERSION}; generate it anew")
    return meta


def list_episodes(folder: str | Path) -> list[Path]:
    """All episodes under a data set's folder, in a stable order.

    Raises:
        DatasetError: there is none.
    """
    paths = sorted(path for path in Path(folder).glob("*/*.npz") if not path.name.startswith("."))
    if not paths:
        raise DatasetError(f"no episodes under {folder}; write some with `ksgen-agent generate-demos --out {folder}`")
    return paths


def _encode(image: NDArray[np.uint8], extension: str) -> bytes:
    import cv2

    options = (
        [
            cv2.IMWRITE_JPEG_QUALITY,
            _JPEG_QUALITY,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        if extension == ".jpg"
        else [cv2.IMWRITE_PNG_COMPRESSION, 4]
    )
    ok, blob = cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise DatasetError(f"cannot encode a picture of shape {image.shape} as {extension}")
    return blob.tobytes()


def decode_picture(blob: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    picture = cv2.imdecode(blob, cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError("an episode holds a picture that cannot be decoded; generate it anew")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _join(blobs: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    offsets = np.cumsum([0, *(len(blob) for blob in blobs)]).astype(np.int64)
    return np.frombuffer(b"".join(blobs), np.uint8), offsets


def split_blobs(joined: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    return [joined[start:end] for start, end in itertools.pairwise(offsets)]
