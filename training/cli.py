"""The command line: options in, a checked configuration out, and one sentence when that fails.

The only module that knows Hydra. It runs before torch is imported, so that mistakes show at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import product
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn, cast

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.text import Text

from envs.errors import BudgetError, ConfigError, ParleyError
from training.config import RunConfig, from_mapping
from training.config.method import cautions
from training.config.options import defaults, did_you_mean, option_names
from training.launch.outlook import warnings
from training.launch.preflight import check_before_start


def _by_size(small: Any, large: Any, *, _root_: DictConfig) -> Any:
    """`${by_size:SMALL,LARGE}` in a file: a value for either size of model."""
    return large if _root_.size == "large" else small


OmegaConf.register_new_resolver("by_size", _by_size, replace=True)

CONF_DIR = Path(__file__).resolve().parents[1] / "conf"
EXIT_USAGE = 2
EXIT_BUDGET = 3
EXIT_INTERRUPTED = 130

_SWEEPS = ("-m", "--multirun")

_FLAGS = ("-c", "--cfg", "--resolve", "-i", "--info", "--hydra-help", *_SWEEPS)

_HELP = """\
Parley trains language-model agents to talk to others: it lets a model play against itself and
others, finds the turns that cost it most, plays them again, and learns from the better ends.

  python -m training.loop +experiment=sotopia_sdpo        train: segment-level DPO, small model
  python -m training.evaluate policy.name=CHECKPOINT      measure against fixed partners
  python -m training.compare EVALUATION EVALUATION ...    any number of them, in pairs
  python -m judges.calibrate judge=NAME                   how good is a judge?
  python -m training.report RUN                           see a run as a page

Words after the command choose a file of a group (critic=value), set an option (seed=1,
objective.beta=0.1) or add an experiment (+experiment=NAME), which sets several at once:

{groups}

  --cfg job    print the composed configuration and stop
  --multirun   one run after the other for all values between commas, and a table of them all:
               --multirun +experiment=sotopia_sdpo,sotopia_dpo seed=0,1,2
  resume=RUN   go on with a run that was stopped

Every option and its meaning: training/config; every value: {conf}/"""


def run(
    entry: str,
    check: Callable[[RunConfig], None] = check_before_start,
    plans: str | None = None,
) -> NoReturn:
    """Compose the options of the command line, check them, then import and call the entry.

    Args:
        entry: "package.module:function" that takes a `RunConfig`; imported only when all is well.
        check: raises an error of ours where that is bound to fail.
        plans: likewise a function that says what the entry would do, for dry_run=true.

    Raises:
        SystemExit: always; 0 after success, 2 with one sentence on stderr after a mistake, 3 where
            the budget is spent.
    """
    with errors_as_sentences():
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(_HELP.format(groups=_describe_groups(), conf=_shown(CONF_DIR)))
        else:
            check_arguments(sys.argv[1:])
            if set(_SWEEPS) & set(sys.argv[1:]):
                check_sweep(sys.argv[1:], check)
            sys.argv[1:] = _with_defaulted(sys.argv[1:])
            folders = _run_hydra(entry, check, plans)
            if len(folders) > 1:
                resolve_name("training.methods:show_methods")(folders)
    raise SystemExit(0)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn our own errors into one sentence on stderr and an exit; others keep their traceback."""
    try:
        yield
    except BudgetError as error:
        say(f"{error} All that was done is kept.", "stopped")
        raise SystemExit(EXIT_BUDGET) from None
    except ParleyError as error:
        say(str(error))
        raise SystemExit(EXIT_USAGE) from None
    except KeyboardInterrupt:
        say("Stopped from the keyboard; go on with the same command and resume=RUN.")
        raise SystemExit(EXIT_INTERRUPTED) from None


def say(sentence: str, kind: str = "error", style: str = "bold red") -> None:
    """Print one sentence to stderr for people."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble((f"{kind}: ", style), sentence))


def compose(overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration that the same words on the command line would give."""
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        try:
            return _to_run_config(hydra.compose("config", _with_defaulted(overrides)))
        except (HydraException, OmegaConfBaseException) as error:
            raise reworded(error) from error


def groups() -> dict[str, list[str]]:
    """Every configuration group and the names of its files."""
    folders = sorted(path for path in CONF_DIR.iterdir() if any(path.glob("*.yaml")))
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def check_arguments(arguments: Iterable[str]) -> None:
    """Look at the words of the command line before Hydra does.

    Raises:
        ConfigError: a word is no KEY=VALUE, or names no group, no option or no file of a group.
    """
    known = groups()
    for word in arguments:
        key, equals, value = word.partition("=")
        name = key.lstrip("+~").partition("@")[0]
        if word.startswith("-"):
            _check_flag(key)
        elif equals and name in known:
            _check_choice(key, name, value, known[name])
        elif equals and re.split("[./]", name)[0] != "hydra":
            _check_option(name)


