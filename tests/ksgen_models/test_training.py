from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_episodes import make_demonstration, without_clips, write_episodes

from ksgen_models.demonstration import list_episodes, save_demonstration
from ksgen_models.errors import DatasetError
from ksgen_models.interfaces import StepRequest
from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.generate import MiniKIG, MiniRegionModel, MiniVideoGenerator, SamplerSettings
from ksgen_models.mini.networks import load_networks
from ksgen_models.mini.scene_reader import MiniSceneReader
from ksgen_models.mini.weights import load_network
from ksgen_models.region_overlap import miou_loss
from ksgen_models.training.cache import open_cache, raw_latents
from ksgen_models.training.curves import main as draw_curves_command
from ksgen_models.training.curves import read_curves, running_mean
from ksgen_models.training.draw_plans import draw_plans
from ksgen_models.training.draw_plans import main as draw_plans_command
from ksgen_models.training.episodes import read_episodes
from ksgen_models.training.fit import FitConfig, fit
from ksgen_models.training.mini import SMALL, sentence_states, train_mini
from ksgen_models.training.train_key_step import KeyStepBatches
from ksgen_models.training.tune import main as tune_command
from ksgen_models.training.tune_clip import PARTS
from ksgen_models.training.tune_clip import main as tune_clip_command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    return train_mini(write_episodes(folder / "data"), folder / "out", recipe=SMALL)


def test_the_whole_recipe_runs_and_its_weights_generate(trained):
    networks = load_networks(trained)
    settings = SamplerSettings(key_step_steps=2, region_steps=2, clip_steps=2)
    frame = np.full((120, 160, 3), 128, np.uint8)
    images = MiniKIG(networks, settings).draw(frame, ("Put the red block in place 1", "Put it back"), seed=3)
    assert images.shape == (3, 120, 160, 3)
    assert np.array_equal(images[0], frame)
    request = StepRequest(0, "Put the red block in place 1", images[0], images[1], seed=3)
    region = MiniRegionModel(networks, settings).predict(request)
    assert region.motion.shape == region.change.shape == (120, 160)
    assert (region.change >= region.motion).all()
    assert region.track is not None
    assert region.track.shape == (16, 2, 21, 2)
    untracked = MiniRegionModel(networks, replace(settings, tracked=False)).predict(request)
    assert untracked.track is None
    assert not np.array_equal(untracked.frames, region.frames), "stage 1 is told the track"
    clip = MiniVideoGenerator(networks, settings).generate(request, region)
    assert clip.shape == (16, 120, 160, 3)
    assert np.array_equal(clip[0], frame)
    again = MiniVideoGenerator(networks, settings).generate(request, region)
    assert np.array_equal(clip, again), "the same seed draws the same clip, bit by bit"
    other = MiniVideoGenerator(networks, settings).generate(replace(request, seed=4), region)
    assert not np.array_equal(clip, other)


def test_steps_that_are_drawn_in_one_call_are_those_that_each_is_alone(trained):
    networks = load_networks(trained)
    settings = SamplerSettings(region_steps=2, clip_steps=2, clip_guidance=2.0)
    regions, video = MiniRegionModel(networks, settings), MiniVideoGenerator(networks, settings)
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (4, 120, 160, 3), np.uint8)
    sentences = ("Put the red block in place 1", "Put it back", "Put the blue block on the red block")
    requests = [
        StepRequest(index, sentence, images[index], images[index + 1], seed=3 + index)
        for index, sentence in enumerate(sentences)
    ]
    joined = regions.predict_many(requests)
    off = 0.0 if networks.dtype is torch.bfloat16 else 1e-3
    for request, region in zip(requests, joined, strict=True):
        alone = regions.predict(request)
        for name in ("motion", "change", "frames"):
            assert np.abs(getattr(region, name) - getattr(alone, name)).max() <= off, name
    steps = list(zip(requests, joined, strict=True))
    for step, clip in zip(steps, video.generate_many(steps), strict=True):
        alone = video.generate(*step)
        assert np.abs(clip.astype(int) - alone).max() <= (1 if off else 0)
        assert (clip == alone).mean() >= 1 - off


