"""Time one update step: packed rows that share a trunk against plain concatenation.

    python -m benchmarks.update_packing [--repeats 7] [--threads 1]

Both sides run the same small random Llama on the same examples, project to the vocabulary at loss
positions only, and take one AdamW step on the SPPO loss, which takes any number of branches. The
plain side is one right-padded row per branch under the causal mask, which needs no mask tensor: the
fastest form that concatenation has here. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from training.objectives.base import BranchLogps
from training.objectives.sppo import sppo
from training.packing import branch_logps, pack
from training.records import BranchTokens, Example

VOCABULARY = 512
EXAMPLES_PER_STEP = 8
TOKEN_BUDGET = 8192


@dataclass(frozen=True, slots=True)
class Shape:
    """Tokens in the shared prefix and in each branch's segment, and branches an example."""

    prefix: int
    segment: int
    branches: int


SHAPES = (Shape(60, 10, 2), Shape(150, 10, 2), Shape(350, 10, 2), Shape(150, 10, 5))


def main() -> None:
    """Print one line a shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table(
        title=f"Seconds a step, {EXAMPLES_PER_STEP} examples, median of {options.repeats}"
    )
    for heading in ("prefix / segment / branches", "plain", "packed", "ratio", "tokens ratio"):
        table.add_column(heading, justify="right")
    for shape in SHAPES:
        table.add_row(*_measure(shape, options.repeats))
    Console().print(table)


def _measure(shape: Shape, repeats: int) -> list[str]:
    examples = _examples(shape)
    plain_s, packed_s = _medians([_plain_step(examples), _packed_step(examples)], repeats)
    (batch,) = pack(examples, TOKEN_BUDGET)
    return [
        f"{shape.prefix} / {shape.segment} / {shape.branches}",
        f"{plain_s:.3f}",
        f"{packed_s:.3f}",
        f"{plain_s / packed_s:.2f}x",
        f"{batch.concatenated_tokens / batch.tokens:.2f}x",
    ]


def _examples(shape: Shape) -> list[Example]:
    rng = random.Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(VOCABULARY) for _ in range(count))

    def branch() -> BranchTokens:
        return BranchTokens(ids(shape.segment), (True,) * shape.segment, rng.random())

    return [
        Example(
            group_id=str(number),
            trunk_ids=ids(shape.prefix + rng.randint(-shape.prefix // 4, shape.prefix // 4)),
            branches=tuple(branch() for _ in range(shape.branches)),
        )
        for number in range(EXAMPLES_PER_STEP)
    ]


def _medians(steps: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Median seconds of each; taken in turn, so that a disturbance meets all of them."""
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats + 1):
        for step, taken in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            step()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]  # the first one warms up


def _packed_step(examples: Sequence[Example]) -> Callable[[], None]:
    model, optimizer = _model()

    def step() -> None:
        for batch in pack(examples, TOKEN_BUDGET):
            logps_B = branch_logps(model, batch)
            _descend(optimizer, logps_B, batch.win_prob_B, batch.loss_tokens_B)

    return step


def _plain_step(examples: Sequence[Example]) -> Callable[[], None]:
    model, optimizer = _model()
    flat = [(example.trunk_ids, branch) for example in examples for branch in example.branches]
    win_prob_B = torch.tensor([branch.win_prob for _, branch in flat])
    loss_tokens_B = torch.tensor([len(branch.token_ids) for _, branch in flat])

    def step() -> None:
        width = max(len(trunk_ids) + len(branch.token_ids) - 1 for trunk_ids, branch in flat)
        rows: list[list[int]] = []
        predictors: list[int] = []
        for row, (trunk_ids, branch) in enumerate(flat):
            ids = [*trunk_ids, *branch.token_ids[:-1]]
            predictors += range(row * width + len(trunk_ids) - 1, row * width + len(ids))
            rows.append(ids + [0] * (width - len(ids)))
        targets = torch.tensor([token for _, branch in flat for token in branch.token_ids])
        hidden_BTD: Tensor = model.model(
            input_ids=torch.tensor(rows), use_cache=False
        ).last_hidden_state
        logits_NV = model.lm_head(hidden_BTD.flatten(0, 1)[predictors])
        logps_N = -cross_entropy(logits_NV, targets, reduction="none")
        logps_B = torch.stack([part.sum() for part in torch.split(logps_N, loss_tokens_B.tolist())])
        _descend(optimizer, logps_B, win_prob_B, loss_tokens_B)

    return step


def _model() -> tuple[LlamaForCausalLM, torch.optim.Optimizer]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    model = LlamaForCausalLM(config)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-6)


def _descend(
    optimizer: torch.optim.Optimizer, logps_B: Tensor, win_prob_B: Tensor, loss_tokens_B: Tensor
) -> None:
    optimizer.zero_grad()
    branches = BranchLogps(logps_B, logps_B.detach(), win_prob_B, loss_tokens_B)
    sppo(branches, eta=1.0).loss.backward()
    optimizer.step()


if __name__ == "__main__":
    main()
