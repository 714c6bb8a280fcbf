"""Tables out of the papers, as reference rows, measured on other data: no figure of ours compares with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedRow:
    """One line of a published table.

    Attributes:
        table: which, with its source.
        data: the data that it was measured on.
        method: the method.
        figures: label as published → figure, in the paper's own unit.
    """

    table: str
    data: str
    method: str
    figures: dict[str, float]


def published_rows() -> tuple[PublishedRow, ...]:
    """Every row of ``published.json``, in the papers' order.

    Source: IVG, "Instructional Video Generation", Tables 1 to 4 as numbered there. Of KS-Gen's tables no figure was
    available.
    """
    tables = json.loads((Path(__file__).parent / "published.json").read_text("utf-8"))
    return tuple(
        PublishedRow(table["table"], data, method, dict(zip(table["columns"], figures, strict=True)))
        for table in tables
        for data, rows in table["data"].items()
        for method, figures in rows.items()
    )
