"""vLLM as an engine: each request joins the running batch at the next step and leaves when done.

Unlike with the local engine, no episode waits for the slowest. vLLM runs in this process and steps
between the episodes' own work in one event loop. Which requests share a step then depends on the
episodes and not on timing, unless models behind APIs take part, and a CPU run with the same number
of threads repeats bit for bit. With models behind APIs, or on a GPU, requests still have their own
seeds, but rounding, and so now and then a token, depends on what shared the step.
"""

from __future__ import annotations

import asyncio
import copy
import random
from functools import lru_cache
from statistics import fmean
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engines.batcher import Batcher
from engines.constraint import Constraint, Patterns, begin, total_nats
from engines.types import Completion, Sampling
from engines.vllm_options import VllmOptions
from engines.vllm_process import VllmProcess
from engines.weights import weights_version
from envs.errors import EngineError, PromptError

TOLERANCE_NATS = {"float32": 1e-3}
"""The most that engine and trainer may differ on the probe, by the engine's data type.

The mean over the probe's tokens: in bfloat16 a token of SmolLM2-135M is off by up to 0.56 nats,
the mean by 0.13.
"""
LOW_PRECISION_TOLERANCE_NATS = 0.3

_LEAST_TEMPERATURE, _LARGEST_BIAS = 0.01, 100.0  # beyond these vLLM would silently use other values
_PROBE_TOKENS = 64


class _Waiting(NamedTuple):
    """Who waits for a request, and what its reply is held to."""

    future: asyncio.Future[Completion]
    constraint: Constraint | None


class VllmEngine:
    """An engine that generates with vLLM.

    Args:
        model: the trainer's; the engine takes its architecture, then its weights as in `publish`.
        stop_ids: the end-of-turn tokens.
        batcher: tells when a wave begins; episodes are detached from it while they wait here.
        tokenizer: the model's; needed where replies are to match patterns.

    Attributes:
        gap_nats: the mean difference from the trainer's log-probs at the last `publish`.

    Raises:
        EngineError: vLLM is not installed, cannot run the model, or computes other log-probs; or
            patterns cannot be used with the tokenizer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        stop_ids: tuple[int, ...],
        batcher: Batcher,
        options: VllmOptions | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self._stop_ids = stop_ids
        self._batcher = batcher
        self._patterns = (
            Patterns(tokenizer, stop_ids, model.config.get_text_config().vocab_size)
            if tokenizer
            else None
        )
        self._process = VllmProcess(
            model.config, model.dtype, options or VllmOptions(), constrains=tokenizer is not None
        )
        self._waiting: dict[str, _Waiting] = {}
        self._request_count = 0
        self._stepping: asyncio.Task[None] | None = None
        self._probe_logps: list[float] = []
        self.weights_version = ""
        self.gap_nats = float("nan")
        batcher.register(lambda: None, self._reset_cache)
        self.publish(model)

    async def generate(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, *, seed: int
    ) -> Completion:
        """Continue one prompt (see `engines.types.Engine`)."""
        if len(prompt_ids) + sampling.max_new_tokens > self._process.context_tokens:
            raise PromptError(
                f"A prompt of {len(prompt_ids)} tokens and {sampling.max_new_tokens} new ones do "
                f"not fit the engine's {self._process.context_tokens}; lower env.max_turns or "
                "policy.max_new_tokens, or raise engine.context_tokens."
            )
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        parameters = copy.copy(_parameters(sampling, self._stop_ids))
        parameters.seed = seed
        constraint = begin(self._patterns, sampling)
        if constraint is not None:
            parameters.extra_args = {"constraint": constraint}  # see engines.vllm_constraint
        request = self._add(prompt_ids, parameters)
        self._waiting[request] = _Waiting(future, constraint)
        if self._stepping is None or self._stepping.done():
            self._stepping = asyncio.create_task(self._step_while_requests())
        try:
            with self._batcher.detached():
                return await future
        finally:
            if self._waiting.pop(request, None) is not None:  # cancelled while it waited
                self._process.engine.abort_request([request])

    def publish(self, model: PreTrainedModel) -> str:
        """Load the trainer's weights; returns their version.

        Raises:
            EngineError: requests are under way, or engine and trainer disagree on a probe
                afterwards.
        """
        if self._waiting:
            raise EngineError(
                f"{len(self._waiting)} requests are under way while weights are published; "
                "publish between waves of episodes."
            )
        self._process.wake()
        version = weights_version(model)
        self._process.load(model.state_dict().items())
        self._verify(model, is_new=version != self.weights_version)
        self.weights_version = version
        return version

    def sleep(self) -> None:
        """Free the GPU's memory for the trainer until `publish` or `wake`."""
        self._process.sleep()

    def wake(self) -> None:
        """Be ready to generate again, with the weights as they were."""
        self._process.wake()

    def close(self) -> None:
        """End vLLM; the engine cannot be used any more."""
        self._process.close()

    @property
    def vllm(self) -> Any:
        """The `vllm.LLMEngine` itself, for benchmarks."""
        return self._process.engine

    def logps(self, token_ids: tuple[int, ...]) -> list[float]:
        """The log-prob of each token but the first, given the tokens before it, nats."""
        from vllm import SamplingParams

        ask = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False, ignore_eos=True
        )
        self._add(token_ids, ask)
        found: list[Any] = []
        while self._process.engine.has_unfinished_requests():
            found += self._process.engine.step()
        logprobs = found[-1].prompt_logprobs[1:]
        return [at[token].logprob for at, token in zip(logprobs, token_ids[1:], strict=True)]

    def _add(self, prompt_ids: tuple[int, ...], parameters: Any) -> str:
        self._request_count += 1
        prompt = {"prompt_token_ids": list(prompt_ids)}
        self._process.engine.add_request(request := str(self._request_count), prompt, parameters)
        return request

    async def _step_while_requests(self) -> None:
        """Step while there are requests; between two steps episodes act and send new ones."""
        engine = self._process.engine
        try:
            while engine.has_unfinished_requests():
                for output in engine.step():
                    self._deliver(output)
                await asyncio.sleep(0)
        # The border to vLLM: whatever its error is, no episode must wait for ever.
        except Exception as error:
            failure = EngineError(f"vLLM failed while it generated: {error!r}.")
            failure.__cause__ = error
            for waiting in self._waiting.values():
                if not waiting.future.done():
                    waiting.future.set_exception(failure)

    def _deliver(self, output: Any) -> None:
        waiting = self._waiting.pop(output.request_id, None)
        if waiting is None or waiting.future.done():
            return
        (completion,) = output.outputs
        logps = [
            at[token].logprob
            for at, token in zip(completion.logprobs, completion.token_ids, strict=True)
        ]
        token_ids, constraint = tuple(completion.token_ids), waiting.constraint
        if constraint is not None and len(constraint.nats) != len(token_ids):
            waiting.future.set_exception(_not_constrained(len(token_ids), len(constraint.nats)))
            return
        waiting.future.set_result(
            Completion(token_ids, tuple(logps), self.weights_version, total_nats(constraint))
        )

    def _reset_cache(self) -> None:
        """Empty the cache before a wave, so that it is computed as if it were the first."""
        if not self._process.engine.has_unfinished_requests():
            self._process.engine.reset_prefix_cache()

    def _verify(self, model: PreTrainedModel, *, is_new: bool) -> None:
        probe = _probe(model, min(_PROBE_TOKENS, self._process.context_tokens - 1))
        found = self.logps(probe)
        expected = _trainer_logps(model, probe)
        tolerance = TOLERANCE_NATS.get(self._process.dtype, LOW_PRECISION_TOLERANCE_NATS)
        self.gap_nats = fmean(abs(p - q) for p, q in zip(found, expected, strict=True))
        if not self.gap_nats <= tolerance or (is_new and found == self._probe_logps):
            raise EngineError(
                f"After publishing, vLLM and trainer differ by {self.gap_nats:.2g} nats on a "
                f"probe, at most {tolerance:g} is allowed and not the same as before: vLLM's "
                "weights are not the trainer's, so stop and go on with engine=local."
            )
        self._probe_logps = found


