"""What `--help` prints: the commands and groups, or everything that one group can be told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from envs.errors import ConfigError
from envs.options import Chosen, did_you_mean
from envs.registry import Component, described
from training.cli.compose import CONF_DIR, groups
from training.config import RunConfig

_COMMANDS = """\
Parley trains language-model agents to talk to others: a model plays against itself and others,
finds the turns that cost it most, plays them again, and learns from the better ends.

  python -m training.loop +experiment=sotopia_sdpo        train: segment-level DPO, small model
  python -m training.evaluate policy.name=CHECKPOINT      measure against fixed partners
  python -m training.compare EVALUATION EVALUATION ...    any number of them, in pairs
  python -m judges.calibrate judge=NAME                   how good is a judge?
  python -m envs.scenarios.invent invent.model.name=NAME  a model writes new scenes
  python -m training.report RUN                           see a run as a page
  python -m training.store check RUN                      is a run's folder as it was written?

Words after the command choose a file of a group (critic=value), set an option (seed=1,
objective.beta=0.1) or add an experiment (+experiment=NAME), which sets several at once:

{groups}

  --help GROUP   every option of a group: its type, range, default and meaning (--help run for those
                 that are in no group)
  --cfg job      print the composed configuration and stop
  --multirun     one run after the other for all values between commas, and a table of them all:
                 --multirun +experiment=sotopia_sdpo,sotopia_dpo seed=0,1,2
  resume=RUN     go on with a run that was stopped

All values: {conf}/"""

_TOP = "run"


def show_help(words: Iterable[str], console: Console | None = None) -> None:
    """Print the overview, or the options of the groups that are named.

    Raises:
        ConfigError: there is no such group.
    """
    console = console or Console(soft_wrap=False, highlight=False)
    wanted = [word.partition("=")[0] for word in words if not word.startswith("-")]
    if not wanted:
        print(_COMMANDS.format(groups=_group_lines(), conf=_from_here(CONF_DIR)))
        return
    for group in wanted:
        _show_group(console, group)


def _group_lines() -> str:
    return "\n".join(f"  {group:<11} {', '.join(names)}" for group, names in groups().items())


def _from_here(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _show_group(console: Console, group: str) -> None:
    sections = {
        name: hint
        for name, hint in get_type_hints(RunConfig).items()
        if isinstance(hint, type) and is_dataclass(hint)
    }
    files = groups().get(group, [])
    if group not in sections and group != _TOP and not files:
        known = sorted({_TOP, *sections, *groups()})
        raise ConfigError(
            f"There is no group {group}.{did_you_mean(group, known)} Groups are {', '.join(known)}."
        )
    if files:
        sign = "+" if group == "experiment" else ""
        console.print(f"[bold]{sign}{group}=[/bold]{escape(' | '.join(files))}")
    if group == _TOP:
        _show_options(console, "", RunConfig, skip=set(sections))
    elif group in sections:
        kind: Any = sections[group]
        chosen = issubclass(kind, Chosen)
        _show_options(console, f"{group}.", kind, skip={"options", "name"} if chosen else ())
        if chosen:
            for component in kind.registry().values():
                _show_component(console, group, component)
    else:
        for name in files:
            _show_file(console, group, name)


def _show_file(console: Console, group: str, name: str) -> None:
    """The comment at the head of a file that sets options of several sections."""
    lines = Path(CONF_DIR, group, f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    said = [line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line]
    console.print(f"\n[bold]{escape(name)}[/bold]")
    console.print(Padding(escape(" ".join(said)), (0, 0, 0, 4)))


def _show_component(console: Console, group: str, component: Component) -> None:
    console.print(f"\n[bold]{escape(component.name)}[/bold]  {escape(component.summary)}")
    _show_options(console, f"{group}.", component.options, help_of=component.option_help())


def _show_options(
    console: Console,
    path: str,
    kind: type[Any],
    *,
    skip: Iterable[str] = (),
    help_of: dict[str, str] | None = None,
) -> None:
    said = described(kind.__doc__ or "") if help_of is None else help_of
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        if each.name in skip:
            continue
        inner = _not_none(hints[each.name])
        if isinstance(inner, type) and is_dataclass(inner):
            _show_options(console, f"{path}{each.name}.", inner)
            continue
        facts = "; ".join(_facts(hints[each.name], each))
        console.print(f"  {escape(path + each.name)}  [dim]{escape(facts)}[/dim]")
        if each.name in said:
            console.print(Padding(escape(said[each.name]), (0, 0, 0, 6)))


def _facts(hint: Any, each: Field[Any]) -> Iterator[str]:
    """The type, the range and the default of an option."""
    yield _type_name(hint)
    if each.default is not MISSING:
        yield f"default {_shown(each.default)}"


def _shown(value: Any) -> str:
    return {None: "null", True: "true", False: "false", "": '""'}.get(value, str(value))


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        plain, limit = get_args(hint)
        return f"{_type_name(plain)}, {limit}"
    if get_origin(hint) in (Union, UnionType):
        return f"{_type_name(_not_none(hint))}, or null"
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) is dict:
        return "weights by name" if get_args(hint)[1] is not Any else "options by name"
    return {int: "whole number", float: "number", str: "text", bool: "true | false"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def _not_none(hint: Any) -> Any:
    if get_origin(hint) not in (Union, UnionType):
        return hint
    (inner,) = (each for each in get_args(hint) if each is not NoneType)
    return inner
