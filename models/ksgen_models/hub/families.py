"""The table of image-to-video families that diffusers has: what each one wants and how it is called.

An additional family is one `Family` below, and a function of a few lines where its call has other names than most.
Sizes and frame counts are those that the families were trained on; parameters are counted in billions, so that disk
and memory follow from the number of bytes a weight takes. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ksgen_models.hub.mends import mend_clip_text, mend_cosmos_padding, mend_pia_scheduler

PROMPT = "A person's hands {step}. Close view of the table, the camera stands still, realistic."
"""The step's sentence as most families were captioned: a scene with its motion and its camera."""
NEGATIVE = (
    "camera motion, scene cut, blurred details, overexposed, static picture, subtitles, watermark, deformed hands, "
    "extra fingers, fused fingers, third hand, flicker, objects that appear or vanish"
)


@dataclass(frozen=True)
class Call:
    """One clip to be drawn, at the family's own size.

    Attributes:
        image: Pillow image, the context frame.
        goal: Pillow image of how the step ends, or None.
        free: (h, w) bool numpy array, where things may move.
        prompt, negative: texts.
        height, width, frames, fps: of what is drawn.
        steps: of the solver.
        guidance: classifier-free, in the family's own scale.
        generator: `torch.Generator`.
        decoded_at_once: frames that the VAE decodes together, for families that leave a choice.
    """

    image: Any
    goal: Any
    free: Any
    prompt: str
    negative: str
    height: int
    width: int
    frames: int
    fps: float
    steps: int
    guidance: float
    generator: Any
    decoded_at_once: int = 4


def usual(call: Call) -> dict[str, Any]:
    """The arguments that most pipelines share."""
    return {
        "image": call.image,
        "prompt": call.prompt,
        "negative_prompt": call.negative,
        "height": call.height,
        "width": call.width,
        "num_frames": call.frames,
        "num_inference_steps": call.steps,
        "guidance_scale": call.guidance,
        "generator": call.generator,
    }


@dataclass(frozen=True)
class Family:
    """One family of image-to-video models.

    Attributes:
        name: of the family and of its preset.
        pipeline: class in diffusers.
        accepted: other pipeline classes whose checkpoints hold the same networks.
        repository, revision: on the hub.
        licence: of the weights.
        size: (height, width) that it was trained on.
        multiple: heights and widths are multiples of it.
        fixed: it knows that one size only; the others take any shape of about that many pixels.
        frames, stride, offset: frames it draws by default, which are ``stride * k + offset``.
        fps: of what it draws.
        steps, guidance: of the solver, as its authors advise.
        billions: parameters of every component, in billions.
        working: GB of activations at its size and length in 16 bits, an estimate.
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
        needs: import names beside the preset's own.
        companion: (component, class, repository) that the pipeline takes from a second checkpoint.
        guardrail: it comes with a safety checker that its licence asks for.
        mend: what a loaded pipeline needs on top, see `ksgen_models.hub.mends`.
    """

    name: str
    pipeline: str
    repository: str
    licence: str
    size: tuple[int, int]
    multiple: int
    frames: int
    fps: float
    steps: int
    guidance: float
    billions: Mapping[str, float]
    working: float
    accepted: tuple[str, ...] = ()
    revision: str = "main"
    fixed: bool = False
    stride: int = 4
    offset: int = 1
    arguments: Callable[[Call], dict[str, Any]] = usual
    prompt: str | None = PROMPT
    layout: str = "BCTHW"
    hold: str = "callback"
    exploding: bool = False
    goal: Callable[[Any], bool] = lambda pipe: False
    keeps_first: Callable[[Any], bool] = lambda pipe: False
    lost: Callable[[Any], int] = lambda pipe: 0
    float32: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    companion: tuple[str, str, str] | None = None
    guardrail: bool = False
    mend: Callable[[Any], None] = lambda pipe: None

    def weights_gb(self) -> dict[str, float]:
        """GB of every component at 16 bits a weight."""
        return {name: 2.0 * billions for name, billions in self.billions.items()}


def _wan(call: Call) -> dict[str, Any]:
    last = {} if call.goal is None else {"last_image": call.goal}
    return {**usual(call), **last}


def _cogvideox(call: Call) -> dict[str, Any]:
    return {**usual(call), "use_dynamic_cfg": True}


def _ltx(call: Call) -> dict[str, Any]:
    return {**usual(call), "frame_rate": call.fps, "decode_timestep": 0.05, "decode_noise_scale": 0.025}


def _svd(call: Call) -> dict[str, Any]:
    arguments = usual(call)
    for name in ("prompt", "negative_prompt", "guidance_scale"):
        del arguments[name]
    return {
        **arguments,
        "max_guidance_scale": call.guidance,
        "fps": round(call.fps),
        "decode_chunk_size": call.decoded_at_once,
    }


def _i2vgen(call: Call) -> dict[str, Any]:
    return {**usual(call), "target_fps": round(call.fps), "decode_chunk_size": call.decoded_at_once}


def _hunyuan(call: Call) -> dict[str, Any]:
    # Its guidance is distilled into the network, which has no use for a negative prompt.
    arguments = usual(call)
    del arguments["negative_prompt"]
    return arguments


def _cosmos(call: Call) -> dict[str, Any]:
    return {**usual(call), "fps": round(call.fps)}


def _vace(call: Call) -> dict[str, Any]:
    """The clip to be completed: what may move is grey and masked, the first and the goal frame are given."""
    import numpy as np
    from PIL import Image

    frame = np.asarray(call.image).copy()
    frame[call.free] = 128
    region = Image.fromarray(call.free.astype(np.uint8) * 255).convert("RGB")
    known = Image.new("RGB", call.image.size)
    video = [call.image] + [Image.fromarray(frame)] * (call.frames - 1)
    mask = [known] + [region] * (call.frames - 1)
    if call.goal is not None:
        video[-1], mask[-1] = call.goal, known
    arguments = usual(call)
    del arguments["image"]
    return {**arguments, "video": video, "mask": mask}


