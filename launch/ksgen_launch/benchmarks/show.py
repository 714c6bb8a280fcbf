"""A part's figures on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ksgen_launch.benchmarks.figures import Part
from ksgen_launch.benchmarks.page import rows
from ksgen_launch.benchmarks.plots import value


def print_part(part: Part) -> None:
    """Print ratios, figures, tables and curves."""
    from rich.console import Console
    from rich.table import Table

    console = Console()

    def show(title: str, head: Sequence[str], body: Sequence[Sequence[str]], caption: str = "") -> None:
        table = Table(*head, title=title, title_justify="left", caption=caption or None, caption_justify="left")
        for cells in body:
            table.add_row(*cells)
        console.print(table)

    console.print(f"\n[bold]{part.name}[/]: {part.how}")
    show("", ("ratio", "kind", "measured", "bar"), list(rows(part.ratios)))
    if part.figures:
        show("on this machine", ("what", ""), [(name, value(number)) for name, number in part.figures.items()])
    for table in part.tables:
        show(table.title, table.head, table.rows, table.note)
    for curve in part.curves:
        show(curve.title, (curve.x, curve.y), [(f"{x:g}", value(y)) for x, y in curve.points])
