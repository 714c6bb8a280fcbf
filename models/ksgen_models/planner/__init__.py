"""The planner: from a task and a frame to key steps."""

from ksgen_models.library import default_library
from ksgen_models.planner.perception import SceneReader, SceneReading
from ksgen_models.planner.retrieval import RetrievalPlanner, is_workbench

__all__ = ["RetrievalPlanner", "SceneReader", "SceneReading", "default_library", "is_workbench"]
