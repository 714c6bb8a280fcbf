"""Imports run one way, cost little, say nothing, and every module explains itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Lowest first: a package may import those before it and itself.
ORDER = ("ksgen_models", "ksgen_agent", "ksgen_envs", "ksgen_export", "ksgen_launch")
HEAVY = (
    "torch", "diffusers", "transformers", "mediapipe", "mujoco", "gymnasium", "cv2", "scipy", "skimage", "PIL", "av",
    "onnxruntime", "typer", "rich", "jinja2", "tqdm", "safetensors", "tokenizers",
)  # fmt: skip

BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""


def package_folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def modules() -> Iterator[tuple[str, Path]]:
    for package in ORDER:
        for path in sorted(package_folder(package).rglob("*.py")):
            yield package, path


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Top-level names of everything imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


def test_a_lower_package_never_imports_a_higher_one() -> None:
    wrong = [
        f"{path}: {package} imports {name}"
        for package, path in modules()
        for name in imported_names(ast.parse(path.read_text("utf-8")))
        if name in ORDER and ORDER.index(name) > ORDER.index(package)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_docstring() -> None:
    silent = [str(path) for _, path in modules() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent, "\n".join(silent)


def test_modules_are_small() -> None:
    long = [f"{path}: {lines}" for _, path in modules() if (lines := len(path.read_text("utf-8").splitlines())) > 500]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("package", ORDER)
def test_import_is_silent_and_needs_only_the_base_packages(package: str) -> None:
    result = run_python(BLOCKER.format(blocked=set(HEAVY)) + f"import {package}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == ""


def test_the_agents_public_names_are_there_without_the_models() -> None:
    code = "import ksgen_agent; print(*[name for name in ksgen_agent.__all__ if not hasattr(ksgen_agent, name)])"
    result = run_python(BLOCKER.format(blocked=set(HEAVY)) + code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_the_help_of_the_command_line_loads_no_models() -> None:
    code = "from ksgen_launch.main import main; main(['--help'])"
    blocked = {"torch", "diffusers", "transformers", "mediapipe", "mujoco", "cv2", "scipy", "PIL"}
    result = run_python(BLOCKER.format(blocked=blocked) + code)
    assert result.returncode == 0, result.stderr
    assert "generate-demos" in result.stdout
