"""What a turn of a remote model costs: 64 episodes of 20 turns at once, against a slow endpoint.

    python benchmarks/remote_rollouts.py [--sotopia-python PYTHON]

An endpoint on loopback, in a process of its own, answers each request after 50 ms, so that no
runner can be faster than 20 * 50 ms = 1 s. Each runner has a process of its own too and plays the
same scene; they take turns, repeat by repeat, and the medians are shown. CPU time is the runner's
alone. Nobody judges the episodes. "Stored" keeps each answer in SQLite, to be replayed; the bare
client sends one fixed body and reads what comes. PYTHON is an interpreter that has SOTOPIA:
`python -m venv V && V/bin/pip install sotopia`, then V/bin/python.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import HERE, SOTOPIA_VARIABLES, machine, parser, span, table
from rich.console import Console
from timing import Job, Took, Worker, ask_in_turns, serve

FLOOR, DIRECT, STORED, LITELLM, SOTOPIA = "floor", "direct", "stored", "litellm", "sotopia"
NAMES = {
    FLOOR: "bare aiohttp client",
    DIRECT: "ours, direct",
    STORED: "ours, direct, stored",
    LITELLM: "ours, by litellm",
    SOTOPIA: "SOTOPIA's runner",
}
SCENE = ("open", "test", 0)  # without a task
PROFILE = ("first_name", "last_name", "age", "occupation", "public_info")


# A runner's process: it plays its job once for each line that comes.


def floor(job: Job) -> Callable[[], Took]:
    """As many requests, one after the other in each of as many coroutines, and nothing else."""
    import aiohttp

    message = {"role": "user", "content": job["context"]}
    body = json.dumps({"model": "loopback", "messages": [message]}).encode()

    async def episode(session: aiohttp.ClientSession) -> int:
        for _ in range(job["turns"]):
            async with session.post(f"{job['url']}/chat/completions", data=body) as response:
                json.loads(await response.read())
        return int(job["turns"])

    async def play() -> Took:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            turns = await asyncio.gather(*(episode(session) for _ in range(job["episodes"])))
            return {"turns": sum(turns)}

    loop = asyncio.Runner()
    return lambda: loop.run(play())


def ours(job: Job) -> Callable[[], Took]:
    """Our runner, with its ledger and limiter, and the store of answers if the job has a folder."""
    from agents.prompts import STYLES
    from agents.remote import RemotePlayer
    from engines.batcher import Batcher
    from engines.remote.answer_store import AnswerStore
    from engines.remote.client import RemoteChat
    from engines.remote.endpoint import Endpoint
    from engines.remote.ledger import Ledger
    from engines.remote.limits import Limiter
    from envs.social import Rules
    from training.play.rollout import EpisodePlan, play_wave

    if job["runner"] == LITELLM:
        os.environ |= {"OPENAI_BASE_URL": job["url"], "OPENAI_API_KEY": "none"}
        endpoint = Endpoint("openai/loopback")
    else:
        endpoint = Endpoint("loopback", job["url"])
    folder = Path(job["folder"]) if job["folder"] else None
    chat = RemoteChat(
        endpoint,
        ledger=Ledger(folder / "calls.sqlite" if folder else None),
        limiter=Limiter(max_concurrent=job["episodes"]),
        answers=AnswerStore(folder / "answers.sqlite", policy="all") if folder else None,
    )
    player = RemotePlayer(chat, STYLES["full"])
    scene, rules, judge = scene_of(job), Rules(max_turns=job["turns"]), Nobody()
    loop, seeds = asyncio.Runner(), itertools.count()

    def play() -> Took:
        plans = [
            EpisodePlan(str(n), scene, (player, player), next(seeds))
            for n in range(job["episodes"])
        ]
        played = play_wave(plans, rules, judge, Batcher(), run=loop.run)
        for one in played:
            if any(turn.action.invalid for turn in one.episode.turns) or not one.episode.turns:
                raise SystemExit(f"Not played as it should be: {one.judgement.reasons}")
        return {"turns": sum(len(one.episode.turns) for one in played)}

    return play


def scene_of(job: Job) -> Any:
    """The job's scene, of whose characters only what the job names is known."""
    from envs.scenarios import draw
    from envs.types import Profile, Relationship

    profiles = tuple(Profile(**profile) for profile in job["profiles"])
    return replace(draw(*SCENE), profiles=profiles, relationship=Relationship.STRANGER)


