"""Time and peak memory of an update: ours against plain concatenation and TRL's DPOTrainer.

    python benchmarks/update_vs_trl.py [--trl-python PYTHON] [--run RUN] [--repeats 5]

Everybody has the same random weights, pairs and AdamW, in float32, and a process of its own. They
take turns, step by step, so that a disturbance meets all of them, and medians are shown. A step is
one reference pass, one forward and backward pass and one step of AdamW over all pairs of a shape.

A shape is prefix/segment/branches, in tokens. Of 5 branches one is better than the four others,
which makes four pairs; for TRL, which has no trees, these are eight sequences. "nested" groups
start at four turns of one episode, so that their trunks are prefixes of one another. "own" are the
pairs of the first iteration of RUN, a run's folder, that carry loss on each token, since TRL cannot
leave out what the partner says between two turns; without RUN a short run is made, on single turns.

"limit" is how much fewer operations a row needs than TRL's sequences, if each token of them were
encoded once and projected only where there is loss. "of CPU" is the ratio of CPU seconds, which
other processes disturb less. "again" is the ratio in a second epoch, for which our references are
there already; TRL asks its model again unless told otherwise. "of peak" is how many operations a
second that is, by what this machine reaches in one large matrix product. PYTHON is an interpreter
that has TRL beside what Parley needs; without it the ratios are to plain concatenation.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from common import HERE, ROOT, SHORT_RUN, machine, parser, span, table
from rich.console import Console
from timing import Took, Worker, ask_in_turns

from training.methods.records import BranchTokens, Example
from training.storage.rows import example_text
from training.storage.store import Store

_COMMON = {"tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
MODELS: dict[str, dict[str, Any]] = {
    # agents/embedded.py, but for longer rows
    "embedded": {
        "vocab_size": 512,
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    # 30M parameters, a quarter of them the vocabulary, as in a Qwen of 0.6 billion
    "30M": {
        "vocab_size": 16384,
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
}
NAMES = {
    "trl": "TRL",
    "trl fast": "TRL, nothing recomputed",
    "plain": "ours, concatenated",
    "pairs": "ours, packed pairs",
    "trees": "ours, packed trees",
}
_TRL = {"trl": {}, "trl fast": {"gradient_checkpointing": False}}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the pairs of a step look like.

    Attributes:
        groups: branch groups a step.
        turns: of one episode that are branched at, 128 tokens apart.
    """

    prefix: int
    segment: int
    branches: int
    groups: int
    turns: int = 1

    def __str__(self) -> str:
        nested = f" nested at {self.turns}" if self.turns > 1 else ""
        return f"{self.prefix}/{self.segment}/{self.branches}{nested}"


SHAPES = {
    "512": Shape(512, 64, 2, groups=2),
    "1024": Shape(1024, 64, 2, groups=2),
    "1024x5": Shape(1024, 64, 5, groups=1),
    "nested": Shape(1024, 64, 2, groups=4, turns=4),
}


def examples_of(shape: Shape, vocabulary: int) -> list[Example]:
    """Random tokens in that shape; the better branch is chosen against each other one."""
    rng = Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, vocabulary) for _ in range(count))

    def branch(win_prob: float) -> BranchTokens:
        return BranchTokens(ids(shape.segment), (True,) * shape.segment, win_prob)

    examples = []
    for number in range(shape.groups):
        if number % shape.turns == 0:
            episode = ids(shape.prefix)
        trunk_ids = episode[: shape.prefix - 128 * (number % shape.turns)]
        chosen, rejected = branch(1.0), [branch(0.0) for _ in range(shape.branches - 1)]
        sides = tuple(side for other in rejected for side in (chosen, other))
        examples.append(Example(str(number), trunk_ids, sides))
    return examples


@dataclass(frozen=True, slots=True)
class Work:
    """Operations that a step cannot do without, in billions."""

    concatenated: float
    pairs: float
    trees: float

    def of(self, contestant: str) -> float:
        return {"pairs": self.pairs, "trees": self.trees}.get(contestant, self.concatenated)


def work_of(examples: Sequence[Example], model: dict[str, Any]) -> Work:
    """Count operations where every token is encoded once: per sequence, per pair, or per prefix."""
    sequences, pairs = [], []
    for example in examples:
        sides = [example.trunk_ids + branch.token_ids[:-1] for branch in example.branches]
        sequences += sides
        pairs += [sides[n : n + 2] for n in range(0, len(sides), 2)]
    loss_tokens = sum(sum(branch.loss_mask) for e in examples for branch in e.branches)
    each = [[side] for side in sequences]
    return Work(
        *(_gflop(depths, loss_tokens, model) for depths in map(_depths, (each, pairs, [sequences])))
    )


def _depths(sharing: Sequence[Sequence[tuple[int, ...]]]) -> list[int]:
    """How many tokens each token that is encoded sees, those that share encoding each once."""
    depths: list[int] = []
    for sequences in sharing:
        before: tuple[int, ...] = ()
        for sequence in sorted(set(sequences)):
            same = next(
                (n for n, (a, b) in enumerate(zip(before, sequence, strict=False)) if a != b),
                min(len(before), len(sequence)),
            )
            depths += range(same + 1, len(sequence) + 1)
            before = sequence
    return depths


