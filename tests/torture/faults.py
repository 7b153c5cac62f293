"""Whole evaluations under each fault of a server: no score moves, and no cent is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from engines.remote.usage_totals import nano_dollars
from tests.engines.remote_provider import FAULTS, Fault
from tests.torture.processes import run
from tests.torture.sameness import differences
from tests.torture.server import Server, server, with_quick_retries
from tests.torture.settings import Setting
from tests.training.provided import read_json

_WHEN: dict[str, tuple[int, int]] = {
    "the first call": (0, 1),
    "a call in the middle": (30, 1),
    "ten calls on end": (20, 10),
    "each second call of forty": (0, 0),
}
"""How many calls go well first, and how many then fail."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fault at one time, and what it changed."""

    name: str
    differences: tuple[str, ...]


def with_each_fault(setting: Setting, root: Path) -> Iterator[Case]:
    """Run the evaluation once without and then with each fault, at four times each."""
    root.mkdir(parents=True)
    with server() as served:
        calm, failed = _evaluate(setting, served, root / "undisturbed")
        if failed:
            raise RuntimeError(f"{setting.name} fails undisturbed: {failed[0]}")
        for number, (fault, when) in enumerate(product(FAULTS, _WHEN)):
            served.start_again(_script(fault, *_WHEN[when]))
            disturbed, found = _evaluate(setting, served, root / f"case-{number}")
            if not found:
                found = [*differences(calm, disturbed, is_remote=True), *_books(disturbed, served)]
            yield Case(f"{fault}: {when}", tuple(found))


def _script(fault: Fault, well: int, bad: int) -> Sequence[Fault | None]:
    return [*[None] * well, *[fault] * bad] if bad else [fault, None] * 20


def _evaluate(setting: Setting, served: Server, folder: Path) -> tuple[Path, list[str]]:
    """Run it; returns its folder, and how it failed."""
    folder.mkdir()
    words = [*setting.words, *served.words, f"output_root={folder}"]
    ending = run(setting.command, words, folder / "log", prepare=with_quick_retries)
    failed = [f"exit code {ending.code}: {ending.said[-800:]}"] if ending.code else []
    return (folder / "evaluations" / "latest").resolve(), failed


def _books(run_dir: Path, served: Server) -> Iterator[str]:
    """What the ledger has otherwise than the server's own books."""
    api: dict[str, Any] = read_json(run_dir / "summary.json")["api"]
    account = served.account()
    if nano_dollars(api["settled_usd"]) != account.delivered:
        yield f"settled {api['settled_usd']} dollars, the server {account.delivered / 1e9}"
    if account.undelivered > nano_dollars(api["uncertain_usd"]):
        yield f"uncertain {api['uncertain_usd']} dollars, the server {account.undelivered / 1e9}"
    if api["open_calls"]:
        yield f"{api['open_calls']} calls still open"
