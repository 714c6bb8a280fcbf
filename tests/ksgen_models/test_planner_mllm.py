"""The planners of language models on models that really run: a tiny one in this process, a small one on a server."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ksgen_models.assets import SENTENCE_ENCODER, is_present
from ksgen_models.errors import AssetError, MalformedAnswer, SubgoalTimeout, WeightsMissing
from ksgen_models.planner import EndpointPlanner, MLLMPlanner, PlannerSettings, RetrievalPlanner
from ksgen_models.planner.chat import Message
from ksgen_models.planner.mllm import MLLMChat
from ksgen_models.planner.retrieval import default_retrieval
from ksgen_models.planner.schema import plan_schema, read_steps

FRAME = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
TASK = "make a cup of tea"
needs_encoder = pytest.mark.skipif(not is_present(SENTENCE_ENCODER), reason="run `ksgen-agent assets`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_mllm import save_tiny_mllm

    return save_tiny_mllm(tmp_path_factory.mktemp("mllm"))


@pytest.fixture(scope="module")
def chat(folder: Path) -> MLLMChat:
    return MLLMChat(folder)


@pytest.fixture(scope="module")
def retrieval() -> RetrievalPlanner:
    return default_retrieval()


def conversation(frame: np.ndarray) -> list[Message]:
    return [Message("system", "Plan."), Message("user", "Stack the blocks", frame)]


def test_random_weights_write_a_valid_plan_since_the_schema_holds_them_to_it(chat: MLLMChat) -> None:
    limits = {"most_tokens": 900, "deadline": time.monotonic() + 300}
    answer = chat.answer(conversation(FRAME), plan_schema(2), **limits)
    assert not answer.cut_off
    assert list(json.loads(answer.text)) == ["steps"]
    assert 1 <= len(read_steps(answer.text, 2)) <= 2
    # The picture reaches the model: another one, another answer; the same one, the same answer.
    assert chat.answer(conversation(FRAME), plan_schema(2), **limits) == answer
    assert chat.answer(conversation(255 - FRAME), plan_schema(2), **limits) != answer


def test_an_answer_that_reaches_its_length_says_so(chat: MLLMChat) -> None:
    answer = chat.answer(conversation(FRAME), plan_schema(2), most_tokens=8, deadline=time.monotonic() + 300)
    assert answer.cut_off
    with pytest.raises(MalformedAnswer):
        read_steps(answer.text, 2)


def test_the_time_limit_ends_a_local_model(chat: MLLMChat) -> None:
    for seconds in (-1.0, 0.05):
        with pytest.raises(SubgoalTimeout):
            chat.answer(conversation(FRAME), plan_schema(50), most_tokens=4000, deadline=time.monotonic() + seconds)


@needs_encoder
def test_the_planner_end_to_end(folder: Path, retrieval: RetrievalPlanner) -> None:
    settings = PlannerSettings(most_steps=2, picture_side=28, time_limit=300.0, fall_back=False)
    planner = MLLMPlanner(folder, retrieval=retrieval, settings=settings)
    plan = planner.plan(FRAME, TASK)
    assert plan.source == f"mllm {folder}"
    assert 1 <= len(plan.steps) <= 2
    assert plan.evidence[0].task == TASK
    assert 0.0 <= plan.confidence < 0.6
    planner.settings = replace(settings, answer_tokens=16)
    with pytest.raises(MalformedAnswer, match="cut off"):
        planner.plan(FRAME, TASK)
    planner.settings = replace(settings, answer_tokens=16, fall_back=True)
    assert planner.plan(FRAME, TASK).steps[0] == "Fill the kettle with water"


def test_missing_and_damaged_models_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="nowhere"):
        MLLMChat(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match="bare"):
        MLLMChat(bare)
    (bare / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(AssetError, match="bare"):
        MLLMChat(bare)
    wordless = tmp_path / "wordless"
    shutil.copytree(folder, wordless)
    (wordless / "chat_template.jinja").unlink()
    with pytest.raises(AssetError, match="cannot read a conversation"):
        MLLMChat(wordless).answer(conversation(FRAME), {}, most_tokens=16, deadline=time.monotonic() + 60)


@needs_encoder
@pytest.mark.slow
def test_a_real_server_with_a_real_model(retrieval: RetrievalPlanner) -> None:
    from smollm2 import running_server

    # Its plans are poor, and it reads words alone: what is proven is the line from the task to the checked plan.
    settings = PlannerSettings(most_steps=6, picture_side=None, answer_tokens=300, time_limit=300.0, fall_back=False)
    short = RetrievalPlanner(retrieval.library, retrieval.encoder, k=2)
    with running_server() as url:
        planner = EndpointPlanner(url, retrieval=short, settings=settings)
        plan = planner.plan(FRAME, TASK)
        assert plan.source.startswith("endpoint ")
        assert 1 <= len(plan.steps) <= 6
        assert plan.evidence[0].task == TASK
        blind = EndpointPlanner(url, retrieval=short, settings=PlannerSettings(time_limit=300.0))
        assert blind.plan(FRAME, TASK).source == "retrieval"  # a picture is more than this server takes
