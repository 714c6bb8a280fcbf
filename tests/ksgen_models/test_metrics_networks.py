"""Feature networks against direct computations, on tiny random checkpoints loaded as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ksgen_models import assets
from ksgen_models.errors import AssetError, InvalidInput, WeightsMissing
from ksgen_models.metrics.catalogue import METRICS, NETWORKS, parse_metrics
from ksgen_models.metrics.measure import Measurer, paired_cosine
from ksgen_models.metrics.networks.loading import choose, find_network, load_network

SENTENCE = "put the red block on the blue block"
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "[ENC]", *SENTENCE.split(), "."]


def clip_of(frames: int, seed: int = 0, height: int = 40, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def save_bert_tokenizer(folder: Path) -> None:
    from transformers import BertTokenizer

    vocabulary = list(dict.fromkeys(_WORDS))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def save_clip_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<|startoftext|>", "<|endoftext|>", "<unk>", *sorted(set(SENTENCE.split()))]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        model_max_length=16,
    ).save_pretrained(folder)


_VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny CLIP, DINO, BLIP and VideoMAE, saved as real ones are."""
    import transformers as t

    torch.manual_seed(0)
    folders = {name: tmp_path_factory.mktemp(name) for name in ("clip", "dino", "blip", "action")}
    text = {"vocab_size": 16, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**_VISION, "image_size": 32, "patch_size": 8}
    clip = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    clip.save_pretrained(folders["clip"])
    save_clip_tokenizer(folders["clip"])
    crop = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    t.CLIPImageProcessorPil(**crop).save_pretrained(folders["clip"])

    t.Dinov2Model(t.Dinov2Config(**{**_VISION, "image_size": 32, "patch_size": 8})).save_pretrained(folders["dino"])
    t.BitImageProcessorPil(**crop).save_pretrained(folders["dino"])

    blip_text = {**text, "encoder_hidden_size": 32, "bos_token_id": 4, "sep_token_id": 3, "eos_token_id": 3}
    blip = t.BlipForImageTextRetrieval(
        t.BlipConfig(text_config=blip_text, vision_config=vision, image_text_hidden_size=24)
    )
    blip.save_pretrained(folders["blip"])
    save_bert_tokenizer(folders["blip"])
    t.BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folders["blip"])

    video = {**_VISION, "image_size": 32, "patch_size": 8, "num_frames": 4, "tubelet_size": 2, "num_labels": 5}
    t.VideoMAEForVideoClassification(t.VideoMAEConfig(**video)).save_pretrained(folders["action"])
    t.VideoMAEImageProcessorPil(**crop).save_pretrained(folders["action"])
    return folders


def measured(names: str, own: dict[str, Path], generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    choice = choose(parse_metrics(names), {name: str(path) for name, path in own.items()})
    assert not choice.missing
    with Measurer(choice) as measurer:
        return dict(measurer.pair(generated, real, measurer.features(real, 8.0), 8.0, SENTENCE).scalars)


def test_clip_scores_are_those_of_transformers(checkpoints: dict[str, Path]) -> None:
    import transformers as t

    folder, generated, real = checkpoints["clip"], clip_of(5, 1), clip_of(5, 2)
    ours = measured("clip_to_real,clip_consecutive,clip_to_text", {"clip": folder}, generated, real)
    model = t.CLIPModel.from_pretrained(folder).eval()
    processor = t.CLIPImageProcessorPil.from_pretrained(folder)
    tokens = t.AutoTokenizer.from_pretrained(folder)([SENTENCE], return_tensors="pt")

    def embedded(clip: np.ndarray) -> Any:
        pixels = processor(list(clip[1:]), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            return model(pixel_values=pixels, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])

    drawn, true = embedded(generated), embedded(real)
    cosine = F.cosine_similarity(drawn.image_embeds, true.image_embeds).mean()
    consecutive = F.cosine_similarity(drawn.image_embeds[:-1], drawn.image_embeds[1:]).mean()
    to_text = drawn.logits_per_image.mean() / float(model.logit_scale.detach().exp())
    assert ours["clip_to_real"] == pytest.approx(100 * float(cosine), rel=1e-5)
    assert ours["clip_consecutive"] == pytest.approx(float(consecutive), abs=1e-5)
    assert ours["clip_to_text"] == pytest.approx(100 * float(to_text), abs=1e-3)


def test_the_dino_score_is_that_of_transformers(checkpoints: dict[str, Path]) -> None:
    import transformers as t

    folder, generated, real = checkpoints["dino"], clip_of(4, 1), clip_of(4, 2)
    ours = measured("dino_to_real", {"dino": folder}, generated, real)
    model = t.Dinov2Model.from_pretrained(folder).eval()
    processor = t.BitImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        drawn, true = (
            model(**processor(list(clip[1:]), return_tensors="pt")).last_hidden_state[:, 0]
            for clip in (generated, real)
        )
    assert ours["dino_to_real"] == pytest.approx(float(F.cosine_similarity(drawn, true).mean()), abs=1e-5)


def test_the_blip_score_is_that_of_transformers(checkpoints: dict[str, Path]) -> None:
    import transformers as t

    folder, generated = checkpoints["blip"], clip_of(4, 1)
    ours = measured("blip", {"blip": folder}, generated, clip_of(4, 2))
    model = t.BlipForImageTextRetrieval.from_pretrained(folder).eval()
    pixels = t.BlipImageProcessorPil.from_pretrained(folder)(list(generated[1:]), return_tensors="pt")["pixel_values"]
    tokens = t.AutoTokenizer.from_pretrained(folder)([SENTENCE] * len(pixels), return_tensors="pt")
    with torch.inference_mode():
        scores = model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=pixels,
            use_itm_head=False,
        ).itm_score
    assert ours["blip"] == pytest.approx(float(scores.diagonal().mean()), abs=1e-5)


