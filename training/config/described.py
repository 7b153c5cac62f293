"""All options with their types, defaults and meanings, for help, editors and `--cfg job`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from envs.options import Chosen
from envs.registry import described

ANY_NAME: Final = "NAME"
"""Stands in dotted names for one that people choose themselves, as in judge.panel.NAME.model."""

NAMED_BY_FILE: Final = "which of the group's components; choosing a file of the group sets it."
"""What is said of an option that one does not set by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option: what may be written before and behind `=`.

    Attributes:
        name: its dotted name.
        hint: its type, with limits in `Annotated`.
        default: without any file; `MISSING` where it has to be set.
        meaning: what its docstring says of it, on one line.
        component: whose option it is; "" for one that the section always has.
    """

    name: str
    hint: Any
    default: Any
    meaning: str
    component: str = ""


def options_in(
    kind: type[Any],
    path: str = "",
    *,
    component: str = "",
    meanings: Mapping[str, str] | None = None,
) -> Iterator[Option]:
    """All options of a dataclass, those inside it and those of the components it may choose.

    Args:
        path: the dotted name of the dataclass itself; "" at the top.
        component: whose options these are.
        meanings: by name, instead of what the dataclass's own docstring says.
    """
    said = _meanings_in(kind) if meanings is None else meanings
    hints = get_type_hints(kind, include_extras=True)
    is_chosen = issubclass(kind, Chosen)
    for each in fields(kind):
        if is_chosen and each.name == "options":
            continue
        whole = f"{path}.{each.name}" if path else each.name
        hint = hints[each.name]
        if (inner := section_in(hint)) is not None:
            yield from options_in(inner, whole, component=component)
        else:
            meaning = said.get(each.name, "")
            if is_chosen and each.name == "name":
                meaning = meaning or NAMED_BY_FILE
            default = each.default if each.default_factory is MISSING else each.default_factory()
            yield Option(
                name=whole, hint=hint, default=default, meaning=meaning, component=component
            )
            if (item := named_sections_in(hint)) is not None:
                yield from options_in(item, f"{whole}.{ANY_NAME}", component=component)
    if is_chosen:
        own = {each.name for each in fields(kind)}
        for chosen in kind.registry().values():
            for option in options_in(
                chosen.options, path, component=chosen.name, meanings=chosen.option_help()
            ):
                if option.name.removeprefix(f"{path}.") not in own:
                    yield option


def sections(kind: type[Any]) -> dict[str, type[Any]]:
    """The dataclasses that lie directly in a dataclass, by the names of its fields."""
    hints = get_type_hints(kind, include_extras=True)
    found = {each.name: section_in(hints[each.name]) for each in fields(kind)}
    return {name: inner for name, inner in found.items() if inner is not None}


def section_in(hint: Any) -> type[Any] | None:
    """The dataclass whose options stand under an option's name, None where it has a value."""
    inner = not_none(hint)
    return inner if isinstance(inner, type) and is_dataclass(inner) else None


def named_sections_in(hint: Any) -> type[Any] | None:
    """The dataclass of each entry of a mapping, whose keys people choose; None for other types."""
    inner = not_none(hint)
    return section_in(get_args(inner)[1]) if get_origin(inner) is dict else None


def not_none(hint: Any) -> Any:
    """X of "X | None", and anything else as it is."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    (inner,) = (each for each in get_args(hint) if each is not NoneType)
    return inner


def type_words(hint: Any) -> str:
    """A type with its range or choices, in words."""
    if get_origin(hint) is Annotated:
        plain, limit = get_args(hint)
        return f"{type_words(plain)}, {limit}"
    if get_origin(hint) in (Union, UnionType):
        return f"{type_words(not_none(hint))}, or null"
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) is dict:
        is_number = section_in(item := get_args(hint)[1]) is None and item is not Any
        return "weights by name" if is_number else "options by name"
    return {int: "whole number", float: "number", str: "text", bool: "true | false"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def _meanings_in(kind: type[Any]) -> dict[str, str]:
    """What docstrings say of a dataclass's fields; those of its bases come first."""
    texts = [each.__doc__ or "" for each in reversed(kind.__mro__[:-1])]
    return {name: said for text in texts for name, said in described(text).items()}
