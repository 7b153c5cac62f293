"""Typed options: frozen dataclasses from nested mappings, where every mistake becomes a sentence.

Understands int, float, str, bool, Literal, X | None, dict[str, X], nested dataclasses, and
Annotated[X, Range(...), OneOf(...) or Weighted(...)]. In a `Chosen` section some of the options
belong to the component that it names, such as an objective.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from envs.errors import ConfigError, quoted
from envs.registry import Component, Registry, required

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


Names = tuple[str, ...] | Callable[[], Iterable[str]]
"""Known names, or what gives them when they are first needed."""


def _names(names: Names) -> tuple[str, ...]:
    return names if isinstance(names, tuple) else tuple(names())


@dataclass(frozen=True, slots=True)
class Weighted:
    """Weights of some of the names, of which at least one is above 0."""

    known: Names

    @property
    def names(self) -> tuple[str, ...]:
        """All that may have a weight."""
        return _names(self.known)

    def holds(self, value: Mapping[str, float]) -> bool:
        """Whether all names are known and something has weight."""
        return set(value) <= set(self.names) and sum(value.values()) > 0

    def __str__(self) -> str:
        return f"weights of {', '.join(self.names)}, of which at least one is above 0"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the names, which may be those of a registry."""

    known: Names

    def holds(self, value: str) -> bool:
        """Whether the name is known."""
        return value in _names(self.known)

    def __str__(self) -> str:
        return " or ".join(_names(self.known))


class Chosen:
    """A section that names one or several components and holds their options beside its own.

    A subclass is a dataclass with a field `options`; a mapping is read flat: {"name": "dpo",
    "beta": 0.1}. Options of components that are not chosen read as None: `config.objective.gamma`.
    """

    __slots__ = ()
    options: dict[str, Any]
    is_strict: ClassVar[bool] = True
    """Whether options of components that are not chosen are refused, or merely left out."""

    @classmethod
    def registry(cls) -> Registry[Any]:
        """Where the components are."""
        raise NotImplementedError

    @classmethod
    def chosen(cls, own: Mapping[str, Any]) -> dict[str, str]:
        """The chosen components, each with the words that chose it, from the section's own options.

        By default the one that `name` names.
        """
        return {own["name"]: f"name={own['name']}"}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "options":
            raise AttributeError(name)
        if name not in self.options and name not in _component_options(type(self)):
            raise AttributeError(f"{type(self).__name__} has no option {name!r}")
        return self.options.get(name)

    def options_for(self, component: Component) -> Any:
        """The options of one of the chosen components, as its own dataclass."""
        known = {*self.options, *_own_names(type(self))}
        given = {n: getattr(self, n) for n in component.option_names if n in known}
        return component.options(**given)


def _component_options(kind: type[Chosen]) -> dict[str, type[Any]]:
    """The options of all components that a section may choose: name -> a dataclass that has it."""
    found: dict[str, type[Any]] = {}
    for component in kind.registry().values():
        found |= dict.fromkeys(component.option_names, component.options)
    return found


def build(kind: type[T], options: Mapping[str, Any], path: str = "") -> T:
    """Make a `kind`, a dataclass, from the mapping of its fields' values.

    Args:
        path: the dotted name of the mapping itself, for messages; "" at the top.

    Raises:
        ConfigError: an option is missing, unknown, of the wrong type or out of range.
    """
    hints = get_type_hints(kind, include_extras=True)
    own, others = dict(options), {}
    if issubclass(kind, Chosen):
        hints = {name: hint for name, hint in hints.items() if name in _own_names(kind)}
        others = {name: own.pop(name) for name in options if name not in hints}
        known: Iterable[str] = [*hints, *_component_options(kind)]
    else:
        known = hints
    for name in options:
        if name not in known:
            whole = _join(path, str(name))
            shown = whole if whole.isprintable() and len(whole) <= 100 else quoted(whole)
            raise ConfigError(
                f"There is no option {shown}.{did_you_mean(str(name), known)}"
                f" {path or 'The top level'} has {', '.join(known)}."
            )
    for field in fields(kind):  # type: ignore[arg-type]
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name in hints and field.name not in own:
            whole = _join(path, field.name)
            raise ConfigError(f"{whole} is missing; set {whole}=VALUE.")
    values = {name: _convert(hints[name], own[name], _join(path, name)) for name in own}
    if issubclass(kind, Chosen):
        values["options"] = _build_chosen(kind, values, others, path)
    return kind(**values)


