"""Runs a command: options are checked, then the work is imported and called; errors are sentences.

Nothing here imports torch, so that mistakes in the options show at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NoReturn

import hydra
import yaml  # type: ignore[import-untyped]
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.text import Text

from engines.remote.server_words import without_codes
from envs.errors import BudgetError, ConfigError, DiskError, OutageError, ParleyError
from envs.options import to_mapping
from training.cli.arguments import (
    CONFIG_DIR,
    SWEEPS,
    asks_to_show,
    check_arguments,
    check_sweep,
    take_folders,
)
from training.cli.compose import (
    CONF_DIR,
    add_conf_folder,
    chosen_words,
    composed,
    reworded,
    to_run_config,
    with_defaulted,
)
from training.cli.help import HelpPage, show_help, show_start
from training.cli.model_choice import with_model_options
from training.cli.stopping import resuming, signal_of, stopping_on_signals
from training.config import RunConfig
from training.config.method import cautions
from training.preflight.checks import check_before_start, check_packages
from training.preflight.endpoints import warnings
from training.storage.files import disk_sentence
from training.storage.learned import contradictions

EXIT_USAGE = 2
EXIT_BUDGET = 3
EXIT_OUTAGE = 4
EXIT_INTERRUPTED = 128 + signal.SIGINT

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a command does with a checked configuration.

    Its functions import what they need when they are called, so that mistakes in the options show
    before anything slow is imported.

    Attributes:
        page: what --help says of it beside its options.
        work: does the work; returns the folder of a training run, None for anything else.
        check: raises one of our errors where the work is bound to fail.
        preview: prints what the work would call and cost, for dry_run=true; None: it cannot tell.
        after_sweep: shows the runs of a sweep together, given their folders.
        needs_words: whether it starts nothing where the command line has no words, because its work
            is long.
    """

    page: HelpPage
    work: Callable[[RunConfig], Path | None]
    check: Callable[[RunConfig], None] = check_before_start
    preview: Callable[[RunConfig], None] | None = None
    after_sweep: Callable[[Sequence[Path]], None] | None = None
    needs_words: bool = False


def run(command: Command) -> NoReturn:
    """Compose the options of the command line, check them, then do the work.

    Raises:
        SystemExit: always; 0 after success, 2 with one sentence on stderr after a mistake, 3 where
            the budget is spent, 4 where a model behind an API answers nobody, 128 and the signal's
            number where it was stopped.
    """
    words = sys.argv[1:]
    with stopping_on_signals(), errors_as_sentences(words):
        check_packages()  # before registries import what is called `judges`, say
        plain, folders_of_files = take_folders(words)
        for folder in folders_of_files:
            add_conf_folder(folder)
        if {"-h", "--help"} & set(plain):
            show_help(plain, command.page)
        elif not words and command.needs_words:
            show_start(command.page)
            raise SystemExit(EXIT_USAGE)
        else:
            check_arguments(plain)
            if asks_to_show(plain):
                show_options(plain)
                raise SystemExit(0)
            if set(SWEEPS) & set(plain):
                check_sweep(plain, command.check)
            chosen = with_model_options(plain)
            for note in chosen.notes:
                say(note, "note", "bold cyan")
            sys.argv[1:] = with_defaulted(chosen.words)
            folders = _run_hydra(command, words)
            if len(folders) > 1 and command.after_sweep is not None:
                command.after_sweep(folders)
    raise SystemExit(0)


def show_options(arguments: Sequence[str]) -> None:
    """Print all options as they would be, those in no file, too; without checking the machine.

    Raises:
        ConfigError: they are at odds or incomplete; they are printed before, as the files and words
            have them.
    """
    words = [word for word in arguments if word != "job" and not word.startswith("-")]
    options = composed(words)
    try:
        print(yaml.safe_dump(to_mapping(to_run_config(options)), sort_keys=False).rstrip())
    except (ConfigError, OmegaConfBaseException):
        print(OmegaConf.to_yaml(options).rstrip())
        raise


@contextmanager
def errors_as_sentences(words: Sequence[str] = ()) -> Iterator[None]:
    """Turn our own errors into one sentence on stderr and an exit; others keep their traceback.

    Args:
        words: of the command line; a run that was stopped can be gone on with by them.
    """
    try:
        yield
    except BudgetError as error:
        say(f"{error} All that was done is kept.", "stopped")
        raise SystemExit(EXIT_BUDGET) from None
    except OutageError as error:
        say(f"{error} All that was done is kept.", "stopped")
        raise SystemExit(EXIT_OUTAGE) from None
    except DiskError as error:
        _stopped(str(error), error, words, EXIT_USAGE)
    except ParleyError as error:
        say(str(error))
        raise SystemExit(EXIT_USAGE) from None
    except OSError as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # the terminal is gone
            _interrupted(error.__context__, words)
        if error.errno not in _NO_SPACE:
            raise
        _stopped(disk_sentence(error.filename or "A file", error), error, words, EXIT_USAGE)
    except KeyboardInterrupt as error:
        _interrupted(error, words)


def _interrupted(error: KeyboardInterrupt, words: Sequence[str]) -> NoReturn:
    number = signal_of(error)
    _stopped(f"Stopped by {number.name}.", error, words, 128 + number)


def _stopped(sentence: str, error: BaseException, words: Sequence[str], exit_code: int) -> NoReturn:
    """Say that the command was stopped, and what goes on with it."""
    again = resuming(error, words)
    with suppress(OSError):  # the terminal may be gone
        say(f"{sentence} Go on with: {again}" if again else sentence, "stopped")
    raise SystemExit(exit_code) from None


def say(sentence: str, kind: str = "error", style: str = "bold red") -> None:
    """Print one sentence to stderr for people."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble((f"{kind}: ", style), without_codes(sentence)))


def _run_hydra(command: Command, words: Sequence[str]) -> list[Path]:
    """Do the work once, or once for each run of a sweep; returns the folders of training runs."""
    folders: list[Path] = []
    # Makes Hydra raise its errors to us instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def task(options: DictConfig) -> None:
        # Here, because Hydra would print a line of its own about an error that passes through it.
        with errors_as_sentences(_words_of_one(words)):
            config = to_run_config(options)
            command.check(config)
            doubts = (
                *cautions(config.pairing),
                *contradictions(config),
                *warnings(config, date.today()),
            )
            for doubt in doubts:
                say(doubt, "warning", "bold yellow")
            if config.dry_run:
                preview(command, config)
            elif (folder := command.work(config)) is not None:
                folders.append(folder)

    decorate = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
    try:
        decorate(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise reworded(error) from error
    return folders


def _words_of_one(words: Sequence[str]) -> Sequence[str]:
    """The words of the run that Hydra does now; of a sweep, those of this run alone."""
    if not set(SWEEPS) & set(words):
        return words
    folders = [f"{CONFIG_DIR[0]}={folder}" for folder in take_folders(words)[1]]
    return [
        *folders,
        *(word.removeprefix("++") for word in chosen_words()),
    ]  # which `with_defaulted` added


def preview(command: Command, config: RunConfig) -> None:
    """Print what the command would call and cost.

    Raises:
        ConfigError: this command cannot tell.
    """
    if command.preview is None:
        raise ConfigError("This command has no dry run; set dry_run=false.")
    command.preview(config)
