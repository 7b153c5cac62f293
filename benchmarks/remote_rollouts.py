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
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

FLOOR, DIRECT, STORED, LITELLM, SOTOPIA = "floor", "direct", "stored", "litellm", "sotopia"
NAMES = {
    FLOOR: "bare aiohttp client",
    DIRECT: "ours, direct",
    STORED: "ours, direct, stored",
    LITELLM: "ours, by litellm",
    SOTOPIA: "SOTOPIA's runner",
}
SOTOPIAS_VARIABLES = {
    "SOTOPIA_STORAGE_BACKEND": "local",  # files below the home folder, no Redis
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "CUSTOM_API_KEY": "none",
}
Job = dict[str, Any]


# A runner's process: it plays its job once for each line that comes.


def floor(job: Job) -> Callable[[], int]:
    """As many requests, one after the other in each of as many coroutines, and nothing else."""
    import aiohttp

    message = {"role": "user", "content": job["context"]}
    body = json.dumps({"model": "loopback", "messages": [message]}).encode()

    async def episode(session: aiohttp.ClientSession) -> int:
        for _ in range(job["turns"]):
            async with session.post(f"{job['url']}/chat/completions", data=body) as response:
                json.loads(await response.read())
        return int(job["turns"])

    async def play() -> int:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            return sum(await asyncio.gather(*(episode(session) for _ in range(job["episodes"]))))

    loop = asyncio.Runner()
    return lambda: loop.run(play())


def ours(job: Job) -> Callable[[], int]:
    """Our runner, with its ledger and limiter, and the store of answers if the job has a folder."""
    from agents.prompts import STYLES
    from agents.remote import RemotePlayer
    from engines.batcher import Batcher
    from engines.remote.answer_store import AnswerStore
    from engines.remote.client import RemoteChat
    from engines.remote.ledger import Ledger
    from engines.remote.limits import Limiter
    from engines.remote.transport import Endpoint
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

    def play() -> int:
        plans = [
            EpisodePlan(str(n), scene, (player, player), next(seeds))
            for n in range(job["episodes"])
        ]
        played = play_wave(plans, rules, judge, Batcher(), run=loop.run)
        for one in played:
            if any(turn.action.invalid for turn in one.episode.turns) or not one.episode.turns:
                raise SystemExit(f"Not played as it should be: {one.judgement.reasons}")
        return sum(len(one.episode.turns) for one in played)

    return play


def scene_of(job: Job) -> Any:
    """The job's scene, which only a judge could score."""
    from envs.types import Profile, Relationship, Scenario

    return Scenario(
        id="loopback",
        family="loopback",
        split="test",
        context=job["context"],
        goals=tuple(job["goals"]),
        briefs=("", ""),
        profiles=tuple(Profile(**profile) for profile in job["profiles"]),
        relationship=Relationship.STRANGER,
    )


class Nobody:
    """A judge that judges nothing."""

    id, version = "nobody", "1"

    async def judge(self, episode: Any) -> Any:
        """No score, at once."""
        from judges.base import unscored

        return unscored(self, "nobody was asked")


def work() -> None:
    """Play the job of the first line once for each line that follows; tell what it took."""
    job = json.loads(sys.stdin.readline())
    play = floor(job) if job["runner"] == FLOOR else ours(job)
    for _ in sys.stdin:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        turns = play()
        wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "turns": turns}), flush=True)


# The process that asks them all.


class Runner:
    """A runner under its own interpreter, which plays whenever it is told to."""

    def __init__(self, command: list[str], job: Job, folder: Path) -> None:
        self.name = job["runner"]
        self._log = folder / f"{self.name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **SOTOPIAS_VARIABLES, "HOME": str(folder)},
            )
        self._input, self._output = _pipes(self._process)
        self._say(json.dumps(job))

    def play(self, turns: int) -> tuple[float, float]:
        """Wall and CPU seconds of one repeat."""
        self._say("go")
        line = next((line for line in self._output if line.startswith("{")), None)
        if line is None:
            raise SystemExit(
                f"The runner {self.name!r} broke off:\n{self._log.read_text()[-2000:]}"
            )
        took = json.loads(line)
        if took["turns"] != turns:
            raise SystemExit(f"{self.name!r} played {took['turns']} turns, expected {turns}.")
        return took["wall_s"], took["cpu_s"]

    def close(self) -> None:
        """Let it end."""
        self._input.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        self._input.write(line + "\n")
        self._input.flush()


