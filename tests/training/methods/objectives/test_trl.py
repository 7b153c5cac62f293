"""TRL's trainers as an oracle: the same losses and gradients on the same model and dialogues.

TRL masks whole completions; dialogues of several turns reach it through the masks of its batches.
Runs where TRL is installed (pip install trl).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import LlamaForCausalLM

from agents.embedded import make_tokenizer
from tests.tiny_models import gradients
from tests.training.methods.objectives.test_measured import BASE, EXAMPLES, branch, llama
from training.learning.batch import Batch
from training.learning.reference import Mismatched, Reference, reference_pass
from training.methods.objectives import make_objective
from training.methods.objectives.base import Objective, Stateful
from training.methods.records import BranchTokens, Example

pytest.importorskip("trl", reason="TRL is the oracle: pip install trl")
from datasets import Dataset, disable_progress_bars
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

# Their warnings are about arguments that we do not pass.
pytestmark = pytest.mark.filterwarnings("ignore")

SINGLE = [
    Example("f", (5,), (branch([[9, 2, 4]], 1.0), branch([[4, 4]], 0.0))),
    Example("g", (3,), (branch([[1, 7]], 1.0), branch([[2, 8, 8, 1]], 0.0))),
]
"""Trunks of one token, which nothing predicts: TRL's ORPO takes the nll of the prompt, too."""

PAIR_ROWS = [{"prompt": "i like", "chosen": " a", "rejected": " b"}]
KTO_ROWS = [
    {"prompt": "i like", "completion": " a", "label": True},
    {"prompt": "i like", "completion": " b", "label": False},
]
"""Trainers insist on text at the start; what is compared comes later, as tokens."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A policy and a reference on disk, for TRL wants models with a name."""
    disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
    place = tmp_path_factory.mktemp("trl")
    for name, seed in (("policy", 1), ("reference", 3)):
        llama(seed).float().save_pretrained(place / name)
    return place / "policy", place / "reference"


def load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder).eval()


def common(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "out"),
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 2,
        "remove_unused_columns": False,
    }


def ours(
    folders: tuple[Path, Path],
    objective: Objective | Stateful,
    examples: Sequence[Example],
    reference: Reference | None = None,
) -> tuple[float, Tensor]:
    """The loss of one whole batch, and its gradient."""
    model = load(folders[0])
    known = reference or reference_pass(load(folders[1]), examples)
    batch = Batch(model, known, examples, range(len(examples)), BASE)
    if isinstance(objective, Stateful):
        loss, state = objective.loss, objective.advance(batch.measure(), {})
        batch_objective: Objective = lambda part: loss(part, state)  # noqa: E731
    else:
        batch_objective = objective
    whole = batch.accumulate(batch_objective)
    return float(batch_objective(whole).loss), gradients(model)


def theirs(trainer: Any, batch: dict[str, Tensor], loss_of: Callable[..., Any]) -> Any:
    trainer.model.eval()
    trainer.model.zero_grad()
    loss = loss_of(trainer.model, batch)
    loss.backward()
    return float(loss.detach()), gradients(trainer.model)


def agree(found: tuple[float, Tensor], wanted: tuple[float, Tensor], times: float = 1.0) -> None:
    """Whether TRL's loss and gradient are `times` ours."""
    assert wanted[0] == pytest.approx(times * found[0], rel=1e-5)
    assert float(wanted[1].norm()) > 1e-3
    assert_close(
        wanted[1], times * found[1], rtol=1e-3, atol=1e-5 * max(1.0, times * abs(found[0]))
    )


def dpo_batch(trainer: Any, examples: Sequence[Example]) -> dict[str, Tensor]:
    rows = [
        {
            "prompt_ids": list(example.trunk_ids),
            "chosen_ids": list(example.branches[0].token_ids),
            "rejected_ids": list(example.branches[1].token_ids),
        }
        for example in examples
    ]
    batch: dict[str, Tensor] = trainer.data_collator(rows)
    sides = [(e, e.branches[0]) for e in examples] + [(e, e.branches[1]) for e in examples]
    _mask(batch["completion_mask"], sides)
    return batch


