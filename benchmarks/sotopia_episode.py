"""Times SOTOPIA's own environment, in an interpreter that has it: see env_overhead.py.

    SOTOPIA_STORAGE_BACKEND=local python benchmarks/sotopia_episode.py < SETTING.json

Reads {"context", "goals", "names", "reply", "turns", "repeats", "episodes"} and prints
{"version", "timings": {ROW: [microseconds a turn]}} as the last line. Imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import Any

from sotopia.agents.base_agent import BaseAgent
from sotopia.agents.llm_agent import Agents
from sotopia.database import AgentProfile, EnvironmentProfile
from sotopia.envs.evaluators import RuleBasedTerminatedEvaluator
from sotopia.envs.parallel import ParallelSotopiaEnv
from sotopia.messages import AgentAction, Observation


class ConstantAgent(BaseAgent[Observation, AgentAction]):
    """Says the same at each of its turns, and at once."""

    reply = ""

    def act(self, obs: Observation) -> AgentAction:
        """The reply where it may speak, nothing where it may not."""
        if "speak" in obs.available_actions:
            return AgentAction(action_type="speak", argument=self.reply)
        return AgentAction(action_type="none", argument="")


def play(env: Any, agents: Agents, turns: int) -> None:
    """One episode, as SOTOPIA's server plays it, without its log and its database."""
    observations = env.reset(agents=agents)
    for _ in range(turns):
        observations, _, terminated, _, _ = env.step(agents.act(observations))
    assert not env.evaluators or all(terminated.values())  # its own rule for 20 turns


def main() -> None:
    """Time both rows."""
    setting = json.load(sys.stdin)
    ConstantAgent.reply = setting["reply"]
    profile = EnvironmentProfile(
        codename="timed", scenario=setting["context"], agent_goals=setting["goals"], relationship=0
    )
    agents = Agents()
    for first, last in setting["names"]:
        agent = ConstantAgent(agent_profile=AgentProfile(first_name=first, last_name=last))
        agents[agent.agent_name] = agent
    evaluators = {
        "with its rules for the end": [RuleBasedTerminatedEvaluator(setting["turns"], 2)],
        "without any evaluator": [],
    }
    timings: dict[str, list[float]] = {}
    for row, chosen in evaluators.items():
        env = ParallelSotopiaEnv(action_order="round-robin", evaluators=chosen, env_profile=profile)
        play(env, agents, setting["turns"])
        for _ in range(setting["repeats"]):
            start_s = time.perf_counter()
            for _ in range(setting["episodes"]):
                play(env, agents, setting["turns"])
            spent_s = time.perf_counter() - start_s
            timings.setdefault(row, []).append(
                spent_s / (setting["episodes"] * setting["turns"]) * 1e6
            )
    print(json.dumps({"version": version("sotopia"), "timings": timings}))


if __name__ == "__main__":
    main()
