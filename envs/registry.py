"""Registries of components: those that ship with Parley and those of other installed packages.

A component is one function or class with a decorator (`@objective("dpo")`, `@judge("rubric")`). Its
options are typed: the keyword-only parameters of a function, or the fields of a dataclass. Choices,
types, ranges, help and the check of the configuration files all derive from that.

Another package adds components by entry points. In its pyproject.toml::

    [project.entry-points."parley.objectives"]
    my_objective = "my_package.my_objective"

The value names the module that registers the component `my_objective`. Folders called `conf` at the
top of such packages are searched for configuration files beside Parley's own.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, get_type_hints

from envs.errors import ConfigError

PREFIX = "parley."
"""What the names of all groups of entry points begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """The options of a component that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One choice of a kind: a name, what makes it, and the options that it takes.

    Attributes:
        make: the function or class itself.
        options: a frozen dataclass; each field is an option with its type, range and default.
    """

    name: str
    make: Callable[..., Any]
    options: type[Any] = NoOptions

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        return (inspect.getdoc(self.make) or "").split("\n\n")[0].replace("\n", " ")

    @property
    def option_names(self) -> tuple[str, ...]:
        """The names of its options, in the order of their definition."""
        return tuple(each.name for each in fields(self.options))

    def option_help(self) -> dict[str, str]:
        """What its docstring says of each option, by the option's name."""
        kinds = reversed(self.options.__mro__[:-1])  # an option may be one of its base class
        texts = (inspect.getdoc(self.make) or "", *(kind.__doc__ or "" for kind in kinds))
        return {name: said for text in texts for name, said in described(text).items()}


S = TypeVar("S", bound=Component)
M = TypeVar("M", bound=Callable[..., object])


class Registry(Mapping[str, S], Generic[S]):
    """The components of one kind by name, sorted; loaded when they are first asked for.

    Args:
        kind: what people call one of them, such as "objective".
        group: the group of entry points by which other packages add some, without the prefix.
        modules: dotted names of packages and modules that register ours when they are imported; of
            a package all modules that lie directly in it.
    """

    def __init__(self, kind: str, *, group: str, modules: Sequence[str]) -> None:
        self.kind, self.group = kind, PREFIX + group
        self._modules = tuple(modules)
        self._found: dict[str, S] = {}
        self._is_loaded = False

    def add(self, component: S) -> S:
        """Register a component.

        Raises:
            ConfigError: another one has that name.
        """
        known = self._found.get(component.name)
        if known is not None and _origin(known) != _origin(component):
            raise ConfigError(
                f"The {self.kind} {component.name} is registered by {_origin(known)} and by "
                f"{_origin(component)}; give one of them another name."
            )
        self._found[component.name] = component
        return component

    @contextmanager
    def lent(self, component: S) -> Iterator[None]:
        """In the block there is this component, too: one that lives in a program or a notebook.

        Raises:
            ConfigError: another one has that name.
        """
        self._load()
        self.add(component)
        try:
            yield
        finally:
            del self._found[component.name]

    def registers(self, kind: type[S], name: str, **traits: Any) -> Callable[[M], M]:
        """A decorator that registers a class or a builder, with the options that it takes.

        Args:
            kind: of the component.
            traits: the component's fields beside its name, maker and options.
        """

        def register(make: M) -> M:
            self.add(kind(name=name, make=make, options=options_type(make), **traits))
            return make

        return register

    def __getitem__(self, name: str) -> S:
        self._load()
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._found))

    def __len__(self) -> int:
        self._load()
        return len(self._found)

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True  # before the imports, which may look up what is there already
        try:
            for name in self._modules:
                _import_all(name)
            for entry in entry_points(group=self.group):
                self._load_entry(entry)
        except BaseException:
            self._is_loaded = False
            raise

    def _load_entry(self, entry: EntryPoint) -> None:
        distribution = entry.dist.name if entry.dist else "an unknown distribution"
        where = f"The entry point {entry.name} of {distribution} in the group {self.group}"
        try:
            entry.load()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{where} cannot be loaded from {entry.value}: {type(error).__name__}: {error}. "
                f"Mend that package, or uninstall it: pip uninstall {distribution}."
            ) from error
        if entry.name not in self._found:
            raise ConfigError(
                f"{where} was loaded from {entry.value}, but no {self.kind} of that name was "
                f"registered there; decorate it with @{self.kind}({entry.name!r})."
            )


