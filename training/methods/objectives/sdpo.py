"""SDPO: segment-level direct preference optimisation for social agents.

Three unrelated methods are called SDPO. This is the segment-level one (arXiv 2501.01821). Not
here: stepwise DPO (sDPO, arXiv 2403.19270), which is `dpo` with its own reference schedule, and
self-distillation policy optimisation (arXiv 2601.20802).
"""

from __future__ import annotations

from envs.options import Positive
from training.methods.objectives.base import objective
from training.methods.objectives.dpo import dpo
from training.methods.objectives.types import ObjectiveOutput, Pairs


@objective("sdpo")
def sdpo(pairs: Pairs, *, beta: Positive) -> ObjectiveOutput:
    """Segment-level DPO (arXiv 2501.01821, the SDPO loss).

        -log sigmoid(sum over own turns t of the segment of
                     beta * (log-ratio of chosen turn t - log-ratio of rejected turn t))

    Summed over turns this is DPO's sigmoid on the segments' log-probs: what makes the method is
    the pairing, which gives loss to equally many own turns of both sides and to nothing else.
    Equal length is what lets the partition function cancel.

    Args:
        pairs: chosen and rejected segments; log-probs summed over the segment's own turns.
        beta: how strongly the policy is held to the reference, per nat; above 0, usually 0.1.
    """
    return dpo(pairs, beta=beta)