def _mask(mask_BT: Tensor, sides: Sequence[tuple[Example, BranchTokens]]) -> None:
    """What the partner says between two turns carries no loss."""
    for row, (example, made) in zip(mask_BT, sides, strict=True):
        start = len(example.trunk_ids)
        loss_mask = torch.tensor(made.loss_mask).to(row)
        row[start : start + len(loss_mask)] = loss_mask


@pytest.mark.parametrize(
    ("loss_type", "settings", "name", "options", "times"),
    [
        ("sigmoid", {"beta": 0.3}, "dpo", {"beta": 0.3}, 1),
        ("sigmoid", {"beta": 0.3}, "sdpo", {"beta": 0.3}, 1),
        ("sigmoid", {"beta": 0.3}, "gpo", {"beta": 0.3, "convex": "logistic"}, 1),
        ("hinge", {"beta": 0.3}, "hinge", {"beta": 0.3}, 1),
        ("ipo", {"beta": 0.3}, "ipo", {"beta": 0.3, "per_token": True}, 1),
        (
            "robust",
            {"beta": 0.3, "label_smoothing": 0.1},
            "robust_dpo",
            {"beta": 0.3, "flip_prob": 0.1},
            1,
        ),
        # its step size is 1 / beta, and it leaves the 1/2 before both squares out
        ("sppo_hard", {"beta": 0.25}, "sppo_pair", {"eta": 4.0}, 2),
        # a sum over both sides where we take a mean over all
        ("sppo_hard", {"beta": 0.25}, "sppo", {"eta": 4.0}, 4),
        ("sft", {}, "preferred_sft", {}, 1),
    ],
)
def test_dpo_trainer(
    folders: tuple[Path, Path],
    loss_type: str,
    settings: dict[str, float],
    name: str,
    options: dict[str, Any],
    times: float,
) -> None:
    trainer = DPOTrainer(
        model=load(folders[0]),
        ref_model=load(folders[1]),
        args=DPOConfig(**common(folders[0]), loss_type=loss_type, **settings),
        train_dataset=Dataset.from_list(PAIR_ROWS),
        processing_class=make_tokenizer(),
    )
    wanted = theirs(trainer, dpo_batch(trainer, EXAMPLES), trainer.compute_loss)
    agree(ours(folders, make_objective(name, **options), EXAMPLES), wanted, times)


def test_dpo_trainer_s_bco_is_ours_without_a_shift(folders: tuple[Path, Path]) -> None:
    trainer = DPOTrainer(
        model=load(folders[0]),
        ref_model=load(folders[1]),
        args=DPOConfig(**common(folders[0]), loss_type="bco_pair", beta=0.3),
        train_dataset=Dataset.from_list(PAIR_ROWS),
        processing_class=make_tokenizer(),
    )
    wanted = theirs(trainer, dpo_batch(trainer, EXAMPLES), trainer.compute_loss)
    made = make_objective("bco", beta=0.3, momentum=0.9)
    assert isinstance(made, Stateful)
    agree(ours(folders, lambda given: made.loss(given, {"delta": 0.0}), EXAMPLES), wanted, 2)


def reference_free(trainer: Any, examples: Sequence[Example]) -> tuple[float, Tensor]:
    """What CPO's and ORPO's trainers make of the examples."""
    rows = []
    for example in examples:
        trunk = list(example.trunk_ids)
        row = {"prompt_input_ids": trunk, "prompt_attention_mask": [1] * len(trunk)}
        for side, made in zip(("chosen", "rejected"), example.branches, strict=True):
            masked = zip(made.token_ids, made.loss_mask, strict=True)
            labels = [token_id if has_loss else -100 for token_id, has_loss in masked]
            row[f"{side}_input_ids"] = trunk + list(made.token_ids)
            row[f"{side}_attention_mask"] = [1] * (len(trunk) + len(labels))
            row[f"{side}_labels"] = [-100] * len(trunk) + labels
        rows.append(row)

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        found: Tensor = trainer.get_batch_loss_metrics(model, batch)[0]
        return found

    return theirs(trainer, trainer.data_collator(rows), loss)


