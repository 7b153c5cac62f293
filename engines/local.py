"""The local engine: a transformers model in this process, batched over all waiting requests.

Prompts are left-padded and encoded together, equal prompts once. Keys and values are cached from
turn to turn, so only the new part of each prompt is encoded. Then tokens are sampled step by step.
Each request samples with its own seed, so its tokens do not depend on the rest of the batch (up to
the rounding of differently shaped matrix products).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from engines.batcher import Batcher
from engines.constraint import Constraint, Patterns, begin, masks, total_nats
from engines.kv_cache import (
    BATCH_BYTES,
    CachedPrefix,
    PrefixCache,
    join_prefixes,
    split_prefixes,
    state_bytes,
)
from engines.precision import has_bfloat16
from engines.prefill import SHORTEST_SHARED, alike, best_ahead, shared_prefixes
from engines.types import Completion, Sampling
from engines.weights import weights_version
from envs.errors import FOREIGN_FAULTS, EngineError, PromptError, in_one_line

_AHEAD_BYTES = 256 << 20
"""The most that the keys and values of a pass ahead take; wider ones are not faster."""

_WORTH_A_PASS = 1e12
"""Tokens times weights that must be saved for a pass of its own to pay."""

_PROBE_TOLERANCE_NATS = 1e-4
"""The most that a logit may differ on the probe from that of the trainer's weights."""

_CACHE_TOLERANCE_NATS = {"float32": 1e-3, "bfloat16": 1.0}
"""The most that what is joined from the cache may differ from a forward pass without one."""

_LEAST_PROBE = 64


@dataclass(slots=True)
class _Request:
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int
    future: asyncio.Future[Completion]
    constraint: Constraint | None = None


