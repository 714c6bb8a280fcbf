"""The embedded models and the sentence encoder in ONNX say what PyTorch says, at sizes they were not exported with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ksgen_export.onnx_mini import MINI_MODELS, export_mini, mini_export
from ksgen_export.onnx_session import choose_providers, open_session
from ksgen_export.onnx_writing import Export
from ksgen_models.assets import SENTENCE_ENCODER, is_present
from ksgen_models.errors import AssetError, InvalidInput, PresetError, WeightsMissing
from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.clip_model import ClipModel
from ksgen_models.mini.config import TINY
from ksgen_models.mini.key_step_model import KeyStepModel
from ksgen_models.mini.networks import Networks, load_networks
from ksgen_models.mini.progress import ProgressNetwork
from ksgen_models.mini.reader import ReaderNetwork
from ksgen_models.mini.track_model import TrackModel
from ksgen_models.mini.weights import MiniMeta

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

needs_sentences = pytest.mark.skipif(
    not is_present(SENTENCE_ENCODER), reason="the sentence encoder is not here; run: ksgen-agent assets"
)


OBJECTS = ("red block", "blue block", "green block", "white block", "lamp")


@pytest.fixture(scope="module")
def networks() -> Networks:
    """Tiny, with random weights in every layer: those that start at zero would hide a difference."""
    torch.manual_seed(0)
    made: dict[str, Any] = {
        "autoencoder": Autoencoder(TINY.autoencoder),
        "reader": ReaderNetwork(TINY.reader_width, scenes=3, objects=OBJECTS),
        "progress": ProgressNetwork(TINY.progress),
        "key_step": KeyStepModel(TINY),
        "clip": ClipModel(TINY),
        "track": TrackModel(TINY.track, TINY.frames),
    }
    for network in made.values():
        for weight in network.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.05)
    meta = MiniMeta(TINY, ("a", "b", "c"), tuple("abcde"), ((0.5,) * 6,), 8.0)
    return Networks(meta=meta, **made, text=None, hashes={})  # type: ignore[arg-type]


def assert_parity(export: Export, path: Path) -> None:
    session = open_session(path, "cpu", threads=1)
    assert [entry.name for entry in session.get_inputs()] == list(export.example)
    assert [entry.name for entry in session.get_outputs()] == list(export.outputs)
    found = session.run(None, {name: tensor.numpy() for name, tensor in export.example.items()})
    with torch.no_grad():
        expected = export.module(*export.example.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    for name, array, tensor in zip(export.outputs, found, expected, strict=True):
        largest = max(1.0, float(tensor.float().abs().max()))
        np.testing.assert_allclose(array, tensor.numpy(), atol=1e-3 * largest, rtol=0, err_msg=name)


def test_reader_and_decoder_agree(networks: Networks, tmp_path: Path) -> None:
    written = export_mini(tmp_path, networks, ("reader", "decoder"))
    assert sorted(tmp_path.iterdir()) == sorted(written.values())  # and nothing half-written beside them
    for name, path in written.items():
        for batch in (1, 3):
            assert_parity(mini_export(name, networks, batch=batch), path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MINI_MODELS if name not in ("reader", "decoder")])
def test_the_generators_agree(networks: Networks, name: str, tmp_path: Path) -> None:
    path = export_mini(tmp_path, networks, (name,))[name]
    for steps, batch in ((3, 2), (5, 1)):
        assert_parity(mini_export(name, networks, steps=steps, batch=batch), path)


@pytest.mark.slow
@needs_sentences
@pytest.mark.parametrize("name", ["reader", "decoder", "key_step_condition"])  # the others take minutes to write
def test_the_shipped_weights_agree(name: str, tmp_path: Path) -> None:
    networks = load_networks()
    path = export_mini(tmp_path, networks, (name,))[name]
    assert_parity(mini_export(name, networks, steps=4, batch=1), path)


@pytest.mark.slow
@needs_sentences
def test_the_sentence_encoder_agrees_with_its_tokens_and_vectors(tmp_path: Path) -> None:
    from ksgen_export.onnx_sentences import export_sentence_encoder, sentence_export
    from ksgen_models.text import MiniLM

    path = export_sentence_encoder(tmp_path / "sentences.onnx")
    assert_parity(sentence_export(), path)
    encoder, session = MiniLM(), open_session(path, "cpu", threads=1)
    sentences = ("Stack the green block on the red one.", "turn on the lamp")
    told = encoder._tokenizer(list(sentences), padding=True, return_tensors="np")
    states, vectors = session.run(None, {"pieces": told["input_ids"], "mask": told["attention_mask"]})
    np.testing.assert_allclose(vectors, encoder.embed(sentences), atol=1e-4)
    for row, (expected, mask) in enumerate(zip(*encoder.tokens(sentences), strict=True)):
        np.testing.assert_allclose(states[row][: mask.sum()], expected[mask], atol=1e-3)


def test_no_such_model_is_named(networks: Networks, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="key_step_velocity"):
        export_mini(tmp_path, networks, ("kig",))


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="nowhere"):
        open_session(tmp_path / "nowhere.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    with pytest.raises(AssetError, match=r"damaged\.onnx"):
        open_session(tmp_path / "damaged.onnx", "cpu")


def test_the_device_decides_what_it_runs_on() -> None:
    both = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    alone = ("AzureExecutionProvider", "CPUExecutionProvider")
    assert choose_providers("auto", alone) == choose_providers("cpu", both) == ("CPUExecutionProvider",)
    assert choose_providers("auto", both) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert choose_providers("cuda:1", both)[0] == ("CUDAExecutionProvider", {"device_id": 1})
    with pytest.raises(PresetError, match=r"ksgen-agent\[gpu\]"):
        choose_providers("cuda", alone)
    for device in ("gpu", "cuda:", "cuda:x", "mps"):
        with pytest.raises(PresetError, match=device):
            choose_providers(device, both)