@contextmanager
def endpoint(latency_ms: float) -> Iterator[str]:
    """The base URL of an endpoint in a process of its own."""
    command = [sys.executable, str(HERE / "loopback_endpoint.py"), "--latency-ms", str(latency_ms)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wish, told = _pipes(process)
    try:
        yield f"http://127.0.0.1:{int(told.readline())}/v1"
    finally:
        wish.close()
        process.wait()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def machine() -> str:
    """What the figures were measured on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ] or [platform.processor()]
    installed = [name for name in ("aiohttp", "litellm") if find_spec(name)]
    packages = ", ".join(f"{name} {version(name)}" for name in installed)
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} x {names[0]}, Python {platform.python_version()}, {packages}; "
        f"load before the run {load:.1f}"
    )


def job_of(runner: str, url: str, options: argparse.Namespace, folder: Path) -> Job:
    """What a runner is to play: a scene of our own, without a task."""
    from envs.scenarios import draw

    scene = draw("open", "test", 0)
    return {
        "runner": runner,
        "url": url,
        "episodes": options.episodes,
        "turns": options.turns,
        "folder": str(folder) if runner == STORED else None,
        "context": scene.context,
        "goals": scene.goals,
        "profiles": [
            {
                "first_name": profile.first_name,
                "last_name": profile.last_name,
                "age": profile.age,
                "occupation": profile.occupation,
                "public_info": profile.public_info,
            }
            for profile in scene.profiles
        ],
    }


def measure(options: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of each repeat of each runner."""
    commands = {name: [sys.executable, __file__, "--work"] for name in (FLOOR, DIRECT, STORED)}
    if find_spec("litellm") and not options.without_litellm:
        commands[LITELLM] = commands[DIRECT]
    if options.sotopia_python:
        commands[SOTOPIA] = [options.sotopia_python, str(HERE / "sotopia_rollouts.py")]
    turns = options.episodes * options.turns
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with TemporaryDirectory() as folder, endpoint(options.latency_ms) as url, ExitStack() as stack:
        runners = []
        for name, command in commands.items():
            job = job_of(name, url, options, Path(folder))
            runners.append(Runner(command, job, Path(folder)))
            stack.callback(runners[-1].close)
        for runner in runners:
            runner.play(turns)  # imports, connections
        for _ in range(options.repeats):
            for runner in runners:
                timings[runner.name].append(runner.play(turns))
    return timings


def main() -> None:
    """Measure all runners and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sotopia-python", help="an interpreter that has SOTOPIA")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work()
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    least_s = options.turns * options.latency_ms / 1000
    table = Table(
        title=f"{options.episodes} x {options.turns} turns, {options.latency_ms:g} ms each: "
        f"{least_s:g} s or more; CPU is per turn",
        box=SIMPLE,
        caption=f"{machine()}; medians of {options.repeats} repeats (fastest-slowest)",
    )
    for column in ("", "wall s", "from - to", "x bare", "CPU ms", "from - to"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    timings = measure(options)
    bare_s = statistics.median(wall_s for wall_s, _ in timings[FLOOR])
    per_turn = 1000 / (options.episodes * options.turns)
    for name, taken in timings.items():
        walls, cpus = [w for w, _ in taken], [c * per_turn for _, c in taken]
        table.add_row(
            NAMES[name],
            f"{statistics.median(walls):.2f}",
            f"{min(walls):.2f}-{max(walls):.2f}",
            f"{statistics.median(walls) / bare_s:.2f}",
            f"{statistics.median(cpus):.3f}",
            f"{min(cpus):.2f}-{max(cpus):.2f}",
        )
    Console().print(table)
    if not find_spec("litellm"):
        print("litellm is missing here: install parley-rl[api].")
    if SOTOPIA not in timings:
        print("SOTOPIA's runner is missing here: give an interpreter by --sotopia-python.")


if __name__ == "__main__":
    main()