class LocalEngine:
    """An engine that runs a transformers model in batches.

    Args:
        model: a causal LM; the engine keeps it and `publish` writes into it.
        stop_ids: the end-of-turn tokens.
        batcher: decides when the waiting requests are run.
        max_batch: requests decoded together at most.
        dtype: of the engine's weights. With "bfloat16" it has a copy of its own, which takes half
            the memory and, on a CPU with bfloat16 instructions, about half the time. "auto" takes
            that where the CPU has these.
        tokenizer: the model's; needed where replies are to match patterns.

    Raises:
        EngineError: patterns cannot be used with the tokenizer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        stop_ids: tuple[int, ...],
        batcher: Batcher,
        max_batch: int = 768,
        dtype: Literal["auto", "float32", "bfloat16"] = "float32",
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self.weights_version = weights_version(model)
        if dtype == "auto":
            dtype = "bfloat16" if has_bfloat16(model.device.type) else "float32"
        if dtype == "bfloat16":
            model = copy.deepcopy(model).bfloat16()
        self._model, self._dtype = model.eval(), dtype
        self._stop_ids = stop_ids
        self._batcher = batcher
        self._max_batch = max_batch
        self._pending: list[_Request] = []
        self._prefix_cache = PrefixCache()
        self._verified_tokens = 0
        self._n_weights = int(model.num_parameters())
        self._patterns = (
            Patterns(tokenizer, stop_ids, model.config.get_text_config().vocab_size)
            if tokenizer
            else None
        )
        batcher.register(self._flush, self._prefix_cache.clear)

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        """Continue one prompt (see `engines.types.Engine`)."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and len(prompt_ids) + sampling.max_new_tokens > limit:
            raise PromptError(
                f"A prompt of {len(prompt_ids)} tokens and {sampling.max_new_tokens} new ones do "
                f"not fit the model's {limit} positions; lower env.max_turns or "
                "policy.max_new_tokens."
            )
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        constraint = begin(self._patterns, sampling)
        self._pending.append(_Request(prompt_ids, sampling, seed, future, constraint))
        return await self._batcher.wait_for(future)

    def publish(self, model: PreTrainedModel) -> str:
        """Load the trainer's weights; returns their version.

        Raises:
            EngineError: engine and trainer disagree on a probe afterwards.
        """
        self._model.load_state_dict(model.state_dict())
        self._prefix_cache.clear()
        self.weights_version = weights_version(model)
        gap = _largest_gap(self._model, model)
        if not gap <= _PROBE_TOLERANCE_NATS:
            raise EngineError(
                f"After publishing, engine and trainer differ by {gap:.2g} nats on a probe, at "
                f"most {_PROBE_TOLERANCE_NATS:g} is allowed: the engine's weights are not the "
                "trainer's, so stop and start again from the last checkpoint."
            )
        return self.weights_version

    def sleep(self) -> None:
        """Drop the keys and values of earlier turns, which take gigabytes that an update needs."""
        self._prefix_cache.clear()

    def wake(self) -> None:
        """Do nothing: it is always ready."""

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _flush(self) -> None:
        # An episode that was cancelled while it waited left a done future behind.
        pending = [request for request in self._pending if not request.future.done()]
        self._pending = []
        if not pending:
            return
        self._verify(max(len(r.prompt_ids) + r.sampling.max_new_tokens for r in pending))
        self._encode_ahead({request.prompt_ids for request in pending})
        # By new tokens for little padding; the rest makes the order independent of arrival.
        cached = {
            request.prompt_ids: self._prefix_cache.longest_prefix(request.prompt_ids)
            for request in pending
        }
        new = {prompt: len(prompt) - (k.length if k else 0) for prompt, k in cached.items()}
        pending.sort(key=lambda r: (-new[r.prompt_ids], r.prompt_ids, r.seed))
        for batch in self._batches(pending):
            for request, completion in zip(batch, self._complete(batch, cached), strict=True):
                request.future.set_result(completion)

    def _encode_ahead(self, prompts: set[tuple[int, ...]]) -> None:
        """Encode what would cost seconds if all prompts were encoded side by side.

        That is what several prompts begin with, and prompts that are new where most are known:
        a batch is as wide as its longest new part.
        """
        if not self._pays(len(prompts) * max(map(len, prompts))):  # nobody can save more
            return
        shared = dict(shared_prefixes(prompts, SHORTEST_SHARED))
        if self._pays(sum((n - 1) * self._unknown(prefix) for prefix, n in shared.items())):
            self._encode(list(shared))
        order, lengths = self._by_unknown(prompts)
        ahead, saved = best_ahead(lengths)
        if self._pays(saved):
            self._encode([prompt[:-1] for prompt in order[:ahead]])

    def _by_unknown(
        self, prompts: Collection[tuple[int, ...]]
    ) -> tuple[list[tuple[int, ...]], list[int]]:
        """The prompts with the most new tokens first, and how many each has."""
        new = {prompt: self._unknown(prompt) for prompt in prompts}
        order = sorted(prompts, key=new.__getitem__, reverse=True)
        return order, [new[prompt] for prompt in order]

    def _unknown(self, prompt: tuple[int, ...]) -> int:
        known = self._prefix_cache.longest_prefix(prompt)
        return len(prompt) - (known.length if known else 0)

    def _pays(self, tokens: int) -> bool:
        return tokens * self._n_weights >= _WORTH_A_PASS

    @torch.inference_mode()
    def _encode(self, beginnings: list[tuple[int, ...]]) -> None:
        """Encode beginnings of prompts for the cache, those of like length side by side."""
        token_bytes = state_bytes(self._model.config, self._model.dtype.itemsize)
        order, lengths = self._by_unknown(beginnings)
        for part in alike(lengths):
            together, order = order[: part.rows], order[part.rows :]
            rows = max(1, int(_AHEAD_BYTES / token_bytes / max(map(len, together))))
            for start in range(0, len(together), rows):
                batch = together[start : start + rows]
                known = {each: self._prefix_cache.longest_prefix(each) for each in batch}
                _, cache, mask_BT = self._prefill(batch, known)
                for row, beginning in enumerate(batch):
                    (state,) = split_prefixes(cache, torch.tensor([row]), mask_BT[row : row + 1])
                    self._prefix_cache.add(beginning, state)

    def _verify(self, tokens: int) -> None:
        """Check that dialogues of that many tokens are continued as the model itself would.

        Keys and values of earlier turns are padded and joined, which not every kind of attention
        stands. What was checked once holds for all shorter dialogues.

        Raises:
            EngineError: they are not.
        """
        if tokens <= self._verified_tokens:
            return
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        tokens = 1 << (max(tokens, _LEAST_PROBE) - 1).bit_length()
        tokens = min(tokens, limit or tokens)
        name, tolerance = type(self._model).__name__, _CACHE_TOLERANCE_NATS[self._dtype]
        try:
            gap = self._cache_gap(tokens)
        except FOREIGN_FAULTS as e:
            raise EngineError(
                f"{name} cannot be played by this engine, which keeps keys and values from turn to "
                f"turn and no other state ({type(e).__name__}: {in_one_line(e)}); choose "
                "engine=vllm, or a model with attention alone."
            ) from e
        if not gap <= tolerance:
            raise EngineError(
                f"{name} cannot be played by this engine: in dialogues of {tokens} tokens its "
                f"log-probs differ by {gap:.2g} nats from the model's own (at most {tolerance:g} "
                "is allowed), as with attention that is limited to a window shorter than two of "
                "them, since padding counts; choose engine=vllm, or a model with full attention."
            )
        self._verified_tokens = tokens

    @torch.inference_mode()
    def _cache_gap(self, tokens: int) -> float:
        """How far a turn that is joined from the cache lies from the model's own, nats."""
        vocabulary = self._model.config.get_text_config().vocab_size
        state_bytes(self._model.config, self._model.dtype.itemsize)
        rng = Random(tokens)
        long = tuple(rng.randrange(vocabulary) for _ in range(tokens))
        known = long[:-2]
        _, cache, mask_BT = self._prefill([known], {known: None})
        (states,) = split_prefixes(cache, torch.tensor([0]), mask_BT)
        # The second prompt is new, so that the first is padded between its turns, as far as can be.
        cached = {long: CachedPrefix(len(known), states), known: None}
        logits_BV, _, _ = self._prefill([long, known], cached)
        own_V = self._model(
            input_ids=torch.tensor([long]), use_cache=False, logits_to_keep=1
        ).logits
        gap_V = logits_BV[0].log_softmax(-1) - own_V[0, -1].float().log_softmax(-1)
        return float(gap_V.abs().max())

    def _batches(self, pending: list[_Request]) -> Iterator[list[_Request]]:
        """Cut the requests where there are too many of them, or of their keys and values."""
        token_bytes = state_bytes(self._model.config, self._model.dtype.itemsize)
        batch: list[_Request] = []
        longest = 0
        for request in pending:
            tokens = len(request.prompt_ids) + request.sampling.max_new_tokens
            taken = (len(batch) + 1) * max(longest, tokens) * token_bytes
            if batch and (len(batch) == self._max_batch or taken > BATCH_BYTES):
                yield batch
                batch, longest = [], 0
            batch.append(request)
            longest = max(longest, tokens)
        if batch:
            yield batch

    @torch.inference_mode()
    def _complete(
        self, batch: list[_Request], cached: dict[tuple[int, ...], CachedPrefix | None]
    ) -> list[Completion]:
        logits_BV, cache, mask_BT = self._prefill([r.prompt_ids for r in batch], cached)
        lengths_B = mask_BT.sum(1)
        new = max(request.sampling.max_new_tokens for request in batch)
        draws_BN = torch.from_numpy(np.stack([_uniforms(r.seed, new) for r in batch]))
        temperature_B = torch.tensor([r.sampling.temperature for r in batch])
        bias_BV = _bias(batch, logits_BV.shape[1])
        limit_B = torch.tensor([r.sampling.max_new_tokens for r in batch])
        stop = torch.tensor(self._stop_ids)

        rows = torch.arange(len(batch))  # which request each row of the cache belongs to
        tokens: list[list[int]] = [[] for _ in batch]
        logps: list[list[float]] = [[] for _ in batch]
        for step in range(new):
            draw_B = draws_BN[rows, step]
            allowed_BV = masks([batch[row].constraint for row in rows.tolist()], logits_BV)
            token_B, logp_B = _draw(
                logits_BV, temperature_B[rows], bias_BV, rows, draw_B, allowed_BV
            )
            for row, token, logp in zip(
                rows.tolist(), token_B.tolist(), logp_B.tolist(), strict=True
            ):
                tokens[row].append(token)
                logps[row].append(logp)
                if (constraint := batch[row].constraint) is not None:
                    constraint.follow(tokens[row])
            going_B = ~torch.isin(token_B, stop) & (step + 1 < limit_B[rows])
            if not going_B.all():
                done = (~going_B).nonzero().squeeze(1)
                states = split_prefixes(cache, done, mask_BT[done])
                for row, state in zip(rows[done].tolist(), states, strict=bool(states)):
                    # The last token was drawn but not encoded.
                    self._prefix_cache.add((*batch[row].prompt_ids, *tokens[row][:-1]), state)
                keep = going_B.nonzero().squeeze(1)
                if not len(keep):
                    break
                rows, token_B, mask_BT = rows[keep], token_B[keep], mask_BT[keep]
                cache.batch_select_indices(keep)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=1)
            out = self._model(
                input_ids=token_B.unsqueeze(1),
                attention_mask=mask_BT,
                position_ids=(lengths_B[rows] + step).unsqueeze(1),
                past_key_values=cache,
                use_cache=True,
            )
            logits_BV = out.logits[:, -1].float()
        return [
            Completion(
                tuple(ids), tuple(logs), self.weights_version, total_nats(request.constraint)
            )
            for request, ids, logs in zip(batch, tokens, logps, strict=True)
        ]

    def _prefill(
        self, prompts: list[tuple[int, ...]], cached: dict[tuple[int, ...], CachedPrefix | None]
    ) -> tuple[Tensor, Cache, Tensor]:
        """Encode the new part of each prompt, equal prompts once.

        Returns:
            Next-token logits (B, V), the cache of all rows, and where it holds tokens (B, T).
        """
        unique = list(dict.fromkeys(prompts))
        known = [cached[prompt] for prompt in unique]
        cache, known_UT = join_prefixes(known)
        fresh = [prompt[k.length if k else 0 :] for prompt, k in zip(unique, known, strict=True)]
        width = max(map(len, fresh))
        ids_UT = torch.zeros(len(unique), width, dtype=torch.long)
        mask_UT = torch.zeros(len(unique), width, dtype=torch.long)
        for row, ids in enumerate(fresh):
            ids_UT[row, width - len(ids) :] = torch.tensor(ids)
            mask_UT[row, width - len(ids) :] = 1
        before_U1 = known_UT.sum(1, keepdim=True)
        out = self._model(
            input_ids=ids_UT,
            attention_mask=torch.cat([known_UT, mask_UT], dim=1),
            position_ids=before_U1 + (mask_UT.cumsum(1) - 1).clamp_min(0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_UV = out.logits[:, -1].float()
        place = {prompt: row for row, prompt in enumerate(unique)}
        expand = torch.tensor([place[prompt] for prompt in prompts])
        if len(unique) < len(prompts):
            cache.batch_select_indices(expand)
        return logits_UV[expand], cache, torch.cat([known_UT, mask_UT], dim=1)[expand]


def _uniforms(seed: int, count: int) -> NDArray[np.float64]:
    """One uniform draw from [0, 1) for each token; a larger count does not change the first."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)


@torch.inference_mode()
def _largest_gap(model: PreTrainedModel, trained: PreTrainedModel) -> float:
    """The largest difference on a probe of a model's logits from those of the trained weights.

    Both are computed in evaluation mode and in the model's data type: rounding to bfloat16 alone
    moves the logits of a rare token by tens of nats (42 in SmolLM2-135M).
    """
    probe = torch.arange(16).remainder(model.config.get_text_config().vocab_size).unsqueeze(0)
    if model.dtype is trained.dtype:
        was_training = trained.training
        expected = trained.eval()(probe).logits
        trained.train(was_training)
    else:
        rounded = {name: weight.to(model.dtype) for name, weight in trained.named_parameters()}
        expected = functional_call(model, rounded, (probe,)).logits
    return float((model(probe).logits - expected).abs().max())


def _bias(batch: list[_Request], vocabulary: int) -> Tensor | None:
    if not any(request.sampling.logit_bias for request in batch):
        return None
    bias_BV = torch.zeros(len(batch), vocabulary)
    for row, request in enumerate(batch):
        for token, bias in request.sampling.logit_bias:
            bias_BV[row, token] = bias
    return bias_BV


def _draw(
    logits_RV: Tensor,
    temperature_R: Tensor,
    bias_BV: Tensor | None,
    rows: Tensor,
    draw_R: Tensor,
    allowed_RV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling: tokens (R,) and the model's own log-probs of them (R,).

    Those are at temperature 1, without bias and without the mask.
    """
    logps_RV = logits_RV.log_softmax(-1)
    biased_RV = logits_RV if bias_BV is None else logits_RV + bias_BV[rows]
    if allowed_RV is not None:
        biased_RV = biased_RV.masked_fill(~allowed_RV, -torch.inf)
    greedy_R = temperature_R == 0
    scaled_RV = biased_RV / torch.where(greedy_R, 1.0, temperature_R).unsqueeze(1)
    cdf_RV = scaled_RV.double().softmax(-1).cumsum(-1)
    point_R1 = (draw_R * cdf_RV[:, -1]).unsqueeze(1)
    token_R = torch.searchsorted(cdf_RV, point_R1, right=True).squeeze(1)
    token_R = token_R.clamp_max(logits_RV.shape[1] - 1)
    token_R = torch.where(greedy_R, biased_RV.argmax(-1), token_R)
    return token_R, logps_RV.gather(1, token_R.unsqueeze(1)).squeeze(1)
