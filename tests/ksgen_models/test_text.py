"""The sentence encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksgen_models.assets import SENTENCE_ENCODER, is_present
from ksgen_models.errors import AssetError, InvalidInput, WeightsMissing
from ksgen_models.text import MiniLM

needs_weights = pytest.mark.skipif(not is_present(SENTENCE_ENCODER), reason="run `ksgen-agent assets`")


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


@needs_weights
def test_meaning_is_closer_than_wording(encoder: MiniLM) -> None:
    vectors = encoder.embed(("turn the light on", "switch on the lamp", "turn the page over"))
    assert vectors.shape == (3, encoder.dimension) == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


@needs_weights
def test_a_sentence_has_the_same_bits_whatever_stands_beside_it(encoder: MiniLM) -> None:
    alone = MiniLM().embed(("open the drawer",))
    beside = encoder.embed(("press the button several times until it gives way", "open the drawer"))
    assert np.array_equal(alone[0], beside[1])


@needs_weights
def test_many_sentences_agree_with_single_ones_and_repeat_exactly(encoder: MiniLM) -> None:
    many = tuple(f"put block number {index} on block number {index + 1}" for index in range(40))
    together = encoder.embed(many)
    assert np.array_equal(together, encoder.embed(many))
    assert np.allclose(together, np.concatenate([encoder.embed((one,)) for one in many]), atol=1e-5)


@needs_weights
def test_tokens_are_padded_to_24_and_truncated(encoder: MiniLM) -> None:
    states, mask = encoder.tokens(("press the button", "very " * 100 + "long"))
    assert states.shape == (2, 24, 384)
    assert states.dtype == np.float32
    assert mask.sum(axis=1).tolist() == [5, 24]  # start mark, three words, end mark
    assert not states[~mask].any()
    assert np.abs(states[mask]).sum(axis=1).min() > 0


@needs_weights
def test_changing_the_result_does_not_change_the_next_one(encoder: MiniLM) -> None:
    first = encoder.embed(("close the drawer",))
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(encoder.embed(("close the drawer",)), kept)


@needs_weights
def test_no_sentences_give_no_rows(encoder: MiniLM) -> None:
    assert encoder.embed(()).shape == (0, 384)
    assert encoder.tokens(())[0].shape == (0, 24, 384)


@needs_weights
@pytest.mark.parametrize("wrong", ["a single string", (b"bytes",), (None,)])
def test_what_is_no_tuple_of_sentences_is_refused(encoder: MiniLM, wrong: object) -> None:
    with pytest.raises(InvalidInput):
        encoder.embed(wrong)  # type: ignore[arg-type]


@needs_weights
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sentence=st.text(max_size=300))
def test_any_text_has_a_finite_vector(encoder: MiniLM, sentence: str) -> None:
    assert np.isfinite(encoder.embed((sentence,))).all()


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"config\.json, model\.safetensors"):
        MiniLM(tmp_path)


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(AssetError, match="fetch it anew"):
        MiniLM(tmp_path)