def test_the_action_score_is_that_of_transformers(checkpoints: dict[str, Path]) -> None:
    import transformers as t

    folder, generated, real = checkpoints["action"], clip_of(5, 1), clip_of(5, 2)
    ours = measured("action_score", {"action": folder}, generated, real)
    model = t.VideoMAEForVideoClassification.from_pretrained(folder).eval()
    processor = t.VideoMAEImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        drawn, true = (
            model.videomae(**processor(list(clip[1:]), return_tensors="pt")).last_hidden_state.mean(1)
            for clip in (generated, real)
        )
    assert ours["action_score"] == pytest.approx(float(F.cosine_similarity(drawn, true)), abs=1e-5)


class _Features(torch.nn.Module):
    """Called as the public Inception file is."""

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return pictures.float().mean(dim=(2, 3)) if return_features else pictures.float()


def test_torchscript_files_make_features(tmp_path: Path) -> None:
    torch.jit.script(_Features()).save(str(tmp_path / "inception.pt"))
    clip = clip_of(5)
    choice = choose(("fid",), {"inception": str(tmp_path / "inception.pt")})
    with Measurer(choice) as measurer:
        features = measurer.features(clip, 8.0)["inception"]
    np.testing.assert_allclose(features, clip[1:].mean(axis=(1, 2)), rtol=1e-5)


def test_a_file_that_is_no_network_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "some.pt").write_bytes(b"not a network")
    for name in ("inception", "i3d", "flow", "egovlp"):
        with pytest.raises(AssetError, match=r"some\.pt"):
            load_network(find_network(name, str(tmp_path / "some.pt")))
    (tmp_path / "folder").mkdir()
    with pytest.raises(AssetError, match="folder"):
        load_network(find_network("clip", str(tmp_path / "folder")))