class Nobody:
    """A judge that judges nothing."""

    id, version = "nobody", "1"

    async def judge(self, episode: Any) -> Any:
        """No score, at once."""
        from judges.base import unscored

        return unscored(self, "nobody was asked")


def work() -> None:
    """Play the job of the first line once for each line that follows."""
    job = json.loads(sys.stdin.readline())
    serve((floor if job["runner"] == FLOOR else ours)(job))


# The process that asks them all.


@contextmanager
def endpoint(latency_ms: float) -> Iterator[str]:
    """The base URL of an endpoint in a process of its own."""
    command = [sys.executable, str(HERE / "loopback_endpoint.py"), "--latency-ms", str(latency_ms)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


def job_of(runner: str, url: str, options: argparse.Namespace, folder: str) -> Job:
    """What a runner is to play: a scene of our own, without a task."""
    from envs.scenarios import draw

    scene = draw(*SCENE)
    return {
        "runner": runner,
        "url": url,
        "episodes": options.episodes,
        "turns": options.turns,
        "folder": folder if runner == STORED else None,
        "context": scene.context,
        "goals": scene.goals,
        "profiles": [{name: getattr(one, name) for name in PROFILE} for one in scene.profiles],
    }


def measure(options: argparse.Namespace) -> dict[str, list[Took]]:
    """What each repeat of each runner took."""
    commands = {name: [sys.executable, __file__, "--work"] for name in (FLOOR, DIRECT, STORED)}
    if find_spec("litellm") and not options.without_litellm:
        commands[LITELLM] = commands[DIRECT]
    if options.sotopia_python:
        commands[SOTOPIA] = [options.sotopia_python, str(HERE / "sotopia_workers.py")]
    with TemporaryDirectory() as folder, endpoint(options.latency_ms) as url:
        variables = {**SOTOPIA_VARIABLES, "HOME": folder}
        workers = {
            name: Worker(name, command, job_of(name, url, options, folder), **variables)
            for name, command in commands.items()
        }
        took = ask_in_turns(workers, options.repeats)
    turns = options.episodes * options.turns
    for name, each in took.items():
        for one in each:
            if one["turns"] != turns:
                raise SystemExit(f"{name!r} played {one['turns']} turns, expected {turns}.")
    return took


def main() -> None:
    """Measure all runners and print a table."""
    arguments = parser(__doc__, repeats=7)
    arguments.add_argument("--episodes", type=int, default=64)
    arguments.add_argument("--turns", type=int, default=20)
    arguments.add_argument("--latency-ms", type=float, default=50.0)
    arguments.add_argument("--sotopia-python", help="an interpreter that has SOTOPIA")
    arguments.add_argument("--without-litellm", action="store_true")
    arguments.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.work:
        return work()
    least_s = options.turns * options.latency_ms / 1000
    shown = table(
        *("", "wall s", "from - to", "x bare", "CPU ms", "from - to"),
        title=f"{options.episodes} x {options.turns} turns, {options.latency_ms:g} ms each: "
        f"{least_s:g} s or more; CPU is per turn",
        caption=f"{machine('aiohttp', 'litellm')}; medians of {options.repeats} repeats "
        "(fastest-slowest)",
    )
    timings = measure(options)
    bare_s = statistics.median(one["wall_s"] for one in timings[FLOOR])
    per_turn = 1000 / (options.episodes * options.turns)
    for name, each in timings.items():
        walls, cpus = [one["wall_s"] for one in each], [one["cpu_s"] * per_turn for one in each]
        wall_s, cpu_ms = statistics.median(walls), statistics.median(cpus)
        shown.add_row(
            *(NAMES[name], f"{wall_s:.2f}", span(walls, 2), f"{wall_s / bare_s:.2f}"),
            *(f"{cpu_ms:.3f}", span(cpus, 2)),
        )
    Console().print(shown)
    if not find_spec("litellm"):
        print("litellm is missing here: pip install -e '.[api]'")
    if SOTOPIA not in timings:
        print("SOTOPIA's runner is missing here: give an interpreter by --sotopia-python.")


if __name__ == "__main__":
    main()