def _own_names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)} - {"options"}


def _build_chosen(
    kind: type[Chosen], own: Mapping[str, Any], others: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """The options of the chosen components, all of them set and checked."""
    given = {name: value for name, value in others.items() if value is not None}
    built: dict[str, Any] = {}
    users = kind.chosen(own)
    for name, words in users.items():
        component = kind.registry()[name]
        hints = get_type_hints(component.options, include_extras=True)
        for option in component.option_names:
            whole = _join(path, option)
            if option in own:
                continue  # an option of the section itself, which the component takes, too
            if option in given:
                built[option] = _convert(hints[option], given[option], whole)
            elif option in required(component.options):
                if is_dataclass(hints[option]):  # what the user has to set lies inside
                    whole = _join(whole, required(hints[option])[0])
                raise ConfigError(
                    f"{whole} is not set, but {path}.{words} needs it; add +{whole}=VALUE."
                )
        known = {**own, **built}
        names = component.option_names
        defaulted = component.options(**{n: known[n] for n in names if n in known})
        built |= {n: getattr(defaulted, n) for n in names if n not in own}
    if kind.is_strict and (extra := [name for name in given if name not in built]):
        raise ConfigError(
            f"{_join(path, extra[0])} is set, but {path}.{next(iter(users.values()))} has no such "
            "option; leave it out."
        )
    return built


def to_mapping(config: Any) -> Any:
    """The nested mapping that `build` makes a configuration from; the inverse of `build`."""
    if isinstance(config, Chosen):
        own = {name: to_mapping(getattr(config, name)) for name in sorted_own(config)}
        return own | to_mapping(config.options)
    if is_dataclass(config):
        return {field.name: to_mapping(getattr(config, field.name)) for field in fields(config)}
    if isinstance(config, dict):
        return {name: to_mapping(value) for name, value in config.items()}
    return config


def sorted_own(section: Chosen) -> list[str]:
    """The names of a section's own options, in the order of their definition."""
    return [field.name for field in fields(section) if field.name != "options"]  # type: ignore[arg-type]


def option_names(kind: Any, path: str = "") -> list[str]:
    """The dotted names of all options in a dataclass, those inside it and their weights."""
    names: list[str] = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if not _is_option(kind, name):
            continue
        names += _names_below(hint, _join(path, name))
    if issubclass(kind, Chosen):
        for name, options in _component_options(kind).items():
            names += _names_below(
                get_type_hints(options, include_extras=True)[name], _join(path, name)
            )
    return list(dict.fromkeys(names))


def _names_below(hint: Any, whole: str) -> list[str]:
    hint = _not_none(hint)
    names = option_names(hint, whole) if is_dataclass(hint) else [whole]
    limit = get_args(hint)[-1] if get_origin(hint) is Annotated else None
    if isinstance(limit, Weighted):
        names += [_join(whole, weighted) for weighted in limit.names]
    return names


def _is_option(kind: type[Any], name: str) -> bool:
    return name in {field.name for field in fields(kind)} and not (
        name == "options" and issubclass(kind, Chosen)
    )


def defaults(kind: Any, path: str = "") -> dict[str, Any]:
    """The options that have a value without being set, None apart, by their dotted names.

    None stands for an option that only some choices have, such as an objective's own strength.
    """
    values: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in fields(kind):
        if not _is_option(kind, field.name):
            continue
        whole, hint = _join(path, field.name), _not_none(hints[field.name])
        if is_dataclass(hint):
            values |= defaults(hint, whole)
        elif field.default is not MISSING and field.default is not None:
            values[whole] = field.default
    if issubclass(kind, Chosen):
        for component in kind.registry().values():
            values |= defaults(component.options, path)
    return values


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The sentence " Did you mean X?" with the nearest known word, or nothing.

    A word that a known one ends in, as sdpo in sotopia_sdpo, is nearer than any other.
    """
    names = list(known)
    ends = [name for name in names if word and re.search(rf"[._]{re.escape(word)}$", name)]
    close = sorted(ends, key=len) or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
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
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
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
    shown = "null" if value is None else quoted(value, most=200)
    return ConfigError(f"{path} is {shown}, but must be {expected}.")
