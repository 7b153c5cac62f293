"""Trains the small base model that ships with the package, from scratch.

    python -m training.pretrain --out agents/embedded_base

It takes a quarter of an hour on one thread. Every step sees new data from the training split:
dialogues of scripted experts, and drills in which the worth of an offer is computed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch

from agents.chat_template import ChatTemplate
from agents.embedded import Shape, make_model, make_tokenizer
from agents.prompts import STYLES
from envs.social import Rules
from training.config import CloningConfig
from training.learning.cloning import accumulate_gradient
from training.learning.demonstrations import Row, demonstrations
from training.storage.pretrained import load_pretrained

FAMILY_WEIGHTS = {"division": 0.25, "camp": 0.25, "plans": 0.2, "price": 0.15, "match": 0.15}
_CHUNK = CloningConfig(dialogues=2000, drills=6000, lr=1.0)


def main() -> None:
    """Train the model, print the loss, and save the model every thousand steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to save the model in")
    parser.add_argument("--start", type=Path, help="folder of a model to continue training")
    parser.add_argument(
        "--families",
        type=_weights,
        default=FAMILY_WEIGHTS,
        help="weights of the families, as division=0.25,camp=0.25,...",
    )
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch-rows", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = make_tokenizer()
    model = load_pretrained(args.start)[0] if args.start else make_model(Shape(), seed=args.seed)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98))
    rows = _endless_rows(args.families, ChatTemplate(tokenizer), args.seed)
    mean_loss = math.nan
    for step in range(1, args.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = args.lr * _trapezoid(step / args.steps)
        optimiser.zero_grad(set_to_none=True)
        loss = accumulate_gradient(model, [next(rows) for _ in range(args.batch_rows)])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        mean_loss = loss if math.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * loss
        if step % 100 == 0:
            print(f"step {step} of {args.steps}: loss {mean_loss:.4f} nats a token", flush=True)
        if step % 1000 == 0 or step == args.steps:
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)


def _endless_rows(families: dict[str, float], stream: ChatTemplate, seed: int) -> Iterator[Row]:
    chunk = 0
    while True:
        yield from demonstrations(
            families,
            _CHUNK,
            Rules(max_turns=12),
            stream,
            STYLES["brief"],
            seed=seed * 1_000_003 + chunk,
            start=chunk * _CHUNK.drills,
        )
        chunk += 1


def _weights(text: str) -> dict[str, float]:
    pairs = (part.split("=") for part in text.split(","))
    return {name: float(weight) for name, weight in pairs}


def _trapezoid(progress: float) -> float:
    """The learning rate's factor: linear warm-up over 3 %, constant, linear decay over 30 %."""
    return min(1.0, progress / 0.03, (1.0 - progress) / 0.3 + 1e-3)


if __name__ == "__main__":
    main()
