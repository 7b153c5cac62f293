"""What a turn costs in the world itself, beside the least that PettingZoo can cost, and SOTOPIA.

    python benchmarks/env_overhead.py [--sotopia-python PYTHON]

Times are medians over repeats of whole 20-turn episodes, each turn with its observation; models
and prompts are not in them. The interfaces format the transcript as text anew each turn. PYTHON is
an interpreter that has SOTOPIA: `python -m venv V && V/bin/pip install sotopia`, then V/bin/python.
It plays the same scene with agents that answer at once, on the same machine, in the same run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from common import HERE, SOTOPIA_VARIABLES, parser, table
from gymnasium import spaces
from pettingzoo import AECEnv
from rich.console import Console
from timing import Worker, WorkerEnded, ask_in_turns, in_turns

from envs.actions import CODECS
from envs.aec import SocialAEC
from envs.scenarios import draw
from envs.social import SocialState

TURNS = 20
SCENARIO = draw("division", "train", 0)
WORDS = "what about this one?"
REPLY = f"say {WORDS}"
SOTOPIA_ROWS = {"with its rules for the end": True, "without any evaluator": False}


class MinimalAEC(AECEnv):
    """Two agents, `TURNS` turns, one number to see: PettingZoo's bookkeeping and nothing else."""

    metadata = {"name": "minimal_v0"}  # noqa: RUF012

    def __init__(self) -> None:
        self.possible_agents = ["agent_0", "agent_1"]
        self._space = spaces.Discrete(TURNS + 1)

    def observation_space(self, agent: str) -> spaces.Discrete:
        return self._space

    def action_space(self, agent: str) -> spaces.Discrete:
        return self._space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self.agents = list(self.possible_agents)
        self.turn = 0
        self.agent_selection = "agent_0"
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}

    def observe(self, agent: str) -> int:
        return self.turn

    def step(self, action: Any) -> None:
        self._cumulative_rewards[self.agent_selection] = 0.0
        self.turn += 1
        self.truncations = dict.fromkeys(self.agents, self.turn >= TURNS)
        self.agent_selection = self.possible_agents[self.turn % 2]
        self._accumulate_rewards()


def machine_episode() -> None:
    """The state machine alone, as rollouts use it: decode, step, observe."""
    codec = CODECS["line"]
    state = SocialState(SCENARIO)
    while state.end is None:
        (seat,) = state.to_act
        state.observe(seat)
        state.step({seat: codec.decode(REPLY)})


def fork_all() -> None:
    """A snapshot and a restored state at each turn, as branching makes them."""
    state = SocialState(SCENARIO)
    action = CODECS["line"].decode(REPLY)
    while state.end is None:
        state.step({state.to_act[0]: action})
        SocialState.restore(state.snapshot())


def aec_episode(env: Any, action: Any) -> None:
    """Any AEC environment through `last` and `step`."""
    env.reset(seed=0)
    for _ in range(TURNS):
        env.last()
        env.step(action)


def us_per_turn(episode: Callable[[], None], episodes: int) -> float:
    """Play so many episodes; microseconds a turn."""
    start_s = time.perf_counter()
    for _ in range(episodes):
        episode()
    return (time.perf_counter() - start_s) / (episodes * TURNS) * 1e6


def sotopia_timings(python: str | None, repeats: int, episodes: int) -> dict[str, list[float]]:
    """The rows of SOTOPIA's own environment, timed by an interpreter that has it.

    Raises:
        LookupError: a sentence about why there are none.
    """
    if python is None:
        raise LookupError("no interpreter that has it was given with --sotopia-python")
    names = [(profile.first_name, profile.last_name) for profile in SCENARIO.profiles]
    job = {
        "context": SCENARIO.context,
        "goals": SCENARIO.goals,
        "profiles": [{"first_name": first, "last_name": last} for first, last in names],
        "reply": WORDS,
        "turns": TURNS,
        "episodes": episodes,
    }
    command = [python, str(HERE / "sotopia_workers.py")]
    with TemporaryDirectory() as home:  # where it keeps its files without a Redis server
        variables = {**SOTOPIA_VARIABLES, "HOME": home}
        try:
            workers = {
                row: Worker(row, command, {**job, "has_end": has_end}, **variables)
                for row, has_end in SOTOPIA_ROWS.items()
            }
            took = ask_in_turns(workers, repeats)
        except OSError as error:
            raise LookupError(f"{python} could not be run ({error})") from error
        except WorkerEnded as error:
            raise LookupError(f"{python} said: {str(error).splitlines()[-1]}") from error
    return {
        f"SOTOPIA {each[0]['version']}, {row}": [
            one["wall_s"] / (episodes * TURNS) * 1e6 for one in each
        ]
        for row, each in took.items()
    }


def main() -> None:
    """Time everything and print a table."""
    arguments = parser(__doc__, repeats=15)
    arguments.add_argument("--episodes", type=int, default=30, help="episodes per repeat")
    arguments.add_argument("--sotopia-python", help="an interpreter that has SOTOPIA")
    options = arguments.parse_args()
    repeats, episodes = options.repeats, options.episodes
    social, minimal = SocialAEC([SCENARIO]), MinimalAEC()
    subjects: dict[str, Callable[[], None]] = {
        "state machine (decode, step, observe)": machine_episode,
        "state machine (step, snapshot, restore)": fork_all,
        "SocialAEC (last, step)": lambda: aec_episode(social, REPLY),
        "minimal PettingZoo AEC (last, step)": lambda: aec_episode(minimal, 0),
    }
    rows = in_turns(
        {name: partial(us_per_turn, play, episodes) for name, play in subjects.items()}, repeats
    )
    missing = ""
    try:
        rows |= sotopia_timings(options.sotopia_python, repeats, episodes)
    except LookupError as error:
        missing = f"SOTOPIA's own environment is missing here: {error}."
    title = f"Microseconds a turn, {TURNS}-turn episodes, {repeats} repeats"
    shown = table("", "median", "fastest", "slowest", title=title)
    for name, timings in rows.items():
        numbers = (statistics.median(timings), min(timings), max(timings))
        shown.add_row(name, *(f"{number:.1f}" for number in numbers))
    Console().print(shown, missing)


if __name__ == "__main__":
    main()
