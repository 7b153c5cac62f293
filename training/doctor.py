"""The command `python -m training.doctor`: what works on this machine, and what mends the rest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from training.cli.commands import program
from training.cli.run import errors_as_sentences

if TYPE_CHECKING:
    from training.preflight.examination import Finding

STYLES = {"works": "green", "absent": "yellow", "FAILS": "bold red"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what was found, a line each, with the command that mends or adds what is missing.

    Raises:
        SystemExit: status 1 where something fails that every run needs; else 0.
    """
    parser = argparse.ArgumentParser(
        prog=program("training.doctor"),
        description="Look at this machine and say what works, and which command mends the rest; "
        "exit code 1 if a run could not work here. Nothing is sent anywhere without --server.",
    )
    parser.add_argument("--output-root", default="outputs", help="where runs go: %(default)s")
    parser.add_argument("--server", metavar="URL", help="ask this server for its models, too")
    given = parser.parse_args(arguments)
    with errors_as_sentences():  # a package of another project in place of ours is one of them
        raise SystemExit(examine_all(Path(given.output_root), given.server))


def examine_all(output_root: Path, server: str | None) -> int:
    """Print all findings as they come; returns how the command ends."""
    from training.preflight.examination import examine

    console, faults = Console(soft_wrap=True, highlight=False), 0

    def show(finding: Finding) -> None:
        nonlocal faults
        faults += finding.state == "FAILS"
        word = (f"{finding.state:<7}", STYLES[finding.state])
        console.print(Text.assemble(word, f"{finding.what:<12} {finding.said}"))
        if finding.advice:
            console.print(f"{'':<20}{finding.advice}", markup=False, style="bold")

    for finding in examine(output_root):
        show(finding)
    show(_episode())
    if server is not None:
        show(_asked(server))
    return min(faults, 1)


def _episode() -> Finding:
    """An episode of the model that ships with the package, in a scenario that a program judges."""
    from envs.errors import ParleyError
    from training.api.dialogues import play
    from training.preflight.examination import Finding

    try:
        import transformers

        transformers.utils.logging.disable_progress_bar()
        (dialogue,) = play("embedded", "experts", scenarios="plans/test/0", max_turns=6)
    except (ParleyError, OSError, RuntimeError, ImportError) as error:
        return Finding("an episode", "FAILS", f"{type(error).__name__}: {error}", "make clean run")
    said = f"the shipped model played {len(dialogue.turns)} turns, and was judged"
    return Finding("an episode", "works", said)


def _asked(server: str) -> Finding:
    """Whether a server answers, and with which models."""
    from engines.remote.endpoint import Endpoint
    from envs.errors import ConfigError
    from training.preflight.examination import Finding
    from training.preflight.servers import ask_for_models

    try:
        models = ask_for_models("--server", Endpoint(model="", base_url=server))
    except ConfigError as error:
        return Finding("server", "FAILS", str(error))
    return Finding("server", "works", f"{server} has {', '.join(models) or 'models without names'}")


if __name__ == "__main__":
    main()
