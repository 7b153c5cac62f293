"""The command `python -m training.study [NAME ...] [--jobs 2]`: the comparison of methods."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rich.console import Console

from training.cli.run import errors_as_sentences
from training.evaluation.study import (
    EQUAL,
    PAGE,
    RESULTS,
    SMOKE,
    STUDIES,
    WORK,
    jobs_of,
    page,
    perform,
)
from training.storage.files import write_text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what has no record yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m training.study", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one core each")
    parser.add_argument("--only", nargs="+", default=(), metavar="EXPERIMENT", help="run no other")
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument("--smoke", action="store_true", help="seconds a run, into outputs/")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(STUDIES):
        parser.error(f"there is no study {', '.join(sorted(unknown))}")
    names = given.names or list(STUDIES)
    work = WORK.with_name("study-smoke") if given.smoke else WORK
    results, words = (work / "results", SMOKE) if given.smoke else (RESULTS, EQUAL)
    console = Console(soft_wrap=True)
    with errors_as_sentences():
        jobs = jobs_of(names, given.seeds, words, results, work, given.only)
        with ThreadPoolExecutor(max_workers=given.jobs) as pool:
            todo = [] if given.page else jobs
            is_recorded = list(pool.map(partial(perform, console=console), todo))
        write_text(work / PAGE.name if given.smoke else PAGE, page(list(STUDIES), results))
    raise SystemExit(0 if all(is_recorded) else 1)


if __name__ == "__main__":
    main()
