"""Measures one generated clip against its real one: features of both, then figures of the pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidClip
from ksgen_models.metrics.catalogue import METRICS, SET
from ksgen_models.metrics.hands import hand_structure_error, keypoint_error, measured_keypoints, region_agreement
from ksgen_models.metrics.motion import farneback_flow, flow_distance
from ksgen_models.metrics.networks.loading import Choice, load_network
from ksgen_models.metrics.pictures import background_drift
from ksgen_models.rom import region_of_keypoints
from ksgen_models.types import HandTrack
from ksgen_models.video_io import check_clip

FRAMES = 16
"""Frames of a clip that are looked at, the context frame included (IVG §4.3)."""

Features = Mapping[str, NDArray[Any]]
Judge = Callable[[str, NDArray[np.uint8], float, str], float]
"""(key, clip (T, H, W, 3) uint8, frames a second, sentence) → the figure of a metric that looks at the clip alone."""

# Which arrays the metrics of a whole set are made from.
SET_FEATURES = {
    "fid": "inception",
    "fvd": "i3d",
    "fd_efficientnet_lite0": "lite_frames",
    "fd_video_efficientnet_lite0": "lite_video",
    "text_by_retrieval": "lite_video",
}


@dataclass(frozen=True)
class Pair:
    """What was measured of one pair.

    Attributes:
        scalars: figure of each pair metric; NaN where there was nothing to measure.
        features: arrays for the metrics of the whole set.
    """

    scalars: Mapping[str, float]
    features: Features


def matched(generated: NDArray[np.uint8], real: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both clips with the same number of frames and of the real clip's size.

    As many frames as the shorter clip has, at most `FRAMES`, are taken evenly from the first to the last of each.

    Raises:
        InvalidClip: a clip has fewer than two frames.
    """
    import cv2

    number = min(FRAMES, len(check_clip(generated)), len(check_clip(real)))
    if number < 2:
        raise InvalidClip(f"clips of {len(generated)} and {len(real)} frames cannot be compared; two are the least")
    drawn, true = _evenly(generated, number), _evenly(real, number)
    height, width = true.shape[1:3]
    if drawn.shape[1:3] != (height, width):
        method = cv2.INTER_AREA if drawn.shape[1] > height else cv2.INTER_CUBIC
        drawn = np.stack([cv2.resize(frame, (width, height), interpolation=method) for frame in drawn])
    return drawn, true