def cpo_trainer(folders: tuple[Path, Path], **settings: Any) -> Any:
    return CPOTrainer(
        model=load(folders[0]),
        args=CPOConfig(**common(folders[0]), **settings),
        train_dataset=Dataset.from_list(PAIR_ROWS),
        processing_class=make_tokenizer(),
    )


@pytest.mark.parametrize("alpha", [1.0, 0.0, 0.3])
def test_cpo_trainer(folders: tuple[Path, Path], alpha: float) -> None:
    wanted = reference_free(cpo_trainer(folders, beta=0.3, cpo_alpha=alpha), EXAMPLES)
    agree(ours(folders, make_objective("cpo", beta=0.3, nll_weight=alpha), EXAMPLES), wanted)


def test_cpo_trainer_s_simpo(folders: tuple[Path, Path]) -> None:
    """Without the nll that it adds by default."""
    trainer = cpo_trainer(folders, loss_type="simpo", beta=2.0, simpo_gamma=0.6, cpo_alpha=0.0)
    wanted = reference_free(trainer, EXAMPLES)
    agree(ours(folders, make_objective("simpo", beta=2.0, gamma=0.6), EXAMPLES), wanted)


def test_cpo_trainer_s_label_smoothing_is_cdpo_s(folders: tuple[Path, Path]) -> None:
    """DPOTrainer has none; a reference that gives every branch the same makes them one."""
    trainer = cpo_trainer(folders, beta=0.3, label_smoothing=0.2, cpo_alpha=0.0)
    wanted = reference_free(trainer, EXAMPLES)
    indifferent = Reference(logps=[torch.zeros(2)] * len(EXAMPLES))
    made = make_objective("cdpo", beta=0.3, flip_prob=0.2)
    agree(ours(folders, made, EXAMPLES, reference=indifferent), wanted)


def test_orpo_trainer(folders: tuple[Path, Path]) -> None:
    trainer = ORPOTrainer(
        model=load(folders[0]),
        args=ORPOConfig(**common(folders[0]), beta=0.5),
        train_dataset=Dataset.from_list(PAIR_ROWS),
        processing_class=make_tokenizer(),
    )
    wanted = reference_free(trainer, SINGLE)
    agree(ours(folders, make_objective("orpo", beta=0.5), SINGLE), wanted)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 1.3)])
def test_kto_trainer(folders: tuple[Path, Path], weights: tuple[float, float]) -> None:
    trainer = KTOTrainer(
        model=load(folders[0]),
        ref_model=load(folders[1]),
        args=KTOConfig(
            **common(folders[0]),
            beta=0.3,
            desirable_weight=weights[0],
            undesirable_weight=weights[1],
        ),
        train_dataset=Dataset.from_list(KTO_ROWS),
        processing_class=make_tokenizer(),
    )
    known = reference_pass(load(folders[1]), EXAMPLES, measures="mismatched")
    assert isinstance(known.measured, Mismatched)
    sides, rows = [], []
    for example, mismatched in zip(EXAMPLES, known.measured.examples, strict=True):
        assert mismatched is not None
        for made in example.branches:
            sides.append((example, made))
            rows.append(
                {
                    "prompt_ids": list(example.trunk_ids),
                    "completion_ids": list(made.token_ids),
                    "KL_completion_ids": list(mismatched.branches[0].token_ids),
                    "label": made.win_prob > 0.5,
                }
            )
    batch = trainer.data_collator(rows)
    _mask(batch["completion_mask"], sides)
    twice = [e for e in known.measured.examples if e is not None for _ in range(2)]
    _mask(batch["KL_completion_mask"], [(e, e.branches[0]) for e in twice])
    wanted = theirs(trainer, batch, trainer.compute_loss)
    options = {"beta": 0.3, "chosen_weight": weights[0], "rejected_weight": weights[1]}
    agree(ours(folders, make_objective("kto", **options), EXAMPLES, reference=known), wanted)
