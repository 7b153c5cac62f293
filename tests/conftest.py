"""What holds for all tests: one torch thread, so that small models don't fight over busy cores."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
