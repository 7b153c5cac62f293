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
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import IO, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
# ruff: noqa: E402

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.short_run import short_run
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


class EvaluatedPolicy:
    """A contestant under its own interpreter."""

    def __init__(self, name: str, python: str, job: dict[str, Any]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [python, str(HERE / "update_workers.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._input, self._output = _pipes(self._process)
        self._say(json.dumps(job))

    def step(self) -> dict[str, float]:
        """What one step took."""
        self._say("step")
        line = next((line for line in self._output if line.startswith('{"')), None)
        if line is None:
            _, told = self._process.communicate()
            raise SystemExit(f"{self.name!r} broke off:\n{told[-3000:]}")
        took: dict[str, float] = json.loads(line)
        return took

    def close(self) -> None:
        """Let it end."""
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> None:
        self._input.write(line + "\n")
        self._input.flush()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def measure(
    names: Sequence[str], model: str, examples: Sequence[Example], options: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """What each repeat of each contestant took, and how fast the machine multiplies."""
    positions = max(len(e.trunk_ids) + len(b.token_ids) for e in examples for b in e.branches)
    job = {
        "model": MODELS[model] | _COMMON | {"max_position_embeddings": positions},
        "examples": [example_text(example) for example in examples],
        "threads": options.threads,
    }
    took: dict[str, list[dict[str, float]]] = {name: [] for name in (*names, "matmul")}
    with ExitStack() as stack:
        contestants = []
        for name in took:
            python = options.trl_python if name in _TRL else sys.executable
            own = {"contestant": "trl", "trl": _TRL[name]} if name in _TRL else {"contestant": name}
            contestants.append(EvaluatedPolicy(name, python, job | own))
            stack.callback(contestants[-1].close)
        for contestant in contestants:
            contestant.step()  # imports, memory, the optimiser's state
        for _ in range(options.repeats):
            for contestant in contestants:
                took[contestant.name].append(contestant.step())
    _check_same({name: told[-1] for name, told in took.items()})
    return took


def _check_same(told: dict[str, dict[str, float]]) -> None:
    """All had the same first gradient, or they don't do the same work."""
    norms = {name: one["grad_norm"] for name, one in told.items() if "grad_norm" in one}
    if max(norms.values()) > 1.001 * min(norms.values()):
        raise SystemExit(f"The contestants' gradients have other lengths: {norms}")


def rows_of(took: dict[str, list[dict[str, float]]], work: Work) -> Iterator[tuple[str, list[str]]]:
    """The cells of each contestant's row."""
    gflops = statistics.median(told["gflops"] for told in took.pop("matmul"))
    seconds = {name: statistics.median(t["s"] for t in told) for name, told in took.items()}
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
                f"{min(t['s'] for t in told):.3f}-{max(t['s'] for t in told):.3f}",
                f"{max(peaks):.0f}" if peaks else "?",
                f"{seconds[base] / seconds[name]:.2f}x",
                f"{cpu[base] / cpu[name]:.2f}x",
                f"{seconds[base] / (seconds[name] - asked_s[name]):.2f}x",
                f"{work.concatenated / work.of(name):.2f}x",
                f"{work.of(name) / seconds[name] / gflops:.0%}",
            ],
        )


def machine(threads: int | None) -> str:
    """What the figures were measured on."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ] or [platform.processor()]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    return (
        f"{os.cpu_count()} x {cpu[0]}, {threads or 'all'} threads, Python "
        f"{platform.python_version()}, {packages}; load at the start {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Print a table a model and shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl-python", help="an interpreter that has TRL")
    parser.add_argument("--run", type=Path, help="whose pairs are 'own'")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES, "own"], default=[*SHAPES, "own"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    names = [name for name in NAMES if options.trl_python or name not in _TRL]
    console, note = Console(width=120), machine(options.threads)
    for model in options.models:
        for key in options.shapes:
            if key == "own":
                if model != "embedded":
                    continue
                examples, title = _own(options.run), "own data"
            else:
                examples = examples_of(SHAPES[key], MODELS[model]["vocab_size"])
                title = str(SHAPES[key])
            table = Table(
                title=f"{model}, {title}: {len(examples)} groups a step",
                caption=f"{note}; medians of {options.repeats}, fastest-slowest",
                box=SIMPLE,
            )
            for heading in (
                "",
                "s",
                "from - to",
                "peak MB",
                "ratio",
                "of CPU",
                "again",
                "limit",
                "of peak",
            ):
                table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
            took = measure(names, model, examples, options)
            for name, cells in rows_of(took, work_of(examples, MODELS[model])):
                table.add_row(name, *cells)
            console.print(table)


def _own(run: Path | None) -> list[Example]:
    """As many pairs as the run takes in a step."""
    made = short_run("pairing=turn", "objective=dpo") if run is None else nullcontext(run)
    with made as folder, Store.read_only(folder / "store.sqlite") as store:
        whole = [
            example
            for example in store.examples(1)
            if all(all(branch.loss_mask) for branch in example.branches)
        ]
    if not whole:
        raise SystemExit(f"No pair of {run} has loss on all of its tokens; give a run on turns.")
    return whole[:16]


if __name__ == "__main__":
    main()
