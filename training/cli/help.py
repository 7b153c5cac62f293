"""What `--help` prints: all options of a command in two lines each, or everything of some keys."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from envs.errors import ConfigError
from envs.options import did_you_mean, to_mapping
from training.cli.commands import program
from training.cli.compose import compose, file_of, groups
from training.config import RunConfig
from training.config.described import NAMED_BY_FILE, Option, options_in, sections, type_words

_TOP: Final = "run"
"""What the options that are in no group are asked for by."""


LEARNING: Final = frozenset(
    {
        *("iterations", "lora", "cloning", "demonstrations", "collect", "branch", "critic"),
        *("pairing", "objective", "update", "reference", "schedule", "experiment"),
    }
)
"""Groups and options of training alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelpPage:
    """What is said of one command beside its options.

    Attributes:
        module: what `python -m` runs.
        summary: one sentence.
        examples: words of command lines, and what they do.
        without: groups and options that the command accepts, but has no use for.
    """

    module: str
    summary: str
    examples: Mapping[str, str]
    without: frozenset[str] = frozenset()

    @property
    def program(self) -> str:
        """How the command was called."""
        return program(self.module)

    def wants(self, name: str) -> bool:
        """Whether the command has a use for an option or a group."""
        return name not in self.without and name.partition(".")[0] not in self.without


_WORDS = """\
  critic=value        choose a file of a group
  seed=1              set an option; more words set more
  +experiment=NAME    add an experiment, which sets several at once
  --help KEY ...      everything about a group, a file of it (critic=value) or an option, by its
                      whole name or the last part of it
  --cfg job           print all options as they would be, and stop
  --multirun          one run after the other for all values between commas, then a table of them
  --config-dir DIR    look for files of groups in a folder of yours, too: DIR/GROUP/NAME.yaml"""


def show_help(words: Iterable[str], page: HelpPage, console: Console | None = None) -> None:
    """Print the command's options, or everything about the keys that are named.

    Raises:
        ConfigError: there is no such group or option.
    """
    console = console or Console(highlight=False)
    wanted = [word for word in words if not word.startswith("-")]
    if not wanted:
        _show_page(console, page)
    for word in wanted:
        _show_key(console, word.lstrip("+"))


def all_options() -> list[Option]:
    """Every option of all groups and components, in the order of the help."""
    return list(options_in(RunConfig))


def _show_page(console: Console, page: HelpPage) -> None:
    console.print(f"usage: {page.program} [WORD ...]\n\n{page.summary}\n", markup=False)
    for words, what in page.examples.items():
        _print(console, f"{page.program} {words}", 2)
        _print(console, what, 6)
    console.print(f"\nWords:\n\n{_WORDS}\n\nGroups and their files:\n", markup=False)
    for group, names in groups().items():
        if page.wants(group):
            _print(console, f"{group:<15}{', '.join(names)}", 2, hanging=15)
    console.print("\nOptions, each with its type, its default and what it is:\n")
    for option in all_options():
        if page.wants(option.name) and option.meaning != NAMED_BY_FILE:
            _show_option(console, option, is_brief=True)
    if page.without:
        left_out = ", ".join(sorted(page.without))
        console.print()
        _print(console, f"Without effect here, as they are for other commands: {left_out}.")


def _show_key(console: Console, word: str) -> None:
    key, equals, name = word.partition("=")
    files = groups().get(key, [])
    if equals and name in files:
        _show_file(console, key, name, is_whole=True)
        options = [o for o in all_options() if _section(o) == key and o.component == name]
    elif key == _TOP:
        options = [o for o in all_options() if "." not in o.name]
    elif key in sections(RunConfig) or files:
        options = [o for o in all_options() if _section(o) == key]
        _show_files(console, key, files, has_options=bool(options))
    else:
        options = _named(key)
    component = ""
    for option in options:
        if option.component != component:
            component = option.component
            _show_component(console, _section(option), component)
        if option.meaning != NAMED_BY_FILE:
            _show_option(console, option)


def _named(key: str) -> list[Option]:
    """The options of that name, those below it, or those whose names end in it.

    Raises:
        ConfigError: there are none.
    """
    options = all_options()
    for found in (
        [o for o in options if o.name == key or o.name.startswith(f"{key}.")],
        [o for o in options if o.name.endswith(f".{key}")],
    ):
        if found:
            return found
    known = [_TOP, *sections(RunConfig), *groups(), *(o.name for o in options)]
    raise ConfigError(
        f"There is no group or option {key}.{did_you_mean(key, known)} --help lists all of them."
    )


def _section(option: Option) -> str:
    return option.name.partition(".")[0] if "." in option.name else _TOP


