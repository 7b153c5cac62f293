"""What a turn costs in the world itself, beside the least that PettingZoo can cost, and SOTOPIA.

    python benchmarks/env_overhead.py [--sotopia-python PYTHON]

Times are medians over repeats of whole 20-turn episodes, each turn with its observation; models
and prompts are not in them. The interfaces format the transcript as text anew each turn. PYTHON is
an interpreter that has SOTOPIA: `python -m venv V && V/bin/pip install sotopia`, then V/bin/python.
It plays the same scene with agents that answer at once, on the same machine, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gymnasium import spaces
from pettingzoo import AECEnv
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from envs.actions import CODECS
from envs.aec import SocialAEC
from envs.scenarios import draw
from envs.social import SocialState

TURNS = 20
SCENARIO = draw("division", "train", 0)
WORDS = "what about this one?"
REPLY = f"say {WORDS}"
SOTOPIA_LIMIT_S = 600


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


def us_per_turn(episode: Callable[[], None], repeats: int, episodes: int) -> list[float]:
    """Microseconds a turn in each of `repeats` timings of `episodes` episodes."""
    episode()
    timings = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        for _ in range(episodes):
            episode()
        timings.append((time.perf_counter() - start_s) / (episodes * TURNS) * 1e6)
    return timings


def sotopia_timings(python: str | None, repeats: int, episodes: int) -> dict[str, list[float]]:
    """The rows of SOTOPIA's own environment, timed by an interpreter that has it.

    Raises:
        LookupError: a sentence about why there are none.
    """
    if python is None:
        raise LookupError("no interpreter that has it was given with --sotopia-python")
    setting = {
        "context": SCENARIO.context,
        "goals": SCENARIO.goals,
        "names": [(profile.first_name, profile.last_name) for profile in SCENARIO.profiles],
        "reply": WORDS,
        "turns": TURNS,
        "repeats": repeats,
        "episodes": episodes,
    }
    with TemporaryDirectory() as home:  # where it keeps its files without a Redis server
        try:
            done = subprocess.run(
                [python, str(Path(__file__).with_name("sotopia_episode.py"))],
                input=json.dumps(setting),
                env={**os.environ, "SOTOPIA_STORAGE_BACKEND": "local", "HOME": home},
                capture_output=True,
                text=True,
                timeout=SOTOPIA_LIMIT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LookupError(f"{python} could not be run to its end ({error})") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word on stderr"])[-1]
        raise LookupError(f"{python} said: {last}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {f"SOTOPIA {found['version']}, {row}": t for row, t in found["timings"].items()}


def main() -> None:
    """Time everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--episodes", type=int, default=30, help="episodes per repeat")
    parser.add_argument("--sotopia-python", help="an interpreter that has SOTOPIA")
    options = parser.parse_args()
    social, minimal = SocialAEC([SCENARIO]), MinimalAEC()
    subjects: dict[str, Callable[[], None]] = {
        "state machine (decode, step, observe)": machine_episode,
        "state machine (step, snapshot, restore)": fork_all,
        "SocialAEC (last, step)": lambda: aec_episode(social, REPLY),
        "minimal PettingZoo AEC (last, step)": lambda: aec_episode(minimal, 0),
    }
    table = Table(title=f"Microseconds a turn, {TURNS}-turn episodes, {options.repeats} repeats")
    for column in ("", "median", "fastest", "slowest"):
        table.add_column(column, justify="left" if not column else "right")
    rows = {
        name: us_per_turn(episode, options.repeats, options.episodes)
        for name, episode in subjects.items()
    }
    missing = ""
    try:
        rows |= sotopia_timings(options.sotopia_python, options.repeats, options.episodes)
    except LookupError as error:
        missing = f"SOTOPIA's own environment is missing here: {error}."
    for name, timings in rows.items():
        numbers = (statistics.median(timings), min(timings), max(timings))
        table.add_row(name, *(f"{number:.1f}" for number in numbers))
    Console().print(table, missing)


if __name__ == "__main__":
    main()
