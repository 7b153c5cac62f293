"""The module `torch` and some of its functions, imported when they are first used.

Options are read before anything slow begins, and the options of an objective stand in its file,
beside its loss. So objectives take torch from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:

    class _Torch:
        def __getattr__(self, name: str) -> Any:
            import torch

            return getattr(torch, name)

    torch = _Torch()

__all__ = ["logsigmoid", "torch"]


def logsigmoid(x: Tensor) -> Tensor:
    """Log sigmoid(x), stable for large |x|; same shape."""
    return torch.nn.functional.logsigmoid(x)
