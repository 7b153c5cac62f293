"""A way to give vLLM weights that lie in the same process; loaded by vLLM, by its name.

It is vLLM's weight-transfer interface (version 0.32) with nothing to transfer: tensors of the
trainer are loaded layer by layer, so that each layer is packed for its kernels as at the start.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)


@dataclass
class Nothing(WeightTransferInitInfo):  # type: ignore[misc]
    """No handshake is needed."""


@dataclass
class Weights(WeightTransferUpdateInfo):  # type: ignore[misc]
    """All of a model's weights, named as in its checkpoint."""

    weights: list[tuple[str, Tensor]] = field(default_factory=list)


class InProcessTransfer(WeightTransferEngine[Nothing, Weights]):  # type: ignore[misc]
    """Loads tensors of this process."""

    init_info_cls = Nothing
    update_info_cls = Weights

    def init_transfer_engine(self, init_info: Nothing) -> None:
        """Nothing to prepare."""

    def start_weight_update(self) -> None:
        """Make each layer ready to be loaded again."""
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Weights) -> None:
        """Load what came."""
        self.model.load_weights(update_info.weights)

    def finish_weight_update(self) -> None:
        """Pack what waits for the end, such as attention layers."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing to release."""