def _evenly(clip: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    return clip if len(clip) == number else clip[np.round(np.linspace(0, len(clip) - 1, number)).astype(int)]


class Measurer:
    """Holds the networks of a `Choice`, each loaded when it is first used. `close` it.

    Args:
        choice: what is measured.
        judges: metric → who measures it, for those of ``choice`` that need one.
    """

    def __init__(self, choice: Choice, judges: Mapping[str, Judge] | None = None) -> None:
        self.choice = choice
        self._judges = dict(judges or {})
        self.identity = repr([choice.metrics, *(found.identity for found in choice.networks.values())])
        self._loaded: dict[str, Any] = {}

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what wants to be freed by hand."""
        tracker = self._loaded.pop("hands", None)
        if tracker is not None:
            tracker.close()
        self._loaded.clear()

    def network(self, name: str) -> Any:
        """A network of the choice, loaded."""
        if name not in self._loaded:
            self._loaded[name] = load_network(self.choice.networks[name])
        return self._loaded[name]

    def features(self, clip: NDArray[np.uint8], fps: float) -> dict[str, NDArray[Any]]:
        """Everything that one clip alone gives, of its frames after the first (hands: of all).

        Args:
            clip: (T, H, W, 3) uint8, from `matched`.
            fps: frames a second.
        """
        after = clip[1:]
        makers: dict[str, Callable[[], dict[str, NDArray[Any]]]] = {
            "clip": lambda: {"clip": self.network("clip").pictures(after)},
            "blip": lambda: {"blip": self.network("blip").pictures(after)},
            "dino": lambda: {"dino": self.network("dino").pictures(after)},
            "action": lambda: {"action": self.network("action").video(after)},
            "inception": lambda: {"inception": self.network("inception").inception(after)},
            "i3d": lambda: {"i3d": self.network("i3d").i3d(after)[None]},
            "egovlp": lambda: {"egovlp": _egovlp(self.network("egovlp"), after)},
            "efficientnet_lite0": lambda: _efficientnet(self.network("efficientnet_lite0"), after),
            "hands": lambda: _hands(self.network("hands").track(clip, fps)),
        }
        made: dict[str, NDArray[Any]] = {}
        for name in self.choice.networks:
            if name in makers:
                made |= makers[name]()
        return made

    def pair(
        self,
        generated: NDArray[np.uint8],
        real: NDArray[np.uint8],
        real_features: Features,
        fps: float,
        text: str,
        key: str = "",
    ) -> Pair:
        """Measure a pair of `matched` clips.

        Args:
            generated, real: (T, H, W, 3) uint8.
            real_features: what `features` gave for ``real``.
            fps: frames a second of the generated clip.
            text: the step's sentence; metrics of text are NaN without one.
            key: of the clips, for judges.
        """
        comparison = _Comparison(self, generated, real, self.features(generated, fps), real_features, text)
        metrics = [name for name in self.choice.metrics if METRICS[name].kind != SET and name not in SET_FEATURES]
        scalars = {
            name: self._judges[name](key, generated, fps, text) if METRICS[name].judge else comparison.figure(name)
            for name in metrics
        }
        kept = {SET_FEATURES[name] for name in self.choice.metrics if name in SET_FEATURES}
        return Pair(scalars, {name: comparison.drawn[name] for name in sorted(kept)})


@dataclass(frozen=True)
class _Comparison:
    """Two clips, their features, and every figure of the two."""

    measurer: Measurer
    generated: NDArray[np.uint8]
    real: NDArray[np.uint8]
    drawn: Features
    true: Features
    text: str

    def figure(self, name: str) -> float:
        """The figure of one metric."""
        return float(getattr(self, f"_{name}")())

    def _clip_to_real(self) -> float:
        return 100 * paired_cosine(self.drawn["clip"], self.true["clip"])

    def _clip_consecutive(self) -> float:
        return consecutive_cosine(self.drawn["clip"])

    def _clip_to_text(self) -> float:
        return 100 * self._to_text("clip")

    def _blip(self) -> float:
        return self._to_text("blip")

    def _egovlp(self) -> float:
        return paired_cosine(self.drawn["egovlp"][None], self.true["egovlp"][None])

    def _dino_to_real(self) -> float:
        return paired_cosine(self.drawn["dino"], self.true["dino"])

    def _action_score(self) -> float:
        return paired_cosine(self.drawn["action"][None], self.true["action"][None])

    def _motion_distance(self) -> float:
        flow = self.measurer.network("flow").flow
        return flow_distance(flow(self.generated), flow(self.real))

    def _motion_distance_farneback(self) -> float:
        return flow_distance(farneback_flow(self.generated), farneback_flow(self.real))

    def _efficientnet_lite0_to_real(self) -> float:
        return 100 * paired_cosine(self.drawn["lite_frames"], self.true["lite_frames"])

    def _efficientnet_lite0_consecutive(self) -> float:
        return consecutive_cosine(self.drawn["lite_frames"])

    def _efficientnet_lite0_video(self) -> float:
        return paired_cosine(self.drawn["lite_video"], self.true["lite_video"])

    def _st_lpips_alex(self) -> float:
        from ksgen_models.metrics.networks.stlpips import perceptual_distance

        return perceptual_distance(self.measurer.network("st_lpips"), self.generated[1:], self.real[1:])

    def _hs_err(self) -> float:
        return hand_structure_error(self.drawn["keypoints"][1:], self.true["keypoints"][1:])

    def _hand_rate(self) -> float:
        return float(np.isfinite(self.drawn["keypoints"][1:, :, 0, 0]).any(axis=1).mean())

    def _hand_error_palm(self) -> float:
        height, width = self.real.shape[1:3]
        return keypoint_error(_as_track(self.drawn["keypoints"]), self.true["keypoints"], width / height)

    def _rom_miou(self) -> float:
        return region_agreement(region(self.drawn, self.real.shape), self._real_region)

    def _background_drift(self) -> float:
        return background_drift(self.generated, self.real, self._real_region)

    @cached_property
    def _real_region(self) -> NDArray[np.bool_]:
        return region(self.true, self.real.shape)

    def _to_text(self, name: str) -> float:
        if not self.text:
            return float("nan")
        return float((self.drawn[name] @ self.measurer.network(name).sentence(self.text)).mean())


def region(features: Features, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W) the region of motion of a clip of ``shape`` (T, H, W, 3), from its features."""
    return region_of_keypoints(features["keypoints"], shape[1], shape[2])[1]


def paired_cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Mean cosine of the rows of two (N, D) arrays, in [-1, 1]."""
    return float((_unit(first) * _unit(second)).sum(axis=-1).mean())


def consecutive_cosine(rows: NDArray[np.floating]) -> float:
    """Mean cosine of neighbouring rows (N, D), in [-1, 1]; NaN with fewer than two."""
    return paired_cosine(rows[:-1], rows[1:]) if len(rows) > 1 else float("nan")


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)


def _efficientnet(network: Any, frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    from ksgen_models.metrics.networks.efficientnet import frame_features, video_feature

    head, last = frame_features(network, frames)
    return {"lite_frames": head, "lite_video": video_feature(last)[None]}


def _egovlp(network: Any, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    from ksgen_models.metrics.networks.egovlp import video_embedding

    return video_embedding(network, frames)


def _hands(track: HandTrack) -> dict[str, NDArray[Any]]:
    return {"keypoints": measured_keypoints(track)}


def _as_track(keypoints: NDArray[np.float32]) -> HandTrack:
    found = np.isfinite(keypoints[..., 0, 0])
    return HandTrack(keypoints, keypoints, found.astype(np.float32), found, np.zeros_like(found))