@lru_cache
def _parameters(sampling: Sampling, stop_ids: tuple[int, ...]) -> Any:
    """The sampling parameters without the seed; cached, since vLLM validates them slowly.

    Raises:
        EngineError: vLLM would silently use other values.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    if 0 < sampling.temperature < _LEAST_TEMPERATURE:
        raise EngineError(
            f"A temperature of {sampling.temperature} is below {_LEAST_TEMPERATURE}, the least "
            "that vLLM samples at; 0 takes the most probable token."
        )
    if any(abs(bias) > _LARGEST_BIAS for _, bias in sampling.logit_bias):
        raise EngineError(f"vLLM adds at most {_LARGEST_BIAS:g} nats of bias to a token's logit.")
    return SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_new_tokens,
        logit_bias=dict(sampling.logit_bias) or None,
        stop_token_ids=list(stop_ids),
        ignore_eos=True,  # nothing but our own stop tokens ends a turn
        logprobs=0,  # of the sampled token alone
        detokenize=False,
        skip_clone=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _not_constrained(tokens: int, masked: int) -> EngineError:
    return EngineError(
        f"vLLM masked {masked} of the {tokens} tokens of a reply that is to match a pattern: this "
        "version does not run our logits processor as 0.32 does. Install vllm==0.32, or set "
        "policy.constrained=false."
    )


def _probe(model: PreTrainedModel, length: int) -> tuple[int, ...]:
    """A fixed sequence of tokens from all over the vocabulary."""
    rng = random.Random(0)
    return tuple(rng.randrange(model.config.get_text_config().vocab_size) for _ in range(length))


@torch.inference_mode()
def _trainer_logps(model: PreTrainedModel, token_ids: tuple[int, ...]) -> list[float]:
    was_training = model.training
    ids = torch.tensor([token_ids], device=model.device)
    logps_TV = model.eval()(ids).logits[0, :-1].float().log_softmax(-1)
    model.train(was_training)
    return [float(p) for p in logps_TV.gather(1, ids[0, 1:, None])[:, 0]]
