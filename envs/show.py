"""Print a scenario with both private sides and an episode of it, played at random.

python -m envs.show [family] [--difficulty medium] [--split train] [--index 0] [--order random]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from envs.actions import CODECS
from envs.errors import DataError
from envs.random_play import play_randomly
from envs.referee import attainable, goal_score
from envs.scenarios import FAMILIES, SPLITS, draw
from envs.scenarios.difficulty import Difficulty
from envs.scenarios.open_ended import OPEN
from envs.scenarios.task import Task
from envs.social import Order, Rules, view_of
from envs.spaces import profile_text
from envs.types import Episode, Scenario

_SEAT_STYLES = ("cyan", "magenta", "yellow", "green")


def main(argv: Sequence[str] | None = None) -> int:
    """Print what the command line asks for; the exit status is 2 where that does not exist."""
    parser = argparse.ArgumentParser(prog="python -m envs.show", description=__doc__)
    parser.add_argument("family", nargs="?", default="division", help=", ".join([*FAMILIES, OPEN]))
    parser.add_argument("--split", default="train", help=", ".join(SPLITS))
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--difficulty", default="medium", choices=[d.value for d in Difficulty])
    parser.add_argument("--order", default="round_robin", choices=[o.name.lower() for o in Order])
    parser.add_argument("--seed", type=int, default=0, help="of the random play")
    options = parser.parse_args(argv)
    try:
        scenario = draw(
            options.family, options.split, options.index, Difficulty(options.difficulty)
        )
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    episode = play_randomly(scenario, Rules(order=Order[options.order.upper()]), options.seed)
    Console().print(scenario_view(scenario), transcript_view(episode), outcome_view(episode))
    return 0


def scenario_view(scenario: Scenario) -> RenderableType:
    """A panel with the public scene, above one with each seat's private side."""
    title = f"{scenario.id} ({scenario.relationship.name.lower().replace('_', ' ')})"
    sides = Table.grid(expand=True)
    for _ in scenario.goals:
        sides.add_column(ratio=1)
    sides.add_row(*(_private_side(scenario, seat) for seat in range(len(scenario.goals))))
    return Group(Panel(Text(scenario.context), title=title), sides)


def _private_side(scenario: Scenario, seat: int) -> Panel:
    view = view_of(scenario, seat)
    parts = {
        "goal": view.goal,
        "brief": view.brief,
        "who I am": profile_text(view.profile),
        "whom I see": "\n".join(map(profile_text, view.partners)),
    }
    text = Text()
    for name, value in parts.items():
        if value:
            text.append(f"{name}\n", style="bold").append(f"{value}\n")
    return Panel(text, title=f"agent_{seat}", border_style=_style(seat))


def transcript_view(episode: Episode) -> RenderableType:
    """A table with one row a turn; invalid actions are shown with the reason."""
    table = Table(title="One episode, played at random")
    table.add_column("turn", justify="right")
    table.add_column("who")
    table.add_column("what", overflow="fold")
    for turn in episode.turns:
        name = episode.scenario.profiles[turn.seat].first_name
        words = Text(CODECS["line"].encode(turn.action))
        if turn.action.words:
            words = Text(f"say {turn.action.words} / ").append(words)
        if turn.action.invalid is not None:
            words.append(f"  ({turn.action.invalid})", style="dim italic")
        table.add_row(str(turn.index), Text(name, style=_style(turn.seat)), words)
    return table


def outcome_view(episode: Episode) -> RenderableType:
    """How the episode ended and, for a verifiable task, the points and goals."""
    lines = Text(f"Ended by: {episode.end}. ")
    task = episode.scenario.task
    if task is None:
        return lines.append("Only a judge can score this scenario.")
    terms = "none" if episode.deal is None else task.terms(0, episode.deal)
    lines.append(f"Deal, in agent_0's words: {terms}\n")
    for seat in (0, 1):
        lines.append(_score_line(task, episode, seat), style=_style(seat))
    return lines.append(f"The best sum of points was {attainable(task).best_sum:g}.")


def _score_line(task: Task, episode: Episode, seat: int) -> str:
    points = task.utility(seat, episode.deal) if episode.deal is not None else 0.0
    goal = goal_score(task, seat, episode.deal)
    return f"agent_{seat}: {points:g} of {task.aims[seat]:g} points, goal {goal:.1f} of 10\n"


def _style(seat: int) -> str:
    return _SEAT_STYLES[seat % len(_SEAT_STYLES)]


if __name__ == "__main__":
    sys.exit(main())
