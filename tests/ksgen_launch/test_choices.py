"""Seed ranges and task names as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksgen_launch.choices import parse_seeds, parse_tasks, short_name
from ksgen_models.errors import InvalidInput, UnknownTask

KNOWN = ("KSGen/AssembleShelf-v0", "KSGen/StackBlocks-v0", "KSGen/InsertPegs-v0")


@given(st.integers(0, 10**7), st.integers(1, 10**4))
def test_a_range_of_seeds_is_half_open(start: int, count: int) -> None:
    assert parse_seeds(f"{start}:{start + count}") == range(start, start + count)


def test_one_number_is_one_seed() -> None:
    assert list(parse_seeds("7")) == [7]


@pytest.mark.parametrize("text", ["", ":", "a:b", "5:3", "5:5", "-2:3", "1:2:3", "1.5:3"])
def test_what_is_no_range_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="A:B"):
        parse_seeds(text)


def test_tasks_go_by_short_or_full_name_in_any_case_and_once_each() -> None:
    assert parse_tasks("all", KNOWN) == KNOWN
    assert parse_tasks("stackblocks, KSGen/InsertPegs-v0,StackBlocks", KNOWN) == (KNOWN[1], KNOWN[2])


def test_an_unknown_task_brings_the_nearest() -> None:
    with pytest.raises(UnknownTask) as caught:
        parse_tasks("StackBlock", KNOWN)
    assert caught.value.nearest[0][0] == "StackBlocks"


def test_no_task_at_all_is_an_error() -> None:
    with pytest.raises(InvalidInput):
        parse_tasks(" , ", KNOWN)


def test_the_short_name_leaves_out_namespace_and_version() -> None:
    assert [short_name(name) for name in KNOWN] == ["AssembleShelf", "StackBlocks", "InsertPegs"]
