"""The registry of engines, which generate text with models loaded in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from engines.batcher import Batcher
from engines.types import LoadedEngine
from engines.vllm_options import VllmOptions
from envs.options import Count
from envs.registry import Component, Registry

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec(Component):
    """A registered engine: a function (model, stop_ids, batcher, options) that builds one.

    Attributes:
        library: what has to be installed for it; None for nothing more.
        shares_weights: whether it generates with the very model that it is given; the caller must
            copy that first if it is to be trained at the same time.
        on_gpu: whether it can generate on a GPU.
        constrains: whether it can hold replies to a pattern; it is then made with the keyword
            argument `tokenizer`, the model's or None.
    """

    library: str | None = None
    shares_weights: bool = False
    on_gpu: bool = False
    constrains: bool = False


ENGINES: Registry[EngineSpec] = Registry("engine", group="engines", modules=["engines.registry"])
"""All engines by name."""

M = TypeVar("M", bound=Callable[..., LoadedEngine])


def engine(
    name: str,
    *,
    library: str | None = None,
    shares_weights: bool = False,
    on_gpu: bool = False,
    constrains: bool = False,
) -> Callable[[M], M]:
    """Register an engine by its name; see `EngineSpec` for the rest."""
    return ENGINES.registers(
        EngineSpec,
        name,
        library=library,
        shares_weights=shares_weights,
        on_gpu=on_gpu,
        constrains=constrains,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """The options of the engine local.

    Attributes:
        dtype: of the engine's weights; "bfloat16" halves their memory and, on a CPU with bfloat16
            instructions, the time; "auto" takes it where the CPU has these.
        max_running: requests that are decoded together at most; bounds the memory of the KV cache.
    """

    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    max_running: Count = 768


@engine("local", shares_weights=True, constrains=True)
def local(
    model: PreTrainedModel,
    stop_ids: tuple[int, ...],
    batcher: Batcher,
    options: LocalOptions,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> LoadedEngine:
    """A transformers model, with batching made for a few CPU cores."""
    from engines.local import LocalEngine

    return LocalEngine(
        model,
        stop_ids=stop_ids,
        batcher=batcher,
        max_batch=options.max_running,
        dtype=options.dtype,
        tokenizer=tokenizer,
    )


@engine("vllm", library="vllm", on_gpu=True, constrains=True)
def vllm(
    model: PreTrainedModel,
    stop_ids: tuple[int, ...],
    batcher: Batcher,
    options: VllmOptions,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> LoadedEngine:
    """The engine vLLM in this process, for large models and GPUs."""
    from engines.vllm import VllmEngine

    return VllmEngine(
        model, stop_ids=stop_ids, batcher=batcher, options=options, tokenizer=tokenizer
    )