def check_sweep(words: Sequence[str], check: Callable[[RunConfig], None]) -> None:
    """Check every run of a sweep before the first one starts.

    Raises:
        ConfigError: one of them is bound to fail.
    """
    plain = [word for word in words if not word.startswith("-")]
    try:
        overrides = OverridesParser.create().parse_overrides(plain)
    except HydraException as error:
        raise reworded(error) from error
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [word]
        for o, word in zip(overrides, plain, strict=True)
    ]
    for chosen in product(*choices):
        check(compose(chosen))


def _with_defaulted(words: Iterable[str]) -> list[str]:
    """Let options be set that Hydra misses: those with a default of ours, and further weights."""
    names = set(option_names(RunConfig))
    weights = {name for name in names if name.rpartition(".")[0] in names}
    known = {*defaults(RunConfig), *weights, *(name.rpartition(".")[0] for name in weights)}
    return [f"++{word}" if word.partition("=")[0] in known else word for word in words]


def reworded(error: Exception) -> ConfigError:
    """What Hydra or OmegaConf found wrong, as a sentence of ours."""
    said = str(error).strip()
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"{error.override!r} cannot be read; expected KEY=VALUE, such as seed=1;"
            " --help lists the keys."
        )
    if match := re.search(r"Could not override '([^']+)'", said):
        return ConfigError(
            f"{match[1]} is not an option of the chosen files."
            f" {_chosen_instead(match[1])}--cfg job shows those that are."
        )
    return ConfigError(f"The options cannot be combined: {' '.join(said.split())}")


def _run_hydra(entry: str, check: Callable[[RunConfig], None], plans: str | None) -> list[Path]:
    """Run the task once, or once for each run of a sweep; the folders of what was run."""
    folders: list[Path] = []
    # Makes Hydra raise its errors to us instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def task(options: DictConfig) -> None:
        # Here, because Hydra would print a line of its own about an error that passes through it.
        with errors_as_sentences():
            config = _to_run_config(options)
            check(config)
            for warning in (*cautions(config.pairing), *warnings(config, date.today())):
                say(warning, "warning", "bold yellow")
            if config.dry_run:
                resolve_name("training.launch.forecast:print_forecast")(config, plans)
                return
            train = cast(Callable[[RunConfig], Path | None], resolve_name(entry))
            folder = train(config)
            if folder is not None:
                folders.append(folder)

    decorate = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
    try:
        decorate(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise reworded(error) from error
    return folders


def _to_run_config(options: DictConfig) -> RunConfig:
    for name in sorted(OmegaConf.missing_keys(options)):
        raise ConfigError(f"{name} is not set; set {name}=VALUE.")
    plain = OmegaConf.to_container(options, resolve=True)
    return from_mapping(cast(dict[str, Any], plain))


def _check_choice(key: str, group: str, value: str, names: list[str]) -> None:
    unknown = [choice for choice in value.strip("[]").split(",") if choice not in names]
    if unknown:
        raise ConfigError(
            f"There is no {group}={unknown[0]}.{did_you_mean(unknown[0], names)}"
            f" {group} can be {', '.join(names)}."
        )
    if group == "experiment" and not key.startswith("+"):
        raise ConfigError(f"An experiment is added, not set; write +experiment={value}.")


_FREE = ("judge.panel.",)
"""Below these, names are the user's own; mistakes there are found when the options are read."""


def _check_option(name: str) -> None:
    known = [*option_names(RunConfig), *groups()]
    if name not in known and not name.startswith(_FREE):
        raise ConfigError(
            f"There is no option or group {name}.{did_you_mean(name, known)}"
            " --help lists the groups, training/config all options."
        )


def _check_flag(flag: str) -> None:
    if flag not in _FLAGS:
        raise ConfigError(
            f"There is no flag {flag}.{did_you_mean(flag, _FLAGS)} Options are set without dashes,"
            " as in seed=1; --help tells more."
        )


def _chosen_instead(name: str) -> str:
    group = name.partition(".")[0]
    others = groups().get(group, [])
    return f"Another {group} ({', '.join(others)}) may have it; " if others else ""


def _describe_groups() -> str:
    return "\n".join(f"  {group:<11} {', '.join(names)}" for group, names in groups().items())


def _shown(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
