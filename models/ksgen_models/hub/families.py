"""The table of image-to-video families that diffusers has: what each one wants and how it is called.

An additional family is one `Family` below, and a function of a few lines in `ksgen_models.hub.calls` where its call has
other names than most. Sizes and frame counts are those that the families were trained on. Nothing heavy is imported
here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ksgen_models.hub import calls
from ksgen_models.hub.mends import mend_clip_text, mend_cosmos_padding, mend_pia_scheduler
from ksgen_models.hub.published import Published

PROMPT = "A person's hands {step}. Close view of the table, the camera stands still, realistic."
"""The step's sentence as most families were captioned: a scene with its motion and its camera."""
NEGATIVE = (
    "camera motion, scene cut, blurred details, overexposed, static picture, subtitles, watermark, deformed hands, "
    "extra fingers, fused fingers, third hand, flicker, objects that appear or vanish"
)


@dataclass(frozen=True, kw_only=True)
class Family(Published):
    """One family of image-to-video models.

    Attributes:
        accepted: other pipeline classes whose checkpoints hold the same networks.
        size: (height, width) that it was trained on.
        multiple: heights and widths are multiples of it.
        fixed: it knows that one size only; the others take any shape of about that many pixels.
        frames, stride, offset: frames it draws by default, which are ``stride * k + offset``.
        fps: of what it draws.
        steps, guidance: of the solver, as its authors advise.
        arguments: a `Call` in the pipeline's own words.
        prompt: template with ``{step}``; None for families that read no text.
        layout: axes of the latents that the solver steps: ``"BCTHW"``, ``"BTCHW"``, ``"TCHW"`` (batch and frames in
            one), ``"packed"`` (LTX's tokens).
        hold: how the background is held still: ``"callback"`` at the end of each step, ``"step"`` around the
            scheduler's step for pipelines without a callback, ``"native"`` where the model takes the mask itself.
        exploding: noise is added to clean latents, σ alone; else the scheduler says how.
        goal: whether the loaded pipeline can be told the last frame.
        keeps_first: whether its first latent frame stays clean by itself and is not to be touched.
        lost: frames that the pipeline drops from what it drew.
        float32: components that must not be rounded.
        unused: components that the pipeline would load and that nothing here calls.
        needs: import names beside the preset's own.
        companion: (component, class, repository) that the pipeline takes from a second checkpoint.
        guardrail: it comes with a safety checker that its licence asks for.
        mend: what a loaded pipeline needs on top, see `ksgen_models.hub.mends`.
    """

    size: tuple[int, int]
    multiple: int
    frames: int
    fps: float
    steps: int
    guidance: float
    accepted: tuple[str, ...] = ()
    fixed: bool = False
    stride: int = 4
    offset: int = 1
    arguments: Callable[[calls.Call], dict[str, Any]] = calls.usual
    prompt: str | None = PROMPT
    layout: str = "BCTHW"
    hold: str = "callback"
    exploding: bool = False
    goal: Callable[[Any], bool] = lambda pipe: False
    keeps_first: Callable[[Any], bool] = lambda pipe: False
    lost: Callable[[Any], int] = lambda pipe: 0
    float32: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    companion: tuple[str, str, str] | None = None
    guardrail: bool = False
    mend: Callable[[Any], None] = lambda pipe: None


def _wan_takes_goal(pipe: Any) -> bool:
    """Wan 2.2's 5B model knows no last frame; Wan 2.1 does only as its first-and-last-frame edition."""
    if pipe.config.get("expand_timesteps"):
        return False
    network = pipe.transformer if pipe.transformer is not None else pipe.transformer_2
    return network.config.get("image_dim") is None or network.config.get("pos_embed_seq_len") is not None


def _replaces_tokens(pipe: Any) -> bool:
    return pipe.transformer.config.get("image_condition_type") == "token_replace"


