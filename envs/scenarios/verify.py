"""Checks published data sets: what loads, what a program can check, what replays.

python -m envs.scenarios.verify <SOTOPIA's folder> [--casino FILE ...] [--dealornodeal FILE ...]

Without these options the files of CaSiNo and Deal or No Deal are looked for beside the folder, in
`casino/*.json` and `dealornodeal/{train,val,test}.txt`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.errors import DataError
from envs.referee import attainable
from envs.scenarios.casino import load_casino
from envs.scenarios.dealornodeal import load_dealornodeal
from envs.scenarios.dollars import DollarTask, dollars
from envs.scenarios.human import HumanData
from envs.scenarios.sotopia import PROTOCOL, SPLITS, SotopiaFiles, load_sotopia, read_sotopia
from envs.scenarios.sotopia_tasks import READERS, read_verifiable
from envs.scenarios.task import Task
from envs.social import Rules
from envs.types import EndReason

Human = list[tuple[Path, HumanData]]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status is 2 where data is wrong, 1 where points disagree."""
    parser = argparse.ArgumentParser(prog="python -m envs.scenarios.verify", description=__doc__)
    parser.add_argument("sotopia", type=Path, help="the folder with SOTOPIA's files")
    parser.add_argument("--casino", type=Path, nargs="*", help="CaSiNo's files")
    parser.add_argument("--dealornodeal", type=Path, nargs="*", help="Deal or No Deal's files")
    options = parser.parse_args(argv)
    beside = options.sotopia.resolve().parent
    console = Console()
    try:
        files = read_sotopia(options.sotopia)
        console.print(sources_view(files), splits_view(files), tasks_view(files))
        human: Human = [
            (path, load_casino(path))
            for path in _given(options.casino, sorted(beside.glob("casino/*.json")))
        ]
        human += [
            (path, load_dealornodeal(path))
            for path in _given(options.dealornodeal, _dialogues(beside / "dealornodeal"))
        ]
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    if not human:
        return 0
    console.print(human_view(human))
    for line in remarks_on(human):
        console.print(line, highlight=False)
    return int(any(data.left_out or data.disagreeing for _, data in human))


def _given(paths: list[Path] | None, found: list[Path]) -> list[Path]:
    return found if paths is None else paths


def _dialogues(folder: Path) -> list[Path]:
    paths = (folder / f"{stem}.txt" for stem in ("train", "val", "test"))
    return [path for path in paths if path.is_file()]


def sources_view(files: SotopiaFiles) -> Table:
    """A table of scenarios and combinations by source, with how many a program can check."""
    hard = {combo.env_id for combo in files.hard}
    combos = Counter(combo.env_id for combo in files.combos)
    table = _table(
        "SOTOPIA by source", "source", "scenarios", "verifiable", "hard", "of those", "combos"
    )
    rows = []
    for source in dict.fromkeys(record.source for record in files.environments):
        records = [record for record in files.environments if record.source == source]
        checked = [record for record in records if read_verifiable(record) is not None]
        rows.append(
            (
                len(records),
                len(checked),
                sum(record.env_id in hard for record in records),
                sum(record.env_id in hard for record in checked),
                sum(combos[record.env_id] for record in records),
            )
        )
        table.add_row(source, *map(str, rows[-1]))
    table.add_section()
    table.add_row("all", *(str(sum(column)) for column in zip(*rows, strict=True)))
    table.caption = (
        f"{len(files.agents)} characters, {len(files.relationships)} relationships; "
        f"protocol {PROTOCOL}"
    )
    return table


def splits_view(files: SotopiaFiles) -> Table:
    """A table of combinations by split, with how many a program can check."""
    table = _table("SOTOPIA by split", "split", "scenarios", "combinations", "verifiable")
    for split in SPLITS:
        scenarios = load_sotopia(files.folder, split)
        checked = sum(scenario.task is not None for scenario in scenarios)
        scenes = len({scenario.id.split("/")[1] for scenario in scenarios})
        table.add_row(split, str(scenes), str(len(scenarios)), str(checked))
    return table


def tasks_view(files: SotopiaFiles) -> Table:
    """A table of each side's best attainable points and aim in every scenario with a task."""
    table = _table(
        "What is attainable", "scenario", "deals", "best", "aims", "Nash deal, by seat 0"
    )
    table.columns[0].no_wrap = True
    for source in READERS:
        table.add_section()
        table.add_row(Text(source, style="bold"))
        for record in files.environments:
            read = read_verifiable(record) if record.source == source else None
            if read is not None:
                table.add_row(record.codename, *_task_row(read.task))
    table.caption = (
        "Points of seat 0 / seat 1: the deal that a side likes most, whatever it is worth to the "
        "other, and its aim. For prices the money between the price and one's limit."
    )
    return table


def _task_row(task: Task) -> tuple[str, ...]:
    best = attainable(task)
    return (
        str(len(task.deals())),
        _points(task, best.best),
        _points(task, task.aims),
        task.terms(0, best.nash_deal),
    )


def _points(task: Task, both: Iterable[float]) -> str:
    if isinstance(task, DollarTask):
        return " / ".join(dollars(int(points)) for points in both)
    return " / ".join(f"{points:g}" for points in both)


def human_view(human: Human) -> Table:
    """A table of files: how many dialogues replay, how they end, how many agree in points."""
    table = _table(
        "Dialogues between people",
        *("file", "dialogues", "replayed", "deals", "left", "not in turn", "long", "points agree"),
    )
    for path, data in human:
        episodes = [one.episode for one in data.episodes]
        total, same = len(episodes) + len(data.left_out), sum(one.agrees for one in data.episodes)
        table.add_row(
            path.name,
            str(total),
            str(len(episodes)),
            str(sum(episode.end is EndReason.DEAL for episode in episodes)),
            str(sum(episode.end is EndReason.LEFT for episode in episodes)),
            str(sum(_out_of_turn([t.seat for t in episode.turns]) for episode in episodes)),
            str(sum(len(episode.turns) > Rules().max_turns for episode in episodes)),
            f"{same} ({same / max(1, total):.1%})",
        )
    table.caption = (
        "Not in turn: somebody speaks twice in a row; long: more turns than our default. Both "
        "replay in their recorded order and length."
    )
    return table


def _out_of_turn(seats: list[int]) -> bool:
    return any(one == other for one, other in pairwise(seats))


def remarks_on(human: Human) -> list[str]:
    """A line for every dialogue that does not replay or agree, and for each kind of remark."""
    lines = []
    for path, data in human:
        lines += [f"{one.id} is left out: it {one.reason}" for one in data.left_out]
        lines += [f"{one.id} disagrees: {one.reason}" for one in data.disagreeing]
        kinds = Counter(remark.reason for remark in data.remarks)
        lines += [f"{path.name}: {count} without a deal: {kind}" for kind, count in kinds.items()]
    return lines


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


if __name__ == "__main__":
    sys.exit(main())
