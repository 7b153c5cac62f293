"""Maximum likelihood of good branches: no contrast, no reference."""

from __future__ import annotations

from training.methods.objectives.base import objective
from training.methods.objectives.common import branch_metrics, token_nll
from training.methods.objectives.types import BranchLogps, ObjectiveOutput


@objective("preferred_sft", reads="branches", uses_reference=False)
def preferred_sft(branches: BranchLogps) -> ObjectiveOutput:
    """Supervised fine-tuning on the chosen branches: negative log-likelihood per token.

    On chosen sides of pairs it is preferred-SFT (SDPO's baseline, arXiv 2501.01821);
    on the best of K, rejection sampling (arXiv 2308.01825); on an expert's turns, behaviour
    cloning. Rejected and tied branches carry no loss.
    """
    return ObjectiveOutput(loss=token_nll(branches), metrics=branch_metrics(branches))
