"""What people may try and cannot use, with the reason: video models that do not start from a picture."""

from __future__ import annotations

_NO_FRAME = (
    "is a text-to-video model: it is not shown the camera's frame, so what it draws is another place. IVG, appendix B, "
    "measured what comes of that; take an image-to-video preset"
)
REFUSED: dict[str, str] = {
    "dynamicrafter": (
        "DynamiCrafter cannot be loaded: diffusers has no pipeline for it, and its own repository ships pickles and "
        "code of its own; i2vgen-xl and svd are models of the same kind"
    ),
    **{
        name: f'"{name}" {_NO_FRAME}'
        for name in (
            "wan2.2-t2v", "wan2.1-t2v", "cogvideox", "cogvideox-t2v", "hunyuan-video", "hunyuan-t2v", "mochi", "latte",
            "allegro", "open-sora", "modelscope", "text-to-video-ms", "zeroscope", "animatediff", "ltx-t2v",
            "cosmos-text2world",
        )
    },
}  # fmt: skip
"""Names that people may try, and why they are no presets."""

TEXT_TO_VIDEO = (
    "WanPipeline", "CogVideoXPipeline", "HunyuanVideoPipeline", "MochiPipeline", "AllegroPipeline", "LattePipeline",
    "TextToVideoSDPipeline", "AnimateDiffPipeline", "CosmosTextToWorldPipeline",
)  # fmt: skip
"""Pipeline classes of diffusers that draw a video from text alone."""


def refusal(pipeline: str) -> str | None:
    """Why a checkpoint of this class is refused; None where it is not for being text-to-video."""
    return f"{pipeline} {_NO_FRAME}" if pipeline in TEXT_TO_VIDEO else None