_UMT5, _T5 = {"text_encoder": 5.68}, {"text_encoder": 4.76}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="wan2.2-i2v", pipeline="WanImageToVideoPipeline", repository="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
            licence="Apache-2.0", size=(480, 832), multiple=16, frames=81, fps=16, steps=40, guidance=3.5,
            billions={"transformer": 14.29, "transformer_2": 14.29, **_UMT5, "vae": 0.127}, working=8.0,
            stored_float32=("transformer", "transformer_2", "vae"),
            arguments=calls.wan, goal=_wan_takes_goal, float32=("vae",), needs=("ftfy",),
        ),
        Family(
            name="cogvideox-i2v", pipeline="CogVideoXImageToVideoPipeline", repository="zai-org/CogVideoX-5b-I2V",
            licence="CogVideoX", size=(480, 720), multiple=16, fixed=True, frames=49, fps=8, steps=50, guidance=6.0,
            billions={"transformer": 5.57, **_T5, "vae": 0.216}, working=6.0, stored_float32=("vae",),
            arguments=calls.cogvideox, layout="BTCHW",
        ),
        Family(
            name="ltx", pipeline="LTXImageToVideoPipeline", repository="Lightricks/LTX-Video",
            accepted=("LTXPipeline", "LTXConditionPipeline"), licence="LTXV Open Weights", size=(512, 704), multiple=32,
            frames=97, stride=8, fps=25, steps=50, guidance=3.0,
            billions={"transformer": 1.92, **_T5, "vae": 0.419}, working=4.0,
            stored_float32=("transformer", "text_encoder", "vae"),
            arguments=calls.ltx, layout="packed", keeps_first=lambda pipe: True,
        ),
        Family(
            name="svd", pipeline="StableVideoDiffusionPipeline",
            repository="stabilityai/stable-video-diffusion-img2vid-xt", licence="Stability AI Community",
            size=(576, 1024), multiple=64, frames=25, stride=1, offset=0, fps=7, steps=25, guidance=3.0,
            billions={"unet": 1.52, "image_encoder": 0.632, "vae": 0.098}, working=8.0, variant="fp16",
            arguments=calls.svd, prompt=None, layout="BTCHW",
        ),
        Family(
            name="i2vgen-xl", pipeline="I2VGenXLPipeline", repository="ali-vilab/i2vgen-xl", licence="MIT",
            size=(704, 1280), multiple=64, fixed=True, frames=16, stride=1, offset=0, fps=16, steps=50, guidance=9.0,
            billions={"unet": 1.42, "text_encoder": 0.34, "image_encoder": 0.632, "vae": 0.084}, working=10.0,
            variant="fp16",
            arguments=calls.i2vgen, layout="TCHW", hold="step", mend=mend_clip_text,
        ),
        Family(
            name="pia", pipeline="PIAPipeline", repository="SG161222/Realistic_Vision_V5.1_noVAE",
            accepted=("StableDiffusionPipeline",), licence="Apache-2.0 (adapter), CreativeML OpenRAIL-M (base)",
            size=(512, 512), multiple=64, frames=16, stride=1, offset=0, fps=8, steps=25, guidance=7.5,
            billions={"unet": 0.86, "motion_adapter": 0.418, "text_encoder": 0.123, "vae": 0.084}, working=5.0,
            stored_float32=("unet", "motion_adapter", "text_encoder", "vae"),
            companion=("motion_adapter", "MotionAdapter", "openmmlab/PIA-condition-adapter"),
            unused=("feature_extractor", "image_encoder"), mend=mend_pia_scheduler,
        ),
        Family(
            name="hunyuan-i2v", pipeline="HunyuanVideoImageToVideoPipeline",
            repository="hunyuanvideo-community/HunyuanVideo-I2V", licence="Tencent Hunyuan Community",
            size=(720, 1280), multiple=16, frames=129, fps=24, steps=50, guidance=6.0,
            billions={"transformer": 12.81, "text_encoder": 8.36, "text_encoder_2": 0.123, "vae": 0.246}, working=30.0,
            stored_float32=("vae",),
            arguments=calls.hunyuan, keeps_first=_replaces_tokens, lost=lambda pipe: 0 if _replaces_tokens(pipe) else 4,
        ),
        Family(
            name="cosmos-predict2", pipeline="Cosmos2VideoToWorldPipeline",
            repository="nvidia/Cosmos-Predict2-2B-Video2World", licence="NVIDIA Open Model",
            size=(704, 1280), multiple=16, frames=93, fps=16, steps=35, guidance=7.0,
            billions={"transformer": 1.96, "text_encoder": 4.86, "vae": 0.127}, working=12.0,
            arguments=calls.cosmos, exploding=True, guardrail=True, mend=mend_cosmos_padding,
        ),
        Family(
            name="wan-vace", pipeline="WanVACEPipeline", repository="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
            licence="Apache-2.0", size=(480, 832), multiple=16, frames=81, fps=16, steps=30, guidance=5.0,
            billions={"transformer": 2.15, **_UMT5, "vae": 0.127}, working=6.0, stored_float32=("vae",),
            arguments=calls.vace, hold="native", goal=lambda pipe: True, float32=("vae",), needs=("ftfy",),
        ),
    )
}  # fmt: skip
"""The families by name."""
