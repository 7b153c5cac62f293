"""Builds frozen dataclasses from nested mappings; every mistake becomes a sentence.

Understands int, float, str, bool, Literal, X | None, dict[str, X], nested dataclasses, and
Annotated[X, Range(...) or Weighted(...)].
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from envs.errors import ConfigError

T = TypeVar("T")

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


class Limit(Protocol):
    """What stands beside a type in Annotated; its text goes on from "must be"."""

    def holds(self, value: Any) -> bool:
        """Whether the value is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that an option may take; None is no bound."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the value is inside."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        bounds = (("at least", self.at_least), ("above", self.above), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


Count = Annotated[int, Range(at_least=1)]
Amount = Annotated[int, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Weights = dict[str, NonNegative]
"""Names and how often each is drawn; the weights need not add up to 1."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """Weights of some of the names, of which at least one is above 0."""

    names: tuple[str, ...]

    def holds(self, value: Mapping[str, float]) -> bool:
        """Whether all names are known and something has weight."""
        return set(value) <= set(self.names) and sum(value.values()) > 0

    def __str__(self) -> str:
        return f"weights of {', '.join(self.names)}, of which at least one is above 0"


def build(kind: type[T], options: Mapping[str, Any], path: str = "") -> T:
    """Make a `kind`, a dataclass, from the mapping of its fields' values.

    Args:
        path: the dotted name of the mapping itself, for messages; "" at the top.

    Raises:
        ConfigError: an option is missing, unknown, of the wrong type or out of range.
    """
    hints = get_type_hints(kind, include_extras=True)
    for name in options:
        if name not in hints:
            whole = _join(path, str(name))
            raise ConfigError(
                f"There is no option {whole}.{did_you_mean(str(name), hints)}"
                f" {path or 'The top level'} has {', '.join(hints)}."
            )
    for field in fields(kind):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in options:
            whole = _join(path, field.name)
            raise ConfigError(f"{whole} is missing; set {whole}=VALUE.")
    return kind(
        **{name: _convert(hints[name], options[name], _join(path, name)) for name in options}
    )


def option_names(kind: Any, path: str = "") -> list[str]:
    """The dotted names of all options in a dataclass, those inside it and their weights."""
    names: list[str] = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        whole, hint = _join(path, name), _not_none(hint)
        names += option_names(hint, whole) if is_dataclass(hint) else [whole]
        limit = get_args(hint)[-1] if get_origin(hint) is Annotated else None
        if isinstance(limit, Weighted):
            names += [_join(whole, weighted) for weighted in limit.names]
    return names


def defaults(kind: Any, path: str = "") -> dict[str, Any]:
    """The options that have a value without being set, None apart, by their dotted names.

    None stands for an option that only some choices have, such as an objective's own strength.
    """
    values: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in fields(kind):
        whole, hint = _join(path, field.name), _not_none(hints[field.name])
        if is_dataclass(hint):
            values |= defaults(hint, whole)
        elif field.default is not MISSING and field.default is not None:
            values[whole] = field.default
    return values


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The sentence " Did you mean X?" with the nearest known word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _convert(hint: Any, value: Any, path: str) -> Any:
    """Check one value against one type hint, and give it back in that type."""
    if get_origin(hint) is Annotated:
        plain, limit = get_args(hint)
        return _within(limit, _convert(plain, value, path), path)
    if get_origin(hint) in (Union, UnionType):
        return None if value is None else _convert(_not_none(hint), value, path)
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise _wrong(path, value, " or ".join(choices))
        return value
    if get_origin(hint) is dict:
        item = get_args(hint)[1]
        entries = _mapping(value, path).items()
        return {str(key): _convert(item, entry, _join(path, str(key))) for key, entry in entries}
    if is_dataclass(hint):
        return build(hint, _mapping(value, path), path)  # type: ignore[arg-type]
    return _scalar(hint, value, path)


def _not_none(hint: Any) -> Any:
    """X of "X | None", and anything else as it is."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    (inner,) = (option for option in get_args(hint) if option is not NoneType)
    return inner


def _within(limit: Limit, value: T, path: str) -> T:
    if not limit.holds(value):
        raise _wrong(path, value, str(limit))
    return value


def _scalar(kind: type[Any], value: Any, path: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    # type() and not isinstance(): True is an int to Python, but not to people.
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise _wrong(path, value, _KINDS[kind])
    return value


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(path, value, f"a group of options ({path}.NAME=VALUE)")
    return value


def _wrong(path: str, value: Any, expected: str) -> ConfigError:
    shown = "null" if value is None else repr(value)
    return ConfigError(f"{path} is {shown}, but must be {expected}.")
