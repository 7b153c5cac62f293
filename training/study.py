"""The command `python -m training.study [NAME ...] [--jobs 2]`: run the comparison of methods."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from training.cli.run import errors_as_sentences
from training.cli.stopping import stopping_on_signals
from training.evaluation.children import Children
from training.evaluation.study import DEFINITIONS, RESULTS, read_studies
from training.evaluation.study_page import TEMPLATE, page
from training.evaluation.study_runs import jobs_of, perform
from training.report.dialogues import first_dialogues
from training.storage.files import write_text

WORK = Path("outputs/study")
_PARTNER = "experts"
"""Whom the dialogues of a record were held with."""


def work_folder(folder: Path, *, smoke: bool = False) -> Path:
    """Where the runs of a study's folder are: runs of different folders may have one name."""
    name = WORK.name if folder == RESULTS else folder.name
    return WORK.with_name(f"{name}-smoke" if smoke else name)


def _dialogues(count: int, run: Path) -> dict[str, Any]:
    return {"dialogues": first_dialogues(run, _PARTNER, count)} if count else {}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every method that has no record yet, then write the page of results.

    A signal that stops it stops the runs, which go on when the command is given again.
    """
    parser = argparse.ArgumentParser(prog="python -m training.study", description=main.__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {DEFINITIONS} in the folder; default: all"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=RESULTS,
        help=f"holds {DEFINITIONS}, the page's template and the records; the page is written "
        "beside it; default: %(default)s",
    )
    parser.add_argument("--threads", type=int, default=1, help="of each run; default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one core each")
    parser.add_argument("--only", nargs="+", default=(), metavar="EXPERIMENT", help="run no other")
    parser.add_argument("--page", action="store_true", help="write the page, run nothing")
    parser.add_argument("--smoke", action="store_true", help="seconds a run, into outputs/")
    given = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    children = Children()
    with stopping_on_signals(), errors_as_sentences():
        defined = read_studies(given.folder / DEFINITIONS)
        if unknown := set(given.names) - set(defined.studies):
            parser.error(
                f"there is no study {', '.join(sorted(unknown))}; "
                f"there are {', '.join(defined.studies)}"
            )
        chosen = {name: defined.studies[name] for name in given.names or defined.studies}
        work = work_folder(given.folder, smoke=given.smoke)
        results = work / "results" if given.smoke else given.folder
        options = defined.smoke_options if given.smoke else defined.options
        jobs = jobs_of(
            chosen, given.seeds, options, results, work, given.only, threads=given.threads
        )
        work_of = partial(
            perform,
            console=console,
            more=partial(_dialogues, defined.dialogues),
            children=children,
        )
        with ThreadPoolExecutor(max_workers=given.jobs) as pool:
            try:
                is_recorded = list(pool.map(work_of, [] if given.page else jobs))
            except KeyboardInterrupt:
                children.stop()
                raise
        text = page(defined, results, given.folder / TEMPLATE)
        place = given.folder.with_suffix(".md")
        write_text(work / place.name if given.smoke else place, text)
    raise SystemExit(0 if all(is_recorded) else 1)


if __name__ == "__main__":
    main()
