"""Memory and speed settings: what they are, what they cost, and what this machine cannot do."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import save_tiny

from ksgen_models.errors import PresetError
from ksgen_models.hub.loading import load_pipeline
from ksgen_models.hub.memory import expected_memory_gb
from ksgen_models.hub.placing import apply_settings, quantisation_config
from ksgen_models.hub.quantisation import QUANTISATIONS
from ksgen_models.hub.settings import RunSettings, resolve_device, resolve_dtype, settings_from
from ksgen_models.hub.turns import TurnTaker

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_what_is_no_setting_is_refused_with_what_there_is() -> None:
    for choices, message in (
        ({"dtype": "int3"}, "bfloat16"),
        ({"offload": "disk"}, "sequential"),
        ({"quantisation": "int2"}, "nf4"),
        ({"ofload": "model"}, "the settings are dtype, device, offload"),
    ):
        with pytest.raises(PresetError, match=message):
            settings_from(choices)
    assert settings_from({"offload": "model"}, RunSettings(dtype="float16")) == RunSettings("float16", offload="model")


@needs_no_gpu
def test_without_a_gpu_what_needs_one_is_refused() -> None:
    assert resolve_device(RunSettings()) == "cpu"
    assert resolve_dtype(RunSettings()) == torch.float32
    with pytest.raises(PresetError, match="torch sees no GPU"):
        resolve_device(RunSettings(device="cuda"))
    for offload in ("model", "sequential", "group"):
        with pytest.raises(PresetError, match=rf'offload "{offload}" needs a GPU.*take offload="none"'):
            resolve_device(RunSettings(device="cpu", offload=offload))
    with pytest.raises(PresetError, match='there is no device "tpu"'):
        resolve_device(RunSettings(device="tpu"))
    for name in ("int8", "nf4"):
        with pytest.raises(PresetError, match=r"pip install bitsandbytes|runs on cuda"):
            quantisation_config(RunSettings(device="cpu", quantisation=name), ("transformer",))


def test_a_missing_package_for_quantisation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksgen_models.hub.placing.find_spec", lambda name: None)
    for name, chosen in QUANTISATIONS.items():
        with pytest.raises(PresetError, match=f"pip install {chosen.package}"):
            quantisation_config(RunSettings(device="cpu", quantisation=name), ("transformer",))


@pytest.fixture(scope="module")
def ltx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("ltx", tmp_path_factory.mktemp("settings") / "ltx")


def load(folder: Path, **settings: Any) -> Any:
    chosen = RunSettings(device="cpu", **settings)
    return load_pipeline(folder, chosen, pipeline="LTXImageToVideoPipeline", keep_float32=("vae",))


def test_settings_take_effect_on_a_loaded_pipeline(ltx: Path) -> None:
    plain, tuned = load(ltx), load(ltx, dtype="bfloat16", vae_tiling=True, vae_slicing=True, attention="_native_math")
    assert {weight.dtype for weight in tuned.transformer.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in tuned.text_encoder.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in tuned.vae.parameters()} == {torch.float32}  # asked to be kept whole
    assert {weight.dtype for weight in plain.transformer.parameters()} == {torch.float32}
    for setting in ("use_tiling", "use_slicing"):
        assert not getattr(plain.vae, setting)
        assert getattr(tuned.vae, setting)
    backends = {processor._attention_backend for processor in tuned.transformer.attn_processors.values()}
    assert [backend.value for backend in backends] == ["_native_math"]


def test_a_compiled_pipeline_has_compiled_blocks(ltx: Path) -> None:
    assert all(
        block._compiled_call_impl is not None for block in load(ltx, compile=True).transformer.transformer_blocks
    )


@pytest.mark.parametrize("attention", ["flash", "sage", "xformers", "flash_hub"])
def test_an_attention_backend_that_is_not_here_is_named(ltx: Path, attention: str) -> None:
    if find_spec({"flash": "flash_attn", "sage": "sageattention"}.get(attention, attention)) is not None:
        pytest.skip(f"{attention} is installed here")
    with pytest.raises(PresetError, match=f'attention "{attention}" cannot be used here.*take attention="auto"'):
        load(ltx, attention=attention)


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
def test_eight_bit_weights_run_on_the_cpu(ltx: Path) -> None:
    pipeline = load(ltx, dtype="bfloat16", quantisation="int8wo")
    for name in ("transformer", "text_encoder"):
        weights = {type(weight).__name__ for weight in getattr(pipeline, name).parameters()}
        assert "Int8Tensor" in weights, (name, weights)
    assert {type(weight).__name__ for weight in pipeline.vae.parameters()} == {"Parameter"}


def test_leaner_settings_take_less_memory() -> None:
    weights = {"transformer": 28.0, "text_encoder": 11.0, "vae": 0.3}

    def gb(**settings: Any) -> float:
        return expected_memory_gb(weights, 6.0, RunSettings(**settings))

    assert gb() == pytest.approx(45.3)
    assert gb(dtype="float32") == pytest.approx(6 + 2 * 39.3)
    assert gb(offload="model") == pytest.approx(34.0)
    assert gb(offload="model", quantisation="int8") == pytest.approx(20.0)
    order = [gb(), gb(offload="model"), gb(offload="group"), gb(offload="sequential")]
    assert order == sorted(order, reverse=True)


def test_what_a_pipeline_cannot_do_names_the_setting() -> None:
    import diffusers

    pipeline = diffusers.DDPMPipeline(
        unet=diffusers.UNet2DModel(
            sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 8),
            norm_num_groups=4, down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        ),
        scheduler=diffusers.DDPMScheduler(),
    )  # fmt: skip
    with pytest.raises(PresetError, match="leave vae_tiling out"):
        apply_settings(pipeline, RunSettings(device="cpu", vae_tiling=True))
    with pytest.raises(PresetError, match=r'attention "telepathy" cannot be used here'):
        apply_settings(pipeline, RunSettings(device="cpu", attention="telepathy"))
    assert apply_settings(pipeline, RunSettings(device="cpu", attention="native")) is pipeline


class Moved:
    """A pipeline as far as moving goes; it notes where it was sent."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def to(self, device: str) -> None:
        self.places.append(device)


def test_pipelines_take_turns_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksgen_models.hub.turns.resolve_device", lambda settings: "cuda")
    turns, images, video = TurnTaker(RunSettings(device="cuda")), Moved(), Moved()
    for pipeline in (images, video, video, images):
        with turns.turn(pipeline):
            assert pipeline.places[-1] == "cuda"
    assert images.places == ["cuda", "cpu", "cuda"]
    assert video.places == ["cuda", "cpu"]
    offloaded = TurnTaker(RunSettings(device="cuda", offload="model"))
    with offloaded.turn(video):
        assert video.places == ["cuda", "cpu"]  # its own hooks bring what it needs
