"""What has to be set on the machine before a run: threads, and silence of libraries."""

from __future__ import annotations

import torch
import transformers

from training.config import RunConfig


def set_up(config: RunConfig) -> None:
    """Set torch's threads, which results depend on bit for bit, and quieten progress bars."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
