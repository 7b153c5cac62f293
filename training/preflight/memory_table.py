"""The parts of a memory plan, their sums, and the table that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from training.config import RunConfig
from training.preflight.machine import free_memory
from training.preflight.model_size import ModelSize

GIB = 2**30

Where = Literal["GPU", "machine"]
Phase = Literal["demonstrating", "cloning", "playing", "updating"]


@dataclass(frozen=True, slots=True)
class Part:
    """An item of the memory plan.

    Attributes:
        demonstrating, cloning, playing, updating: bytes that it takes in each phase; stage 0, the
            first two, is over before any engine of the run is made.
    """

    what: str
    where: Where
    playing: float
    updating: float
    cloning: float = 0.0
    demonstrating: float = 0.0


def totals(plan: list[Part]) -> Iterator[Part]:
    """The sums, one for each memory."""
    for where in dict.fromkeys(part.where for part in plan):
        own = [part for part in plan if part.where == where]
        yield Part(
            "all",
            where,
            playing=sum(part.playing for part in own),
            updating=sum(part.updating for part in own),
            cloning=sum(part.cloning for part in own),
            demonstrating=sum(part.demonstrating for part in own),
        )


def worst(total: Part) -> tuple[Phase, float]:
    """The phase that needs most, and what it needs."""
    phases: dict[Phase, float] = {
        "updating": total.updating,
        "cloning": total.cloning,
        "playing": total.playing,
        "demonstrating": total.demonstrating,
    }
    return max(phases.items(), key=lambda item: item[1])


def show_plan(
    console: Console,
    plan: list[Part],
    size: ModelSize,
    config: RunConfig,
    available: Mapping[Where, float],
) -> None:
    """Print the memory plan: one line per part, and the sums beside the memory available."""
    phases: list[Phase] = ["cloning", "playing", "updating"]
    if any(part.demonstrating for part in plan):
        phases.insert(0, "demonstrating")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    left = ("memory, GiB", "where")
    for name in (*left, *phases, "available"):
        table.add_column(name, justify="left" if name in left else "right")
    for part in plan:
        table.add_row(part.what, part.where, *_cells(part, phases), "")
    for total in totals(plan):
        got = f"{available[total.where] / GIB:.1f}" if total.where in available else "none"
        table.add_row("[bold]all[/bold]", total.where, *_cells(total, phases), got)
    console.print(table)
    rank, trainable = config.lora.rank, size.trainable(config.lora.rank)
    learning = (
        "all are trained" if rank is None else f"{_count(trainable)} low-rank ones are trained"
    )
    console.print(f"{_count(size.weights)} weights; {learning}.", soft_wrap=True)
    needed = max((worst(t)[1] for t in totals(plan) if t.where == "machine"), default=0.0)
    free = free_memory()
    if not config.dry_run and free is not None and free < needed <= available["machine"]:
        console.print(
            f"[yellow]Only {free / GIB:.1f} GiB of the machine's memory are free now; end other "
            "programs, or the system may end this run.[/yellow]",
            soft_wrap=True,
        )


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _cells(part: Part, phases: list[Phase]) -> list[str]:
    return [_gib(getattr(part, phase)) for phase in phases]


def _gib(count: float) -> str:
    return f"{count / GIB:.1f}" if count else "-"
