"""The generated part of docs/benchmarks.md, its plots, and the figures that `guard` compares with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ksgen_launch.benchmarks import guard
from ksgen_launch.benchmarks.facts import was_busy
from ksgen_launch.benchmarks.figures import GROWTH, LESS, LIMIT, PEER, Benchmarks, Curve, Part, Ratio, write_figures
from ksgen_launch.benchmarks.plots import plot, value
from ksgen_models.errors import DatasetError

BEGIN = "<!-- benchmarks: made by `ksgen-agent bench report`; changes between these two lines are lost -->"
END = "<!-- /benchmarks -->"
PAGE, FOLDER, FIGURES = "benchmarks.md", "benchmarks", "figures.json"
_KINDS = {LIMIT: "limit", PEER: "instead of it", GROWTH: "growth"}


def write_docs(found: Benchmarks, docs: Path) -> list[Path]:
    """Write figures and plots to ``docs/benchmarks/`` and the generated part of ``docs/benchmarks.md``.

    Args:
        found: what is written.
        docs: the folder; the page's text outside the two marks is left as it is, and a page without them gets them
            at its end.

    Raises:
        DatasetError: the page has one of the marks and not the other, or the folder is not there.
    """
    page = docs / PAGE
    if not docs.is_dir():
        raise DatasetError(f"there is no folder {docs}; name the folder that holds {PAGE}")
    text = _replaced(page.read_text("utf-8") if page.exists() else "# Benchmarks\n", generated(found), page)
    written = [write_figures(found, docs / FOLDER / FIGURES)]
    for curve in _curves(found):
        path = docs / FOLDER / f"{curve.name}.svg"
        path.write_text(plot(curve), "utf-8")
        written.append(path)
    page.write_text(text, "utf-8")
    return [*written, page]


def generated(found: Benchmarks) -> str:
    """The text between the two marks."""
    lines = [
        "## Speed",
        "",
        "Made by `ksgen-agent bench all --write docs`. Each ratio is of one run, the two sides taking turns; the value",
        "is the median of the rounds, ± half of how far they lie apart. *limit*: against what cannot be beaten;",
        "*instead of it*: against what a user would pick; *growth*: the largest size of a curve over its smallest.",
        f"`make bench-check` measures the ratios anew and names what became worse. {guard.RULE}",
        "",
        *_machine(found),
    ]
    for part in found.parts:
        lines += ["", *_part(part)]
    return "\n".join(lines)


def rows(ratios: Sequence[Ratio]) -> Iterator[tuple[str, str, str, str]]:
    """What, kind, value and bar of each ratio, in words."""
    for one in ratios:
        spread = f" ± {one.spread:.0%}" if len(one.runs) > 1 else ""
        sign = "at most" if one.better == LESS else "at least"
        bar = f"{sign} {one.bar:g}" if one.bar is not None else ""
        missed = "" if one.reached else "missed: "
        yield one.what, _KINDS[one.kind], f"{missed}{value(one.value)}{spread}", bar


def _machine(found: Benchmarks) -> list[str]:
    facts = found.machine
    versions = ", ".join(f"{name} {version}" for name, version in facts.get("packages", {}).items())
    memory = f", {facts['memory_gb']} GB" if facts.get("memory_gb") else ""
    said = [
        f"Machine: {facts.get('cpu')}, {facts.get('cores')} cores{memory}, {facts.get('system')}, "
        f"Python {facts.get('python')}; {versions}."
    ]
    if was_busy(dict(facts)):
        load = f"load {facts['load']:g}"
        said += ["", f"**The machine was busy when the run began** ({load}): seconds are too long, ratios rough."]
    return said


def _part(part: Part) -> Iterator[str]:
    yield from (f"### {part.name}", "", f"{part.how}.", "")
    yield from _table(("ratio", "kind", "bar", "measured"), [(a, b, d, f"**{c}**") for a, b, c, d in rows(part.ratios)])
    if part.figures:
        yield ""
        yield from _table(("on this machine", ""), [(name, value(number)) for name, number in part.figures.items()])
    for table in part.tables:
        yield from ("", f"{table.title}:" + (f" {table.note}" if table.note else ""), "")
        yield from _table(table.head, table.rows)
    if part.curves:
        yield ""
        yield "\n".join(f"![{curve.title}]({FOLDER}/{curve.name}.svg)" for curve in part.curves)


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    for index, cells in enumerate((head, *body)):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        if index == 0:
            yield "|" + "---|" * len(head)


def _curves(found: Benchmarks) -> list[Curve]:
    return [curve for part in found.parts for curve in part.curves]


def _replaced(text: str, new: str, page: Path) -> str:
    begins, ends = text.count(BEGIN), text.count(END)
    if (begins, ends) == (0, 0):
        return f"{text.rstrip()}\n\n{BEGIN}\n\n{new}\n\n{END}\n"
    if (begins, ends) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise DatasetError(
            f"{page} has not one each of the lines {BEGIN!r} and {END!r}, in this order; mend it by hand"
        )
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{rest.split(END)[1]}"