def test_egovlps_attention_is_what_frozen_in_time_says() -> None:
    """Patch by patch and head by head, straight from the paper's words, in float64."""
    from ksgen_models.metrics.networks.egovlp import EgoVlpVideo

    torch.manual_seed(0)
    network = EgoVlpVideo(width=16, depth=2, heads=2, frames=3, patch=4, patches=4, out=5).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    clip = torch.randn(1, 3, 3, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.allclose(network(clip)[0], _egovlp_by_hand(network, clip[0]), atol=1e-10)


def _egovlp_by_hand(network: Any, clip: torch.Tensor) -> torch.Tensor:
    tokens = {None: network.cls_token[0, 0] + network.pos_embed[0, 0]}
    for time, frame in enumerate(clip):
        patches = network.patch_embed["proj"](frame[None])[0].flatten(1).T
        for place, patch in enumerate(patches):
            tokens[time, place] = patch + network.pos_embed[0, 1 + place] + network.temporal_embed[0, time]

    def attended(layer: Any, inputs: dict, axis: int) -> dict:
        projected = {key: layer.qkv(value).view(3, layer.heads, -1) for key, value in inputs.items()}
        outputs = {}
        for key, (query, _, _) in projected.items():
            seen = [k for k in projected if key is None or k is None or k[1 - axis] == key[1 - axis]]
            heads = []
            for head in range(layer.heads):
                keys = torch.stack([projected[k][1, head] for k in seen])
                values = torch.stack([projected[k][2, head] for k in seen])
                heads.append((keys @ query[head] / keys.shape[1] ** 0.5).softmax(0) @ values)
            outputs[key] = layer.proj(torch.cat(heads))
        return outputs

    for block in network.blocks:
        time = attended(block.timeattn, {key: block.norm3(value) for key, value in tokens.items()}, 0)
        timed = {key: value + time[key] for key, value in tokens.items()}
        space = attended(block.attn, {key: block.norm1(value) for key, value in timed.items()}, 1)
        spaced = {key: value + space[key] for key, value in tokens.items()}
        tokens = {
            key: value + block.mlp["fc2"](F.gelu(block.mlp["fc1"](block.norm2(value)))) for key, value in spaced.items()
        }
    return network.vid_proj(network.norm(tokens[None]))


def test_egovlp_reads_the_authors_names(tmp_path: Path) -> None:
    from ksgen_models.metrics.networks.egovlp import EgoVlpVideo

    network = EgoVlpVideo(width=64, depth=1, heads=1, frames=4, patch=8, patches=16, out=8)
    state = {}
    for key, value in network.state_dict().items():
        state[f"module.vid_proj.0.{key[9:]}" if key.startswith("vid_proj.") else f"module.video_model.{key}"] = value
    torch.save({"state_dict": {**state, "module.txt_proj.1.weight": torch.zeros(2)}}, tmp_path / "egovlp.pth")
    clip = clip_of(6)
    same = measured("egovlp", {"egovlp": tmp_path / "egovlp.pth"}, clip, clip)
    other = measured("egovlp", {"egovlp": tmp_path / "egovlp.pth"}, clip_of(6, 3), clip)
    assert same["egovlp"] == pytest.approx(1.0)
    assert other["egovlp"] < 1.0


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for network in NETWORKS.values():
        if network.variable:
            monkeypatch.delenv(network.variable, raising=False)
    for asset in assets.ASSETS.values():
        monkeypatch.delenv(asset.variable, raising=False)


@pytest.mark.usefixtures("nothing_here")
def test_a_metric_without_weights_says_how_to_get_them_and_the_others_run() -> None:
    choice = choose(tuple(METRICS))
    assert choice.metrics == ("motion_distance_farneback",)
    assert "hf download openai/clip-vit-base-patch32" in choice.missing["clip_to_real"]
    assert "--network i3d=FILE" in choice.missing["fvd"]
    assert "ksgen-agent assets" in choice.missing["hs_err"]
    assert set(choice.missing) == set(METRICS) - set(choice.metrics)


def test_stand_ins_have_names_of_their_own() -> None:
    papers = {name for name, metric in METRICS.items() if metric.paper}
    for name in papers:
        stand_in = METRICS[name].stand_in
        assert stand_in not in papers
        assert not stand_in or METRICS[stand_in].label != METRICS[name].label
        assert not set(METRICS[name].networks) & set(METRICS[stand_in].networks) if stand_in else True


def test_words_that_are_wrong_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match='"fvd"'):
        parse_metrics("fdv,fid")
    with pytest.raises(InvalidInput, match="inception"):
        choose(("fid",), {"inceptoin": "x"})
    with pytest.raises(WeightsMissing, match=r"nowhere\.pt"):
        choose(("fid",), {"inception": str(tmp_path / "nowhere.pt")})


@pytest.mark.skipif(not assets.is_present(assets.PICTURE_FEATURES), reason="run: ksgen-agent assets")
def test_efficientnet_knows_a_cat_and_a_cup() -> None:
    data = pytest.importorskip("skimage.data")
    from ksgen_models.metrics.networks.efficientnet import prepare

    network = load_network(find_network("efficientnet_lite0"))
    for picture, labels in ((data.chelsea(), (281, 282, 285)), (data.coffee(), (967, 968))):
        side = min(picture.shape[:2])
        left = (picture.shape[1] - side) // 2
        with torch.inference_mode():
            probabilities = network(prepare(picture[None, :side, left : left + side]))[0].softmax(-1)
        assert int(probabilities.argmax()) in labels


@pytest.mark.skipif(not assets.is_present(assets.PERCEPTUAL_DISTANCE), reason="run: ksgen-agent assets")
def test_st_lpips_is_that_of_its_authors() -> None:
    network = load_network(find_network("st_lpips"))
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    first = torch.stack([rows, columns, rows * columns])[None]
    second = torch.stack([columns, rows, -rows])[None]
    with torch.inference_mode():
        assert float(network(first, first)) == 0.0
        assert float(network(first, second)) == pytest.approx(AUTHORS_ST_LPIPS, rel=1e-4)


AUTHORS_ST_LPIPS = 0.7290154099464417  # stlpips-pytorch 0.0.2 on the two pictures above


def test_paired_cosine_by_hand() -> None:
    first, second = np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 2.0], [4.0, 3.0]])
    assert paired_cosine(first, second) == pytest.approx((0 + 24 / 25) / 2)
