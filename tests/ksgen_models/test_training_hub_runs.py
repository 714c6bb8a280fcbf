"""Whole runs on tiny networks of the real classes: they learn, go on after a stop, and their results load and work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_kig
import torch
from safetensors.torch import load_file
from tiny_pipelines import save_tiny
from training_parts import SENTENCES, config_of, make_manifest, save_variant

from ksgen_models.errors import AssetError, DatasetError, InvalidInput, PresetError, WeightsMissing
from ksgen_models.interfaces import RegionPrediction, StepRequest
from ksgen_models.training.hub.runs import train_kig, train_rom, train_video
from ksgen_models.training.hub.trained import TrainedRegionModel, TrainedVideoGenerator

TINY = {
    "wan2.2-i2v": {},
    "cogvideox-i2v": {"frames": 9},
    "svd": {"height": 64, "width": 64, "frames": 3},
    "sdxl": {"skill_width": 32, "skill_layers": 1, "plan_steps": 2},
    "kolors": {"skill_width": 32, "skill_layers": 1, "plan_steps": 2},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    make_manifest(folder / "curated", videos=4)
    return folder


def checkpoint(home: Path, name: str) -> Path:
    """A tiny checkpoint, saved once."""
    folder = home / name
    if not folder.exists():
        if name in ("sdxl", "kolors"):
            getattr(tiny_kig, f"save_tiny_{name}")(folder)
        else:
            save_tiny(name, folder)
    return folder


def config(home: Path, name: str, out: Path, **changes: Any):
    """Of a run of seconds; encoded clips are shared."""
    return config_of(home / "curated", checkpoint(home, name), out, cache=home / "cache", **{**TINY[name], **changes})


def weights(model: Path) -> dict[str, torch.Tensor]:
    """All trained weights of a result."""
    found = {}
    for path in sorted(model.rglob("*.safetensors")):
        found |= {f"{path.relative_to(model)}/{name}": value for name, value in load_file(path).items()}
    return found


def assert_same(one: Path, other: Path) -> None:
    """Bit by bit."""
    first, second = weights(one), weights(other)
    assert first
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def curve(out: Path, name: str = "noise") -> list[float]:
    """A figure of all validations, in the order of the steps."""
    return [json.loads(line)[name] for line in (out / "validation.jsonl").read_text().splitlines()]


TRAINERS = {"rom": train_rom, "video": train_video, "kig": train_kig}
CASES = [("rom", "wan2.2-i2v"), ("video", "cogvideox-i2v"), ("kig", "sdxl")]
EVERY = [
    *CASES, ("rom", "cogvideox-i2v"), ("rom", "svd"), ("video", "wan2.2-i2v"), ("video", "svd"), ("kig", "kolors"),
]  # fmt: skip


# Going on after a stop


@pytest.mark.parametrize("rank", [0, 2], ids=["full", "adapters"])
def test_a_run_that_stopped_ends_like_one_that_did_not(home: Path, tmp_path: Path, rank: int) -> None:
    changes: dict[str, Any] = {"rank": rank, "averaging": 0.9, "beta": 0.1, "accumulate": 2, "no_text": 0.5}
    straight = train_rom(config(home, "wan2.2-i2v", tmp_path / "straight", steps=3, **changes))
    train_rom(config(home, "wan2.2-i2v", tmp_path / "stopped", steps=2, **changes))
    resumed = train_rom(config(home, "wan2.2-i2v", tmp_path / "stopped", steps=3, resume=True, **changes))
    assert_same(straight, resumed)


def test_a_run_made_longer_follows_the_longer_schedule(home: Path, tmp_path: Path) -> None:
    """A cosine of two steps has ended at a rate of nothing; one of four steps has not."""
    for steps in (1, 2):
        train_rom(config(home, "wan2.2-i2v", tmp_path, steps=2 * steps, schedule="cosine", checkpoint_every=1, keep=4,
                         resume=steps > 1))  # fmt: skip
    second, third = (load_file(tmp_path / f"checkpoints/step-00000{n}/trained.safetensors") for n in (2, 3))
    assert any(not torch.equal(second[name], third[name]) for name in second)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_killed_run_ends_like_one_that_was_not(home: Path, tmp_path: Path, kind: str, name: str) -> None:
    """SIGKILL somewhere between the first checkpoint and the end, wherever the run happens to be."""
    changes: dict[str, Any] = {"steps": 8, "checkpoint_every": 2, "averaging": 0.9, "rank": 2, "schedule": "cosine"}
    straight = TRAINERS[kind](config(home, name, tmp_path / "straight", **changes))
    wanted = config(home, name, tmp_path / "killed", **changes)
    code = (
        "import pickle, sys; from ksgen_models.training.hub import runs; "
        f"runs.train_{kind}(pickle.loads(sys.stdin.buffer.read()))"
    )
    import pickle

    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(wanted))
    process.stdin.close()
    while not (tmp_path / "killed" / "checkpoints" / "step-000002").is_dir():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    resumed = TRAINERS[kind](config(home, name, tmp_path / "killed", resume=True, **changes))
    assert_same(straight, resumed)


def test_the_averaged_weights_are_what_is_kept(home: Path, tmp_path: Path) -> None:
    """The same two runs but for the average: the same weights in the checkpoint, others in the model."""
    found = {}
    for averaging in (0.0, 0.9):
        out = tmp_path / str(averaging)
        model = train_rom(config(home, "wan2.2-i2v", out, steps=3, rank=2, averaging=averaging))
        raw = load_file(out / "checkpoints" / "step-000003" / "trained.safetensors")
        found[averaging] = raw, load_file(model / "input_projection.safetensors")
    (raw, kept), (raw_too, averaged) = found[0.0], found[0.9]
    name = "patch_embedding.weight"
    assert torch.equal(raw[name], raw_too[name])
    assert torch.equal(kept[name], raw[name])
    assert not torch.equal(averaged[name], raw[name])


def test_what_a_run_leaves(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_rom(config(home, "wan2.2-i2v", out, steps=3, checkpoint_every=1, keep=2, samples=1))
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-000002", "step-000003"]
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        "step-000000-masks.png",
        "step-000003-masks.png",
    ]
    assert 0 <= curve(out, "rom_iou")[-1] <= 1
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]
    assert "validation/masks" in events.Tags()["images"]
    with pytest.raises(DatasetError, match="--resume"):
        train_rom(config(home, "wan2.2-i2v", out, steps=3))
    with pytest.raises(DatasetError, match=r"learning_rate 0\.001 then and 0\.5 now"):
        train_rom(config(home, "wan2.2-i2v", out, steps=4, resume=True, learning_rate=0.5))


# Learning


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["full", "adapters"])
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_fifty_steps_lower_the_loss(home: Path, tmp_path: Path, kind: str, name: str, whole: bool) -> None:
    """On clips of other videos than it learns from, at ten noise levels a clip that are the same each time."""
    changes: dict[str, Any] = {"steps": 50, "learning_rate": 3e-3, "beta": 0.1, "validation_draws": 10}
    changes |= {"rank": 0, "whole_unet": kind == "kig"} if whole else {"rank": 4}
    out = tmp_path / "run"
    TRAINERS[kind](config(home, name, out, **changes))
    first, last = curve(out)
    assert last < first


def test_the_loss_falls_while_it_trains(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_video(config(home, "wan2.2-i2v", out, steps=20, learning_rate=1e-2, validate_every=1, validation_draws=4))
    found = curve(out)
    assert np.mean(found[-5:]) < np.mean(found[:5])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wan2.2-i2v", "cogvideox-i2v"])
def test_a_clip_learnt_by_heart_is_drawn(home: Path, tmp_path: Path, name: str) -> None:
    """Noising, loss and solver belong together: on flows (Wan) and on v (CogVideoX)."""
    from ksgen_models.training.hub.clips import VIDEO, ClipRecipe
    from ksgen_models.training.hub.manifest import read_clips
    from ksgen_models.training.hub.runs import _open, adapt
    from ksgen_models.training.hub.sampling import sample

    wanted = config(home, name, tmp_path / "run", no_text=0.0)
    kit = _open(wanted, 9)
    torch.manual_seed(0)
    kit = kit.with_network(larger(kit.network))
    if name == "wan2.2-i2v":  # one network for all noise levels
        kit = replace(kit, noising=replace(kit.noising, least=0.0))  # type: ignore[type-var]
    adapt(kit, wanted)
    clips = read_clips(wanted.data)
    recipe = ClipRecipe(VIDEO, kit, wanted, clips[:1], clips[1:2])
    recipe.prepare(torch.device("cpu"), 0, 1)
    batch = recipe.batch([0], np.random.default_rng(0))
    eight = {key: value.expand(8, *value.shape[1:]) for key, value in batch.items()}
    optimizer = torch.optim.AdamW(kit.network.parameters(), 2e-3)
    for step in range(100):
        optimizer.zero_grad()
        recipe.losses(kit.network, eight, torch.Generator().manual_seed(step))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(kit.network.parameters(), 1.0)
        optimizer.step()
    drawn = sample(kit, kit.network.eval(), batch, 8.0, 12, torch.Generator().manual_seed(1))
    both = torch.stack([drawn.flatten(), batch["latents"].flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.8


def larger(network: Any) -> Any:
    """A network of the same class that has room for a clip."""
    changes = {"num_layers": 2, "num_attention_heads": 4}
    wan = {"attention_head_dim": 24, "ffn_dim": 192}
    cogvideox = {"attention_head_dim": 32, "time_embed_dim": 64}
    more = wan if "ffn_dim" in network.config else cogvideox
    return type(network).from_config({**network.config, **changes, **more})


def test_the_hand_structure_loss_reaches_the_network(home: Path, tmp_path: Path) -> None:
    """With α alone counting, the network's last layer gets a gradient through decoder and hand network."""
    from ksgen_models.hand_structure import HandStructureLoss
    from ksgen_models.training.hub.clips import VIDEO, ClipRecipe
    from ksgen_models.training.hub.manifest import held_out, read_clips
    from ksgen_models.training.hub.runs import _open, adapt

    wanted = config(home, "wan2.2-i2v", tmp_path / "run", alpha=1.0)
    kit = _open(wanted, 9)
    adapt(kit, wanted)
    clips, validation = held_out(read_clips(wanted.data), 2)
    recipe = ClipRecipe(VIDEO, kit, wanted, clips, validation, hand_loss=HandStructureLoss())
    recipe.prepare(torch.device("cpu"), 0, 1)
    batch = recipe.batch([0], np.random.default_rng(0))
    losses = recipe.losses(kit.network, batch, torch.Generator().manual_seed(3))
    assert float(losses["hand_structure"].detach()) > 0
    (gradient,) = torch.autograd.grad(losses["hand_structure"], [kit.network.proj_out.weight])
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


