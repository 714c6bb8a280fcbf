"""How each video family is called: one clip to be drawn, in the words of its pipeline in diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


def wan(call: Call) -> dict[str, Any]:
    last = {} if call.goal is None else {"last_image": call.goal}
    return {**usual(call), **last}


def cogvideox(call: Call) -> dict[str, Any]:
    return {**usual(call), "use_dynamic_cfg": True}


def ltx(call: Call) -> dict[str, Any]:
    return {**usual(call), "frame_rate": call.fps, "decode_timestep": 0.05, "decode_noise_scale": 0.025}


def svd(call: Call) -> dict[str, Any]:
    arguments = usual(call)
    for name in ("prompt", "negative_prompt", "guidance_scale"):
        del arguments[name]
    return {
        **arguments,
        "max_guidance_scale": call.guidance,
        "fps": round(call.fps),
        "decode_chunk_size": call.decoded_at_once,
    }


def i2vgen(call: Call) -> dict[str, Any]:
    return {**usual(call), "target_fps": round(call.fps), "decode_chunk_size": call.decoded_at_once}


def hunyuan(call: Call) -> dict[str, Any]:
    # Its guidance is distilled into the network, which has no use for a negative prompt.
    arguments = usual(call)
    del arguments["negative_prompt"]
    return arguments


def cosmos(call: Call) -> dict[str, Any]:
    return {**usual(call), "fps": round(call.fps)}


def vace(call: Call) -> dict[str, Any]:
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
