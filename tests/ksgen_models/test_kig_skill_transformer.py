"""The Skill Transformer alone: what each step's tokens depend on, what masks hide, and that it survives the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ksgen_models.hub.kig.skill_transformer import SkillTransformer, positions

STEPS, WORDS, QUERIES = 3, 5, 2


@pytest.fixture
def transformer() -> SkillTransformer:
    torch.manual_seed(0)
    return SkillTransformer(
        text_dim=12, token_dim=24, patch=2, width=32, layers=2, heads=2, queries=QUERIES, max_steps=4
    ).eval()


@pytest.fixture
def told() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(1, 4, 8, 12), torch.randn(1, STEPS, WORDS, 12), torch.ones(1, STEPS, WORDS, dtype=torch.bool)


def test_every_step_has_its_tokens_and_its_map(transformer: SkillTransformer, told: tuple[torch.Tensor, ...]) -> None:
    skills = transformer(*told)
    assert skills.tokens.shape == (1, STEPS, QUERIES, 24)
    assert skills.change.shape == (1, STEPS, 4, 6)
    assert not torch.allclose(skills.tokens[:, 0], skills.tokens[:, 1], atol=1e-3)


@pytest.mark.parametrize("changed", ["frame", "own sentence", "another step's sentence"])
def test_a_step_depends_on_frame_own_and_other_sentences(
    transformer: SkillTransformer, told: tuple[torch.Tensor, ...], changed: str
) -> None:
    frame, text, mask = (tensor.clone() for tensor in told)
    before = transformer(frame, text, mask).tokens[0, 0]
    part = {"frame": frame, "own sentence": text[:, 0], "another step's sentence": text[:, 2]}[changed]
    part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(2)))
    assert (transformer(frame, text, mask).tokens[0, 0] - before).abs().max() > 1e-4


def test_what_a_mask_hides_changes_nothing(transformer: SkillTransformer, told: tuple[torch.Tensor, ...]) -> None:
    frame, text, mask = told
    mask = mask.clone()
    mask[:, :, 3:] = False
    shorter = transformer(frame, text[:, :, :3], mask[:, :, :3]).tokens
    torch.testing.assert_close(transformer(frame, text, mask).tokens, shorter)
    step_mask = torch.tensor([[True, True, False]])
    padded = transformer(frame, text, mask, step_mask).tokens[:, :2]
    torch.testing.assert_close(padded, transformer(frame, text[:, :2], mask[:, :2]).tokens)


def test_an_empty_sentence_makes_no_nan(transformer: SkillTransformer, told: tuple[torch.Tensor, ...]) -> None:
    frame, text, mask = told
    assert transformer(frame, text, torch.zeros_like(mask)).tokens.isfinite().all()


def test_a_plan_that_is_too_long_is_refused(transformer: SkillTransformer, told: tuple[torch.Tensor, ...]) -> None:
    frame, text, mask = told
    with pytest.raises(ValueError, match="5 steps"):
        transformer(frame, text[:, :1].repeat(1, 5, 1, 1), mask[:, :1].repeat(1, 5, 1))


def test_the_same_place_looks_the_same_at_every_resolution() -> None:
    coarse, fine = positions(4, 4, 16).view(4, 4, 16), positions(12, 12, 16).view(12, 12, 16)
    torch.testing.assert_close(coarse, fine[1::3, 1::3])


def test_saved_and_loaded_it_says_the_same(
    transformer: SkillTransformer, told: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    transformer.save_pretrained(tmp_path)
    loaded = SkillTransformer.from_pretrained(tmp_path, local_files_only=True).eval()
    torch.testing.assert_close(loaded(*told).tokens, transformer(*told).tokens, rtol=0, atol=0)


def test_gradient_checkpointing_gives_the_same_gradients(
    transformer: SkillTransformer, told: tuple[torch.Tensor, ...]
) -> None:
    def gradients() -> list[torch.Tensor]:
        transformer.zero_grad()
        skills = transformer(*told)
        (skills.tokens.square().mean() + skills.change.sigmoid().mean()).backward()
        missing = [name for name, parameter in transformer.named_parameters() if parameter.grad is None]
        assert not missing
        return [parameter.grad.clone() for parameter in transformer.parameters() if parameter.grad is not None]

    plain = gradients()
    transformer.train()
    transformer.enable_gradient_checkpointing()
    for one, other in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(one, other)