# What comes out


def request_of(side: int = 48) -> StepRequest:
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return StepRequest(0, SENTENCES[0], image, image, seed=5)


@pytest.mark.parametrize("rank", [0, 2], ids=["full", "adapters"])
def test_both_stages_one_after_the_other(home: Path, tmp_path: Path, rank: int) -> None:
    """Stage 1; stage 2 from its weights and its masks; both as parts of an agent."""
    changes: dict[str, Any] = {"rank": rank, "steps": 1}
    rom = train_rom(config(home, "wan2.2-i2v", tmp_path / "rom", **changes))
    video = train_video(config(home, "wan2.2-i2v", tmp_path / "video", rom=rom, start=rom, **changes))
    request = request_of()
    region = TrainedRegionModel(rom, solver_steps=2).predict(request)
    assert region.motion.shape == region.change.shape == (48, 48)
    assert ((region.motion >= 0) & (region.motion <= 1)).all()
    generator = TrainedVideoGenerator(video, solver_steps=2)
    clip = generator.generate(request, region)
    assert clip.shape == (5, 48, 48, 3)
    assert generator.fps == 8
    np.testing.assert_array_equal(clip[0], request.image)
    np.testing.assert_array_equal(clip, generator.generate(request, region))
    nowhere = RegionPrediction(np.zeros((48, 48), np.float32), region.change)
    everywhere = RegionPrediction(np.ones((48, 48), np.float32), region.change)
    assert not np.array_equal(generator.generate(request, nowhere), generator.generate(request, everywhere))
    with pytest.raises(AssetError, match='kind "rom"'):
        TrainedVideoGenerator(rom)


