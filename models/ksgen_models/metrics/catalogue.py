"""Every metric and every feature network, in two tables.

A metric whose network is not on this machine is left out and said to be missing; its stand-in, which is another metric
with a name of its own, is measured instead. A figure from other features never appears under the paper's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from ksgen_models.errors import InvalidInput

SET, PAIR = "set", "pair"


@dataclass(frozen=True)
class Network:
    """A feature network of the metrics.

    Attributes:
        name: key in `NETWORKS`.
        kind: "hub" (a transformers folder or hub id), "script" (a TorchScript file), "checkpoint" (a state dict) or
            "asset" (`ksgen-agent assets` fetches it).
        source: hub id, usual file name, or asset.
        variable: environment variable that names a file or folder.
        how: how to get it.
    """

    name: str
    kind: str
    source: str
    variable: str
    how: str


def _hub(name: str, source: str) -> Network:
    return Network(name, "hub", source, f"KSGEN_METRIC_{name.upper()}", f"hf download {source}")


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        _hub("clip", "openai/clip-vit-base-patch32"),
        _hub("dino", "facebook/dinov2-base"),
        _hub("blip", "Salesforce/blip-itm-large-coco"),
        _hub("action", "MCG-NJU/videomae-base-finetuned-kinetics"),
        Network(
            "inception", "script", "inception-2015-12-05.pt", "KSGEN_METRIC_INCEPTION",
            "download inception-2015-12-05.pt, the TorchScript file of StyleGAN2-ADA's metrics",
        ),
        Network(
            "i3d", "script", "i3d_torchscript.pt", "KSGEN_METRIC_I3D",
            "download i3d_torchscript.pt, the TorchScript file of StyleGAN-V's metrics",
        ),
        Network(
            "flow", "script", "a TorchScript export of RAFT or another flow network", "KSGEN_METRIC_FLOW",
            "export a flow network with torch.jit.trace",
        ),
        Network(
            "egovlp", "checkpoint", "egovlp.pth", "KSGEN_METRIC_EGOVLP",
            "download egovlp.pth of EgoVLP's authors and save its state dict alone",
        ),
        Network("efficientnet_lite0", "asset", "efficientnet-lite0", "", "ksgen-agent assets efficientnet-lite0"),
        Network("st_lpips", "asset", "st-lpips", "", "ksgen-agent assets st-lpips"),
        Network("minilm", "asset", "minilm", "", "ksgen-agent assets minilm"),
        Network("hands", "asset", "hand-landmarker", "", "ksgen-agent assets hand-landmarker"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One column of the table.

    Attributes:
        name: key in the results.
        label: a few words for people.
        kind: "pair" for a figure of each generated clip and its real one, averaged; "set" for one figure of a whole
            set of clips.
        higher: greater is better.
        networks: names in `NETWORKS` that it needs.
        stand_in: name of the metric measured instead where a network is missing; "" for none.
        paper: "IVG", "KS-Gen", both, or "" for a stand-in or a metric of this project's own.
        unit: "" for a cosine or a share.
        meaning: one sentence.
        judge: who measures it, in words, where that is somebody whom the caller brings (`measure.Judge`); else "".
    """

    name: str
    label: str
    kind: str
    higher: bool
    networks: tuple[str, ...]
    stand_in: str
    paper: str
    unit: str
    meaning: str
    judge: str = ""


