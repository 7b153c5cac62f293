"""A weight transfer for vLLM within one process; vLLM imports this module by its name.

It implements vLLM's weight-transfer interface (version 0.32). Nothing is transferred: the trainer's
tensors are loaded layer by layer, and each layer is packed for its kernels as at the start.
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
class NoInitInfo(WeightTransferInitInfo):  # type: ignore[misc]
    """No handshake is needed."""


@dataclass
class Weights(WeightTransferUpdateInfo):  # type: ignore[misc]
    """All weights of a model, named as in its checkpoint."""

    weights: list[tuple[str, Tensor]] = field(default_factory=list)


class InProcessTransfer(WeightTransferEngine[NoInitInfo, Weights]):  # type: ignore[misc]
    """Loads tensors that are in this process already."""

    init_info_cls = NoInitInfo
    update_info_cls = Weights

    def init_transfer_engine(self, init_info: NoInitInfo) -> None:
        """Do nothing: there is nothing to prepare."""

    def start_weight_update(self) -> None:
        """Make each layer ready to be loaded again."""
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Weights) -> None:
        """Load the weights."""
        self.model.load_weights(update_info.weights)

    def finish_weight_update(self) -> None:
        """Pack the layers that need all weights first, such as attention layers."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Do nothing: there is nothing to release."""
