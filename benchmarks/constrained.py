"""What constrained decoding costs: opening turns of a model, free and held to the pattern.

    python benchmarks/constrained.py --model FOLDER [--turns 12] [--scenarios 4] [--repeats 3]

FOLDER holds an instruction-tuned Hugging Face model. Free and constrained turns are drawn one batch
after the other in the local engine, at temperature 1 and with the same seeds.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import torch
from common import machine, parser, span, table
from rich.console import Console

from agents.base import Move, Seat
from agents.chat_template import ChatTemplate
from agents.policy import ModelPlayer
from agents.prompts import STYLES
from engines.batcher import Batcher
from engines.constraint import Patterns
from engines.local import LocalEngine
from engines.types import Sampling
from envs.scenarios import draw
from envs.social import SocialState
from training.builders.players import stop_tokens
from training.storage.pretrained import load_pretrained

FAMILIES = ("price", "plans", "division", "camp")


@dataclass(frozen=True, slots=True)
class Batch:
    """Turns that were drawn together, and the time that took."""

    moves: list[Move]
    wall_s: float

    @property
    def tokens_per_s(self) -> float:
        return sum(len(m.generation.token_ids) for m in self.moves if m.generation) / self.wall_s


def turns(player: ModelPlayer, batcher: Batcher, count: int, scenarios: int) -> Batch:
    """The first turns of scenarios, of each as often as it takes to be `count`."""
    drawn = [draw(FAMILIES[n % len(FAMILIES)], "test", n) for n in range(scenarios)]
    seen = [SocialState(drawn[n % scenarios]).observe(0) for n in range(count)]
    agents = [
        player.sit(Seat(observation.view, None, seed=n, persona=0))
        for n, observation in enumerate(seen)
    ]
    began = time.perf_counter()
    moves = asyncio.run(batcher.play([agent.act(o) for agent, o in zip(agents, seen, strict=True)]))
    return Batch(moves, time.perf_counter() - began)


def main() -> None:
    """Measure, and print the table."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--model", required=True)
    options.add_argument("--turns", type=int, default=12)
    options.add_argument("--scenarios", type=int, default=4)
    options.add_argument("--max-new-tokens", type=int, default=128)
    options.add_argument("--show", type=int, default=0, help="print that many turns of each kind")
    asked = options.parse_args()
    console = Console(width=100)
    console.print(machine("torch", "llguidance", threads=torch.get_num_threads()))

    model, tokenizer = load_pretrained(asked.model)
    stop_ids, batcher = stop_tokens(model, tokenizer), Batcher()
    began = time.perf_counter()
    Patterns(tokenizer, stop_ids, model.config.get_text_config().vocab_size)
    console.print(f"the tokenizer's bytes, once: {time.perf_counter() - began:.2f} s")
    engine = LocalEngine(model, stop_ids=stop_ids, batcher=batcher, tokenizer=tokenizer)
    sampling = Sampling(1.0, asked.max_new_tokens)
    kinds = {"free": False, "constrained": True}
    players = {
        name: ModelPlayer(
            name, engine, ChatTemplate(tokenizer), STYLES["full"], sampling, constrained=held
        )
        for name, held in kinds.items()
    }
    found: dict[str, list[Batch]] = {name: [] for name in kinds}
    for _ in range(asked.repeats):
        for name, player in players.items():
            found[name].append(turns(player, batcher, asked.turns, asked.scenarios))

    made = table("", "valid", "JSON", "tokens a turn", "nats a turn", "tokens/s", "ratio")
    base = max(batch.tokens_per_s for batch in found["free"])
    for name, batches in found.items():
        moves = batches[0].moves  # the other batches have the same seeds
        told = [m.generation for m in moves if m.generation]
        texts = [ChatTemplate(tokenizer).decode(each.token_ids) for each in told]
        nats = [each.constraint_nats for each in told if each.constraint_nats is not None]
        best = max(batch.tokens_per_s for batch in batches)
        made.add_row(
            name,
            f"{sum(move.action.invalid is None for move in moves)}/{len(moves)}",
            f"{sum('{' in text and text.endswith('}') for text in texts)}/{len(moves)}",
            f"{sum(len(each.token_ids) for each in told) / len(told):.0f}",
            f"{sum(nats) / len(nats):.1f}" if nats else "-",
            f"{best:.0f} ({span((b.tokens_per_s for b in batches), 0)})",
            f"{best / base:.2f}x",
        )
        for text in texts[: asked.show]:
            console.print(f"{name}: {text}", markup=False)
    console.print(made)


if __name__ == "__main__":
    main()
