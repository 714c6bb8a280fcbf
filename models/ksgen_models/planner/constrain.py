"""Holds a local model to a JSON schema: at every token only those stay possible that continue a valid answer.

The grammar is compiled and followed by llguidance; here is only the place where its mask meets transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import llguidance
import llguidance.hf
import numpy as np
import torch
from transformers import LogitsProcessor


class Grammar:
    """A model's tokenizer, made ready for `SchemaMask`; making one takes about a second for a large vocabulary."""

    def __init__(self, tokenizer: Any, vocabulary: int, end_tokens: list[int]) -> None:
        """Read the tokenizer.

        Args:
            tokenizer: a fast tokenizer of transformers.
            vocabulary: number of the model's logits, which may exceed the tokenizer's.
            end_tokens: the tokens that end an answer.
        """
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=end_tokens)

    def mask(self, schema: Mapping[str, Any], prompt_length: int) -> SchemaMask:
        """The logits processor for one answer."""
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"whitespace_flexible": False}
        )
        return SchemaMask(llguidance.LLMatcher(self._tokenizer, grammar), prompt_length)


class SchemaMask(LogitsProcessor):
    """Sets the logits of all tokens that would break the schema to minus infinity; for one sequence, once."""

    def __init__(self, matcher: Any, prompt_length: int) -> None:
        self._matcher = matcher
        self._read = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Mask (1, V) scores, given the (1, L) tokens so far."""
        self._matcher.consume_tokens(input_ids[0, self._read :].tolist())
        self._read = input_ids.shape[1]
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, bitorder="little", count=scores.shape[1]).astype(bool)  # (V,)
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), float("-inf"))  # type: ignore[return-value]
