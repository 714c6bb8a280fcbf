"""What the generators train on, computed once: latents, masks and small pictures of every clip, as arrays on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ksgen_models.demonstration import CLIP_FRAMES
from ksgen_models.mini.autoencoder import FACTOR, Autoencoder
from ksgen_models.mini.geometry import halve
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.precision import autocast
from ksgen_models.training.episodes import Episode, vocabulary
from ksgen_models.types import HAND_KEYPOINTS

CHANGE_THRESHOLD = 6
"""A pixel changed when a channel differs from the key-step image by more than this, of 255."""


@dataclass(frozen=True)
class Cache:
    """Arrays over N clips, E episodes and their K key steps; s is the latent's side. All of it is in memory.

    A clip takes about 0.3 MB, a picture 0.05 MB. Episodes of stills have key steps and pictures, but no clips.

    Attributes:
        latents: (N, 16, C, s, s) float16, normalised.
        tracks: (N, 16, 2, 21, 2) float32, the hands' keypoints, NaN where a hand is absent.
        masks: (N, 16, 2, 4s, 4s) uint8, region of motion and of change of each frame, 255 where all of the pixel is in.
        pictures: (P, 8s, 8s, 3) uint8, all key-step and goal images at half the model's size.
        ways: (M, 2s, 2s) uint8, region of motion of single ways to do a step, 255 where all of the pixel is in: those
            of the clips, and those of stills.
        way_picture, way_text: (M,) int64, the step's picture and sentence, likewise.
        clip_picture: (N,) int64, where in ``pictures`` the clip's key-step image is; its goal comes next.
        clip_text: (N,) int64 into ``texts``.
        looks: (N, 6) float32.
        step_text: (K,) int64 into ``texts``.
        first_step: (E + 1,) int64, the key steps of episode e are ``first_step[e]:first_step[e + 1]``.
        first_picture: (E + 1,) int64, likewise for pictures.
        key_latents: (L, C, s, s) float16, normalised: of every picture that a plan can begin with, that picture and all
            that follow it in its episode, each seen from it.
        plan_latents: (P,) int64, where in ``key_latents`` those of the plan from picture p begin.
        texts: distinct step sentences.
        scene, objects: (E,) int64 and (E, O) bool, indices into the names.
        scene_names, object_names: the names.
    """

    latents: NDArray[np.float16]
    tracks: NDArray[np.float32]
    masks: NDArray[np.uint8]
    pictures: NDArray[np.uint8]
    ways: NDArray[np.uint8]
    way_picture: NDArray[np.int64]
    way_text: NDArray[np.int64]
    clip_picture: NDArray[np.int64]
    clip_text: NDArray[np.int64]
    looks: NDArray[np.float32]
    step_text: NDArray[np.int64]
    first_step: NDArray[np.int64]
    first_picture: NDArray[np.int64]
    key_latents: NDArray[np.float16]
    plan_latents: NDArray[np.int64]
    texts: tuple[str, ...]
    scene: NDArray[np.int64]
    objects: NDArray[np.bool_]
    scene_names: tuple[str, ...]
    object_names: tuple[str, ...]


def frame_masks(
    frame: NDArray[np.uint8], image: NDArray[np.uint8], keypoints: NDArray[np.float32], size: int
) -> NDArray[np.uint8]:
    """Regions of motion and change of one frame: (H, W, 3) twice and (2, 21, 3) → (2, size, size) uint8."""
    import cv2

    hulls = _hulls(keypoints, frame.shape[:2])
    change = (np.abs(frame.astype(np.int16) - image).max(-1) > CHANGE_THRESHOLD).astype(np.uint8) * 255
    change = cv2.morphologyEx(change, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.stack([_shrunk(mask, size) for mask in (hulls, np.asarray(change, np.uint8))])


def _hulls(keypoints: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Where the hands (2, 21, 3) of one frame are, 0 or 255, (H, W) of that size: a hull for each."""
    import cv2

    height, width = size
    hulls = np.zeros((height, width), np.uint8)
    for hand in keypoints[..., :2]:
        inside = hand[((hand >= 0) & (hand < 1)).all(-1)]  # NaN, an absent hand, is not inside
        if len(inside) >= 3:
            cv2.fillConvexPoly(hulls, cv2.convexHull((inside * [width, height]).astype(np.int32)), 255)
    return hulls


