"""Checkpoints on disk: found without network, and what is wrong with them said exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ksgen_models.errors import PresetError, WeightsMissing
from ksgen_models.hub.checkpoints import check_checkpoint, checkpoint_size, safetensors_fault
from ksgen_models.hub.repositories import find_checkpoint, is_repository
from ksgen_models.hub.video_loading import load_video_generator

NETWORK = "transformer/diffusion_pytorch_model"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole folder in diffusers' layout, its transformer in two shards."""
    folder = tmp_path / "checkpoint"
    index = {
        "_class_name": "LTXImageToVideoPipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "LTXVideoTransformer3DModel"],
        "image_encoder": [None, None],
    }
    write(folder / "model_index.json", index)
    write(folder / "scheduler/scheduler_config.json", {})
    write(folder / "tokenizer/tokenizer.json", {})
    for name in ("text_encoder", "transformer"):
        write(folder / name / "config.json", {})
    save_file({"w": np.zeros((8, 8), np.float16)}, folder / "text_encoder/model.safetensors")
    shards = ("00001-of-00002", "00002-of-00002")
    for shard in shards:
        save_file({shard: np.zeros((16, 16), np.float32)}, folder / f"{NETWORK}-{shard}.safetensors")
    weight_map = {
        shard: f"diffusion_pytorch_model-{shard}.safetensors" for shard in ("00001-of-00002", "00002-of-00002")
    }
    write(folder / f"{NETWORK}.safetensors.index.json", {"weight_map": weight_map})
    return folder


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def test_a_whole_folder_is_described(checkpoint: Path) -> None:
    found = check_checkpoint(checkpoint, pipeline=("LTXPipeline", "LTXImageToVideoPipeline"))
    assert [component.name for component in found.components] == [
        "scheduler",
        "text_encoder",
        "tokenizer",
        "transformer",
    ]
    assert len(found.components[-1].weights) == 2
    assert found.size == checkpoint_size(checkpoint) > 2 * 16 * 16 * 4
    assert found.variant is None


def test_everything_that_is_missing_is_named_at_once(checkpoint: Path) -> None:
    (checkpoint / f"{NETWORK}-00002-of-00002.safetensors").unlink()
    (checkpoint / "tokenizer/tokenizer.json").unlink()
    shutil.rmtree(checkpoint / "scheduler")
    with pytest.raises(WeightsMissing) as caught:
        check_checkpoint(checkpoint)
    for what in ("00002-of-00002.safetensors is missing", "tokenizer/ lacks", "scheduler/ is missing", "Fetch"):
        assert what in str(caught.value)


def test_a_file_cut_short_is_found_by_its_own_header(checkpoint: Path) -> None:
    path = checkpoint / f"{NETWORK}-00001-of-00002.safetensors"
    whole = path.read_bytes()
    for length in (0, 5, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsMissing, match=r"00001-of-00002.safetensors (has|is cut short)"):
            check_checkpoint(checkpoint)
    path.write_bytes(whole)
    assert safetensors_fault(path) is None


def test_a_pointer_of_git_lfs_is_told_from_a_file(checkpoint: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
    (checkpoint / "text_encoder/model.safetensors").write_text(pointer)
    with pytest.raises(WeightsMissing, match="git lfs pull"):
        check_checkpoint(checkpoint)


def test_pickles_are_refused(checkpoint: Path) -> None:
    (checkpoint / "text_encoder/model.safetensors").rename(checkpoint / "text_encoder/pytorch_model.bin")
    with pytest.raises(PresetError, match="pickles"):
        check_checkpoint(checkpoint)


def test_a_shard_outside_the_folder_is_refused(checkpoint: Path) -> None:
    write(checkpoint / f"{NETWORK}.safetensors.index.json", {"weight_map": {"w": "../../secret.safetensors"}})
    with pytest.raises(WeightsMissing, match="outside the folder"):
        check_checkpoint(checkpoint)


def test_half_precision_files_are_a_variant(checkpoint: Path) -> None:
    folder = checkpoint / "text_encoder"
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    assert check_checkpoint(checkpoint).variant == "fp16"


def test_a_broken_index_is_missing_weights(checkpoint: Path) -> None:
    (checkpoint / "model_index.json").write_text('{"_class_name": "LTX')
    with pytest.raises(WeightsMissing, match="fetch it again"):
        check_checkpoint(checkpoint)
    (checkpoint / "model_index.json").unlink()
    with pytest.raises(WeightsMissing, match=r"no model_index\.json"):
        check_checkpoint(checkpoint)


def test_a_checkpoint_of_another_family_is_refused_before_it_is_loaded(checkpoint: Path) -> None:
    with pytest.raises(PresetError, match="WanImageToVideoPipeline is needed"):
        load_video_generator("wan2.2-i2v", checkpoint)


def test_a_text_to_video_checkpoint_is_refused_with_the_reason(checkpoint: Path) -> None:
    index = json.loads((checkpoint / "model_index.json").read_text())
    write(checkpoint / "model_index.json", {**index, "_class_name": "WanPipeline"})
    with pytest.raises(PresetError, match="text-to-video model: it is not shown the camera's frame"):
        load_video_generator("wan2.2-i2v", checkpoint)


def test_a_repository_is_looked_for_below_the_weights_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.setenv("KSGEN_WEIGHTS", str(tmp_path))
    assert find_checkpoint("owner/name") == tmp_path / "owner/name"
    assert find_checkpoint("owner/name@v1.0") == tmp_path / "owner/name"


def test_without_network_the_error_says_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"not on this machine; run: hf download nobody/nothing --revision v2"):
        find_checkpoint("nobody/nothing@v2")
    with pytest.raises(WeightsMissing, match="hub cannot be reached"):
        find_checkpoint("nobody/nothing", download=True)
    with pytest.raises(WeightsMissing, match="there is no folder"):
        find_checkpoint(tmp_path / "not-here")


def test_what_is_a_repository_and_what_a_folder() -> None:
    assert is_repository("Wan-AI/Wan2.2-I2V-A14B-Diffusers")
    assert is_repository("owner/name@refs/pr/1")
    for folder in ("/data/wan", "./wan/here", "~/wan", "wan", "a/b/c", Path("a/b")):
        assert not is_repository(folder)
