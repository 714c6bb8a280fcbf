"""``ksgen-agent doctor``: what is installed, which devices there are, and which presets can run here."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Show what is installed, which devices there are, and which presets can run here.

    The exit code is 1 when the default preset cannot run.
    """
    from ksgen_launch import machine
    from ksgen_launch.readiness import preset_readiness

    _heading("Packages")
    for name, version in machine.installed_versions().items():
        _row(name, version or "not installed")
    _heading("Machine")
    _row("cores", str(machine.core_count()))
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
    for preset in ready:
        _row(preset.name + (" *" if preset.default else ""), "; ".join(preset.lacks) or "can run here")
    if any(preset.default and preset.lacks for preset in ready):
        typer.echo("\nThe default preset (*) cannot run here.", err=True)
        raise typer.Exit(1)


def _show_assets() -> None:
    from ksgen_models.assets import ASSETS, asset_path, is_present

    for name, asset in ASSETS.items():
        _row(name, str(asset_path(name)) if is_present(name) else f"not here ({asset.use}); run: ksgen-agent assets")


def _heading(text: str) -> None:
    typer.echo(f"\n{text}")


def _row(name: str, value: str) -> None:
    typer.echo(f"  {name:<22} {value}")
