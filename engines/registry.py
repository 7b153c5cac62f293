"""The registry of engines, which generate text with models loaded in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from engines.batcher import Batcher
from engines.types import LoadedEngine
from envs.options import Count, Positive, Range
from envs.registry import Component, NoOptions, Registry, options_type

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec(Component):
    """A registered engine: a function (model, stop_ids, batcher, options) that builds one.

    Attributes:
        library: what has to be installed for it; None for nothing more.
        shares_weights: whether it generates with the very model that it is given; the caller must
            copy that first if it is to be trained at the same time.
        on_gpu: whether it can generate on a GPU.
    """

    library: str | None = None
    shares_weights: bool = False
    on_gpu: bool = False


ENGINES: Registry[EngineSpec] = Registry("engine", group="engines", modules=["engines.registry"])
"""All engines by name."""

M = TypeVar("M", bound=Callable[..., LoadedEngine])


def engine(
    name: str, *, library: str | None = None, shares_weights: bool = False, on_gpu: bool = False
) -> Callable[[M], M]:
    """Register an engine by its name; see `EngineSpec` for the rest."""

    def register(make: M) -> M:
        ENGINES.add(
            EngineSpec(
                name=name,
                make=make,
                options=options_type(make),
                library=library,
                shares_weights=shares_weights,
                on_gpu=on_gpu,
            )
        )
        return make

    return register


@engine("local", shares_weights=True)
def local(
    model: PreTrainedModel, stop_ids: tuple[int, ...], batcher: Batcher, options: NoOptions
) -> LoadedEngine:
    """A transformers model, with batching made for a few CPU cores and the small model."""
    from engines.local import LocalEngine

    return LocalEngine(model, stop_ids=stop_ids, batcher=batcher)


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


@engine("vllm", library="vllm", on_gpu=True)
def vllm(
    model: PreTrainedModel, stop_ids: tuple[int, ...], batcher: Batcher, options: VllmOptions
) -> LoadedEngine:
    """VLLM in this process, for large models and GPUs."""
    from engines.vllm import VllmEngine

    return VllmEngine(model, stop_ids=stop_ids, batcher=batcher, options=options)