def _import_all(name: str) -> None:
    package = import_module(name)
    for module in pkgutil.iter_modules(getattr(package, "__path__", ()), f"{name}."):
        if not module.ispkg:
            import_module(module.name)


def _origin(component: Component) -> str:
    return f"{component.make.__module__}.{component.make.__qualname__}"


def outside_conf_folders() -> list[Path]:
    """The folders `conf` of all packages that add components, in the order of their names."""
    found = entry_points()
    roots = {
        entry.module.partition(".")[0]
        for group in found.groups
        if group.startswith(PREFIX)
        for entry in found.select(group=group)
    }
    specs = [find_spec(root) for root in sorted(roots)]
    folders = [
        Path(place) / "conf"
        for spec in specs
        if spec
        for place in spec.submodule_search_locations or ()
    ]
    return [folder for folder in folders if folder.is_dir()]


def options_of(*functions: Callable[..., Any], besides: Sequence[str] = ()) -> type[Any]:
    """The keyword-only parameters of functions, as one frozen dataclass of options.

    Args:
        functions: an option that several of them have must be annotated alike.
        besides: parameters that are no options.
    """
    wanted: dict[str, tuple[str, Any, Any]] = {}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is not parameter.KEYWORD_ONLY or name in besides:
                continue
            default = field() if parameter.default is parameter.empty else parameter.default
            wanted[name] = (name, _annotation(function, name), default)
    ordered = sorted(wanted.values(), key=lambda option: option[0])
    name = f"{functions[0].__name__}_options"
    return make_dataclass(name, ordered, frozen=True, slots=True, kw_only=True)


def options_type(make: Callable[..., Any]) -> type[Any]:
    """The options of what is built: a dataclass's own fields, or the type of a builder's `options`.

    Raises:
        TypeError: it is neither; a mistake of whoever registers it.
    """
    if inspect.isclass(make) and is_dataclass(make):
        hints = get_type_hints(make, include_extras=True)
        taken = [(f.name, hints[f.name], _default_of(f)) for f in fields(make) if f.init]
        return make_dataclass(
            f"{make.__name__}Options", taken, frozen=True, slots=True, kw_only=True
        )
    if inspect.isclass(make):
        return NoOptions
    options: Any = _annotation(make, "options")
    if not is_dataclass(options):
        raise TypeError(f"The options of {make.__qualname__} are {options!r}, no dataclass.")
    return cast(type[Any], options)


def _annotation(function: Callable[..., Any], name: str) -> Any:
    """The type of one parameter; the others may name what is imported for type checkers alone."""
    plain = inspect.unwrap(function)
    annotation = plain.__annotations__.get(name, NoOptions)
    return eval(annotation, plain.__globals__) if isinstance(annotation, str) else annotation


def _default_of(each: Field[Any]) -> Any:
    if each.default_factory is not MISSING:
        return field(default_factory=each.default_factory)
    return field() if each.default is MISSING else each.default


def keywords_of(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the function takes as parameters."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in names}


def required(options: type[Any]) -> tuple[str, ...]:
    """The names of the options that have no default."""
    return tuple(
        each.name
        for each in fields(options)
        if each.default is MISSING and each.default_factory is MISSING
    )


_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^    ([\w, ]+):\s*((?:.|\n)*?)(?=^    \w|\Z)", re.MULTILINE)


def described(docstring: str) -> dict[str, str]:
    """The descriptions in a docstring's Args or Attributes, by name, each on one line."""
    found: dict[str, str] = {}
    for section in _SECTION.findall(inspect.cleandoc(docstring)):
        for names, text in _ENTRY.findall(section):
            for name in names.split(","):
                found[name.strip()] = " ".join(text.split())
    return found
