"""The planner that runs a multimodal language model itself, through transformers.

Whatever `AutoModelForImageTextToText` loads and has a chat template will do: Qwen2.5-VL, Qwen3-VL, SmolVLM and others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ksgen_models.errors import AssetError, PresetError, SubgoalTimeout, WeightsMissing
from ksgen_models.planner.chat import Answer, Message
from ksgen_models.planner.language import LanguagePlanner, PlannerSettings
from ksgen_models.planner.retrieval import RetrievalPlanner, default_retrieval


class MLLMChat:
    """A `ksgen_models.planner.chat.ChatModel` that runs in this process; its callers take turns."""

    def __init__(
        self, model: str | Path, *, device: str = "cpu", dtype: str = "auto", revision: str | None = None
    ) -> None:
        """Load a model.

        Args:
            model: a folder that ``save_pretrained`` wrote, or a name on the hub.
            device: e.g. ``"cuda"``.
            dtype: ``"auto"`` for the checkpoint's own, else e.g. ``"bfloat16"``.
            revision: commit or tag on the hub; name one to get the same weights every time.

        Raises:
            WeightsMissing: there is no such folder, or the hub has no such model or cannot be reached.
            AssetError: the files are there and cannot be read.
            PresetError: it does not run on the device.
        """
        self.name = str(model)
        self._processor, self._model = _load(str(model), dtype, revision)
        try:
            self._model.to(device)
        except Exception as exc:
            raise PresetError(f"{model} does not run on {device} ({exc}); choose another device or dtype") from exc
        self._grammar = _grammar(self._processor, self._model)
        self._turn = threading.Lock()

    def answer(
        self, messages: Sequence[Message], schema: Mapping[str, Any], *, most_tokens: int, deadline: float
    ) -> Answer:
        """As `ksgen_models.planner.chat.ChatModel.answer`.

        The time limit is looked at between tokens, so reading the prompt can overrun it by its own length.

        Raises:
            SubgoalTimeout: the deadline passed.
            AssetError: the model has no chat template.
        """
        if not self._turn.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            raise SubgoalTimeout(f"{self.name} was busy with other plans until the time was over; allow more")
        try:
            return self._generate(messages, schema, most_tokens, deadline)
        finally:
            self._turn.release()

    def _generate(
        self, messages: Sequence[Message], schema: Mapping[str, Any], most_tokens: int, deadline: float
    ) -> Answer:
        import torch

        inputs = self._inputs(messages)
        length = inputs["input_ids"].shape[1]
        masks = [self._grammar.mask(schema, length)] if self._grammar else []
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise SubgoalTimeout(f"no time is left to ask {self.name}; allow more")
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs, max_new_tokens=most_tokens, max_time=remaining, do_sample=False, logits_processor=masks
            )
        if time.monotonic() >= deadline:
            raise SubgoalTimeout(f"{self.name} did not answer in {remaining:.1f} s; allow more, or fewer tokens")
        written = tokens[0, length:]
        text = self._processor.decode(written, skip_special_tokens=True)
        return Answer(text, cut_off=len(written) >= most_tokens)

    def _inputs(self, messages: Sequence[Message]) -> Any:
        from PIL import Image

        conversation = []
        for message in messages:
            content: list[dict[str, Any]] = [{"type": "text", "text": message.text}]
            if message.picture is not None:
                content.insert(0, {"type": "image", "image": Image.fromarray(message.picture)})
            conversation.append({"role": message.role, "content": content})
        try:
            inputs = self._processor.apply_chat_template(
                conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        except Exception as exc:
            raise AssetError(f"{self.name} cannot read a conversation with a picture ({exc})") from exc
        return inputs.to(self._model.device, dtype=self._model.dtype)


class MLLMPlanner(LanguagePlanner):
    """Plans with a multimodal language model in this process; satisfies `ksgen_models.interfaces.Planner`."""

    def __init__(
        self,
        model: str | Path,
        *,
        retrieval: RetrievalPlanner | None = None,
        settings: PlannerSettings | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        revision: str | None = None,
    ) -> None:
        """Load the model.

        Args:
            model, device, dtype, revision: see `MLLMChat`.
            retrieval: finds the procedures for the prompt, and plans when the model's answers are no plan; None takes
                the step library and the sentence encoder of the package.
            settings: None takes the defaults.

        Raises:
            WeightsMissing, AssetError, PresetError: as `MLLMChat`.
        """
        chat = MLLMChat(model, device=device, dtype=dtype, revision=revision)
        super().__init__(chat, retrieval or default_retrieval(), settings, f"mllm {model}")


def _load(model: str, dtype: str, revision: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(model, revision=revision)
        # Weights in pickles could run code: only safetensors are read, and no code from the hub is executed.
        network = AutoModelForImageTextToText.from_pretrained(
            model, dtype=dtype, revision=revision, use_safetensors=True
        )
    except OSError as exc:
        raise WeightsMissing(
            f"{model} cannot be loaded ({exc!s:.300}); name a folder that save_pretrained wrote, or a model on the "
            "hub that this machine can reach"
        ) from exc
    except Exception as exc:
        raise AssetError(f"{model} does not load as an image-text-to-text model ({exc!s:.300})") from exc
    return processor, network.eval().requires_grad_(False)


def _grammar(processor: Any, model: Any) -> Any:
    """None for the rare tokenizers that are not of the fast kind: their answers are only checked."""
    from ksgen_models.planner.constrain import Grammar

    tokenizer = processor.tokenizer
    if not tokenizer.is_fast:
        return None
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    vocabulary = model.get_output_embeddings().weight.shape[0]
    return Grammar(tokenizer, vocabulary, ends if isinstance(ends, list) else [ends])