def _gflop(depths: Sequence[int], loss_tokens: int, model: dict[str, Any]) -> float:
    """Of a reference pass, a forward pass and a backward pass, which is two of them."""
    width, layers = model["hidden_size"], model["num_hidden_layers"]
    keys = width * model["num_key_value_heads"] // model["num_attention_heads"]
    per_layer = 2 * width * width + 2 * width * keys + 3 * width * model["intermediate_size"]
    encoded = 2 * per_layer * layers * len(depths)
    attention = 4 * width * layers * sum(depths)
    projected = 2 * width * model["vocab_size"] * loss_tokens
    return 4 * (encoded + attention + projected) / 1e9


def measure(
    names: Sequence[str], model: str, examples: Sequence[Example], options: argparse.Namespace
) -> dict[str, list[Took]]:
    """What each repeat of each contestant took, and how fast the machine multiplies."""
    positions = max(len(e.trunk_ids) + len(b.token_ids) for e in examples for b in e.branches)
    job = {
        "model": MODELS[model] | _COMMON | {"max_position_embeddings": positions},
        "examples": [example_text(example) for example in examples],
        "threads": options.threads,
    }
    workers = {}
    for name in (*names, "matmul"):
        python = options.trl_python if name in _TRL else sys.executable
        own = {"contestant": "trl", "trl": _TRL[name]} if name in _TRL else {"contestant": name}
        workers[name] = Worker(name, [python, str(HERE / "update_workers.py")], job | own)
    took = ask_in_turns(workers, options.repeats)
    _check_same({name: told[-1] for name, told in took.items()})
    return took


def _check_same(told: dict[str, Took]) -> None:
    """All had the same first gradient, or they don't do the same work."""
    norms = {name: one["grad_norm"] for name, one in told.items() if "grad_norm" in one}
    if max(norms.values()) > 1.001 * min(norms.values()):
        raise SystemExit(f"The contestants' gradients have other lengths: {norms}")


def rows_of(took: dict[str, list[Took]], work: Work) -> Iterator[tuple[str, list[str]]]:
    """The cells of each contestant's row."""
    gflops = statistics.median(told["gflops"] for told in took.pop("matmul"))
    seconds = {name: statistics.median(t["wall_s"] for t in told) for name, told in took.items()}
    cpu = {name: statistics.median(t["cpu_s"] for t in told) for name, told in took.items()}
    base = next(iter(seconds))
    # Ours keep the reference's answers; TRL's default asks it anew each time.
    asked_s = {
        name: statistics.median(t.get("reference_s", 0.0) for t in told)
        for name, told in took.items()
    }
    for name, told in took.items():
        peaks = [t["peak_mb"] for t in told if t["peak_mb"] is not None]
        yield (
            NAMES[name],
            [
                f"{seconds[name]:.3f}",
                span((t["wall_s"] for t in told), 3),
                f"{max(peaks):.0f}" if peaks else "?",
                f"{seconds[base] / seconds[name]:.2f}x",
                f"{cpu[base] / cpu[name]:.2f}x",
                f"{seconds[base] / (seconds[name] - asked_s[name]):.2f}x",
                f"{work.concatenated / work.of(name):.2f}x",
                f"{work.of(name) / seconds[name] / gflops:.0%}",
            ],
        )


def main() -> None:
    """Print a table for each model and shape."""
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--trl-python", help="an interpreter that has TRL")
    arguments.add_argument("--run", type=Path, help="whose pairs are 'own'")
    arguments.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    shapes = [*SHAPES, "own"]
    arguments.add_argument("--shapes", nargs="+", choices=shapes, default=shapes)
    arguments.add_argument("--threads", type=int)
    options = arguments.parse_args()
    names = [name for name in NAMES if options.trl_python or name not in _TRL]
    note = machine("torch", "transformers", threads=options.threads or "all")
    for model in options.models:
        for key in options.shapes:
            if key == "own":
                if model != "embedded":
                    continue
                examples, title = _own(options.run), "own data"
            else:
                examples = examples_of(SHAPES[key], MODELS[model]["vocab_size"])
                title = str(SHAPES[key])
            shown = table(
                *("", "s", "from - to", "peak MB", "ratio", "of CPU", "again", "limit", "of peak"),
                title=f"{model}, {title}: {len(examples)} groups a step",
                caption=f"{note}; medians of {options.repeats}, fastest-slowest",
            )
            took = measure(names, model, examples, options)
            for name, cells in rows_of(took, work_of(examples, MODELS[model])):
                shown.add_row(name, *cells)
            Console(width=120).print(shown)


def _own(run: Path | None) -> list[Example]:
    """As many pairs as the run takes in a step."""
    made = _short_run() if run is None else nullcontext(run)
    with made as folder, Store.read_only(folder / "store.sqlite") as store:
        whole = [
            example
            for example in store.examples(1)
            if all(all(branch.loss_mask) for branch in example.branches)
        ]
    if not whole:
        raise SystemExit(f"No pair of {run} has loss on all of its tokens; give a run on turns.")
    return whole[:16]


@contextmanager
def _short_run() -> Iterator[Path]:
    """The folder of a run of one iteration, which is removed afterwards."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "training.loop", f"output_root={folder}", "iterations=1"]
        options = (*SHORT_RUN, "pairing=turn", "objective=dpo")
        subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True)
        yield Path(folder) / "latest"


if __name__ == "__main__":
    main()
