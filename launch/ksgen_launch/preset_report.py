"""What one preset needs and what of it is here, as lines of text; nothing is downloaded and no model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ksgen_agent.presets import Preset, find_preset
from ksgen_launch.machine import devices
from ksgen_models.errors import InvalidInput
from ksgen_models.hub.needs import MEMORY_SETTINGS, Need, memory_gb, missing_packages, preset_needs
from ksgen_models.hub.repositories import FOLDER
from ksgen_models.hub.settings import RunSettings
from ksgen_models.hub.video_loading import COMPANION_FILES


def parse_weights(entries: list[str]) -> dict[str, str]:
    """``["video=/data/wan"]`` to a mapping.

    Raises:
        InvalidInput: not of that form.
    """
    weights = {}
    for entry in entries:
        role, equals, source = entry.partition("=")
        if not equals or not source:
            raise InvalidInput(f"weights are named ROLE=FOLDER, e.g. video=/data/wan, and {entry!r} is not")
        weights[role.strip()] = source.strip()
    return weights


def preset_report(name: str, weights: Mapping[str, str | Path] | None = None) -> tuple[list[tuple[str, str]], bool]:
    """Rows of (label, text), and whether the preset can run here.

    Raises:
        PresetError: there is no such preset.
    """
    preset = find_preset(name)
    if not preset.from_hub:
        return [(preset.name, f"{preset.description} Its weights come with the package.")], True
    video, images = preset.arguments["video"], preset.arguments["images"]
    needs = preset_needs(video, images, weights)
    rows = [(preset.name, preset.description), *(row for need in needs for row in _need_rows(need))]
    rows.append(("on disk", f"{sum(need.expected_gb for need in needs):.0f} GB"))
    rows += list(_memory_rows(video, images))
    missing = missing_packages(video)
    if missing:
        rows.append(("packages", f"missing: {', '.join(missing)}; run: pip install 'ksgen-agent[imagine]'"))
    has_gpu = any(device.name.startswith("cuda") for device in devices())
    whole = not any(need.lacks for need in needs)
    rows.append(("can run here", _verdict(preset, whole and not missing, has_gpu)))
    return rows, whole and not missing and has_gpu


def _need_rows(need: Need) -> Iterator[tuple[str, str]]:
    revision = f" at {need.revision}" if need.revision else ""
    yield need.role, f"{need.source}{revision}, licence {need.licence}"
    parts = ", ".join(f"{name} {size:.1f}" for name, size in need.components.items())
    yield "  weights", f"{need.expected_gb:.1f} GB: {parts}"
    yield "  files", " and ".join(COMPANION_FILES) if need.role == "companion" else _files(need)
    here = f"{need.folder}, {need.size_gb:.2f} GB" if need.folder else "not here"
    yield "  here", f"{here}; {need.lacks}" if need.lacks else here


def _files(need: Need) -> str:
    networks = ", ".join(f"{name}/" for name in need.components)
    weights = f"*.{need.variant}*.safetensors" if need.variant else "*.safetensors"
    return f"model_index.json; config.json and {weights} of {networks}; scheduler, tokenizers and processors"


def _memory_rows(video: str, images: str) -> Iterator[tuple[str, str]]:
    sizes = [device.memory_gb for device in devices() if device.name.startswith("cuda") and device.memory_gb]
    for settings in MEMORY_SETTINGS:
        gb = memory_gb(video, images, settings)
        verdict = "" if not sizes else (", fits" if gb <= max(sizes) else ", does not fit")
        yield "GPU memory", f"{gb:.0f} GB with {_words(settings)}{verdict} (estimate)"


def _words(settings: RunSettings) -> str:
    words = [settings.dtype, f"offload={settings.offload}"]
    return ", ".join([*words, f"quantisation={settings.quantisation}"] if settings.quantisation else words)


def _verdict(preset: Preset, whole: bool, has_gpu: bool) -> str:
    if not whole:
        return f"no: fetch what is missing; checkpoints are looked for below ${FOLDER}, then in the hub's cache"
    return "yes" if has_gpu else f"no GPU; Agent({preset.name!r}, device='cpu') runs, and takes hours"
