"""Constrained decoding: a reply's whole text matches a pattern, because other tokens are masked.

The masks come from the library llguidance. It takes a pattern to an automaton while replies are
generated, so that a pattern costs milliseconds for any vocabulary. A mask leaves every token with
which the text so far can still be completed to a match, also one that begins in the middle of a
letter's bytes, and the end-of-turn tokens only where the text matches already.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engines.types import Sampling
from envs.errors import EngineError

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

_SILENT = 0
_PATTERNS_KEPT = 256


class Patterns:
    """The patterns of one tokenizer, each compiled once.

    Args:
        tokenizer: the model's.
        stop_ids: the end-of-turn tokens, allowed once a reply matches its pattern.
        vocabulary: how many logits the model has; it may have more than the tokenizer has tokens.

    Raises:
        EngineError: the tokens' bytes cannot be told from the tokenizer.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stop_ids: tuple[int, ...], vocabulary: int
    ) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise _unusable(f"{type(tokenizer).__name__} has no tokenizer.json")
        tokens = max(vocabulary, len(tokenizer))
        self._tokenizer = _tokens_of(backend.to_str(), stop_ids, tokens)
        self._compiled = lru_cache(maxsize=_PATTERNS_KEPT)(self._compile)

    def begin(self, pattern: str) -> Constraint:
        """The constraint of a reply that is to match `pattern`.

        Raises:
            EngineError: the pattern is no regular expression that llguidance reads.
        """
        return Constraint(self._compiled(pattern).deep_copy(), pattern)

    def _compile(self, pattern: str) -> LLMatcher:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_regex(pattern)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=_SILENT)
        if matcher.is_error():
            raise EngineError(
                f"The pattern {pattern!r} cannot be used ({matcher.get_error()}); write it as a "
                "regular expression without look-around and back-references."
            )
        return matcher


class Constraint:
    """What one reply may go on with, by its pattern and the tokens that it has so far.

    Attributes:
        matcher: where the text stands in its pattern.
        nats: for each token of the reply, -log of the probability that the model, at temperature 1
            and without bias, gave to all tokens that were allowed there: 0 where the constraint
            took nothing away.
    """

    def __init__(self, matcher: LLMatcher, pattern: str) -> None:
        self.matcher, self._pattern = matcher, pattern
        self._accepted = 0
        self.nats: list[float] = []

    def follow(self, token_ids: Sequence[int]) -> None:
        """Read the reply so far: those of its tokens that are new.

        Raises:
            EngineError: one of them was not allowed.
        """
        for token in token_ids[self._accepted :]:
            if not self.matcher.consume_token(token):
                raise self._failed(f"token {token} was drawn, which was not allowed")
            self._accepted += 1

    def note(self, nats: float) -> None:
        """Note what the mask takes away from the token after those that were followed."""
        del self.nats[self._accepted :]  # this step again: vLLM draws in vain in a prompt's middle
        self.nats.append(max(0.0, nats))

    def check(self, has_token: bool) -> None:
        """Check that the mask of this step could be computed and leaves a token.

        Raises:
            EngineError: it could not, or leaves none.
        """
        if self.matcher.is_error() or not has_token:
            raise self._failed("no token of this tokenizer continues the text")

    def _failed(self, fault: str) -> EngineError:
        reason = self.matcher.get_error() or "the pattern asks for what it cannot write"
        return EngineError(
            f"After {self._accepted} tokens of a reply, {fault} ({reason}). The pattern is "
            f"{self._pattern!r}. Set policy.constrained=false for this model."
        )


def begin(patterns: Patterns | None, sampling: Sampling) -> Constraint | None:
    """The constraint of a reply that is sampled so; None for one that is free.

    Raises:
        EngineError: the engine was made without a tokenizer.
    """
    if sampling.pattern is None:
        return None
    if patterns is None:
        raise EngineError(
            "A reply is to match a pattern, but the engine was made without the model's "
            "tokenizer; pass it, or set Sampling.pattern to None."
        )
    return patterns.begin(sampling.pattern)


def masks(constraints: Sequence[Constraint | None], logits_RV: Tensor) -> Tensor | None:
    """Which tokens each row may draw, as booleans (R, V); None where all rows are free.

    What each mask takes away is noted in its constraint.

    Args:
        constraints: each row's; None for a row that is free.
        logits_RV: the model's, without bias.

    Raises:
        EngineError: a row has no token to go on with.
    """
    rows = [row for row, constraint in enumerate(constraints) if constraint is not None]
    if not rows:
        return None
    bound = [constraint for constraint in constraints if constraint is not None]
    allowed_CV = _bits([each.matcher for each in bound], logits_RV.shape[1])
    for each, has_token in zip(bound, allowed_CV.any(1).tolist(), strict=True):
        each.check(has_token)
    allowed_CV = allowed_CV.to(logits_RV.device)
    logits_CV = logits_RV[rows].double()
    mass_C = logits_CV.masked_fill(~allowed_CV, -torch.inf).logsumexp(1) - logits_CV.logsumexp(1)
    for each, log_mass in zip(bound, mass_C.tolist(), strict=True):
        each.note(-log_mass)
    allowed_RV = torch.ones_like(logits_RV, dtype=torch.bool)
    allowed_RV[rows] = allowed_CV
    return allowed_RV


def _bits(matchers: Sequence[LLMatcher], vocabulary: int) -> Tensor:
    """The masks of matchers, computed side by side, as booleans (C, V)."""
    words = -(-vocabulary // 32)
    packed_CW = np.zeros((len(matchers), words), dtype=np.int32)
    _executor().unsafe_compute_mask_ptr(
        [(matcher, row) for row, matcher in enumerate(matchers)],
        packed_CW.ctypes.data,
        4 * words,
        len(matchers),
    )
    bits_CV = np.unpackbits(packed_CW.view(np.uint8), axis=1, bitorder="little")
    return torch.from_numpy(bits_CV[:, :vocabulary]).bool()


@lru_cache
def _executor() -> LLExecutor:
    from llguidance import LLExecutor

    return LLExecutor()


def total_nats(constraint: Constraint | None) -> float | None:
    """What the constraint took from a whole reply, nats; None for a reply that was free."""
    return None if constraint is None else sum(constraint.nats)


@lru_cache(maxsize=8)
def _tokens_of(tokenizer_json: str, stop_ids: tuple[int, ...], tokens: int) -> LLTokenizer:
    """The bytes of all tokens; engines of one tokenizer share them, for it takes a second."""
    from llguidance import LLTokenizer

    try:
        return LLTokenizer(tokenizer_json, n_vocab=tokens, eos_token=list(stop_ids))
    except (ValueError, RuntimeError) as error:
        raise _unusable(str(error)) from error


def _unusable(fault: str) -> EngineError:
    return EngineError(
        f"The model's tokenizer cannot be used for constrained decoding ({fault}); set "
        "policy.constrained=false, or give the model a fast tokenizer."
    )
