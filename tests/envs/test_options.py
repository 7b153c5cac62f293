"""Plain mappings become dataclasses, or a sentence that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import ConfigError
from envs.options import Range, Weighted, build, defaults, did_you_mean, option_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    share: Annotated[float, Range(at_least=0, at_most=1)]
    kind: Literal["left", "right"] = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    count: Annotated[int, Range(at_least=1)]
    inner: Inner
    weights: Annotated[dict[str, float], Weighted(("a", "b"))]
    flag: bool = False
    note: str | None = None


GOOD: dict[str, Any] = {"count": 2, "inner": {"share": 1}, "weights": {"a": 1}}


def test_a_good_mapping_becomes_the_dataclass() -> None:
    assert build(Outer, {**GOOD, "note": "x"}) == Outer(
        count=2, inner=Inner(share=1.0), weights={"a": 1.0}, note="x"
    )


def test_whole_numbers_become_floats_where_those_are_meant() -> None:
    assert type(build(Outer, GOOD).inner.share) is float


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": "2"}, "count is '2', but must be a whole number."),
        ({"count": True}, "count is True, but must be a whole number."),
        ({"count": 2.0}, "count is 2.0, but must be a whole number."),
        ({"count": None}, "count is null, but must be a whole number."),
        ({"count": 0}, "count is 0, but must be at least 1."),
        ({"flag": 1}, "flag is 1, but must be true or false."),
        ({"note": 1}, "note is 1, but must be text."),
        ({"inner": 3}, "inner is 3, but must be a group of options (inner.NAME=VALUE)."),
        ({"inner": {}}, "inner.share is missing; set inner.share=VALUE."),
        ({"inner": {"share": 2}}, "inner.share is 2.0, but must be at least 0 and at most 1."),
        (
            {"inner": {"share": float("nan")}},
            "inner.share is nan, but must be a number.",
        ),
        (
            {"inner": {"share": 0, "kind": "up"}},
            "inner.kind is 'up', but must be left or right.",
        ),
        (
            {"inner": {"shared": 0}},
            "There is no option inner.shared. Did you mean share? inner has share, kind.",
        ),
        (
            {"weights": {"c": 1}},
            "weights is {'c': 1.0}, but must be weights of a, b, of which at least one is above 0.",
        ),
    ],
)
def test_a_mistake_is_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, {**GOOD, **change})
    assert str(caught.value) == sentence


@given(st.floats(allow_nan=False), st.floats(0, 10), st.floats(0, 10))
def test_a_range_is_its_bounds(value: float, low: float, width: float) -> None:
    assert Range(at_least=low, at_most=low + width).holds(value) == (low <= value <= low + width)
    assert Range(above=low).holds(value) == (value > low)


def test_option_names_reach_into_groups_and_weights() -> None:
    assert option_names(Outer) == [
        "count",
        "inner.share",
        "inner.kind",
        "weights",
        "weights.a",
        "weights.b",
        "flag",
        "note",
    ]


def test_defaulted_options_are_those_with_a_value() -> None:
    assert defaults(Outer) == {"inner.kind": "left", "flag": False}


def test_nothing_is_guessed_for_a_word_unlike_any() -> None:
    assert did_you_mean("zzz", ["share"]) == ""