def _show_files(console: Console, group: str, files: Sequence[str], *, has_options: bool) -> None:
    if files:
        sign = "+" if group == "experiment" else ""
        _print(console, f"{sign}{group}={' | '.join(files)}", style="bold")
    for name in files if not has_options else ():
        _show_file(console, group, name)


def _show_file(console: Console, group: str, name: str, *, is_whole: bool = False) -> None:
    """The comment at the head of a file and, if it is asked for, what the file sets."""
    lines = file_of(group, name).read_text(encoding="utf-8").splitlines()
    said = [line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line]
    console.print()
    console.print(Text(name, style="bold"))
    _print(console, " ".join(said), 4)
    if is_whole:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                console.print(Text(f"    {line}"), soft_wrap=True)
        console.print()


def _show_component(console: Console, section: str, name: str) -> None:
    if not name:
        return
    chosen: Any = sections(RunConfig)[section]
    summary = chosen.registry()[name].summary
    console.print(Text.assemble(f"\n{section} ", (name, "bold")))
    _print(console, summary, 4)


def _show_option(console: Console, option: Option, *, is_brief: bool = False) -> None:
    facts = "; ".join(_facts(option))
    line = Text.assemble("  ", option.name, "  ", (facts, "dim"))
    if len(line) <= console.width:
        console.print(line)
    else:
        console.print(Text(f"  {option.name}  "))
        _print(console, facts, 6, style="dim")
    if option.meaning:
        room = console.width - 6
        brief = textwrap.shorten(option.meaning, room, placeholder=" ...")
        _print(console, brief if is_brief else option.meaning, 6)


def _print(
    console: Console, text: str, indent: int = 0, *, hanging: int = 0, style: str = ""
) -> None:
    """Print plain text that is wrapped behind an indentation."""
    room = max(20, console.width - indent)
    lines = textwrap.wrap(
        text, room, subsequent_indent=" " * hanging, break_on_hyphens=False, drop_whitespace=True
    )
    console.print(Padding(Text("\n".join(lines), style=style), (0, 0, 0, indent)))


def _facts(option: Option) -> Iterator[str]:
    """The type, the range and the default of an option."""
    if option.component:
        yield f"{type_words(option.hint)} (of {option.component})"
    else:
        yield type_words(option.hint)
    given = _value(option)
    if given is not MISSING:
        yield f"default {_shown(given)}"


def _value(option: Option) -> Any:
    """What an option is when nobody says anything; `MISSING` where it has to be said."""
    section, _, rest = option.name.partition(".")
    if not option.component:
        return _composed().get(option.name, option.default)
    if option.component in groups().get(section, []):
        given: Any = _file_values(section, option.component)
        for part in rest.split("."):
            given = given.get(part, MISSING) if isinstance(given, Mapping) else MISSING
        if given not in (MISSING, "???"):
            return given
    return option.default


@cache
def _composed() -> dict[str, Any]:
    """All options without a word on the command line, by their dotted names."""
    return dict(_flat(to_mapping(compose())))


@cache
def _file_values(group: str, name: str) -> Any:
    return yaml.safe_load(file_of(group, name).read_text(encoding="utf-8")) or {}


def _flat(options: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        whole = f"{path}{name}"
        yield whole, value
        if isinstance(value, Mapping):
            yield from _flat(value, f"{whole}.")


def _shown(value: Any) -> str:
    if isinstance(value, str) and value.startswith("${by_size:"):
        small, _, large = value.removeprefix("${by_size:").rstrip("}").partition(",")
        return f"{small.strip()} with size=small, {large.strip()} with size=large"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(each)}" for name, each in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    return '""' if value == "" else str(value)


def show_start(page: HelpPage) -> None:
    """Say what a run without any word would be, and how it is started."""
    config = compose()
    objective, env = config.objective.name, ", ".join(config.env.names)
    partners = ", ".join(name for name, weight in config.partner.weights.items() if weight)
    play, branch, tested = config.collect, config.branch, config.evaluation
    print(
        f"""\
Nothing was started, for no word says what to train. A run without any would be:

  method      {objective}: pairing {config.pairing.name}, {branch.continuations} continuations \
a branch point
  policy      {config.policy.name}, on the {config.device}
  world       {env}
  partners    {partners}
  iterations  {config.iterations} of {play.episodes} episodes and {branch.points} branch points
  measured    on {tested.scenarios} {tested.split} scenarios with each partner
  results     in a new folder in {config.output_root}/

  {page.program} +experiment=sotopia_sdpo               starts it
  {page.program} +experiment=sotopia_sdpo scale=smoke   every step once, in about a minute
  {page.program} +experiment=sotopia_sdpo dry_run=true  what it would take
  {page.program} --help                                 all options"""
    )
