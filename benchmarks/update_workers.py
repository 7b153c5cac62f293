"""One contestant of update_vs_trl.py in a process of its own: it steps whenever it is told to.

The first line on stdin is the job; each line that follows asks for one step, answered by a line
with what it took. A step is a reference pass over the job's pairs, forward and backward passes over
them, and one step of AdamW.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import common  # noqa: F401 - so that this checkout is on the path
import torch
from timing import Job, Watch, serve
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import training.learning.batch
import training.learning.reference
from training.config import UpdateConfig
from training.learning.packing import pack
from training.learning.reference import reference_pass
from training.learning.update import StepReport, update
from training.methods.objectives.dpo import dpo
from training.methods.objectives.types import BranchLogps, Groups, ObjectiveOutput, pairs_of
from training.methods.records import Example
from training.storage.rows import parse_example

BETA, LEARNING_RATE, TOKEN_BUDGET = 0.1, 1e-6, 8192


def model_of(job: Job) -> LlamaForCausalLM:
    """Random weights, the same for all contestants."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**job["model"]))


def single_pairs(examples: Sequence[Example]) -> list[Example]:
    """Each pair as an example of its own: (chosen, rejected)."""
    return [
        Example(f"{example.group_id}/{n}", example.trunk_ids, example.branches[2 * n : 2 * n + 2])
        for example in examples
        for n in range(len(example.branches) // 2)
    ]


def packed(job: Job, examples: list[Example]) -> None:
    """Our update as it is; a step's reference pass is over the examples of that step."""
    model = model_of(job)
    config = UpdateConfig(
        learning_rate=LEARNING_RATE,
        schedule="constant",
        epochs=10**6,
        batch_examples=len(examples),
        token_budget=TOKEN_BUDGET,
        min_rejected_log_ratio=None,
    )
    watch = Watch()

    def on_step(report: StepReport) -> None:
        watch.told.setdefault("grad_norm", report.grad_norm)
        watch.next()
        ask()

    def objective(batch: Groups) -> ObjectiveOutput:
        return dpo(pairs_of(batch.branches), beta=BETA)

    def ask() -> Any:
        start_s = time.perf_counter()
        reference = reference_pass(model, examples, token_budget=TOKEN_BUDGET)
        watch.told["reference_s"] = time.perf_counter() - start_s
        return reference

    watch.next()
    update(
        model,
        ask(),
        examples,
        objective=objective,
        config=config,
        seed=0,
        on_step=on_step,
    )


def packed_pairs(job: Job, examples: list[Example]) -> None:
    """The same with each pair by itself: a trunk is shared by two sides and by no more."""
    apart = partial(pack, merge_from=10**9)
    training.learning.batch.pack = training.learning.reference.pack = apart  # type: ignore[attr-defined]
    packed(job, single_pairs(examples))


def plain(job: Job, examples: list[Example]) -> None:
    """Each side of each pair a right-padded row, which needs no mask; logits at loss positions."""
    model = model_of(job)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    chunks = _rows(single_pairs(examples))
    pairs = sum(len(rows) for rows, *_ in chunks) // 2
    watch = Watch()
    while True:
        watch.next()
        start_s = time.perf_counter()
        with torch.no_grad():
            references = [_logps(model, *chunk) for chunk in chunks]
        watch.told["reference_s"] = time.perf_counter() - start_s
        optimizer.zero_grad()
        for chunk, reference_B in zip(chunks, references, strict=True):
            logps_B = _logps(model, *chunk)
            win_prob_B = torch.tensor([1.0, 0.0]).repeat(len(logps_B) // 2)
            branches = BranchLogps(logps_B, reference_B, win_prob_B, torch.ones(len(logps_B)))
            (dpo(pairs_of(branches), beta=BETA).loss * (len(logps_B) / 2 / pairs)).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        watch.told.setdefault("grad_norm", float(norm))


Rows = tuple[Tensor, Tensor, Tensor, list[int]]


def _rows(pairs: Sequence[Example]) -> list[Rows]:
    """Token ids, columns that predict, targets, loss tokens a row; within the token budget."""
    flat = [(pair.trunk_ids, branch) for pair in pairs for branch in pair.branches]
    width = max(len(trunk_ids) + len(branch.token_ids) - 1 for trunk_ids, branch in flat)
    size = 2 * max(1, TOKEN_BUDGET // width // 2)
    cuts = [*range(0, len(flat), size), len(flat)]
    return [_laid_out(flat[start:end]) for start, end in pairwise(cuts)]


def _laid_out(flat: Sequence[tuple[tuple[int, ...], Any]]) -> Rows:
    width = max(len(trunk_ids) + len(branch.token_ids) - 1 for trunk_ids, branch in flat)
    rows, predictors, targets, counts = [], [], [], []
    for number, (trunk_ids, branch) in enumerate(flat):
        ids = [*trunk_ids, *branch.token_ids]
        places = [p for p, has_loss in enumerate(branch.loss_mask, len(trunk_ids)) if has_loss]
        predictors += [number * width + place - 1 for place in places]
        targets += [ids[place] for place in places]
        counts.append(len(places))
        rows.append(ids[:-1] + [0] * (width + 1 - len(ids)))
    return torch.tensor(rows), torch.tensor(predictors), torch.tensor(targets), counts


def _logps(
    model: LlamaForCausalLM, ids: Tensor, predictors: Tensor, targets: Tensor, counts: list[int]
) -> Tensor:
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
    logits = model.lm_head(hidden.index_select(0, predictors))
    logps = -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return torch.stack([part.sum() for part in torch.split(logps, counts)])


def trl(job: Job, examples: list[Example]) -> None:
    """TRL's DPOTrainer on the pairs, as it comes but for what the job's `trl` changes."""
    import tempfile

    from datasets import Dataset, disable_progress_bars
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from agents.embedded import make_tokenizer

    class Asked(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            watch.next()

        def on_log(self, _args: Any, _state: Any, _control: Any, logs: Any, **_: Any) -> None:
            watch.told.setdefault("grad_norm", float(logs["grad_norm"]))  # of the first step

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.next()

    disable_progress_bars()
    pairs = single_pairs(examples)
    folder = Path(tempfile.mkdtemp())
    for name in ("policy", "reference"):
        model_of(job).save_pretrained(folder / name)
    load = LlamaForCausalLM.from_pretrained
    trainer = DPOTrainer(
        model=load(folder / "policy"),
        ref_model=load(folder / "reference"),
        args=DPOConfig(
            str(folder / "out"),
            beta=BETA,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            per_device_train_batch_size=len(pairs),
            max_steps=10**6,
            max_length=None,
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_first_step=True,
            bf16=False,
            use_cpu=True,
            **job["trl"],
        ),
        train_dataset=Dataset.from_list([{"prompt": "i", "chosen": " a", "rejected": " b"}]),
        processing_class=make_tokenizer(),
        callbacks=[Asked],
    )
    # It wants text; what is measured is the same token ids for all.
    trainer.train_dataset = Dataset.from_list(
        [
            {
                "prompt_ids": list(pair.trunk_ids),
                "chosen_ids": list(pair.branches[0].token_ids),
                "rejected_ids": list(pair.branches[1].token_ids),
            }
            for pair in pairs
        ]
    )
    watch = Watch()
    trainer.train()


def matmul_gflops(job: Job) -> float:
    """Billions of operations a second of this model's largest matrix product, float32."""
    a = torch.randn(1024, job["model"]["hidden_size"])
    b = torch.randn(job["model"]["hidden_size"], job["model"]["intermediate_size"])
    taken = []
    for _ in range(20):
        start_s = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - start_s)
    return 2 * a.numel() * b.shape[1] / min(taken) / 1e9


def matmul(job: Job, _examples: list[Example]) -> None:
    """No contestant: what the machine can do, in the same minute."""
    serve(lambda: {"gflops": matmul_gflops(job)})


CONTESTANTS: dict[str, Callable[[Job, list[Example]], None]] = {
    "trl": trl,
    "plain": plain,
    "pairs": packed_pairs,
    "trees": packed,
    "matmul": matmul,
}


def work() -> None:
    """Read the job and be that contestant."""
    job = json.loads(sys.stdin.readline())
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    examples = [parse_example(text) for text in job["examples"]]
    CONTESTANTS[job["contestant"]](job, examples)


if __name__ == "__main__":
    work()