def _wan_takes_goal(pipe: Any) -> bool:
    """Wan 2.2's 5B model knows no last frame; Wan 2.1 does only as its first-and-last-frame edition."""
    if pipe.config.get("expand_timesteps"):
        return False
    network = pipe.transformer if pipe.transformer is not None else pipe.transformer_2
    return network.config.get("image_dim") is None or network.config.get("pos_embed_seq_len") is not None


def _replaces_tokens(pipe: Any) -> bool:
    return pipe.transformer.config.get("image_condition_type") == "token_replace"


_WAN_TEXT = {"text_encoder": 5.7}
_T5_XXL = {"text_encoder": 4.8}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="wan2.2-i2v", pipeline="WanImageToVideoPipeline", repository="Wan-AI/Wan2.2-I2V-A14B-Diffusers",
            licence="Apache-2.0", size=(480, 832), multiple=16, frames=81, fps=16, steps=40, guidance=3.5,
            billions={"transformer": 14.3, "transformer_2": 14.3, **_WAN_TEXT, "vae": 0.13}, working=8.0,
            arguments=_wan, goal=_wan_takes_goal, float32=("vae",), needs=("ftfy",),
        ),
        Family(
            name="cogvideox-i2v", pipeline="CogVideoXImageToVideoPipeline", repository="zai-org/CogVideoX-5b-I2V",
            licence="CogVideoX", size=(480, 720), multiple=16, fixed=True, frames=49, fps=8, steps=50, guidance=6.0,
            billions={"transformer": 5.6, **_T5_XXL, "vae": 0.22}, working=6.0,
            arguments=_cogvideox, layout="BTCHW",
        ),
        Family(
            name="ltx", pipeline="LTXImageToVideoPipeline", repository="Lightricks/LTX-Video",
            accepted=("LTXPipeline", "LTXConditionPipeline"), licence="LTXV Open Weights", size=(512, 704), multiple=32,
            frames=97, stride=8, fps=25, steps=50, guidance=3.0,
            billions={"transformer": 1.9, **_T5_XXL, "vae": 0.42}, working=4.0,
            arguments=_ltx, layout="packed", keeps_first=lambda pipe: True,
        ),
        Family(
            name="svd", pipeline="StableVideoDiffusionPipeline",
            repository="stabilityai/stable-video-diffusion-img2vid-xt", licence="Stability AI Community",
            size=(576, 1024), multiple=64, frames=25, stride=1, offset=0, fps=7, steps=25, guidance=3.0,
            billions={"unet": 1.52, "image_encoder": 0.63, "vae": 0.1}, working=8.0,
            arguments=_svd, prompt=None, layout="BTCHW",
        ),
        Family(
            name="i2vgen-xl", pipeline="I2VGenXLPipeline", repository="ali-vilab/i2vgen-xl", licence="MIT",
            size=(704, 1280), multiple=64, fixed=True, frames=16, stride=1, offset=0, fps=16, steps=50, guidance=9.0,
            billions={"unet": 1.42, "text_encoder": 0.35, "image_encoder": 0.63, "vae": 0.08}, working=10.0,
            arguments=_i2vgen, layout="TCHW", hold="step", mend=mend_clip_text,
        ),
        Family(
            name="pia", pipeline="PIAPipeline", repository="SG161222/Realistic_Vision_V6.0_B1_noVAE",
            accepted=("StableDiffusionPipeline",), licence="Apache-2.0 (adapter), CreativeML OpenRAIL-M (base)",
            size=(512, 512), multiple=64, frames=16, stride=1, offset=0, fps=8, steps=25, guidance=7.5,
            billions={"unet": 0.86, "motion_adapter": 0.42, "text_encoder": 0.12, "vae": 0.08}, working=5.0,
            companion=("motion_adapter", "MotionAdapter", "openmmlab/PIA-condition-adapter"),
            mend=mend_pia_scheduler,
        ),
        Family(
            name="hunyuan-i2v", pipeline="HunyuanVideoImageToVideoPipeline",
            repository="hunyuanvideo-community/HunyuanVideo-I2V", licence="Tencent Hunyuan Community",
            size=(720, 1280), multiple=16, frames=129, fps=24, steps=50, guidance=6.0,
            billions={"transformer": 13.0, "text_encoder": 8.4, "text_encoder_2": 0.12, "vae": 0.25}, working=30.0,
            arguments=_hunyuan, keeps_first=_replaces_tokens, lost=lambda pipe: 0 if _replaces_tokens(pipe) else 4,
        ),
        Family(
            name="cosmos-predict2", pipeline="Cosmos2VideoToWorldPipeline",
            repository="nvidia/Cosmos-Predict2-2B-Video2World", licence="NVIDIA Open Model",
            size=(704, 1280), multiple=16, frames=93, fps=16, steps=35, guidance=7.0,
            billions={"transformer": 2.0, **_T5_XXL, "vae": 0.13}, working=12.0,
            arguments=_cosmos, exploding=True, guardrail=True, mend=mend_cosmos_padding,
        ),
        Family(
            name="wan-vace", pipeline="WanVACEPipeline", repository="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
            licence="Apache-2.0", size=(480, 832), multiple=16, frames=81, fps=16, steps=30, guidance=5.0,
            billions={"transformer": 2.1, **_WAN_TEXT, "vae": 0.13}, working=6.0,
            arguments=_vace, hold="native", goal=lambda pipe: True, float32=("vae",), needs=("ftfy",),
        ),
    )
}  # fmt: skip
"""The families by name."""

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
