from __future__ import annotations

import time

import pytest
import torch

from ksgen_models.errors import InvalidInput
from ksgen_models.precision import PRECISION, autocast, cpu_dtype, is_fast_in_bfloat16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True}, torch.float32),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, torch.float32),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"avx2": True, "avx512_bf16": True, "cpu_name": "AMD EPYC 9B45"}, torch.bfloat16),
        ({"avx2": True, "avx512_bf16": False, "cpu_name": "AMD EPYC 7B13"}, torch.float32),
        ({"avx2": True, "avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R) Platinum 8481C"}, torch.float32),
        ({"bf16": True}, torch.float32),  # ARM: not measured
    ],
)
def test_bfloat16_is_taken_where_the_processor_multiplies_it_sooner(monkeypatch, capabilities, expected):
    monkeypatch.delenv(PRECISION, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    is_fast_in_bfloat16.cache_clear()
    try:
        assert cpu_dtype() is expected
    finally:
        is_fast_in_bfloat16.cache_clear()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_environment_variable_decides(monkeypatch, name):
    monkeypatch.setenv(PRECISION, name)
    assert cpu_dtype() is getattr(torch, name)
    with autocast():
        assert torch.nn.Linear(4, 4)(torch.zeros(1, 4)).dtype is getattr(torch, name)


def test_another_precision_is_refused_by_name(monkeypatch):
    monkeypatch.setenv(PRECISION, "float8")
    with pytest.raises(InvalidInput, match="float32 or bfloat16"):
        cpu_dtype()


def test_the_chosen_precision_does_not_fall_back_to_slow_convolutions(monkeypatch):
    # Where the processor lacks bfloat16, PyTorch's takes over a hundred times as long.
    monkeypatch.delenv(PRECISION, raising=False)
    conv, picture = torch.nn.Conv2d(32, 32, 3, padding=1), torch.randn(1, 32, 64, 64)

    def fastest(dtype: torch.dtype) -> float:
        layer, x = conv.to(dtype), picture.to(dtype)
        times = []
        with torch.inference_mode():
            for _ in range(8):
                start = time.perf_counter()
                layer(x)
                times.append(time.perf_counter() - start)
        return min(times)

    assert fastest(cpu_dtype()) < 10 * fastest(torch.float32)
