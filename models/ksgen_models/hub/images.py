"""The table of pretrained models that key-step images can be drawn with; `ksgen_models.hub.kig` runs them."""

from __future__ import annotations

from dataclasses import dataclass

from ksgen_models.errors import PresetError
from ksgen_models.hub.published import Published


@dataclass(frozen=True, kw_only=True)
class ImageModel(Published):
    """A pretrained model for key-step images.

    Attributes:
        adapter: it takes a trained KIG adapter (`ksgen-agent train kig`); the others edit by instruction.
    """

    adapter: bool = False


IMAGE_MODELS: dict[str, ImageModel] = {
    model.name: model
    for model in (
        ImageModel(
            name="sdxl", pipeline="StableDiffusionXLPipeline", repository="stabilityai/stable-diffusion-xl-base-1.0",
            licence="CreativeML OpenRAIL++-M", adapter=True, working=4.0,
            variant="fp16", billions={"unet": 2.57, "text_encoder": 0.123, "text_encoder_2": 0.695, "vae": 0.084},
        ),
        ImageModel(
            name="kolors", pipeline="KolorsPipeline", repository="Kwai-Kolors/Kolors-diffusers",
            licence="Kolors (academic use free)", adapter=True, working=4.0,
            variant="fp16", billions={"unet": 2.58, "text_encoder": 6.24, "vae": 0.084},
        ),
        ImageModel(
            name="flux-kontext", pipeline="FluxKontextPipeline", repository="black-forest-labs/FLUX.1-Kontext-dev",
            licence="FLUX.1 dev non-commercial", working=5.0,
            billions={"transformer": 11.9, "text_encoder": 0.123, "text_encoder_2": 4.76, "vae": 0.084},
        ),
        ImageModel(
            name="qwen-image-edit", pipeline="QwenImageEditPipeline", repository="Qwen/Qwen-Image-Edit",
            licence="Apache-2.0", working=6.0,
            billions={"transformer": 20.43, "text_encoder": 8.29, "vae": 0.127},
        ),
    )
}  # fmt: skip
"""The models by name."""


def find_image_model(name: str) -> ImageModel:
    """A model by name.

    Raises:
        PresetError: there is none.
    """
    if name in IMAGE_MODELS:
        return IMAGE_MODELS[name]
    raise PresetError(f'there is no key-step image model "{name}"; there are {", ".join(IMAGE_MODELS)}')
