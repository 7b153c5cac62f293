"""SOTOPIA's side of env_overhead.py and remote_rollouts.py, for an interpreter that has SOTOPIA.

The first line on stdin is the job, each line that follows asks to play it once. No judge scores the
episodes, on either side. Imports nothing of ours but `timing`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from sotopia.agents import LLMAgent
from sotopia.agents.base_agent import BaseAgent
from sotopia.agents.llm_agent import Agents
from sotopia.database import AgentProfile, EnvironmentProfile
from sotopia.envs import ParallelSotopiaEnv
from sotopia.envs.evaluators import Evaluator, RuleBasedTerminatedEvaluator
from sotopia.messages import AgentAction, Observation
from sotopia.server import run_async_server
from timing import Job, Took, serve

# It prints each reply in colour; that would be most of what it costs.
logging.getLogger("sotopia.generation").setLevel(logging.ERROR)


class ConstantAgent(BaseAgent[Observation, AgentAction]):
    """Says the same at each of its turns, and at once."""

    reply = ""

    def act(self, obs: Observation) -> AgentAction:
        """The reply where it may speak, nothing where it may not."""
        if "speak" in obs.available_actions:
            return AgentAction(action_type="speak", argument=self.reply)
        return AgentAction(action_type="none", argument="")


class NoJudge(Evaluator):
    """Judges nothing; the runner asks the first judge for its prompt when an episode ends."""

    prompt = ""

    def __call__(self, turn_number: int, messages: Any) -> list[Any]:
        return []

    async def __acall__(self, turn_number: int, messages: Any) -> list[Any]:
        return []


def environment(job: Job, *, has_end: bool, **options: Any) -> Any:
    """An environment with the job's scene, which ends after the job's turns if `has_end`."""
    scene = EnvironmentProfile(
        codename="timed", scenario=job["context"], agent_goals=list(job["goals"]), relationship=0
    )
    end = [RuleBasedTerminatedEvaluator(max_turn_number=job["turns"], max_stale_turn=2)]
    return ParallelSotopiaEnv(
        env_profile=scene, action_order="round-robin", evaluators=end if has_end else [], **options
    )


def environment_alone(job: Job) -> Callable[[], Took]:
    """Episodes as SOTOPIA's server plays them, without its log, its database and a model."""
    ConstantAgent.reply = job["reply"]
    agents = Agents()
    for profile in job["profiles"]:
        agent = ConstantAgent(agent_profile=AgentProfile(**profile))
        agents[agent.agent_name] = agent
    env = environment(job, has_end=job["has_end"])

    def episode() -> None:
        observations = env.reset(agents=agents)
        for _ in range(job["turns"]):
            observations, _, terminated, _, _ = env.step(agents.act(observations))
        assert not env.evaluators or all(terminated.values())  # its own rule for 20 turns

    def play() -> Took:
        for _ in range(job["episodes"]):
            episode()
        return {"version": version("sotopia")}

    return play


def rollouts(job: Job) -> Callable[[], Took]:
    """Episodes of SOTOPIA's runner, side by side; both agents have the model at the job's URL."""
    model = f"custom/loopback@{job['url']}"
    loop = asyncio.new_event_loop()

    def episode() -> tuple[Any, list[LLMAgent]]:
        judges = [NoJudge()]
        env = environment(job, has_end=True, model_name=model, terminal_evaluators=judges)
        profiles = [AgentProfile(pk=str(n), **told) for n, told in enumerate(job["profiles"])]
        return env, [LLMAgent(agent_profile=profile, model_name=model) for profile in profiles]

    def play() -> Took:
        combos = [episode() for _ in range(job["episodes"])]
        played = loop.run_until_complete(
            run_async_server(env_agent_combo_list=combos, action_order="round-robin")
        )
        messages = [message for one in played for *_, message in one]
        return {"turns": sum(getattr(m, "action_type", "") == "speak" for m in messages)}

    return play


if __name__ == "__main__":
    job = json.loads(sys.stdin.readline())
    serve((rollouts if "url" in job else environment_alone)(job))
