"""The side of `remote_rollouts.py` that runs with SOTOPIA's own interpreter and packages.

It reads the job as one JSON line, plays it with SOTOPIA's runner each time a line comes, and
answers with wall and CPU seconds. No judge scores the episodes, on either side. Imports nothing of
ours.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

from sotopia.agents import LLMAgent
from sotopia.database import AgentProfile, EnvironmentProfile
from sotopia.envs import ParallelSotopiaEnv
from sotopia.envs.evaluators import Evaluator, RuleBasedTerminatedEvaluator
from sotopia.server import run_async_server

# It prints each reply in colour; that would be most of what it costs.
logging.getLogger("sotopia.generation").setLevel(logging.ERROR)


class NoJudge(Evaluator):
    """Judges nothing; the runner asks the first judge for its prompt when an episode ends."""

    prompt = ""

    def __call__(self, turn_number: int, messages: Any) -> list[Any]:
        return []

    async def __acall__(self, turn_number: int, messages: Any) -> list[Any]:
        return []


def episode(job: dict[str, Any], url: str) -> tuple[ParallelSotopiaEnv, list[LLMAgent]]:
    """An environment and its two agents, all with one model."""
    model = f"custom/loopback@{url}"
    env = ParallelSotopiaEnv(
        env_profile=EnvironmentProfile(
            scenario=job["context"], agent_goals=list(job["goals"]), relationship=0
        ),
        model_name=model,
        action_order="round-robin",
        evaluators=[RuleBasedTerminatedEvaluator(max_turn_number=job["turns"], max_stale_turn=2)],
        terminal_evaluators=[NoJudge()],
    )
    agents = [
        LLMAgent(agent_profile=AgentProfile(pk=str(seat), **profile), model_name=model)
        for seat, profile in enumerate(job["profiles"])
    ]
    return env, agents


def main() -> None:
    """Play the job once for each line that comes."""
    job = json.loads(sys.stdin.readline())
    loop = asyncio.new_event_loop()
    for _ in sys.stdin:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        combos = [episode(job, job["url"]) for _ in range(job["episodes"])]
        played = loop.run_until_complete(
            run_async_server(env_agent_combo_list=combos, action_order="round-robin")
        )
        wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        spoken = sum(
            getattr(message, "action_type", "") == "speak" for one in played for *_, message in one
        )
        taken = {"wall_s": wall_s, "cpu_s": cpu_s, "turns": spoken}
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