_LITE = ("efficientnet_lite0",)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("fid", "FID", SET, False, ("inception",), "fd_efficientnet_lite0", "IVG, KS-Gen", "",
               "Fréchet distance of Inception features of the frames."),
        Metric("fvd", "FVD", SET, False, ("i3d",), "fd_video_efficientnet_lite0", "IVG, KS-Gen", "",
               "Fréchet distance of I3D features of the clips."),
        Metric("clip_to_real", "CLIP to real", PAIR, True, ("clip",), "efficientnet_lite0_to_real", "IVG, KS-Gen",
               "× 100", "CLIP cosine of each generated frame to the real frame of the same time."),
        Metric("clip_consecutive", "CLIP consecutive", PAIR, True, ("clip",), "efficientnet_lite0_consecutive", "IVG",
               "", "CLIP cosine of neighbouring generated frames."),
        Metric("clip_to_text", "CLIP to text", PAIR, True, ("clip",), "text_by_retrieval", "IVG", "× 100",
               "CLIP cosine of each generated frame to the step's sentence."),
        Metric("blip", "BLIP score", PAIR, True, ("blip",), "text_by_retrieval", "IVG", "",
               "BLIP image-text cosine of each generated frame to the step's sentence."),
        Metric("egovlp", "EgoVLP score", PAIR, True, ("egovlp",), "efficientnet_lite0_video", "IVG", "",
               "EgoVLP cosine of the generated to the real clip."),
        Metric("dino_to_real", "DINO to real", PAIR, True, ("dino",), "st_lpips_alex", "KS-Gen", "",
               "DINO cosine of each generated frame to the real frame of the same time."),
        Metric("action_score", "Action score", PAIR, True, ("action",), "efficientnet_lite0_video", "KS-Gen", "",
               "Cosine of an action recogniser's features of the generated and the real clip."),
        Metric("motion_distance", "Motion distance", PAIR, False, ("flow",), "motion_distance_farneback", "KS-Gen",
               "% of diagonal", "End-point distance of the two clips' optical flow from a flow network."),
        Metric("hs_err", "HS-Err", PAIR, False, ("hands",), "", "IVG", "",
               "Squared distance of generated and real hand joints (IVG Eq. 2); joints not found lie at (0, 0)."),
        Metric("fd_efficientnet_lite0", "FD, EfficientNet-Lite0", SET, False, _LITE, "", "", "",
               "Fréchet distance of EfficientNet-Lite0 features of the frames; stands in for FID."),
        Metric("fd_video_efficientnet_lite0", "FD of clips, EfficientNet-Lite0", SET, False, _LITE, "", "", "",
               "Fréchet distance of means and changes over time of EfficientNet-Lite0 features; stands in for FVD."),
        Metric("efficientnet_lite0_to_real", "EfficientNet-Lite0 to real", PAIR, True, _LITE, "", "", "× 100",
               "Cosine of each generated frame to the real frame of the same time; stands in for CLIP to real."),
        Metric("efficientnet_lite0_consecutive", "EfficientNet-Lite0 consecutive", PAIR, True, _LITE, "", "", "",
               "Cosine of neighbouring generated frames; stands in for CLIP consecutive."),
        Metric("efficientnet_lite0_video", "EfficientNet-Lite0, clips", PAIR, True, _LITE, "", "", "",
               "Cosine of the two clips' means and changes over time; stands in for EgoVLP and the action score."),
        Metric("text_by_retrieval", "Text by retrieval", PAIR, True, ("efficientnet_lite0", "minilm"), "", "", "",
               "MiniLM cosine of the step's sentence to that of the other real clip that looks most like the generated "
               "one; stands in for CLIP to text and BLIP."),
        Metric("st_lpips_alex", "ST-LPIPS (AlexNet)", PAIR, False, ("st_lpips",), "", "", "",
               "Perceptual distance of generated and real frames; stands in for DINO."),
        Metric("motion_distance_farneback", "Motion distance (Farnebäck)", PAIR, False, (), "", "", "% of diagonal",
               "End-point distance of the two clips' optical flow by Farnebäck's method."),
        Metric("rom_miou", "RoM mIoU", PAIR, True, ("hands",), "", "", "",
               "IoU of the generated and the real clip's region of motion."),
        Metric("hand_rate", "Hand found", PAIR, True, ("hands",), "", "", "",
               "Share of generated frames after the first in which a hand is found."),
        Metric("hand_error_palm", "Hand error", PAIR, False, ("hands",), "", "", "palm lengths",
               "Distance of found hands to the nearer real hand, in palm lengths."),
        Metric("background_drift", "Background drift", PAIR, False, ("hands",), "", "", "levels of 255",
               "How far pixels that the real clip leaves alone depart from the generated first frame."),
        Metric("executability", "Executability", PAIR, True, (), "", "", "",
               "Share of clips that a robot, led by them, does in the simulator; of Workbench scenes only.",
               judge="a robot in the scenes of the clips: ksgen-agent evaluate preset, or --executability"),
    )
}  # fmt: skip


def parse_metrics(text: str) -> tuple[str, ...]:
    """Names for ``"all"`` or for names joined by commas, in the order of `METRICS`.

    Raises:
        InvalidInput: a name is not among them; says the nearest.
    """
    if text.strip().lower() == "all":
        return tuple(METRICS)
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.0)[0]
            raise InvalidInput(f'no metric is called "{name}"; the nearest is "{near}", all are {", ".join(METRICS)}')
    if not names:
        raise InvalidInput(f'metrics must be "all" or names joined by commas, got {text!r}')
    return tuple(name for name in METRICS if name in names)


def needed_networks(metrics: Iterable[str]) -> tuple[str, ...]:
    """Names of the networks that these metrics need, in the order of `NETWORKS`."""
    wanted = {network for metric in metrics for network in METRICS[metric].networks}
    return tuple(name for name in NETWORKS if name in wanted)
