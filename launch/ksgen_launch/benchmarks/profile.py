"""Where the wall time of an imagination goes: how much of it some network computes, and what the rest is.

Generation and extraction run in threads of their own, and the hand tracker has a pool, so calls overlap: their seconds
add up to more than passed. Here an instant counts as a forward pass when at least one thread is inside one. Every other
instant is put down to the stage that the generation thread is in; where it is in none, to the hand tracker; where
nobody is in any, to the agent. So the shares add up to one. Since hand tracking could hide what the generation thread
does beside its networks, the share of that thread alone is given too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ksgen_launch.benchmarks.figures import Table
from ksgen_launch.benchmarks.forwards import STAGES, Timed
from ksgen_launch.benchmarks.spans import Spans, length, overlap, union, without

AGENT = "agent"
BESIDE = {
    "domain check": "frame to the network's square, score",
    "planner": "retrieval, fitting the steps to the scene and to the words of the task",
    "sentence encoder": "word pieces; sentences that were seen before come from a cache",
    "KIG": "noise, solver arithmetic, laying what was decoded over the camera frame",
    "region of motion": "noise, solver arithmetic, choice among the masks that were drawn, masks to the frame's size",
    "clip": "noise, solver arithmetic, laying what was decoded over the key-step image, frame by frame",
    "hand track": "enlarging frames, which hand is which, gaps; waiting of the pool",
    AGENT: "scores and observed RoM of the last step, checks of the input, threads taking over from each other",
}
"""What each stage does beside its networks."""


@dataclass(frozen=True)
class Profile:
    """Where the time went.

    Attributes:
        total: wall seconds.
        share: of the wall time in which at least one thread was in a forward call, in [0, 1].
        generation_share: the same of the generation thread alone, of the time from its first stage to its last.
        networks: label → (calls, seconds added up over threads, share of the wall time in which any of them ran).
        rest: stage → seconds in which no forward call ran, largest first; adds up to ``total * (1 - share)``.
    """

    total: float
    share: float
    generation_share: float
    networks: dict[str, tuple[int, float, float]]
    rest: dict[str, float]


def account(began: float, ended: float, forwards: Sequence[Timed], stages: Sequence[Timed]) -> Profile:
    """Make the profile of one imagination.

    Args:
        began, ended: of the imagination, on the clock of the calls.
        forwards: forward calls of the networks.
        stages: calls of the parts, labelled as in `STAGES`.
    """
    whole: Spans = [(began, ended)]
    total = ended - began
    busy = overlap(union((call.begin, call.end) for call in forwards), whole)
    rest: dict[str, float] = {}
    left = without(whole, busy)
    tracking = STAGES["tracker"][1]
    for label in [*(name for _, name in STAGES.values() if name != tracking), tracking]:
        own = union((call.begin, call.end) for call in stages if call.label == label)
        rest[label] = length(overlap(left, own))
        left = without(left, own)
    rest[AGENT] = length(left)
    calls = Counter(call.label for call in forwards)
    networks = {
        label: (
            calls[label],
            sum(call.end - call.begin for call in forwards if call.label == label),
            length(union((call.begin, call.end) for call in forwards if call.label == label)) / total,
        )
        for label in calls
    }
    return Profile(
        total,
        length(busy) / total,
        _generation_share(forwards, stages),
        dict(sorted(networks.items(), key=lambda item: -item[1][1])),
        dict(sorted(rest.items(), key=lambda item: -item[1])),
    )


def _generation_share(forwards: Sequence[Timed], stages: Sequence[Timed]) -> float:
    drawing = STAGES["image_generator"][1]
    threads = {call.thread for call in stages if call.label == drawing}
    own = [call for call in stages if call.thread in threads]
    if not own:
        return 0.0
    lasted: Spans = [(min(call.begin for call in own), max(call.end for call in own))]
    inside = union((call.begin, call.end) for call in forwards if call.thread in threads)
    return length(overlap(inside, lasted)) / length(lasted)


def tables(profile: Profile) -> tuple[Table, Table]:
    """The forward calls by network, and the rest by stage."""
    networks = tuple(
        (label, f"{calls:,}", f"{seconds:.2f}", f"{share:.1%}")
        for label, (calls, seconds, share) in profile.networks.items()
    )
    rest = tuple(
        (label, f"{seconds:.3f}", f"{seconds / profile.total:.1%}", BESIDE.get(label, ""))
        for label, seconds in profile.rest.items()
        if seconds >= 0.0005
    )
    shares = (
        f"{profile.share:.1%} of {profile.total:.2f} s some network computes; of the generation thread alone "
        f"{profile.generation_share:.1%}. Shares of networks that run side by side add up to more."
    )
    return (
        Table("Forward calls", ("network", "calls", "seconds, all threads", "share of the time"), networks, shares),
        Table("The rest", ("stage", "seconds", "share of the time", "what it does then"), rest),
    )
