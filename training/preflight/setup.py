"""What has to be set on the machine before a run: threads, memory, and silence of libraries."""

from __future__ import annotations

import gc

import torch
import transformers

from training.config import RunConfig

_GARBAGE_THRESHOLDS = (100_000, 50, 50)
"""How seldom Python looks for cycles; by default so often that it costs a tenth of playing."""


def set_up(config: RunConfig) -> None:
    """Set torch's threads, which results depend on bit for bit, and quieten progress bars."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    gc.freeze()  # what the libraries made at their import stays, and need not be looked through
