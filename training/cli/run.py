"""Runs a command: options are checked, then the work is imported and called; errors are sentences.

Nothing here imports torch, so that mistakes in the options show at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from pkgutil import resolve_name
from typing import NoReturn, cast

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.text import Text

from envs.errors import BudgetError, ParleyError
from training.cli.arguments import SWEEPS, check_arguments, check_sweep
from training.cli.compose import CONF_DIR, groups, reworded, to_run_config, with_defaulted
from training.config import RunConfig
from training.config.method import cautions
from training.preflight.checks import check_before_start, check_packages
from training.preflight.endpoints import warnings

EXIT_USAGE = 2
EXIT_BUDGET = 3
EXIT_INTERRUPTED = 130


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
        check_packages()  # before registries import what is called `judges`, say
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(_HELP.format(groups=_describe_groups(), conf=_shown(CONF_DIR)))
        else:
            check_arguments(sys.argv[1:])
            if set(SWEEPS) & set(sys.argv[1:]):
                check_sweep(sys.argv[1:], check)
            sys.argv[1:] = with_defaulted(sys.argv[1:])
            folders = _run_hydra(entry, check, plans)
            if len(folders) > 1:
                resolve_name("training.compare_methods:show_methods")(folders)
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


def _run_hydra(entry: str, check: Callable[[RunConfig], None], plans: str | None) -> list[Path]:
    """Run the task once, or once for each run of a sweep; the folders of what was run."""
    folders: list[Path] = []
    # Makes Hydra raise its errors to us instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def task(options: DictConfig) -> None:
        # Here, because Hydra would print a line of its own about an error that passes through it.
        with errors_as_sentences():
            config = to_run_config(options)
            check(config)
            for warning in (*cautions(config.pairing), *warnings(config, date.today())):
                say(warning, "warning", "bold yellow")
            if config.dry_run:
                resolve_name("training.preflight.cost:print_cost_estimate")(config, plans)
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


def _describe_groups() -> str:
    return "\n".join(f"  {group:<11} {', '.join(names)}" for group, names in groups().items())


def _shown(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
