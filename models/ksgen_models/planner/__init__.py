"""The planner: from a task and a frame to key steps."""

from ksgen_models.library import default_library
from ksgen_models.planner.endpoint import EndpointPlanner
from ksgen_models.planner.language import LanguagePlanner, PlannerSettings
from ksgen_models.planner.mllm import MLLMPlanner
from ksgen_models.planner.perception import SceneReader, SceneReading
from ksgen_models.planner.retrieval import RetrievalPlanner, is_workbench
from ksgen_models.planner.verbatim import VerbatimPlanner

__all__ = [
    "EndpointPlanner",
    "LanguagePlanner",
    "MLLMPlanner",
    "PlannerSettings",
    "RetrievalPlanner",
    "SceneReader",
    "SceneReading",
    "VerbatimPlanner",
    "default_library",
    "is_workbench",
]
