"""Registries: one decorator or entry makes a component, and its options are read from its code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import pytest

from envs.errors import ConfigError
from envs.options import Chosen, OneOf, Positive, build, defaults, option_names, to_mapping
from envs.registry import Component, NoOptions, Registry, described, options_of, options_type

KNOBS: Registry[Component] = Registry("knob", group="nothing_uses_this", modules=[])


def smooth(*, width: Positive, steps: int = 3) -> float:
    """Turns slowly.

    Args:
        width: of the knob, mm; above 0.
        steps: for a whole turn,
            counted by hand.
    """
    return width * steps


@dataclass(frozen=True)
class Rough:
    """Turns fast.

    Attributes:
        edges: of the knob.
    """

    edges: int
    colour: str = "red"
    marks: tuple[int, ...] = field(default=(), init=False)


KNOBS.add(Component(name="smooth", make=smooth, options=options_of(smooth)))
KNOBS.add(Component(name="rough", make=Rough, options=options_type(Rough)))
KnobName = Annotated[str, OneOf(lambda: KNOBS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobConfig(Chosen):
    """A knob.

    Attributes:
        width: shared with those knobs that have one.
    """

    name: KnobName
    place: str = "left"
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def registry(cls) -> Registry[Component]:
        return KNOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    knob: KnobConfig


def built(**options: Any) -> KnobConfig:
    return build(Panel, {"knob": options}).knob


def test_options_are_read_from_a_function_and_from_a_dataclass() -> None:
    assert [each.name for each in fields(KNOBS["smooth"].options)] == ["steps", "width"]
    assert KNOBS["smooth"].options(width=2.0).steps == 3
    assert KNOBS["rough"].option_names == ("edges", "colour")
    assert KNOBS["rough"].options(edges=4).colour == "red"


def test_a_component_says_what_it_is_and_what_its_options_mean() -> None:
    assert KNOBS["smooth"].summary == "Turns slowly."
    assert KNOBS["smooth"].option_help() == {
        "width": "of the knob, mm; above 0.",
        "steps": "for a whole turn, counted by hand.",
    }
    assert KNOBS["rough"].option_help() == {"edges": "of the knob."}
    assert described("Two names.\n\n    Args:\n        a, b: both.\n") == {
        "a": "both.",
        "b": "both.",
    }


def test_a_section_holds_the_options_of_what_it_names() -> None:
    knob = built(name="smooth", width=2)
    assert knob.options == {"width": 2.0, "steps": 3}
    assert (knob.width, knob.steps, knob.edges, knob.place) == (2.0, 3, None, "left")
    assert knob.options_for(KNOBS["smooth"]) == KNOBS["smooth"].options(width=2.0, steps=3)
    with pytest.raises(AttributeError, match="KnobConfig has no option 'height'"):
        _ = knob.height


def test_a_section_is_written_flat_and_read_back() -> None:
    panel = Panel(knob=built(name="smooth", width=2, place="right"))
    flat = {"knob": {"name": "smooth", "place": "right", "width": 2.0, "steps": 3}}
    assert to_mapping(panel) == flat
    assert build(Panel, flat) == panel


def test_names_and_defaults_are_those_of_all_components() -> None:
    names = ["knob.name", "knob.place", "knob.edges", "knob.colour", "knob.steps", "knob.width"]
    assert option_names(Panel) == names
    assert defaults(Panel) == {"knob.place": "left", "knob.colour": "red", "knob.steps": 3}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "round"}, "knob.name is 'round', but must be rough or smooth."),
        ({"name": "smooth", "width": 0}, "knob.width is 0.0, but must be above 0."),
        (
            {"name": "smooth"},
            "knob.width is not set, but knob.name=smooth needs it; add +knob.width=VALUE.",
        ),
        (
            {"name": "smooth", "width": 1, "edges": 3},
            "knob.edges is set, but knob.name=smooth has no such option; leave it out.",
        ),
        (
            {"name": "rough", "edgs": 3},
            "There is no option knob.edgs. Did you mean edges?"
            " knob has name, place, edges, colour, steps, width.",
        ),
    ],
)
def test_a_mistake_is_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(**options)
    assert str(caught.value) == sentence


def test_an_option_that_is_null_is_not_set() -> None:
    """Runs that are older than the registries wrote down every option of every component."""
    assert built(name="smooth", width=1, edges=None) == built(name="smooth", width=1)


def test_two_components_of_one_name_are_refused() -> None:
    registry: Registry[Component] = Registry("knob", group="nothing_uses_this", modules=[])
    registry.add(Component(name="it", make=smooth))
    registry.add(Component(name="it", make=smooth))  # the same one, imported again
    other: Callable[..., Any] = Rough
    with pytest.raises(ConfigError, match=r"The knob it is registered by .*smooth and by .*Rough"):
        registry.add(Component(name="it", make=other))


def test_a_component_without_options_has_none() -> None:
    assert options_type(object) is NoOptions
    with pytest.raises(TypeError, match="no dataclass"):
        options_type(_wrong)


def _wrong(options: int) -> None: ...
