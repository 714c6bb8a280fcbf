"""``ksgen-agent doctor``: what is installed, which devices there are, and which presets can run here."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    preset: Annotated[
        str | None, typer.Option("--preset", help="Show what this preset needs: weights, GB, GPU memory.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option("--weights", help="With --preset: ROLE=FOLDER of a checkpoint of your own.")
    ] = None,
) -> None:
    """Show what is installed, which devices there are, and which presets can run here.

    With --preset show what that one needs, before anything is downloaded. The exit code is 1 when the default preset,
    or the one that was asked for, cannot run.
    """
    if preset is not None:
        return _show_preset(preset, weights or [])
    from ksgen_launch import machine
    from ksgen_launch.readiness import preset_readiness
    from ksgen_models.precision import cpu_dtype
    from ksgen_models.processes import core_count

    _heading("Packages")
    for name, version in machine.installed_versions().items():
        _row(name, version or "not installed")
    _heading("Machine")
    _row("cores", str(core_count()))
    _row("precision", str(cpu_dtype()).removeprefix("torch."))
    memory = machine.memory_gb()
    _row("memory", f"{memory[0]:.1f} GB, {memory[1]:.1f} GB free" if memory else "unknown")
    for device in machine.devices():
        size = f", {device.memory_gb:.1f} GB" if device.memory_gb else ""
        _row(device.name, f"{device.description}{size}")
    missing = machine.missing_libraries()
    _row("libraries", f"missing; run: sudo apt-get install {' '.join(missing)}" if missing else "all there")
    _heading("Assets")
    _show_assets()
    _heading("Presets")
    ready = preset_readiness()
    for one in ready:
        _row(one.name + (" *" if one.default else ""), "; ".join(one.lacks) or "can run here")
    if any(one.default and one.lacks for one in ready):
        typer.echo("\nThe default preset (*) cannot run here.", err=True)
        raise typer.Exit(1)


def _show_preset(name: str, weights: list[str]) -> None:
    from ksgen_launch.preset_report import parse_weights, preset_report

    rows, can_run = preset_report(name, parse_weights(weights))
    _heading("Preset")
    for label, text in rows:
        _row(label, text)
    if not can_run:
        raise typer.Exit(1)


def _show_assets() -> None:
    from ksgen_models.assets import ASSETS, asset_path, is_present

    for name, asset in ASSETS.items():
        _row(name, str(asset_path(name)) if is_present(name) else f"not here ({asset.use}); run: ksgen-agent assets")


def _heading(text: str) -> None:
    typer.echo(f"\n{text}")


def _row(name: str, value: str) -> None:
    typer.echo(f"  {name:<22} {value}")
