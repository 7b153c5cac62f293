"""Holds vLLM's replies to their patterns; vLLM imports this module by its name.

It is a logits processor of vLLM's own interface (version 0.32) and not vLLM's structured outputs:
those mask the logits before vLLM takes log-probs from them, so that each would be the constrained
model's. A logits processor comes after that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from engines.constraint import Constraint, masks

CONSTRAINT = "constraint"
"""The key in a request's `extra_args` under which its `Constraint` lies."""


class _Bound(NamedTuple):
    """A request under a pattern; vLLM appends to `token_ids` as it draws."""

    constraint: Constraint
    token_ids: list[int]
    bias: dict[int, float]


class PatternProcessor(LogitsProcessor):  # type: ignore[misc]
    """Masks the tokens with which a reply would leave its pattern."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._bound: dict[int, _Bound] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests to their rows; the order of the three steps is vLLM's."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._bound.pop(row, None)
        for row, parameters, _, token_ids in batch_update.added:
            self._bound.pop(row, None)
            if constraint := (parameters.extra_args or {}).get(CONSTRAINT):
                bias = parameters.logit_bias or {}
                self._bound[row] = _Bound(constraint, token_ids, bias)
        for source, target, direction in batch_update.moved:
            moved, replaced = self._bound.pop(source, None), self._bound.pop(target, None)
            if moved is not None:
                self._bound[target] = moved
            if replaced is not None and direction is MoveDirectionality.SWAP:
                self._bound[source] = replaced

    def apply(self, logits: Tensor) -> Tensor:
        """Mask logits (R, V) in place; those of the bias are added already."""
        if not self._bound:
            return logits
        rows, bound = list(self._bound), list(self._bound.values())
        own_CV = logits[rows]
        for row, each in enumerate(bound):
            each.constraint.follow(each.token_ids)
            for token, bias in each.bias.items():
                own_CV[row, token] -= bias
        allowed_CV = masks([each.constraint for each in bound], own_CV)
        assert allowed_CV is not None
        logits[rows] = logits[rows].masked_fill(~allowed_CV, -torch.inf)
        return logits