def test_a_trained_network_is_loaded_as_it_was(home: Path, tmp_path: Path) -> None:
    import diffusers

    model = train_rom(config(home, "wan2.2-i2v", tmp_path / "run", steps=1))
    network = diffusers.WanTransformer3DModel.from_pretrained(model / "transformer")
    assert network.config["in_channels"] == 37
    assert network.config["out_channels"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdxl", "kolors"])
def test_a_trained_kig_is_what_an_agent_draws_with(home: Path, tmp_path: Path, name: str) -> None:
    from ksgen_models.hub.kig.loading import load_image_generator

    few = {"solver_steps": 2, "area": 32 * 32}
    frame = request_of(32).image
    source = checkpoint(home, name)
    plain = load_image_generator(source, changes=few).draw(frame, SENTENCES[:2], seed=1)
    model = train_kig(config(home, name, tmp_path / "frozen", steps=3))
    drawn = load_image_generator(source, model, changes=few).draw(frame, SENTENCES[:2], seed=1)
    assert drawn.shape == (3, 32, 32, 3)
    assert not np.array_equal(drawn, plain)
    for changes in ({"rank": 2}, {"whole_unet": True}):
        told = train_kig(config(home, name, tmp_path / "-".join(changes), steps=2, **changes))
        load_image_generator(told / "checkpoint", told, changes=few).draw(frame, SENTENCES[:1], seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("component", ["transformer", "transformer_2"])
def test_each_expert_of_wan_is_trained_by_itself(home: Path, tmp_path: Path, component: str) -> None:
    model = train_video(config(home, "wan2.2-i2v", tmp_path / "run", steps=1, component=component))
    assert (model / component / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames"), [("wan2.1", 5), ("wan2.2-ti2v", 5), ("cogvideox1.5", 9)])
def test_networks_that_take_other_things(home: Path, tmp_path: Path, name: str, frames: int) -> None:
    """Vectors of the picture, the picture in the first frame's place, patches in time."""
    model = save_variant(name, tmp_path / "checkpoint")
    wanted = config_of(home / "curated", model, tmp_path / "run", frames=frames, rank=2, samples=1, steps=6, beta=0.1,
                       learning_rate=1e-2)  # fmt: skip
    result = train_rom(wanted)
    first, last = curve(tmp_path / "run")
    assert last < first
    region = TrainedRegionModel(result, solver_steps=2).predict(request_of())
    assert region.motion.shape == (48, 48)


# What goes wrong


def test_no_checkpoint_no_network(home: Path, tmp_path: Path) -> None:
    wanted = config(home, "wan2.2-i2v", tmp_path / "run")
    for model in ("Wan-AI/Wan2.2-I2V-A14B-Diffusers", str(tmp_path / "nowhere")):
        with pytest.raises(WeightsMissing):
            train_rom(config_of(wanted.data, Path(model), tmp_path / "run"))


def test_a_checkpoint_of_another_kind(home: Path, tmp_path: Path) -> None:
    image_model = checkpoint(home, "sdxl")
    with pytest.raises(PresetError, match="StableDiffusionXLPipeline"):
        train_rom(config_of(home / "curated", image_model, tmp_path / "run"))
    with pytest.raises(PresetError, match="WanImageToVideoPipeline"):
        train_kig(config_of(home / "curated", checkpoint(home, "wan2.2-i2v"), tmp_path / "run"))


@pytest.mark.parametrize(("wrong", "words"), [({"frames": 6}, "4 k"), ({"height": 40}, "multiples of 16")])
def test_sizes_that_the_network_does_not_take(home: Path, tmp_path: Path, wrong: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        train_rom(config(home, "wan2.2-i2v", tmp_path / "run", **wrong))


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX can")
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(home: Path, tmp_path: Path) -> None:
    """A process that may write no file above some kB: the checkpoint fails, and what was there stays."""
    import resource

    out = tmp_path / "run"
    changes: dict[str, Any] = {"steps": 3, "checkpoint_every": 1}
    train_rom(config(home, "wan2.2-i2v", out, **{**changes, "steps": 1}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(DatasetError, match="cannot write"):
            train_rom(config(home, "wan2.2-i2v", out, resume=True, **changes))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000001"]
    resumed = train_rom(config(home, "wan2.2-i2v", out, resume=True, **changes))
    assert_same(train_rom(config(home, "wan2.2-i2v", tmp_path / "straight", **changes)), resumed)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [*CASES, ("rom", "svd"), ("kig", "kolors")])
def test_half_precision_with_checkpointed_activations(home: Path, tmp_path: Path, kind: str, name: str) -> None:
    """What a GPU run does by default: a bf16 network, float32 adapters, samples drawn under autocast."""
    changes = {"precision": "bf16", "gradient_checkpointing": True, "rank": 2, "samples": 1, "averaging": 0.9}
    model = TRAINERS[kind](config(home, name, tmp_path / "run", steps=2, beta=0.1, **changes))
    assert all(weight.isfinite().all() for weight in weights(model).values())
    assert all(weight.dtype == torch.float32 for key, weight in weights(model).items() if "lora" in key)
