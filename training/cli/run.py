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
from training.cli.compose import CONF_DIR, reworded, to_run_config, with_defaulted
from training.cli.help import show_help
from training.config import RunConfig
from training.config.method import cautions
from training.preflight.checks import check_before_start, check_packages
from training.preflight.endpoints import warnings

EXIT_USAGE = 2
EXIT_BUDGET = 3
EXIT_INTERRUPTED = 130


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
            show_help(sys.argv[1:])
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
