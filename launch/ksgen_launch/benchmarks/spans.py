"""Sets of spans of time on one clock, as sorted lists of disjoint (begin, end) pairs in seconds."""

from __future__ import annotations

from collections.abc import Iterable

Spans = list[tuple[float, float]]


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    """All time that lies in any of the spans, which may overlap and come in any order."""
    joined: Spans = []
    for begin, end in sorted(spans):
        if end <= begin:
            continue
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def overlap(first: Spans, second: Spans) -> Spans:
    """Time that lies in both of two disjoint sorted lists."""
    both: Spans = []
    one = other = 0
    while one < len(first) and other < len(second):
        begin = max(first[one][0], second[other][0])
        end = min(first[one][1], second[other][1])
        if begin < end:
            both.append((begin, end))
        if first[one][1] < second[other][1]:
            one += 1
        else:
            other += 1
    return both


def without(first: Spans, second: Spans) -> Spans:
    """Time that lies in the first of two disjoint sorted lists and not in the second."""
    left: Spans = []
    for begin, end in first:
        for taken_begin, taken_end in second:
            if taken_end <= begin or taken_begin >= end:
                continue
            if taken_begin > begin:
                left.append((begin, taken_begin))
            begin = taken_end
        if begin < end:
            left.append((begin, end))
    return left


def length(spans: Spans) -> float:
    """Seconds in a disjoint list."""
    return sum(end - begin for begin, end in spans)
