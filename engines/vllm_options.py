"""The options of vLLM's engine; they are read without importing torch or vLLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from envs.options import Count, Positive, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """The options of the engine vLLM.

    Attributes:
        max_running: requests that are decoded together at most.
        step_tokens: tokens that one step encodes at most, over all requests.
        context_tokens: the longest prompt with its reply; None for all the model's positions.
        kv_cache_gib: memory of each engine for keys and values; None takes what gpu_memory_share
            leaves of a GPU, and half a GiB on a CPU.
        gpu_memory_share: of the GPU's memory, for one engine: the policy and its frozen copy have
            one each, and the trainer wants some.
        dtype: of the engine's weights; "auto" for the model's own.
        eager: without CUDA graphs: slower, and up sooner; always so on a CPU.
    """

    max_running: Count = 256
    step_tokens: Count = 8192
    context_tokens: Count | None = None
    kv_cache_gib: Positive | None = None
    gpu_memory_share: Annotated[float, Range(above=0, at_most=1)] = 0.3
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    eager: bool = False