def _shrunk(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W) uint8 → (size, size) uint8, averaged."""
    import cv2

    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _ways(episode: Episode) -> int:
    """How many regions of motion of single ways an episode gives."""
    return episode.ways.shape[0] * episode.ways.shape[1] + (episode.steps if episode.has_clips else 0)


@torch.no_grad()
def raw_latents(model: Autoencoder, pictures: NDArray[np.uint8], context: NDArray[np.uint8]) -> torch.Tensor:
    """Encode (N, H, W, 3) pictures of one context (H, W, 3) to float32 (N, C, h, w), not normalised."""
    with autocast():
        tensors = picture_tensor(torch.from_numpy(np.stack([*pictures, context])))
        return model.encode(tensors[:-1], tensors[-1:].expand_as(tensors[:-1])).float()


def build_cache(folder: Path, episodes: list[Episode], model: Autoencoder, names: tuple[tuple[str, ...], ...]) -> None:
    """Fill ``folder`` with the arrays of a `Cache`."""
    folder.mkdir(parents=True, exist_ok=True)
    size = episodes[0].image(0).shape[0]
    side, channels = size // FACTOR, model.config.latent_channels
    clips = sum(episode.steps for episode in episodes if episode.has_clips)
    pictures = sum(episode.steps + 1 for episode in episodes)
    seen = sum((episode.steps + 1) * (episode.steps + 2) // 2 for episode in episodes)

    def array(name: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)

    latents = array("latents", (clips, CLIP_FRAMES, channels, side, side), np.float16)
    tracks = array("tracks", (clips, CLIP_FRAMES, 2, HAND_KEYPOINTS, 2), np.float32)
    masks = array("masks", (clips, CLIP_FRAMES, 2, 4 * side, 4 * side), np.uint8)
    small = array("pictures", (pictures, 8 * side, 8 * side, 3), np.uint8)
    key_latents = array("key_latents", (seen, channels, side, side), np.float16)
    ways = array("ways", (sum(_ways(episode) for episode in episodes), 2 * side, 2 * side), np.uint8)
    clip_picture, clip_text, looks, step_text, first_step, first_picture = [], [], [], [], [0], [0]
    way_picture, way_text, plan_latents = [], [], []
    texts: dict[str, int] = {}
    clip = picture = latent = 0
    for episode in tqdm(episodes, desc="encode", unit="episode"):
        images = np.stack([episode.image(index) for index in range(episode.steps + 1)])
        small[picture : picture + len(images)] = [halve(image) for image in images]
        for first in range(len(images)):
            plan_latents.append(latent)
            from_here = model.normalise(raw_latents(model, images[first:], images[first])).numpy()
            key_latents[latent : latent + len(from_here)] = from_here
            latent += len(from_here)
        step_text.extend(texts.setdefault(description, len(texts)) for description in episode.descriptions)
        for step, description in enumerate(episode.descriptions):
            for way in episode.ways[step]:
                union = np.maximum.reduce([_hulls(keypoints, (size, size)) for keypoints in way])
                ways[len(way_picture)] = _shrunk(union, 2 * side)
                way_picture.append(picture + step)
                way_text.append(texts[description])
        for step in range(episode.steps if episode.has_clips else 0):
            frames = np.stack([episode.frame(step, time) for time in range(CLIP_FRAMES)])
            latents[clip] = model.normalise(raw_latents(model, frames, images[step])).numpy()
            tracks[clip] = episode.keypoints[step][..., :2]
            masks[clip] = [
                frame_masks(frame, images[step], keypoints, 4 * side)
                for frame, keypoints in zip(frames, episode.keypoints[step], strict=True)
            ]
            ways[len(way_picture)] = _shrunk(masks[clip, :, 0].max(0), 2 * side)
            way_picture.append(picture + step)
            way_text.append(texts[episode.descriptions[step]])
            clip_picture.append(picture + step)
            clip_text.append(texts[episode.descriptions[step]])
            looks.append(episode.look)
            clip += 1
        picture += len(images)
        first_step.append(len(step_text))
        first_picture.append(picture)
    scenes, objects = names
    np.savez(
        folder / "index.npz",
        way_picture=np.array(way_picture),
        way_text=np.array(way_text),
        clip_picture=np.array(clip_picture),
        clip_text=np.array(clip_text),
        looks=np.array(looks, np.float32),
        step_text=np.array(step_text),
        first_step=np.array(first_step),
        first_picture=np.array(first_picture),
        plan_latents=np.array(plan_latents),
        scene=np.array([scenes.index(episode.env_id) for episode in episodes]),
        objects=np.array([[name in episode.objects for name in objects] for episode in episodes]),
    )
    (folder / "names.json").write_text(json.dumps({"texts": list(texts), "scenes": scenes, "objects": objects}))


def cached(folder: Path, episodes: list[Episode], autoencoder: Autoencoder) -> Cache:
    """The cache of this autoencoder's latents in ``folder``, built if it is not there."""
    if not (folder / "names.json").exists():
        build_cache(folder, episodes, autoencoder, vocabulary(episodes))
    return open_cache(folder)


def open_cache(folder: Path) -> Cache:
    """Open what `build_cache` wrote."""
    index = dict(np.load(folder / "index.npz", allow_pickle=False))
    names = json.loads((folder / "names.json").read_text())
    # Not memory-mapped: batches are drawn at random, and where idle pages are dropped training waits for the disk.
    arrays = {
        name: np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("latents", "tracks", "masks", "ways", "pictures", "key_latents")
    }
    return Cache(
        **arrays,
        **index,
        texts=tuple(names["texts"]),
        scene_names=tuple(names["scenes"]),
        object_names=tuple(names["objects"]),
    )
