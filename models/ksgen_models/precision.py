"""In which precision the networks run on this processor.

bfloat16 is used where the processor multiplies tiles of it (Intel's AMX), and with AVX512-BF16 on AMD's processors,
whose units take two bfloat16 products in the time of one float32 product: an imagination takes two thirds of the time.
On Intel's AVX512-BF16 alone is not enough: an imagination takes 1.5 times as long in it as in float32, convolutions
and matrix products themselves 1.8 times. Without either PyTorch falls back to code that takes a hundred times as long.
Pictures drawn from the same seed differ by a level here and there between the two; ``KSGEN_PRECISION=float32`` makes
processors agree.
"""

from __future__ import annotations

import os
from functools import cache

import torch

from ksgen_models.errors import InvalidInput

PRECISION = "KSGEN_PRECISION"
"""Environment variable: ``float32`` or ``bfloat16``, whatever the processor can do."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TILES, _PRODUCTS = "amx_bf16", "avx512_bf16"  # PyTorch's names of the capabilities


def cpu_dtype() -> torch.dtype:
    """What networks compute in on this processor: bfloat16 or float32.

    Raises:
        InvalidInput: ``KSGEN_PRECISION`` names neither.
    """
    wanted = os.environ.get(PRECISION, "")
    if not wanted:
        return torch.bfloat16 if is_fast_in_bfloat16() else torch.float32
    if wanted not in _DTYPES:
        raise InvalidInput(f'{PRECISION} is "{wanted}"; make it {" or ".join(_DTYPES)}, or leave it away')
    return _DTYPES[wanted]


def autocast() -> torch.autocast:
    """A context in which layers compute in `cpu_dtype`; parameters stay as they are."""
    return torch.autocast("cpu", torch.bfloat16, enabled=cpu_dtype() is torch.bfloat16)


@cache
def is_fast_in_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in less time than float32."""
    # Older PyTorch does not say; float32 is then the safe answer.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    by_amd = "AMD" in str(capabilities.get("cpu_name", ""))
    return bool(capabilities.get(_TILES, False) or (by_amd and capabilities.get(_PRODUCTS, False)))
