"""Prompts, a model and its own log-probs, for the tests of engines that load weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LlamaForCausalLM

from engines.types import LoadedEngine, Sampling
from tests.tiny_models import random_llama

VOCABULARY, STOP = 24, 1
PROMPTS = ((5,), (3, 4, 5, 6, 7), (9, 9), (3, 4, 5, 6, 7), (2, 8, 2, 8, 2, 8, 2))
LONG = Sampling(max_new_tokens=12)
Tokens = tuple[int, ...]


def tiny_model(
    seed: int = 0, *, tied: bool = False, head: int = 8, positions: int = 32
) -> LlamaForCausalLM:
    """A model for that vocabulary, with two heads of that size."""
    model = random_llama(
        seed,
        vocab_size=VOCABULARY,
        hidden_size=2 * head,
        max_position_embeddings=positions,
        initializer_range=0.5,  # so that what came before matters to what comes next
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=STOP,
    )
    return model.eval()


def asked(
    engine: LoadedEngine, prompts: Sequence[Tokens], samplings: Sequence[Sampling] | Sampling = LONG
) -> list[Any]:
    """The coroutines that complete prompt n with seed n."""
    each = [samplings] * len(prompts) if isinstance(samplings, Sampling) else samplings
    return [
        engine.generate(prompt, sampling, seed=seed)
        for seed, (prompt, sampling) in enumerate(zip(prompts, each, strict=True))
    ]


@torch.no_grad()
def logps_of(model: Any, prompt: Tokens, said: Tokens) -> list[float]:
    """The log-probs of `said` after `prompt` by one plain forward pass, nats."""
    logits = model(torch.tensor([prompt + said])).logits[0].log_softmax(-1)
    return [logits[len(prompt) - 1 + n, token].item() for n, token in enumerate(said)]
