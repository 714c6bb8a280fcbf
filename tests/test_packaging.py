"""The pins cover what is declared, and what is installed is what is pinned."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines if not line.startswith(PROJECT["name"])]


def test_every_declared_dependency_has_an_exact_pin_within_its_bounds() -> None:
    pinned = pins()
    for requirement in declared():
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is declared and not pinned in constraints.txt"
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version), f"{pin} is outside {requirement}"


def test_pins_carry_no_local_part() -> None:
    local = [str(pin) for pin in pins().values() if any(Version(spec.version).local for spec in pin.specifier)]
    assert not local


def test_opencv_comes_from_one_distribution_only() -> None:
    assert [name for name in pins() if name.startswith("opencv")] == ["opencv-contrib-python"]
    assert "torchvision" not in pins()


def test_everything_that_the_package_pulls_in_is_pinned() -> None:
    pinned, seen, waiting = pins(), set(), [canonicalize_name(requirement.name) for requirement in declared()]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        required = [Requirement(line) for line in needs]
        waiting += [canonicalize_name(need.name) for need in required if need.marker is None or need.marker.evaluate()]
    assert not sorted(seen - pinned.keys() - {PROJECT["name"], "setuptools", "pip"})


def test_what_is_installed_is_what_is_pinned() -> None:
    different = []
    for name, pin in pins().items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if not pin.specifier.contains(installed):
            different.append(f"{pin}, installed {installed}")
    assert not different


def test_the_typing_marker_and_the_licence_are_there() -> None:
    assert (ROOT / "LICENSE").read_text("utf-8").lstrip().startswith("Apache License")
    for package in ("ksgen_agent", "models/ksgen_models", "envs/ksgen_envs", "export/ksgen_export"):
        assert (ROOT / package / "py.typed").exists(), package


def test_a_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    # Built from a copy: setuptools leaves its scratch folders beside the sources.
    source = tmp_path / "source"
    source.mkdir()
    folders = ("ksgen_agent", "models", "envs", "export", "launch")
    for folder in folders:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    packages = [path for path in source.glob("**/ksgen_*") if (path / "__init__.py").exists()]
    files = {
        path.relative_to(package.parent).as_posix()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and "build" not in path.relative_to(source).parts
    }
    assert len(files) > 20
    assert not sorted(files - packed)


@pytest.mark.parametrize("target", ["demo", "test", "lint"])
def test_the_makefile_knows_its_targets_and_another_environment(target: str, tmp_path: Path) -> None:
    environment = tmp_path / "elsewhere"
    command = ["make", "--dry-run", "-C", str(ROOT), f"VENV={environment}", target]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "constraints.txt" in result.stdout
    assert f'"{environment}/bin/' in result.stdout
    assert not re.search(r"\s\.venv/", result.stdout)
