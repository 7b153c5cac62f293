"""Runs vLLM inside this process: starts an engine, loads weights into it, and ends it.

vLLM is made to own its process. Here it must neither change the trainer's random state or threads,
nor use the network.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig

from engines.vllm_heads import Named, head_size, widened_config, widened_weights
from engines.vllm_options import VllmOptions
from envs.errors import EngineError
from envs.extras import install

_VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the trainer uses the cores, too
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
_TRANSFER = "in_process"
_PROCESSOR = "engines.vllm_constraint:PatternProcessor"


class VllmProcess:
    """One engine of vLLM, which starts with dummy weights.

    A weight that `load` leaves out therefore shows at the first comparison with the model.

    Args:
        constrains: whether replies may be held to patterns.
    """

    def __init__(
        self,
        config: PretrainedConfig,
        dtype: torch.dtype,
        options: VllmOptions,
        *,
        constrains: bool = False,
    ) -> None:
        if constrains:  # the second runner has another interface for logits processors
            os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
        vllm = _import_vllm()
        from vllm.platforms import current_platform

        self.is_cpu = bool(current_platform.is_cpu())
        positions = int(config.get_text_config().max_position_embeddings)
        self.context_tokens = options.context_tokens or positions
        self._size = head_size(config)
        if self.is_cpu:
            config = widened_config(config, _head_sizes_on_cpu())
        self._wide = head_size(config)
        own = str(dtype).removeprefix("torch.")
        self.dtype = own if options.dtype == "auto" else options.dtype
        with TemporaryDirectory() as folder, _process_restored():
            config.save_pretrained(folder)
            arguments = self._arguments(vllm, folder, options, constrains)
            self.engine = vllm.LLMEngine.from_engine_args(arguments)
        _alive.append(self.engine)
        _open.add(id(self.engine))
        self.engine.collective_rpc("init_weight_transfer_engine", kwargs={"init_info": {}})
        self._is_asleep = False

    def _arguments(self, vllm: Any, folder: str, options: VllmOptions, constrains: bool) -> Any:
        from vllm.config import WeightTransferConfig

        gib = options.kv_cache_gib or (0.5 if self.is_cpu else None)
        return vllm.EngineArgs(
            model=str(Path(folder)),
            load_format="dummy",
            skip_tokenizer_init=True,
            generation_config="vllm",
            dtype=self.dtype,
            seed=0,
            max_model_len=self.context_tokens,
            max_num_seqs=options.max_running,
            max_num_batched_tokens=max(options.step_tokens, self.context_tokens),
            kv_cache_memory_bytes=int(gib * 2**30) if gib else None,
            gpu_memory_utilization=options.gpu_memory_share,
            enable_prefix_caching=True,
            # On a CPU, 0.32 cannot take back a seeded draw after a part of a prompt, and fails.
            enable_chunked_prefill=not self.is_cpu,
            logprobs_mode="raw_logprobs",  # of the model itself: before temperature and bias
            logits_processors=[_PROCESSOR] if constrains else None,
            enforce_eager=options.eager or self.is_cpu,
            async_scheduling=False,  # steps depend on the requests alone
            enable_sleep_mode=not self.is_cpu,
            disable_log_stats=True,
            weight_transfer_config=WeightTransferConfig(backend=_TRANSFER),
        )

    def load(self, named: Named) -> None:
        """Load a model's weights and drop everything computed with the old ones.

        Args:
            named: all of a model's `state_dict`, copies of tied tensors too: on a CPU the output
                layer is packed apart from the embedding that it shares.
        """
        weights = list(widened_weights(named, self._size, self._wide))
        with _process_restored():
            self.engine.collective_rpc("start_weight_update")
            self.engine.collective_rpc(
                "update_weights", kwargs={"update_info": {"weights": weights}}
            )
            self.engine.collective_rpc("finish_weight_update")
        if not self.engine.reset_prefix_cache():
            raise EngineError(
                "vLLM kept keys and values of the old weights, because requests are still under "
                "way; publish between waves of episodes."
            )

    def sleep(self) -> None:
        """Free the GPU's memory; does nothing on a CPU. Not yet tested on a GPU."""
        if not (self.is_cpu or self._is_asleep):
            self.engine.sleep(level=1)
            self._is_asleep = True

    def wake(self) -> None:
        """Load the weights onto the GPU again, with an empty cache."""
        if self._is_asleep:
            self.engine.wake_up()
            self._is_asleep = False

    def close(self) -> None:
        """End the engine once all others have been closed as well.

        vLLM's process groups belong to the process: shutting one engine down breaks the others.
        """
        _open.discard(id(self.engine))
        if not _open:
            for engine in _alive:
                engine.engine_core.shutdown()
            _alive.clear()


_alive: list[Any] = []
_open: set[int] = set()


def _import_vllm() -> Any:
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():  # of what it will have to change itself
            warnings.simplefilter("ignore", FutureWarning)
            import vllm
    except ImportError as error:
        raise EngineError(
            f"engine=vllm, but vLLM cannot be imported ({error}); install it by "
            f"{install('vllm')}, or choose engine=local."
        ) from error
    _register_transfer()
    return vllm


def _register_transfer() -> None:
    """Register our weight transfer with vLLM, which has none within one process.

    Its own transfers cross processes: NCCL needs a GPU for each, and the process that made a
    CUDA handle cannot open it.
    """
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory as Factory

    if _TRANSFER not in Factory._registry:
        Factory.register_engine(_TRANSFER, "engines.vllm_transfer", "InProcessTransfer")


def _head_sizes_on_cpu() -> list[int]:
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    return list(CPUAttentionBackend.get_supported_head_sizes())


@contextmanager
def _process_restored() -> Iterator[None]:
    """Restore the process's random state and threads after the block."""
    state, numpy_state = random.getstate(), np.random.get_state()
    set_num_threads, threads = torch.set_num_threads, torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        torch.set_num_threads = set_num_threads
        torch.set_num_threads(threads)
