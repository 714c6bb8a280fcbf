"""Compares a run with an earlier one and names what became worse beyond noise.

Only ratios are compared: each is two things of one run, so a faster machine moves both. A ratio is worse when it moved
in its bad direction by more than the larger of `LEAST` of the earlier value and `SPREADS` times the spread of the two
runs' rounds, whichever of the runs spread more.
"""

from __future__ import annotations

from dataclasses import dataclass

from ksgen_launch.benchmarks.facts import differences, was_busy
from ksgen_launch.benchmarks.figures import LESS, Benchmarks, Ratio

LEAST, SPREADS = 0.15, 3.0
RULE = f"Worse is what moved by more than the larger of {LEAST:.0%} and {SPREADS:g} times the spread of the rounds."


@dataclass(frozen=True)
class Change:
    """One ratio in both runs.

    Attributes:
        before, now: the ratio.
        change: how much worse it became, over its earlier value; negative where it became better.
        allowed: how much worse counts as noise.
    """

    before: Ratio
    now: Ratio
    change: float
    allowed: float

    @property
    def worse(self) -> bool:
        """Beyond noise."""
        return self.change > self.allowed

    def __str__(self) -> str:
        verdict = "WORSE" if self.worse else "better" if self.change < -self.allowed else "same"
        direction = "worse" if self.change > 0 else "better"
        return (
            f"{verdict:<6} {self.now.name:<28} {self.before.value:.3g} → {self.now.value:.3g} "
            f"({abs(self.change):.0%} {direction}, up to {self.allowed:.0%} is noise)"
        )


@dataclass(frozen=True)
class Verdict:
    """A run compared with an earlier one.

    Attributes:
        changes: ratios that both have.
        gone: names that only the earlier run has, though it was asked for their part again.
        new: names that only the later run has.
        machines: what differs between the machines, in words.
        busy: which of the runs found the machine busy with other things: "then", "now".
    """

    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    machines: tuple[str, ...]
    busy: tuple[str, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """What became worse beyond noise."""
        return tuple(change for change in self.changes if change.worse)


def compare(earlier: Benchmarks, later: Benchmarks) -> Verdict:
    """Compare ratio by ratio, in the parts that ``later`` has."""
    parts = {part.name for part in later.parts}
    before = {one.name: one for part in earlier.parts if part.name in parts for one in part.ratios}
    now = {one.name: one for part in later.parts for one in part.ratios}
    return Verdict(
        changes=tuple(_change(before[name], now[name]) for name in now if name in before),
        gone=tuple(name for name in before if name not in now),
        new=tuple(name for name in now if name not in before),
        machines=tuple(differences(dict(earlier.machine), dict(later.machine))),
        busy=tuple(word for word, run in (("then", earlier), ("now", later)) if was_busy(dict(run.machine))),
    )


def _change(before: Ratio, now: Ratio) -> Change:
    moved = (now.value - before.value) / before.value if before.value else 0.0
    allowed = max(LEAST, SPREADS * max(before.spread, now.spread))
    return Change(before, now, moved if now.better == LESS else -moved, allowed)
