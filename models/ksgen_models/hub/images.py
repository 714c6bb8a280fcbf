"""The table of pretrained models that key-step images can be drawn with; `ksgen_models.hub.kig` runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ksgen_models.errors import PresetError


@dataclass(frozen=True)
class ImageModel:
    """A pretrained model for key-step images.

    Attributes:
        name: of the model and of its preset.
        pipeline: class in diffusers.
        repository, revision: on the hub.
        licence: of the weights.
        billions: parameters of every component, in billions.
        working: GB of activations at its size in 16 bits, an estimate.
        adapter: it takes a trained KIG adapter (`ksgen-agent train kig`); the others edit by instruction.
    """

    name: str
    pipeline: str
    repository: str
    licence: str
    billions: Mapping[str, float]
    working: float
    adapter: bool = False
    revision: str = "main"

    def weights_gb(self) -> dict[str, float]:
        """GB of every component at 16 bits a weight."""
        return {name: 2.0 * billions for name, billions in self.billions.items()}


IMAGE_MODELS: dict[str, ImageModel] = {
    model.name: model
    for model in (
        ImageModel(
            name="sdxl", pipeline="StableDiffusionXLPipeline", repository="stabilityai/stable-diffusion-xl-base-1.0",
            licence="CreativeML OpenRAIL++-M", adapter=True, working=4.0,
            billions={"unet": 2.6, "text_encoder": 0.12, "text_encoder_2": 0.7, "vae": 0.08},
        ),
        ImageModel(
            name="kolors", pipeline="KolorsPipeline", repository="Kwai-Kolors/Kolors-diffusers",
            licence="Kolors (academic use free)", adapter=True, working=4.0,
            billions={"unet": 2.6, "text_encoder": 6.2, "vae": 0.08},
        ),
        ImageModel(
            name="flux-kontext", pipeline="FluxKontextPipeline", repository="black-forest-labs/FLUX.1-Kontext-dev",
            licence="FLUX.1 dev non-commercial", working=5.0,
            billions={"transformer": 11.9, "text_encoder": 0.12, "text_encoder_2": 4.8, "vae": 0.08},
        ),
        ImageModel(
            name="qwen-image-edit", pipeline="QwenImageEditPipeline", repository="Qwen/Qwen-Image-Edit",
            licence="Apache-2.0", working=6.0,
            billions={"transformer": 20.4, "text_encoder": 8.3, "vae": 0.13},
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
