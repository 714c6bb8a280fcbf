"""Weights in fewer bits: the ways there are, and which parts of a pipeline take them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

DENOISERS = ("transformer", "transformer_2", "unet")
"""Names under which diffusers pipelines hold the network that the solver calls."""


@dataclass(frozen=True)
class Quantisation:
    """One way to store weights in fewer bits; all keep activations in the run's dtype.

    Attributes:
        config: names of components and the run's `torch.dtype` → `diffusers.PipelineQuantizationConfig`.
        package: that it needs, as it is imported and as pip calls it.
        bytes: of one weight.
        devices: kinds of devices it runs on.
        moves: whether a quantised network can be sent from one device to another.
    """

    config: Callable[[Collection[str], Any], Any]
    package: str
    bytes: float
    devices: tuple[str, ...]
    moves: bool


def is_quantised(component: str) -> bool:
    """Whether quantisation takes a component of this name: those that denoise or read text."""
    return component in DENOISERS or component.startswith("text_encoder")


def _bitsandbytes(backend: str, **options: Any) -> Callable[[Collection[str], Any], Any]:
    def config(components: Collection[str], dtype: Any) -> Any:
        from diffusers import PipelineQuantizationConfig

        computing = {"bnb_4bit_compute_dtype": dtype} if backend.endswith("4bit") else {}
        return PipelineQuantizationConfig(
            quant_backend=backend, quant_kwargs={**options, **computing}, components_to_quantize=list(components)
        )

    return config


def _torchao(components: Collection[str], dtype: Any) -> Any:
    """Text encoders are transformers' and the networks that denoise are diffusers': each has a config of its own."""
    import diffusers
    import transformers
    from torchao.quantization import Int8WeightOnlyConfig  # pyright: ignore[reportMissingImports]

    kinds: dict[str, Any] = {name: diffusers if name in DENOISERS else transformers for name in components}
    mapping: dict[str, Any] = {name: kind.TorchAoConfig(Int8WeightOnlyConfig()) for name, kind in kinds.items()}
    return diffusers.PipelineQuantizationConfig(quant_mapping=mapping)


QUANTISATIONS: dict[str, Quantisation] = {
    "int8": Quantisation(
        _bitsandbytes("bitsandbytes_8bit", load_in_8bit=True), "bitsandbytes", 1.0, ("cuda",), moves=False
    ),
    "nf4": Quantisation(
        _bitsandbytes("bitsandbytes_4bit", load_in_4bit=True, bnb_4bit_quant_type="nf4"), "bitsandbytes", 0.55,
        ("cuda",), moves=False,
    ),
    "int8wo": Quantisation(_torchao, "torchao", 1.0, ("cuda", "cpu"), moves=True),
}  # fmt: skip
"""By name: 8 bits (LLM.int8) and 4 bits (NF4) by bitsandbytes, 8-bit weights by torchao."""