@pytest.mark.parametrize("alpha", ["0", "2"])
def test_tuning_changes_the_last_blocks_of_the_clip_model_alone(trained, tmp_path, alpha):
    run = ("--data", trained.parent.parent / "data", "--weights", trained, "--out", tmp_path, "--alpha", alpha)
    tune_clip_command([str(word) for word in (*run, "--steps", "2", "--batch", "2", "--learning-rate", "0.1")])
    before, after = (load_file(folder / "clip.safetensors") for folder in (trained, tmp_path / "weights"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(PARTS) for name in changed)
    assert load_networks(tmp_path / "weights").hashes["key_step.safetensors"]


@pytest.mark.parametrize("network", ["key_step", "progress", "reader", "track"])
def test_tuning_changes_one_network_and_goes_on_where_it_stopped(trained, tmp_path, network):
    data = trained.parent.parent / "data"
    run = (network, "--data", data, "--weights", trained, "--out", tmp_path, "--batch", "2", "--learning-rate", "0.01")
    tune_command([str(word) for word in (*run, "--steps", "2")])
    tune_command([str(word) for word in (*run, "--steps", "4")])
    steps = [json.loads(line)["step"] for line in (tmp_path / f"{network}.jsonl").read_text().splitlines()]
    assert steps == [0, 1, 3]
    for name in ("autoencoder", "reader", "progress", "key_step", "clip", "track"):
        before, after = (load_file(folder / f"{name}.safetensors") for folder in (trained, tmp_path / "weights"))
        assert all(torch.equal(before[key], after[key]) for key in before) == (name != network)


def test_plans_are_drawn_once_and_keep_the_hands_of_their_episodes(trained, tmp_path, capsys):
    data = trained.parent.parent / "data"
    run = ["--data", str(data), "--out", str(tmp_path), "--weights", str(trained), "--quality", "fast"]
    draw_plans_command(run)
    true, drawn = read_episodes(data), read_episodes(tmp_path)
    assert [episode.descriptions for episode in drawn] == [episode.descriptions for episode in true]
    for before, after in zip(true, drawn, strict=True):
        assert not after.has_clips
        assert np.array_equal(after.image(0), before.image(0))
        assert not np.array_equal(after.image(1), before.image(1))
        hands = before.keypoints[:, None] if before.has_clips else before.ways
        assert np.array_equal(after.ways, hands, equal_nan=True)
    written = {path: path.stat().st_mtime_ns for path in list_episodes(tmp_path)}
    lost = next(iter(written))
    lost.unlink()
    draw_plans_command(run)
    assert {path for path, time in written.items() if path.stat().st_mtime_ns != time} == {lost}


def test_stills_without_ways_have_none_when_they_are_drawn(trained, tmp_path):
    stills = without_clips(make_demonstration(0))
    bare = replace(stills, steps=tuple(replace(step, ways=None) for step in stills.steps))
    save_demonstration(bare, tmp_path / "data" / "stack_blocks" / "0000000-stills.npz")
    drawn = read_episodes(draw_plans(list_episodes(tmp_path / "data"), tmp_path / "out", trained, quality="fast"))
    assert [episode.ways.shape[1] for episode in drawn] == [0]


def test_two_episodes_of_one_name_are_not_drawn_over_each_other(trained, tmp_path):
    folders = [write_episodes(tmp_path / name, 1) for name in ("one", "other")]
    with pytest.raises(DatasetError, match="have one name"):
        draw_plans([path for folder in folders for path in list_episodes(folder)], tmp_path / "out", trained)
    assert not (tmp_path / "out").exists()


def test_the_track_model_learns_from_drawn_plans_at_last(trained):
    steps = [json.loads(line)["step"] for line in (trained.parent / "track_drawn.jsonl").read_text().splitlines()]
    assert steps[-1] == SMALL.track_drawn.steps - 1
    assert len(list_episodes(trained.parent / "drawn")) == len(list_episodes(trained.parent.parent / "data"))


def test_the_region_of_change_holds_all_that_the_mask_clip_which_is_kept_changes(trained):
    networks = load_networks(trained)
    picture = np.full((128, 128, 3), 128, np.uint8)
    request = StepRequest(0, "Put the red block in place 1", picture, picture, seed=0)
    regions = MiniRegionModel(networks, SamplerSettings(region_samples=3))
    clips = torch.zeros(3, 16, 2, 32, 32)
    expected = regions._expected_motion(request)
    clips[0, :, 0] = expected  # the one to be kept goes where a hand is expected, and changes a corner
    clips[0, 3, 1, :4, :4] = 1.0
    clips[1:, :, 1, -4:, -4:] = 1.0  # the others change another
    chosen = regions._choose(request, clips, regions._expected_track(request))
    assert np.array_equal(chosen.frames, clips[0].numpy())
    assert chosen.change[:8, :8].min() > 0.9
    assert np.array_equal(chosen.change[-8:, -8:], chosen.motion[-8:, -8:])


def test_learning_curves_are_drawn_of_every_network(trained, tmp_path, capsys):
    out = tmp_path / "curves.png"
    draw_curves_command([str(trained.parent), "--out", str(out)])
    width, height = Image.open(out).size
    assert width > 3 * height, "a network beside the other"
    losses = read_curves(trained.parent / "progress.jsonl")
    assert {"loss", "done", "seen"} <= set(losses)
    assert losses["loss"][-1, 0] == SMALL.progress.steps - 1
    assert running_mean(np.arange(100.0)) == pytest.approx(np.arange(100.0), abs=1.0)
    with pytest.raises(SystemExit):
        draw_curves_command([str(tmp_path)])
    assert "no log of a training run" in capsys.readouterr().err


@pytest.mark.parametrize(("part", "modules"), [("drawing", {"unet", "changes"}), ("pointing", {"skill"})])
def test_a_part_of_the_kig_can_be_trained_on_alone(trained, tmp_path, part, modules):
    data = trained.parent.parent / "data"
    run = ("key_step", "--data", data, "--weights", trained, "--out", tmp_path, "--single", "1")
    tune_command(
        [str(word) for word in (*run, "--steps", "2", "--batch", "2", "--learning-rate", "0.1", "--only", part)]
    )
    before, after = (load_file(folder / "key_step.safetensors") for folder in (trained, tmp_path / "weights"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == modules


def test_no_single_steps_to_point_at_are_refused(capsys):
    with pytest.raises(SystemExit):
        tune_command(["key_step", "--data", "here", "--out", "there", "--single", "0"])
    assert "--single takes 1 or more" in capsys.readouterr().err


def test_the_key_step_images_of_a_plan_that_begins_midway_are_seen_from_its_own_frame(trained):
    cache, random = open_cache(trained.parent / "cache"), np.random.default_rng(0)
    episodes = read_episodes(trained.parent.parent / "data")
    autoencoder = Autoencoder(SMALL.model.autoencoder)
    load_network("autoencoder", autoencoder, trained)
    batches = KeyStepBatches(cache, *sentence_states(cache.texts))
    begun = set()
    for number, episode in enumerate(episodes):
        images = np.stack([episode.image(index) for index in range(episode.steps + 1)])
        for _ in range(8):
            start, end, picture = batches._part(number, random)
            first = start - int(cache.first_step[number])
            assert picture == cache.first_picture[number] + first
            drawn = cache.key_latents[cache.plan_latents[picture] :][: end - start + 1]
            seen = autoencoder.normalise(raw_latents(autoencoder, images[first:], images[first])).numpy()
            assert np.allclose(drawn, seen[: len(drawn)], atol=2e-2)
            begun.add(first)
    assert {0, 1} <= begun


def test_the_reader_names_scene_and_objects(trained):
    reading = MiniSceneReader(load_networks(trained)).read(np.full((96, 128, 3), 90, np.uint8))
    assert list(reading.scene) == ["StackBlocks"]
    assert set(reading.objects) == {"red block", "blue block"}


def test_a_finished_run_is_not_trained_again(trained):
    before = {path.name: path.stat().st_mtime_ns for path in trained.glob("*.safetensors")}
    train_mini(trained.parent.parent / "data", trained.parent, recipe=SMALL)
    assert before == {path.name: path.stat().st_mtime_ns for path in trained.glob("*.safetensors")}


def test_pictures_of_another_size_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="generate demonstrations of that size"):
        train_mini(write_episodes(tmp_path, 1, size=64), tmp_path / "out", recipe=SMALL)


def test_stills_alone_are_refused(tmp_path):
    save_demonstration(without_clips(make_demonstration(0)), tmp_path / "stack_blocks" / "0000000-stills.npz")
    with pytest.raises(DatasetError, match="generate demonstrations too"):
        train_mini(tmp_path, tmp_path / "out", recipe=SMALL)


class _Killed(Exception):
    pass


def _fit(folder, steps, *, resume, killed_at=None):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)

    def make_batch(random, number):
        x = random.normal(size=(number, 3)).astype(np.float32)
        return torch.from_numpy(x), torch.from_numpy(x.sum(1, keepdims=True))

    calls = []

    def losses(network, batch, noise):
        calls.append(1)
        if killed_at is not None and len(calls) > killed_at:
            raise _Killed
        error = (network(batch[0] + 0.01 * torch.randn(batch[0].shape, generator=noise)) - batch[1]).square().mean()
        return {"loss": error}

    config = FitConfig(steps=steps, batch=8, learning_rate=0.05, warmup=1, checkpoint_seconds=0.0)
    return fit("line", model, make_batch, losses, config, folder, resume=resume)


def test_training_lowers_the_loss_and_a_killed_run_ends_where_an_uninterrupted_one_does(tmp_path):
    whole = _fit(tmp_path / "whole", 60, resume=False)
    with pytest.raises(_Killed):
        _fit(tmp_path / "killed", 60, resume=True, killed_at=23)
    resumed = _fit(tmp_path / "killed", 60, resume=True)
    assert torch.equal(whole.weight, resumed.weight)
    assert whole.weight.detach().numpy() == pytest.approx(np.ones((1, 3)), abs=0.2)


def test_miou_loss_is_one_minus_the_overlap():
    target = torch.zeros(1, 2, 2, 4, 4)
    target[0, 0, 0, :2] = 1  # 8 pixels in one mask of one frame; the others are empty and do not count
    drawn = torch.zeros_like(target)
    drawn[0, 0, 0, 1:3] = 1  # 8 pixels, 4 of them shared: 4 / 12
    assert float(miou_loss(drawn, target)) == pytest.approx(1 - 4 / 12)
    assert float(miou_loss(target, target)) == pytest.approx(0.0)
