"""Where a pipeline of diffusers leans on a package that is not here, or on an older one: the smallest thing that helps.

Each is called with the loaded pipeline, changes no weights, and does nothing where it is not needed.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def mend_clip_text(pipe: Any) -> None:
    """I2VGen-XL looks for ``text_encoder.text_model``, which transformers 5 has done away with: it is the encoder."""
    encoder = pipe.text_encoder
    if not hasattr(encoder, "text_model") and hasattr(encoder, "final_layer_norm"):
        # Past torch's own bookkeeping: a module that holds itself as a part could not be moved.
        object.__setattr__(encoder, "text_model", encoder)


def mend_cosmos_padding(pipe: Any) -> None:
    """Cosmos' transformer resizes its padding mask with torchvision; torch does the same."""
    from diffusers.models.transformers import transformer_cosmos
    from torch.nn.functional import interpolate

    def resize(mask: Any, size: list[int], interpolation: str) -> Any:
        return interpolate(mask, size=size, mode=interpolation)

    if not hasattr(transformer_cosmos, "transforms"):
        modes = SimpleNamespace(NEAREST="nearest")
        transforms = SimpleNamespace(functional=SimpleNamespace(resize=resize), InterpolationMode=modes)
        transformer_cosmos.transforms = transforms  # type: ignore[attr-defined]


def mend_pia_scheduler(pipe: Any) -> None:
    """A Stable Diffusion checkpoint brings the solver of its own examples; PIA's authors put Euler's in its place."""
    from diffusers import DDIMScheduler, EulerDiscreteScheduler

    if not isinstance(pipe.scheduler, DDIMScheduler | EulerDiscreteScheduler):
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
